"""Whether the instrument keeps its promises on this machine: a table, and an exit code other than 0 where it does not.

    python -m tests.trust [--rounds 8] [--minutes 11]

It judges by what `carousel compare` judges by, so that the instrument that is tested is the one that is used.

Each round starts fresh processes in random order: three that time a model as it is, and one each that does 5, 10 and
20% more work. Then a few are timed beside neighbours that keep one core, or all cores, busy. Give it a quiet machine:
no training of Carousel's runs beside it, which is seen to, and nothing else should.
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
from rich.table import Table

from bench.machine.environment import available_cores
from tests.trust._processes import Process, fresh, neighbours
from tests.trust._promises import Row, beside_neighbours, clock, coverage, planted, quiet, same_against_same

PLAIN = 20
"""Times that the model as it is does its work, so that one more is 5%."""
EFFECTS = {0.05: 21, 0.10: 22, 0.20: 24}
PLAIN_A_ROUND = 3
BUSY_PROCESSES = 3
MIN_ROUNDS = 5
"""With fewer, no interval of five processes and fifteen can be as sure as a planted effect asks."""
MIN_WIDTH = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="fresh processes of each planted effect (default 8)")
    parser.add_argument("--minutes", type=float, default=11, help="begin no further round after these (default 11)")
    given = parser.parse_args()
    if given.rounds < MIN_ROUNDS:
        parser.error(f"--rounds must be at least {MIN_ROUNDS} for an interval, not {given.rounds}")
    console, started, generator = Console(), time.perf_counter(), random.Random(0)
    console.width = max(console.width, MIN_WIDTH)
    found: dict[int, list[Process]] = {times: [] for times in (PLAIN, *EFFECTS.values())}
    for number in range(given.rounds):
        if number >= MIN_ROUNDS and time.perf_counter() - started > 60 * given.minutes:
            break
        turns = [PLAIN] * PLAIN_A_ROUND + list(EFFECTS.values())
        for times in generator.sample(turns, len(turns)):
            found[times].append(fresh(times))
    busy = {}
    for name, count in {"a neighbour on one core": 1, "a neighbour on every core": available_cores()}.items():
        with neighbours(count):
            busy[name] = [fresh(PLAIN) for _ in range(BUSY_PROCESSES)]
    plain, every = found[PLAIN], list(itertools.chain(*found.values()))
    pulse = median(beat for process in every for beat in process.pulses())
    rows = [quiet(every, pulse), same_against_same(plain, generator)]
    for effect, times in EFFECTS.items():
        rows += planted(plain, found[times], effect)
    rows += [beside_neighbours(name, processes, plain, pulse) for name, processes in busy.items()]
    rows += [clock(plain, PLAIN), *coverage(np.random.default_rng(0))]
    show(rows, console)
    broken = sum(not row.kept for row in rows)
    console.print(
        f"{len(rows) - broken} of {len(rows)} promises kept, {len(every)} processes, "
        f"{(time.perf_counter() - started) / 60:.1f} minutes"
        + ("" if rows[0].kept else "; the machine was not quiet, so run this again when it is")
    )
    return 1 if broken else 0


def show(rows: list[Row], console: Console) -> None:
    """The table."""
    table = Table("promise", "asked", "found", "kept")
    for row in rows:
        table.add_row(row.promise, row.asked, row.found, "[green]yes[/]" if row.kept else "[red]NO[/]")
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
