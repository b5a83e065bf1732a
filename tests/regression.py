"""Plant a real regression and check that it is found.

    python -m tests.regression [--repeat 6]
    python -m tests.regression --in-turns [--times 10]

The five packages are copied to a temporary folder. In the copy, the LSTM's streaming kernel computes all sums of
products twice. The second time, their weights are in the first-level cache, so a step of the copy takes about a quarter
longer. A small plan is run with the original, with the copy, and with the original again. By default, each run takes
every timing in six fresh processes. These commands then examine the runs:

    check, original against original    must exit with code 0, and find most timings unchanged
    check, original against copy        must exit with code 1, and report all of the LSTM's steps in compiled code, and
                                        nothing but its steps
    verify                              must pass, and must name a record after one of its bits is flipped

With `--in-turns`, a copy computes only the sums of the layers' inputs twice, which takes about a tenth longer. It is
measured in turns with the original by `carousel run --against`, and so is an unchanged copy:

    an unchanged copy                   must exit with code 0
    the slower copy                     must exit with code 1, and report nothing but steps of the LSTM

The first command takes three to six minutes on two cores. Use a quiet machine: if timings are too noisy to judge, the
exit code is 2.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.errors import FAILED, OK, REGRESSED

HOME = Path(__file__).resolve().parents[1]
PACKAGES = ("arch", "tasks", "bench", "results", "reports")
KERNEL = Path("arch", "kernels", "streaming", "packed_step.py")
ORIGINAL = "                after = cell(sums, load_parts(state, at, count))\n"
"""Line that applies the cell of an LSTM to the sums of some units, in streams. The planted lines precede it."""
PLANTED = """                again = summed(biases(weights[1], H, unit, count), packed, of_W, x, row * D, D)
                again = summed(again, packed, of_U, h, row * H, H)
                store_first(y, row * H + H - LANES, LANES, again[0])
"""
"""The sums once more. The last units overwrite the result."""
PLANTED_TENTH = "".join(line for line in PLANTED.splitlines(keepends=True) if "of_U" not in line)
"""Only the sums of the inputs once more."""
PLAN = """
summary = "one network with a slower kernel, and one with an unchanged kernel"
archs = ["lstm", "rnn"]
tasks = ["first_last"]
lengths = [32]
seeds = 1
width = 160
depth = 2

[protocol]
steps = 20
batch = 8
evaluate_every = 20
validation_sequences = 64
test_sequences = 64
evaluate_at = ["1x"]

[timing]
positions = [1, 64, 512]
steps = 1000
blocks = 10
batch = 8
streams = [1]
chunks = []
"""
"""Two layers of 160 units: the weights fit into a cache of 2 MiB, and most of a step is spent in the kernel."""
STEP_METRICS = ("step_seconds", "call_step_seconds")
"""Metrics of the slower steps. A call from Python takes so long that its increase may be too small to be reported."""
INCONCLUSIVE = 2
"""Exit code if timings are too noisy to judge."""
TOO_FEW = "not every planted slowdown is found"


def plant(source: str, planted: str = PLANTED) -> str:
    """Return the kernel's source with `planted` inserted before `ORIGINAL`.

    Raises `ValueError` unless `ORIGINAL` occurs exactly once.
    """
    if source.count(ORIGINAL) != 1:
        raise ValueError(f"{KERNEL} must contain this line exactly once, to plant before it: {ORIGINAL.strip()}")
    return source.replace(ORIGINAL, planted + ORIGINAL)


def main() -> int:
    """Run the original and the copy, compare the runs, flip a bit of a record, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.regression", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=6, help="Fresh processes per measurement (default: %(default)s).")
    parser.add_argument("--in-turns", action="store_true", help="Measure in turns, by `carousel run --against`.")
    parser.add_argument("--times", type=int, default=1, help="Repetitions of --in-turns (default: %(default)s).")
    given = parser.parse_args()
    if given.in_turns:
        return measure_in_turns(given.times)
    repeat = given.repeat
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        copy, plan, store = scratch / "copy", scratch / "planted.toml", scratch / "store"
        copy_packages(copy, PLANTED)
        plan.write_text(PLAN, encoding="utf-8")
        runs = []
        for home in (HOME, copy, HOME):
            print(f"measuring {'the slower copy' if home == copy else 'the original'}", flush=True)
            result = _carousel(home, "run", str(plan), "--repeat", str(repeat), "--no-resume", "--quiet", store=store)
            if result.returncode != OK:
                print(f"the run exited with code {result.returncode}: {result.stdout[-2000:]}{result.stderr[-2000:]}")
                return 1
            runs.append(max(path.name for path in store.iterdir() if path.is_dir()))
        problems = [
            *_check_unchanged(store, runs[0], runs[2]),
            *_check_slower(store, runs[0], runs[1]),
            *_check_verify(store),
        ]
    for line in problems:
        print(f"UNEXPECTED: {line}")
    inconclusive = [line for line in problems if "inconclusive" in line]
    if inconclusive and all(line in inconclusive or line.startswith(TOO_FEW) for line in problems):
        print("timings were too noisy to judge: repeat on a quiet machine")
        return INCONCLUSIVE
    return 1 if problems else 0


def copy_packages(folder: Path, planted: str) -> None:
    """Copy the five packages to a folder, and plant lines in the kernel of the copy; none if `planted` is empty."""
    for package in PACKAGES:
        shutil.copytree(HOME / package, folder / package)
    if planted:
        kernel = folder / KERNEL
        kernel.write_text(plant(kernel.read_text(encoding="utf-8"), planted), encoding="utf-8")


