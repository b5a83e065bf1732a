"""A real regression, planted and caught: `tox -e regression`, or `python -m tests.regression [--repeat 6]`.

The project is copied to a scratch folder, and in the copy the streaming kernel of the LSTM computes the sums of half
of its gates twice: about a fifth of a step's time. A small plan is measured by the original, by the copy and
by the original again, every timing in six fresh processes. Then

    check, original against original    must pass with exit code 0, and judge most timings unchanged
    check, original against copy        must fail with exit code 1, and name the LSTM's streamed steps and nothing else
    verify                              must pass, and after one bit of one record was turned name that file

It takes three to six minutes on two cores. Give it a quiet machine: on a busy one it says that it could not tell, with
exit code 2. The copy is left nowhere.
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
from pathlib import Path
from typing import Any

from bench.errors import FAILED, OK, REGRESSED

HOME = Path(__file__).resolve().parents[1]
PACKAGES = ("arch", "tasks", "bench", "results", "reports")
KERNEL = Path("arch", "kernels", "streaming", "recurrent_step.py")
SOUND = "    apply(floats(weights[0]), 0, weights[1], 4 * H, D, x, 0, D, B, sums, 0, 4 * H, False)\n"
"""The projection of an LSTM's inputs; the sums that are planted before it are written over by it."""
PLANTED = """    apply(floats(weights[0]), 0, weights[1], 2 * H, D, x, 0, D, B, sums, 0, 4 * H, False)
    apply(floats(weights[2]), 0, 0, 2 * H, H, h, 0, H, B, sums, 0, 4 * H, True)
"""
PLAN = """
summary = "one network whose kernel is made slower, and one whose kernel is not"
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
"""
"""Two layers of 160 units: their weights stay in a cache of 2 MiB, and a step is mostly the kernel's."""
COULD_NOT_TELL = 2
TOO_FEW = "not all that was planted is found"


def planted(source: str) -> str:
    """The kernel's source with sums computed twice. Raises `ValueError` where the place is not found once."""
    if source.count(SOUND) != 1:
        raise ValueError(f"{KERNEL} does not hold once the line before which to plant: {SOUND.strip()}")
    return source.replace(SOUND, PLANTED + SOUND)


def main() -> int:
    """Measure, compare and damage; say what was found, and whether it is what was planted."""
    parser = argparse.ArgumentParser(description="A real regression, planted and caught.")
    parser.add_argument("--repeat", type=int, default=6, help="fresh processes of each measurement (default 6)")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        copy, plan, store = scratch / "copy", scratch / "planted.toml", scratch / "store"
        for room in PACKAGES:
            shutil.copytree(HOME / room, copy / room)
        kernel = copy / KERNEL
        kernel.write_text(planted(kernel.read_text(encoding="utf-8")), encoding="utf-8")
        plan.write_text(PLAN, encoding="utf-8")
        runs = []
        for home in (HOME, copy, HOME):
            print(f"measuring {'the slower copy' if home == copy else 'the original'}", flush=True)
            ended = _carousel(home, "run", str(plan), "--repeat", str(repeat), "--no-resume", "--quiet", store=store)
            if ended.returncode != OK:
                print(f"the run ended with exit code {ended.returncode}: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
                return 1
            runs.append(max(path.name for path in store.iterdir() if path.is_dir()))
        failed = [*_unchanged(store, runs[0], runs[2]), *_slower(store, runs[0], runs[1]), *_one_bit(store)]
    for line in failed:
        print(f"NOT AS PLANTED: {line}")
    undecided = [line for line in failed if "inconclusive" in line]
    if undecided and all(line in undecided or line.startswith(TOO_FEW) for line in failed):
        print("timings were too noisy to judge: repeat on a quiet machine")
        return COULD_NOT_TELL
    return 1 if failed else 0


def _unchanged(store: Path, base: str, new: str) -> list[str]:
    """What is wrong with the check of the original against itself."""
    code, document = _checked(store, base, new)
    verdicts = [row["verdict"] for row in document["rows"] if row["kind"] == "timing"]
    judged = verdicts.count("unchanged")
    print(f"original against original: exit code {code}, {judged} of {len(verdicts)} timings unchanged")
    failed = [] if code == OK else [f"the unchanged pair ended with {code}: {', '.join(document['failing'])}"]
    if 2 * judged <= len(verdicts):
        failed.append(f"{verdicts.count('inconclusive')} of {len(verdicts)} timings without a change are inconclusive")
    return failed


def _slower(store: Path, base: str, new: str) -> list[str]:
    """What is wrong with the check of the original against the slower copy."""
    code, document = _checked(store, base, new)
    print(f"original against the slower copy: exit code {code}")
    touched = [row for row in document["rows"] if row["arch"] == "lstm" and row["metric"] == "step_seconds"]
    for row in touched:
        print(f"  {row['arch']} {row['metric']} {row['at']}: {row['verdict']}, {row['effect']:+.0%}  {row['reason']}")
    elsewhere = [row for row in document["rows"] if row["verdict"] == "regressed" and row not in touched]
    failed = [f"{row['arch']} {row['metric']} {row['at']} is called regressed" for row in elsewhere]
    failed += [
        f"{row['arch']} {row['metric']} {row['at']} is {row['verdict']}: {row['reason']}"
        for row in touched
        if row["verdict"] != "regressed"
    ]
    if code != REGRESSED or len(document["failing"]) != len(touched):
        failed.append(f"{TOO_FEW}: exit code {code} with {len(document['failing'])} rows failing")
    return failed


def _one_bit(store: Path) -> list[str]:
    """What is wrong with `verify`, before and after one bit of a record is turned."""
    sound = _carousel(HOME, "verify", store=store)
    chosen = random.Random(0).choice(sorted(store.glob("*/records/*.json")))
    content = bytearray(chosen.read_bytes())
    content[len(content) // 2] ^= 1
    chosen.write_bytes(content)
    damaged = _carousel(HOME, "verify", store=store)
    print(f"verify: exit code {sound.returncode}; with one bit turned: exit code {damaged.returncode}")
    print(f"  {damaged.stdout.splitlines()[0]}")
    failed = [] if sound.returncode == OK else [f"a sound store is not called so: {sound.stdout}"]
    named = [line for line in damaged.stdout.splitlines() if line.startswith("damaged: ")]
    if damaged.returncode != FAILED or len(named) != 1 or str(chosen) not in named[0]:
        failed.append(f"{chosen.name} has one bit turned, and verify says: {damaged.stdout}")
    return failed


def _checked(store: Path, base: str, new: str) -> tuple[int, dict[str, Any]]:
    ended = _carousel(HOME, "check", base, new, "--json", store=store)
    document: dict[str, Any] = json.loads(ended.stdout)
    return ended.returncode, document


def _carousel(home: Path, *arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments, "--store", str(store)]
    environment = os.environ | {"PYTHONPATH": str(home)}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    sys.exit(main())
