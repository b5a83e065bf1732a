"""Measure the time to compare two runs, and check that it grows linearly with the number of records.

    python -m tests.perf.comparing [--records 1000,10000,100000]

There are five seeds. Each case has five timings from six simulated processes. A comparison has one thread, so its CPU
time is close to its wall time on a quiet machine. The limits apply to CPU time. Wall time is shown for information
only. `MAX_SECONDS` limits the time for 10,000 records per run. `MAX_GROWTH` limits the time per record of the
largest runs, relative to the smallest. The exit code is 1 if a limit is exceeded.
"""

from __future__ import annotations

import argparse
import sys
import time

from results.comparison.compare import compare
from results.store.document import reading_many
from tests.results.planted import grid, run_of

SEEDS = 5
MAX_SECONDS = 5.0
"""Limit on the CPU time for 10,000 records per run."""
MAX_GROWTH = 1.8
"""Limit on the time per record of the largest runs, relative to the smallest. The cost of allocating memory raises this
ratio above 1."""


def main() -> int:
    """Print one row per size and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf.comparing", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--records", default="1000,10000,100000", help="Records per run (default: %(default)s).")
    seconds_per_record: dict[int, float] = {}
    problems = []
    for number in map(int, parser.parse_args().records.split(",")):
        seconds, wall, rows = compare_seconds(number)
        seconds_per_record[number] = seconds / number
        print(
            f"{number:>8,} records per run, {rows:>8,} comparisons: {wall:6.2f} s, {seconds:6.2f} s CPU, "
            f"{1e6 * seconds / number:4.0f} µs per record",
            flush=True,
        )
        if number == 10_000 and seconds > MAX_SECONDS:
            problems.append(f"10,000 records took {seconds:.2f} s; the limit is {MAX_SECONDS:g} s")
    growth = seconds_per_record[max(seconds_per_record)] / seconds_per_record[min(seconds_per_record)]
    if growth > MAX_GROWTH:
        problems.append(f"a record of the largest runs took {growth:.2f} times as long; the limit is {MAX_GROWTH:g}")
    for line in problems:
        print(line)
    return 1 if problems else 0


def compare_seconds(number: int) -> tuple[float, float, int]:
    """Compare two runs of `number` records each, and return CPU seconds, wall seconds and the number of comparisons."""
    cases = grid(("rnn", "lstm"), number // (2 * SEEDS), (32,), SEEDS)
    runs = [run_of(cases, draw, processes=6) for draw in (1, 2)]
    cpu_start, wall_start = time.process_time(), time.perf_counter()
    with reading_many():  # as `carousel compare` does
        comparison = compare(runs[0], runs[1])
    return time.process_time() - cpu_start, time.perf_counter() - wall_start, len(comparison.rows)


if __name__ == "__main__":
    sys.exit(main())
