"""Kill a run again and again at random moments, and see that it ends as if nothing had happened.

    python -m tests.bench.kills 20 [--seed 0]

Each time the whole process group is killed, lanes included, after a random part of the time that an undisturbed run
takes; then the same command again, until it has been killed so many times. A run that ended before its kill is followed
by a new one. At the end every run's records and weights must equal those of an undisturbed run: none lost, none twice,
deterministic fields equal, every record whole. Exit code 1 where they do not.
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
from tests.bench.runs import everything
from tests.bench.tiny import TINY, write_plan

HOME = Path(__file__).resolve().parents[2]
PLAN = TINY.replace("steps = 1\n", "steps = 20\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill a run at random moments and compare.")
    parser.add_argument("kills", type=int, nargs="?", default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if survives(Path(folder), given.kills, random.Random(given.seed)) else 1


def survives(folder: Path, kills: int, moments: random.Random) -> bool:
    """Whether a run that is killed so many times ends as one that is not."""
    plan = write_plan(folder, PLAN)
    undisturbed, killed = folder / "undisturbed", folder / "killed"
    began = time.monotonic()
    if not _ends_well(_start(folder, plan, undisturbed)):
        print("the undisturbed run failed")
        return False
    usual_seconds = time.monotonic() - began
    expected = everything(Store(undisturbed).runs()[0])
    done, anew = 0, True
    while done < kills:
        process = _start(folder, plan, killed)
        began = time.monotonic()
        try:
            process.wait(timeout=moments.uniform(0, usual_seconds))
            if anew:  # a first run that had to wait for a quiet machine is no measure of the next
                usual_seconds = min(usual_seconds, time.monotonic() - began)
            anew = True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            done, anew = done + 1, False
            records = sum(len(list((run.folder / "records").glob("*.json"))) for run in Store(killed).runs())
            print(f"kill {done} of {kills}: {records} records so far", flush=True)
    if not _ends_well(_start(folder, plan, killed)):
        print("the last run failed")
        return False
    runs = Store(killed).runs()
    unfinished = [run.id for run in runs if run.file().finished is None]
    different = [run.id for run in runs if everything(run) != expected]
    print(
        f"{kills} kills, {len(runs)} runs, {len(expected)} records each; "
        f"{len(unfinished)} unfinished, {len(different)} with other records than an undisturbed run"
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


def _ends_well(process: subprocess.Popen[bytes]) -> bool:
    return process.wait() == 0


if __name__ == "__main__":
    sys.exit(main())
