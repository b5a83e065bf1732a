"""How much faster a plan runs on several lanes than on one, and what share of the lanes' time is work.

    python -m tests.perf.lanes quick                        # the promise; about ten minutes on two quiet cores
    python -m tests.perf.lanes quick --seeds 1 --rounds 2   # what `run` understands goes on to it

Both runs begin from an empty store, one after the other in each round, with kernels compiled before. Wall times are
those of whole commands, imports and the page included; the share is what `run` says at its end. Timings have their
machine alone on any number of lanes, so a run that trains for T and times for M seconds on one lane can be at most

    (T + M) / (T / lanes + M)                                                     (1)

times as fast on more. The command fails where the ratio of the best wall times is less than `--at-least`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from results import Record, Span, Store

HOME = Path(__file__).resolve().parents[2]
PROMISED = 1.7
"""Times as fast on two lanes as on one, for plan `quick` on two cores."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the plan."""

    wall_seconds: float
    share: str
    """Of the lanes' time that went into training and measuring, as the run says it."""
    training_seconds: float
    timing_seconds: float


def main() -> int:
    """Print a row for each run and the ratio, and say whether it is what is promised."""
    parser = argparse.ArgumentParser(description="A plan on one lane and on several.")
    parser.add_argument("plan", nargs="?", default="quick")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--at-least", type=float, default=PROMISED)
    parser.add_argument("--keep", type=Path, help="a folder that does not exist, for the stores of these runs")
    given, options = parser.parse_known_args()
    _run([sys.executable, "-c", "from arch import kernels; kernels.compile_all()"])
    print(f"{'lanes':>5} {'wall (s)':>9} {'share':>6} {'training (s)':>13} {'timing (s)':>11}")
    rans: dict[int, list[Ran]] = {1: [], given.workers: []}
    for turn in range(given.rounds):
        for workers, before in rans.items():
            with tempfile.TemporaryDirectory() as folder:
                store = given.keep / f"{workers}-lanes-{turn + 1}" if given.keep else Path(folder)
                ran = timed(given.plan, options, workers, store)
            before.append(ran)
            row = f"{workers:5} {ran.wall_seconds:9.1f} {ran.share:>6} {ran.training_seconds:13.1f}"
            print(f"{row} {ran.timing_seconds:11.1f}", flush=True)
    alone, together = (min(rans[workers], key=lambda ran: ran.wall_seconds) for workers in (1, given.workers))
    ratio = alone.wall_seconds / together.wall_seconds
    bound = most(alone.training_seconds, alone.timing_seconds, given.workers)
    verdict = "as promised" if ratio >= given.at_least else f"less than {given.at_least:g} times"
    print(f"{ratio:.2f} times as fast on {given.workers} lanes as on one, of {bound:.2f} that are possible: {verdict}")
    return 0 if ratio >= given.at_least else 1


def timed(plan: str, options: list[str], workers: int, store: Path) -> Ran:
    """Run a plan in an empty store."""
    words = ["run", plan, *options, "--workers", str(workers), "--store", str(store)]
    began = time.monotonic()
    output = _run([sys.executable, "-m", "bench", *words])
    wall = time.monotonic() - began
    (run,) = Store(store).runs()
    training, timing = worked(list(run.read()[0].values()))
    share = re.search(r"^(\d+%) of the lanes' time", output, re.MULTILINE)
    assert share is not None, output
    return Ran(wall, share[1], training, timing)


def worked(records: list[Record]) -> tuple[float, float]:
    """Seconds in which lanes trained, and timed: a group that was timed together is counted once."""
    spans: set[Span] = {span for record in records for span in record.spans}
    training, timing = (
        sum(span.ended - span.began for span in spans if span.work == work) for work in ("training", "timing")
    )
    return training, timing


def most(training_seconds: float, timing_seconds: float, workers: int) -> float:
    """How many times as fast as on one lane a run can be; (1)."""
    return (training_seconds + timing_seconds) / (training_seconds / workers + timing_seconds)


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{ended.stdout}\n{' '.join(command[1:4])} ended with exit code {ended.returncode}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
