"""What comparing two runs costs, by their number of records: it must grow no faster than they do.

python -m tests.perf.comparing [--records 1000,10000,100000]
"""

from __future__ import annotations

import argparse
import time

from results._compare import compare
from tests.results.planted import grid, run_of

SEEDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="What comparing two runs costs.")
    parser.add_argument("--records", default="1000,10000,100000")
    for number in map(int, parser.parse_args().records.split(",")):
        cases = grid(("rnn", "lstm"), number // (2 * SEEDS), (32,), SEEDS)
        runs = [run_of(cases, draw, processes=6) for draw in (1, 2)]
        started, busy = time.perf_counter(), time.process_time()
        found = compare(runs[0], runs[1])
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        rows = len(found.rows)
        print(f"{number:>8,} records a run, {rows:>8,} comparisons: {seconds:6.2f} s, {busy:6.2f} s CPU", flush=True)


if __name__ == "__main__":
    main()
