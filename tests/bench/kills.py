"""Kill a run repeatedly at random moments, and check that its final records equal those of an undisturbed run.

    python -m tests.bench.kills 20 [--seed 0]

Each kill hits the whole process group, including worker processes. It comes after a random part of the time that an
undisturbed run takes. Then the same command is started again. If a run finishes before its kill, a new run follows. At
the end, no record may be lost, duplicated or damaged. Weights and deterministic fields must equal those of an
undisturbed run. If any of these checks fails, the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import Store
from tests.bench.runs import reproducible_content
from tests.bench.tiny import GRID, TINY, write_plan

HOME = Path(__file__).resolve().parents[2]
PLAN = TINY.replace("steps = 1\n", "steps = 20\n") + GRID


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Kill a run at random moments, and compare its records with an undisturbed run."
    )
    parser.add_argument("kills", type=int, nargs="?", default=20, help="Number of kills.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the moments of the kills.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if survives(Path(folder), options.kills, random.Random(options.seed)) else 1


def survives(folder: Path, kills: int, moments: random.Random) -> bool:
    """Return whether runs that are killed `kills` times in total end with the records of an undisturbed run.

    Args:
        folder: an empty folder for plans and stores.
        kills: number of kills.
        moments: generator of the random moments of the kills.
    """
    plan = write_plan(folder, PLAN)
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    began = time.monotonic()
    if not _succeeds(_start(folder, plan, undisturbed)):
        print("the undisturbed run failed")
        return False
    usual_seconds = time.monotonic() - began
    expected = reproducible_content(Store(undisturbed).runs()[0])
    done, is_new_run = 0, True
    while done < kills:
        process = _start(folder, plan, killed)
        began = time.monotonic()
        try:
            process.wait(timeout=moments.uniform(0, usual_seconds))
            if is_new_run:  # the undisturbed run may have waited for the machine, so later runs may be faster
                usual_seconds = min(usual_seconds, time.monotonic() - began)
            is_new_run = True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done, is_new_run = done + 1, False
            records = sum(len(list((run.folder / "records").glob("*.json"))) for run in Store(killed).runs())
            print(f"kill {done} of {kills}: {records} records so far", flush=True)
    if not _succeeds(_start(folder, plan, killed)):
        print("the last run failed")
        return False
    runs = Store(killed).runs()
    unfinished = [run.id for run in runs if run.file().finished is None]
    different = [run.id for run in runs if reproducible_content(run) != expected]
    print(
        f"{kills} kills, {len(runs)} runs, {len(expected)} records each; "
        f"{len(unfinished)} unfinished, {len(different)} whose records differ from an undisturbed run"
    )
    return not unfinished and not different


def _start(folder: Path, plan: Path, store: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        str(plan),
        "--store",
        str(store),
        "--workers",
        "2",
        "--repeat",
        "2",
    ]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(HOME)}
    return subprocess.Popen(
        [*command, "-q"], env=environment, cwd=HOME, start_new_session=True, stdout=subprocess.DEVNULL
    )


def _succeeds(process: subprocess.Popen[bytes]) -> bool:
    return process.wait() == 0


if __name__ == "__main__":
    sys.exit(main())
