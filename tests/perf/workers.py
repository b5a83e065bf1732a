"""Measure how much faster a plan runs on several workers than on one, and the share of useful worker time.

    python -m tests.perf.workers quick                        # the promised speed-up; ten minutes on two quiet cores
    python -m tests.perf.workers quick --seeds 1 --rounds 2   # other options are passed on to `carousel run`

In each round, a run on one worker and a run on several workers follow each other. Each run starts with an empty store
and compiled kernels. Wall times cover the whole command, including imports and the report. The share of useful worker
time is what `run` prints at its end. A timing job has its machine to itself. For T seconds of training and M seconds
of timing on one worker, the speed-up is at most

    (T + M) / (T / workers + M)                                                     (1)

The exit code is 1 if the ratio of the best wall times is below `--at-least`.
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
"""Smallest accepted speed-up of the plan `quick` on two workers and two cores, relative to one worker."""


@dataclass(frozen=True, slots=True)
class TimedRun:
    """Durations of one run of the plan."""

    wall_seconds: float
    share: str
    """Share of worker time spent on training and measuring, as printed by the run."""
    training_seconds: float
    timing_seconds: float


def main() -> int:
    """Print a row per run and the speed-up, and return 1 if the speed-up is below `--at-least`."""
    parser = argparse.ArgumentParser(description="Compare a plan on one worker and on several.")
    parser.add_argument("plan", nargs="?", default="quick")
    parser.add_argument("--workers", type=int, default=2, help="Number of workers to compare with one.")
    parser.add_argument("--rounds", type=int, default=1, help="Number of runs per number of workers.")
    parser.add_argument("--at-least", type=float, default=PROMISED, help="Smallest speed-up that passes.")
    parser.add_argument("--keep", type=Path, help="Folder to create for the stores of these runs.")
    options, run_options = parser.parse_known_args()
    _run([sys.executable, "-c", "from arch import kernels; kernels.compile_all()"])
    print(f"{'workers':>7} {'wall (s)':>9} {'share':>6} {'training (s)':>13} {'timing (s)':>11}")
    runs: dict[int, list[TimedRun]] = {1: [], options.workers: []}
    for round_number in range(options.rounds):
        for workers, timed in runs.items():
            with tempfile.TemporaryDirectory() as folder:
                store = options.keep / f"{workers}-workers-{round_number + 1}" if options.keep else Path(folder)
                ran = time_run(options.plan, run_options, workers, store)
            timed.append(ran)
            row = f"{workers:7} {ran.wall_seconds:9.1f} {ran.share:>6} {ran.training_seconds:13.1f}"
            print(f"{row} {ran.timing_seconds:11.1f}", flush=True)
    single, parallel = (min(runs[workers], key=lambda ran: ran.wall_seconds) for workers in (1, options.workers))
    ratio = single.wall_seconds / parallel.wall_seconds
    bound = max_speedup(single.training_seconds, single.timing_seconds, options.workers)
    verdict = "as promised" if ratio >= options.at_least else f"below {options.at_least:g}"
    print(f"speed-up on {options.workers} workers: {ratio:.2f} of at most {bound:.2f}, {verdict}")
    return 0 if ratio >= options.at_least else 1


def time_run(plan: str, run_options: list[str], workers: int, store: Path) -> TimedRun:
    """Run a plan with an empty store and return its durations.

    Args:
        plan: Name or path of the plan.
        run_options: Other options of `carousel run`.
        workers: Number of workers.
        store: Folder of the empty store.
    """
    words = ["run", plan, *run_options, "--workers", str(workers), "--store", str(store)]
    began = time.monotonic()
    output = _run([sys.executable, "-m", "bench", *words])
    wall = time.monotonic() - began
    (run,) = Store(store).runs()
    training, timing = worker_seconds(list(run.read()[0].values()))
    share = re.search(r"^(\d+%) of worker time", output, re.MULTILINE)
    assert share is not None, output
    return TimedRun(wall, share[1], training, timing)


def worker_seconds(records: list[Record]) -> tuple[float, float]:
    """Return the seconds that workers spent on training and on timing.

    Cases that are timed as a group share one span, which counts once.
    """
    spans: set[Span] = {span for record in records for span in record.spans}
    training, timing = (
        sum(span.ended - span.began for span in spans if span.work == work) for work in ("training", "timing")
    )
    return training, timing


def max_speedup(training_seconds: float, timing_seconds: float, workers: int) -> float:
    """Return the largest possible speed-up over one worker, by equation (1)."""
    return (training_seconds + timing_seconds) / (training_seconds / workers + timing_seconds)


def _run(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{ended.stdout}\n{' '.join(command[1:4])} ended with exit code {ended.returncode}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main())
