"""Long fault tests: `tox -e faults`, or `python -m tests.faults [--kills 100] [--programs 10000] [--only NAME]`.

    kills    kill and resume a run at random moments: its records are those of an undisturbed run
    damage   truncate a record and a run file at every byte, and flip every bit: nothing is accepted
    full     fill the disk at the n-th write, for every n: the run reports one line and can be resumed
    two      start two runs in one store at the same time, and read the store meanwhile: no file is damaged
    output   kill a writer of a large output file at random moments: the file is the old one or the new one
    fuzz     run random programs on random models: the kernels agree with the equations (see `tests.fuzz`)
    hostile  read malicious files: each is refused with a one-line error, within 2 s and 256 MiB

The modules in `tests/long_faults` add further tests: each has a dict `CHECKS` of functions by name.

Each test returns a summary, which is printed. The exit code is 1 if a test fails. The moments of the kills depend on
--seed.
"""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench.machine import lock
from results import Store, StoreError, verify
from tests.bench.inline_executor import Inline
from tests.bench.kills import survives
from tests.bench.runs import reproducible_content, request_for, run_quietly
from tests.bench.tiny import TINY, write_plan
from tests.fuzz.__main__ import FAULTS, differences, found
from tests.long_faults import all_checks
from tests.results.damage import accepted_after_any_change, changes
from tests.results.examples import record, run_file
from tests.results.hostile import write_hostile

HOME = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 600.0
SEEDS = 3
OUTPUT_BYTES = 8 << 20
NAMES = ("damage", "hostile", "full", "two", "output", "fuzz", "kills", *all_checks())
MAX_SECONDS, MAX_BYTES = 2.0, 256 << 20


def main() -> int:
    """Run the long fault tests one after the other, and return 1 if a test fails, else 0."""
    parser = argparse.ArgumentParser(description="Run the long fault tests.")
    parser.add_argument("--kills", type=int, default=100, help="Number of kills.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the moments of the kills.")
    parser.add_argument("--programs", type=int, default=10_000, help="Number of random programs.")
    parser.add_argument("--only", choices=NAMES, help="Run only this test.")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    tests: dict[str, Callable[[Path], str]] = {
        "damage": damage,
        "hostile": hostile,
        "full": full,
        "two": two,
        "output": lambda folder: output(folder, options.kills, random.Random(options.seed)),
        "fuzz": lambda folder: fuzz(options.programs, options.seed),
        "kills": lambda folder: kills(folder, options.kills, random.Random(options.seed)),
        **all_checks(),
    }
    failed = 0
    for name in [options.only] if options.only else tests:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(lock, "lock_folder", lambda: Path(folder)):
            try:
                print(f"{name}: {tests[name](Path(folder))}", flush=True)
            except AssertionError as error:
                print(f"{name}: FAILED: {error}", flush=True)
                failed += 1
    return 1 if failed else 0


def damage(folder: Path) -> str:
    """Check that a record file and a run file are rejected if they are truncated or have a flipped bit."""
    tried = 0
    for document in (record(), run_file()):
        accepted = accepted_after_any_change(document, every=1)
        assert not accepted, f"accepted: {accepted[:5]}"
        tried += sum(1 for _ in changes(document.model_dump_json(indent=1).encode(), 1))
    return f"about {tried:,} changes, none accepted"


def hostile(folder: Path) -> str:
    """Check that a separate process refuses every hostile file, within the limits on time and memory."""
    names = write_hostile(folder)
    slowest, peak = 0.0, 0
    for kind in ("record", "run"):
        report = json.loads(_output([sys.executable, "-m", "tests.results.hostile", kind, str(folder)]))
        for name, outcome in report["files"].items():
            assert outcome["reason"] and "\n" not in outcome["reason"], f"{name} as a {kind}: {outcome['reason']}"
            assert outcome["seconds"] < MAX_SECONDS, f"{name} as a {kind}: {outcome['seconds']:.1f} s"
            slowest = max(slowest, outcome["seconds"])
        peak = max(peak, report["peak_bytes"])
    assert peak < MAX_BYTES, f"{peak >> 20} MiB"
    return f"{len(names)} files, each refused in at most {slowest:.2f} s; {peak >> 20} MiB at most"


