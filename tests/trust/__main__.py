"""Check whether timings on this machine can be trusted, and print a table of promises.

    python -m tests.trust [--rounds 8] [--minutes 11]

The exit code is 1 if a promise is broken. The verdicts come from the code of `carousel compare`, so the check
tests the instrument that users have.

Each round starts six fresh processes in random order. Three processes time the plain model. The other three time
models that do 5, 10 and 20% more work, in forward passes and inside the compiled loop of a stream. Finally, a few
processes time the plain model while neighbour processes keep one core, or all cores, busy. Use a quiet machine.
Training jobs of other Carousel runs wait for a timed process, but other programs do not.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from statistics import median

import numpy as np
from rich.console import Console

from bench.machine.environment import available_cores
from tests.trust.processes import Process, measure_in_fresh_process, neighbours
from tests.trust.promises import (
    clock_is_fast,
    intervals_cover,
    machine_is_quiet,
    neighbours_are_noise,
    planted_effect_is_recovered,
    same_model_is_unchanged,
)
from tests.trust.table import MIN_WIDTH, print_table

PLAIN = 20
"""Repetitions of the work in a plain process, so that one more repetition is 5% more work."""
EFFECTS = {0.05: 21, 0.10: 22, 0.20: 24}
"""Repetitions of the work for each planted effect."""
PLAIN_PER_ROUND = 3
"""Plain processes per round."""
BUSY_PROCESSES = 3
"""Processes that are timed next to each number of neighbours."""
MIN_ROUNDS = 5
"""Smallest number of rounds. Five rounds time 5 processes per effect and 15 plain ones. With fewer processes, no
interval reaches `RECOVERY_LEVEL`."""


def main() -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rounds", type=int, default=8, help="Fresh processes per planted effect (default: %(default)s)."
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=11,
        help=f"Start no new round after this time and {MIN_ROUNDS} rounds (default: %(default)s).",
    )
    options = parser.parse_args()
    if options.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be at least {MIN_ROUNDS} to compute intervals, not {options.rounds}")
    console, started, generator = Console(), time.perf_counter(), random.Random(0)
    console.width = max(console.width, MIN_WIDTH)
    processes: dict[int, list[Process]] = {repetitions: [] for repetitions in (PLAIN, *EFFECTS.values())}
    for number in range(options.rounds):
        if number >= MIN_ROUNDS and time.perf_counter() - started > 60 * options.minutes:
            break
        turns = [PLAIN] * PLAIN_PER_ROUND + list(EFFECTS.values())
        for repetitions in generator.sample(turns, len(turns)):
            processes[repetitions].append(measure_in_fresh_process(repetitions))
    busy = {}
    for name, count in {"a neighbour on one core": 1, "a neighbour on every core": available_cores()}.items():
        with neighbours(count):
            busy[name] = [measure_in_fresh_process(PLAIN) for _ in range(BUSY_PROCESSES)]
    plain, undisturbed = processes[PLAIN], list(itertools.chain(*processes.values()))
    median_calibration = median(seconds for process in undisturbed for seconds in process.calibration_times())
    rows = [machine_is_quiet(undisturbed, median_calibration), same_model_is_unchanged(plain, generator)]
    for effect, repetitions in EFFECTS.items():
        rows += planted_effect_is_recovered(plain, processes[repetitions], effect)
    rows += [neighbours_are_noise(name, group, plain, median_calibration) for name, group in busy.items()]
    rows += [clock_is_fast(plain, PLAIN), *intervals_cover(np.random.default_rng(0))]
    print_table(rows, console)
    broken = sum(not row.passed for row in rows)
    console.print(
        f"{len(rows) - broken} of {len(rows)} promises kept, {len(undisturbed)} processes, "
        f"{(time.perf_counter() - started) / 60:.1f} minutes"
        + ("" if rows[0].passed else "; the machine was not quiet: repeat on a quiet machine")
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
