"""The original and a slower copy, run one after the other and compared by `carousel check`."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from bench.errors import FAILED, OK, REGRESSED
from tests.regression.planting import HOME, STREAMED_QUARTER, carousel, copy_packages

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


def measure_in_sequence(repeat: int) -> int:
    """Run the original and the copy, compare the runs, flip a bit of a record, and return the exit code.

    `repeat` is the number of fresh processes per timing.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        copy, plan, store = scratch / "copy", scratch / "planted.toml", scratch / "store"
        copy_packages(copy, STREAMED_QUARTER)
        plan.write_text(PLAN, encoding="utf-8")
        runs = []
        for home in (HOME, copy, HOME):
            print(f"measuring {'the slower copy' if home == copy else 'the original'}", flush=True)
            result = carousel(home, "run", str(plan), "--repeat", str(repeat), "--no-resume", "--quiet", store=store)
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
    intact = carousel(HOME, "verify", store=store)
    path = random.Random(0).choice(sorted(store.glob("*/records/*.json")))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    corrupt = carousel(HOME, "verify", store=store)
    print(f"verify: exit code {intact.returncode}; with one bit flipped: exit code {corrupt.returncode}")
    print(f"  {corrupt.stdout.splitlines()[0]}")
    problems = [] if intact.returncode == OK else [f"verify rejects an intact store: {intact.stdout}"]
    reported = [line for line in corrupt.stdout.splitlines() if line.startswith("damaged: ")]
    if corrupt.returncode != FAILED or len(reported) != 1 or str(path) not in reported[0]:
        problems.append(f"one bit of {path.name} is flipped, but verify prints: {corrupt.stdout}")
    return problems


def _compare(store: Path, base: str, new: str) -> tuple[int, dict[str, Any]]:
    """Run `carousel check`, and return its exit code and its JSON document."""
    result = carousel(HOME, "check", base, new, "--json", store=store)
    document: dict[str, Any] = json.loads(result.stdout)
    return result.returncode, document
