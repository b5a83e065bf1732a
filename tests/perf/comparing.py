"""What comparing two runs costs, and whether it grows with the number of records and no faster.

    python -m tests.perf.comparing [--records 1000,10000,100000]

Each case has five seeds, timed at five places in six fresh processes. Comparing is one thread, so the processor's
seconds are what a quiet machine takes, and they are judged; the wall's stand beside them. The command fails where
10,000 records a run take longer than `MOST_SECONDS`, or where a record of the largest runs costs over `MOST_GROWTH`
times that of the smallest.
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
"""For 10,000 records a run; what is promised."""
MAX_GROWTH = 1.8
"""Of a record's cost from one size to the largest: memory that was never touched before costs more."""


def main() -> int:
    """Print a row for each size, and say whether the promises hold."""
    parser = argparse.ArgumentParser(description="What comparing two runs costs.")
    parser.add_argument("--records", default="1000,10000,100000")
    each: dict[int, float] = {}
    failed = []
    for number in map(int, parser.parse_args().records.split(",")):
        seconds, wall, rows = compare_seconds(number)
        each[number] = seconds / number
        print(
            f"{number:>8,} records a run, {rows:>8,} comparisons: {wall:6.2f} s, {seconds:6.2f} s CPU, "
            f"{1e6 * each[number]:4.0f} µs each",
            flush=True,
        )
        if number == 10_000 and seconds > MAX_SECONDS:
            failed.append(f"10,000 records took {seconds:.2f} s, over {MAX_SECONDS:g} s")
    if each[max(each)] > MAX_GROWTH * each[min(each)]:
        failed.append(f"a record of the largest runs costs {each[max(each)] / each[min(each)]:.2f} times as much")
    for line in failed:
        print(line)
    return 1 if failed else 0


def compare_seconds(number: int) -> tuple[float, float, int]:
    """Seconds of the processor and of the wall to compare two runs of that many records, and the rows found."""
    cases = grid(("rnn", "lstm"), number // (2 * SEEDS), (32,), SEEDS)
    runs = [run_of(cases, draw, processes=6) for draw in (1, 2)]
    began, wall_began = time.process_time(), time.perf_counter()
    with reading_many():  # as `carousel compare` does
        found = compare(runs[0], runs[1])
    return time.process_time() - began, time.perf_counter() - wall_began, len(found.rows)


if __name__ == "__main__":
    sys.exit(main())
