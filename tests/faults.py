"""The long forms of the fault tests: `tox -e faults`, or `python -m tests.faults [--kills 100] [--only NAME]`.

    kills    a whole run killed at random moments, again and again: the records of an undisturbed run, none twice
    damage   a record and a run file cut at every byte, and with every bit turned: nothing is accepted
    full     a disk that is full at the n-th write, for every n of a run: one line, and the same command goes on
    two      two whole runs into one store at once, and a reader beside them
    hostile  files that mean harm: refused in one line, in under 2 s and 256 MB

Each says what it did; the command fails where one does. The moments of the kills follow from --seed.
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
from tests.bench.runs import everything, request_for, run_quietly
from tests.bench.tiny import TINY, write_plan
from tests.results.damage import accepted_after_any_change, changes
from tests.results.examples import record, run_file
from tests.results.hostile import write_hostile

HOME = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 600.0
SEEDS = 3
MAX_SECONDS, MAX_BYTES = 2.0, 256 << 20


def main() -> int:
    """Run the long forms in turn."""
    parser = argparse.ArgumentParser(description="The long forms of the fault tests.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["kills", "damage", "full", "two", "hostile"])
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    forms: dict[str, Callable[[Path], str]] = {
        "damage": damage,
        "hostile": hostile,
        "full": full,
        "two": two,
        "kills": lambda folder: kills(folder, given.kills, random.Random(given.seed)),
    }
    failed = 0
    for name in [given.only] if given.only else forms:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(lock, "lock_folder", lambda: Path(folder)):
            try:
                print(f"{name}: {forms[name](Path(folder))}", flush=True)
            except AssertionError as error:
                print(f"{name}: FAILED: {error}", flush=True)
                failed += 1
    return 1 if failed else 0


def damage(folder: Path) -> str:
    """Every truncation and every turned bit of a record and of a run file."""
    tried = 0
    for document in (record(), run_file()):
        accepted = accepted_after_any_change(document, every=1)
        assert not accepted, f"accepted: {accepted[:5]}"
        tried += sum(1 for _ in changes(document.model_dump_json(indent=1).encode(), 1))
    return f"about {tried:,} changes, none accepted"


def hostile(folder: Path) -> str:
    """Every hostile file, read by a process of its own."""
    names = write_hostile(folder)
    worst, peak = 0.0, 0
    for kind in ("record", "run"):
        told = json.loads(_output([sys.executable, "-m", "tests.results.hostile", kind, str(folder)]))
        for name, found in told["files"].items():
            assert found["reason"] and "\n" not in found["reason"], f"{name} as a {kind}: {found['reason']}"
            assert found["seconds"] < MAX_SECONDS, f"{name} as a {kind}: {found['seconds']:.1f} s"
            worst = max(worst, found["seconds"])
        peak = max(peak, told["peak_bytes"])
    assert peak < MAX_BYTES, f"{peak >> 20} MiB"
    return f"{len(names)} files, each refused in at most {worst:.2f} s; {peak >> 20} MiB at most"


def full(folder: Path) -> str:
    """The disk is full at the n-th write, for every n until a run needs no more."""
    with mock.patch("bench.runner.run.LocalExecutor", Inline()):
        expected = everything(run_quietly(request_for(folder / "undisturbed")).run)
        for place in itertools.count():
            here = folder / str(place)
            counter = itertools.count()
            with mock.patch.object(os, "fsync", _full_at(place, counter, os.fsync)):
                try:
                    run_quietly(request_for(here))
                except StoreError as error:
                    assert str(here) in str(error) and "\n" not in str(error), str(error)
                else:
                    assert next(counter) <= place + 1
                    return f"{place} writes of a run, each once without room"
            assert not [flaw for flaw in verify(Store(here / "runs")).flaws if flaw.kind in ("damaged", "left over")]
            assert everything(run_quietly(request_for(here)).run) == expected, f"after a full disk at write {place}"
    raise AssertionError("a run never ended")


def _full_at(place: int, counter: Any, really: Callable[[int], None]) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if next(counter) == place:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(descriptor)

    return fsync


def two(folder: Path) -> str:
    """Two whole runs into one store at once; a reader looks at all of it meanwhile."""
    plan = write_plan(folder, TINY.replace("seeds = 2", f"seeds = {SEEDS}"))
    store, looks = folder / "store", 0
    processes = [_start(plan, store, folder) for _ in range(2)]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(process.poll() is None for process in processes):
        assert time.monotonic() < deadline, "the runs did not end"
        for run in Store(store).runs():
            assert run.read()[1] == [], "a reader saw a damaged file"
            looks += 1
    for process in processes:
        assert process.returncode == 0, process.communicate()[0].decode()[-2000:]
    runs = Store(store).runs()
    assert len(runs) == 2, f"{len(runs)} runs instead of two"
    assert everything(runs[0]) == everything(runs[1]), "the records of two runs of one plan differ"
    assert verify(Store(store)).is_sound
    return f"two runs of {len(everything(runs[0]))} cases each, equal, looked at {looks} times meanwhile"


def kills(folder: Path, count: int, generator: random.Random) -> str:
    """A whole run, lanes included, killed at random moments and started again."""
    assert survives(folder, count, generator), "a run that was killed does not end as one that was not"
    return f"{count} kills; the records of every run as if nothing had happened"


def _start(plan: Path, store: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench", "run", str(plan), "--store", str(store), "--workers", "1", "-q"]
    environment = os.environ | {"TMPDIR": str(folder)}  # a lock of its own, whoever else is timing here
    return subprocess.Popen(command, cwd=HOME, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _output(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