def full(folder: Path) -> str:
    """Check that a run can be resumed after the disk was full at the n-th write, for every n.

    The interrupted run must raise a `StoreError` of one line. It must leave no damaged or temporary file.
    """
    with mock.patch("bench.runner.run.LocalExecutor", Inline()):
        expected = reproducible_content(run_quietly(request_for(folder / "undisturbed")).run)
        for failing_write in itertools.count():
            here = folder / str(failing_write)
            counter = itertools.count()
            with mock.patch.object(os, "fsync", _fsync_full_at(failing_write, counter, os.fsync)):
                try:
                    run_quietly(request_for(here))
                except StoreError as error:
                    assert str(here) in str(error) and "\n" not in str(error), str(error)
                else:
                    assert next(counter) <= failing_write + 1
                    return f"{failing_write} writes of a run, each of which failed once"
            assert not [flaw for flaw in verify(Store(here / "runs")).flaws if flaw.kind in ("damaged", "left over")]
            resumed = run_quietly(request_for(here)).run
            assert reproducible_content(resumed) == expected, f"after a full disk at write {failing_write}"
    raise AssertionError("no run succeeded")


def _fsync_full_at(failing_write: int, counter: Any, original: Callable[[int], None]) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if next(counter) == failing_write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    return fsync


def two(folder: Path) -> str:
    """Check that two simultaneous runs in one store succeed, and that a reader never sees a damaged file."""
    plan = write_plan(folder, TINY.replace("seeds = 2", f"seeds = {SEEDS}"))
    store, reads = folder / "store", 0
    processes = [_start(plan, store, folder) for _ in range(2)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, "the runs did not end in time"
        for run in Store(store).runs():
            assert run.read()[1] == [], "a reader saw a damaged file"
            reads += 1
    for process in processes:
        assert process.returncode == 0, process.communicate()[0].decode()[-2000:]
    runs = Store(store).runs()
    assert len(runs) == 2, f"{len(runs)} runs instead of two"
    assert reproducible_content(runs[0]) == reproducible_content(runs[1]), "two runs of one plan have different records"
    assert verify(Store(store)).is_sound
    return (
        f"two runs of {len(reproducible_content(runs[0]))} cases each, with equal records, read {reads} times meanwhile"
    )


def output(folder: Path, count: int, generator: random.Random) -> str:
    """Check that a killed writer leaves a whole output file with its mode, the old one or the new one."""
    path = folder / "table.csv"
    path.write_bytes(bytes(OUTPUT_BYTES))
    path.chmod(0o600)
    program = (
        "import itertools, pathlib, results\n"
        "print(flush=True)\n"
        "for number in itertools.count(1):\n"
        f"    results.write_output_file(pathlib.Path({str(path)!r}), bytes([number % 256]) * {OUTPUT_BYTES})\n"
    )
    contents = set()
    for _ in range(count):
        with subprocess.Popen([sys.executable, "-c", program], cwd=HOME, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(generator.uniform(0, 0.2))
            writer.kill()
        content = path.read_bytes()
        assert len(content) == OUTPUT_BYTES and len(set(content)) == 1, "half an output file"
        assert path.stat().st_mode & 0o777 == 0o600, "another mode"
        contents.add(content[0])
    assert len(contents) > 1, "nothing was written before the kills"
    return f"{count} kills; every file is whole"


def fuzz(programs: int, seed: int) -> str:
    """Check that kernels agree with the equations in random programs, and that planted faults are found."""
    failures = differences(HOME, seed, programs)
    assert not failures, "; ".join(failures[:5])
    missed = [fault.file for fault in FAULTS if not found(fault)]
    assert not missed, f"planted faults that no program found: {', '.join(missed)}"
    return f"{programs:,} programs without a difference; all of {len(FAULTS)} planted faults found"


def kills(folder: Path, count: int, generator: random.Random) -> str:
    """Check that a run that is killed and resumed repeatedly has the records of an undisturbed run.

    Each kill ends the main process and its worker processes at a random moment.
    """
    assert survives(folder, count, generator), "a killed run has other records than an undisturbed run"
    return f"{count} kills; every run has the records of an undisturbed run"


def _start(plan: Path, store: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--workers", "1", "-q"]
    environment = os.environ | {"TMPDIR": str(folder)}  # its own machine lock, independent of other runs here
    return subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _output(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