def measure_in_turns(times: int) -> int:
    """Measure an unchanged and a slower copy in turns with the original, `times` times, and return the exit code."""
    problems: list[str] = []
    is_inconclusive = False
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        plan, store = scratch / "planted.toml", scratch / "store"
        plan.write_text(PLAN, encoding="utf-8")
        for name, planted in (("unchanged", ""), ("slower", PLANTED_TENTH)):
            copy_packages(scratch / name, planted)
            for number in range(1, times + 1):
                began = time.monotonic()
                result = _carousel(scratch / name, "run", str(plan), "--against", str(HOME), "--json", store=store)
                seconds = time.monotonic() - began
                if result.returncode not in (OK, REGRESSED):
                    print(f"the run exited with code {result.returncode}: {result.stderr[-2000:]}")
                    return 1
                rows = json.loads(result.stdout)["rows"]
                timings = [row for row in rows if row["kind"] == "timing"]
                regressed = [row for row in timings if row["verdict"] == "regressed"]
                undecided = sum(row["verdict"] == "inconclusive" for row in timings)
                effects = ", ".join(f"{row['metric']} {row['at']} {row['effect']:+.1%}" for row in regressed)
                print(
                    f"{name} copy, {number} of {times}: exit code {result.returncode} after {seconds:.0f} s, "
                    f"{undecided} of {len(timings)} timings inconclusive; regressed: {effects or 'none'}",
                    flush=True,
                )
                steps = [row for row in timings if row["arch"] == "lstm" and row["metric"] in STEP_METRICS]
                allowed = steps if planted else []
                problems += [
                    f"{row['arch']} {row['metric']} {row['at']} of the {name} copy is reported as regressed"
                    for row in regressed
                    if row not in allowed
                ]
                if planted and result.returncode != REGRESSED:
                    is_inconclusive |= any(row["verdict"] == "inconclusive" for row in steps)
                    problems.append(f"the slower copy passed, with {undecided} inconclusive timings")
    for line in problems:
        print(f"UNEXPECTED: {line}")
    if problems and is_inconclusive and not any("reported" in line for line in problems):
        return INCONCLUSIVE
    return 1 if problems else 0


def _check_unchanged(store: Path, base: str, new: str) -> list[str]:
    """Compare the original with itself, and return the problems."""
    code, document = _compare(store, base, new)
    verdicts = [row["verdict"] for row in document["rows"] if row["kind"] == "timing"]
    unchanged = verdicts.count("unchanged")
    print(f"original against original: exit code {code}, {unchanged} of {len(verdicts)} timings unchanged")
    problems = [] if code == OK else [f"the unchanged pair gave exit code {code}: {', '.join(document['failing'])}"]
    if 2 * unchanged <= len(verdicts):
        problems.append(f"{verdicts.count('inconclusive')} of {len(verdicts)} unchanged timings are inconclusive")
    return problems


def _check_slower(store: Path, base: str, new: str) -> list[str]:
    """Compare the original with the slower copy, and return the problems."""
    code, document = _compare(store, base, new)
    print(f"original against the slower copy: exit code {code}")
    steps = [row for row in document["rows"] if row["arch"] == "lstm" and row["metric"] in STEP_METRICS]
    slowed = [row for row in steps if row["metric"] == "step_seconds"]
    for row in slowed:
        print(f"  {row['arch']} {row['metric']} {row['at']}: {row['verdict']}, {row['effect']:+.0%}  {row['reason']}")
    elsewhere = [row for row in document["rows"] if row["verdict"] == "regressed" and row not in steps]
    problems = [f"{row['arch']} {row['metric']} {row['at']} is reported as regressed" for row in elsewhere]
    problems += [
        f"{row['arch']} {row['metric']} {row['at']} is {row['verdict']}: {row['reason']}"
        for row in slowed
        if row["verdict"] != "regressed"
    ]
    if code != REGRESSED or len(document["failing"]) != sum(row["verdict"] == "regressed" for row in steps):
        problems.append(f"{TOO_FEW}: exit code {code} with {len(document['failing'])} failing rows")
    return problems


def _check_verify(store: Path) -> list[str]:
    """Run `verify` before and after one bit of a record is flipped, and return the problems."""
    intact = _carousel(HOME, "verify", store=store)
    path = random.Random(0).choice(sorted(store.glob("*/records/*.json")))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    corrupt = _carousel(HOME, "verify", store=store)
    print(f"verify: exit code {intact.returncode}; with one bit flipped: exit code {corrupt.returncode}")
    print(f"  {corrupt.stdout.splitlines()[0]}")
    problems = [] if intact.returncode == OK else [f"verify rejects an intact store: {intact.stdout}"]
    reported = [line for line in corrupt.stdout.splitlines() if line.startswith("damaged: ")]
    if corrupt.returncode != FAILED or len(reported) != 1 or str(path) not in reported[0]:
        problems.append(f"one bit of {path.name} is flipped, but verify prints: {corrupt.stdout}")
    return problems


def _compare(store: Path, base: str, new: str) -> tuple[int, dict[str, Any]]:
    """Run `carousel check`, and return its exit code and its JSON document."""
    result = _carousel(HOME, "check", base, new, "--json", store=store)
    document: dict[str, Any] = json.loads(result.stdout)
    return result.returncode, document


def _carousel(home: Path, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments, "--store", str(store)]
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
