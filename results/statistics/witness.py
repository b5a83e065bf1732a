"""CPU time and retired instructions behind a timing: a second witness beside the wall time.

If a timing changes, its instructions tell more work from a slower machine, and its CPU time tells computing from
waiting. A block counts both for all of its calls, timed or not. Its calls do the same work, so

    counter per sample = seconds per sample · median over blocks of (counter / wall seconds)     (1)

The machine's speed cancels in the instructions: a machine that takes 20% longer for the same work also retires that
fewer instructions per second. No verdict depends on either counter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Literal

from results.schema.record import Block

Counter = Literal["cpu_seconds", "instructions"]
COUNTERS: tuple[Counter, ...] = ("cpu_seconds", "instructions")
FOLLOWS = 0.5
"""Share of a timing's change that a counter must share, on the logarithmic scale, to explain it."""


def counter_rates(blocks: Sequence[Block]) -> dict[Counter, float]:
    """Return the median over blocks of each counter per second of wall time.

    Unknown rates, and those of 0, are left out.
    """
    if not blocks or blocks[0].wall_seconds is None:  # blocks of earlier versions
        return {}
    found: dict[Counter, float] = {}
    for counter in COUNTERS:
        counts = [(getattr(block, counter), block.wall_seconds) for block in blocks]
        if all(count is not None and seconds for count, seconds in counts):
            rate = median(count / seconds for count, seconds in counts)
            if rate > 0:
                found[counter] = rate
    return found


def change(sides: tuple[Sequence[float], Sequence[float]], in_turns: bool) -> float:
    """Return the relative change of a counter between two runs.

    Args:
        sides: Logarithms of the counter per unit, of the baseline run and of the new run.
        in_turns: Whether the units of both runs are pairs. The change is then the median of their differences.
    """
    base, new = sides
    if in_turns and len(base) == len(new):
        return math.expm1(median(after - before for before, after in zip(base, new, strict=True)))
    return math.expm1(median(new) - median(base))


def follows(counter: float | None, timing: float) -> bool:
    """Return whether the change of a counter explains that of a timing. Both are relative; None explains nothing."""
    if counter is None or timing == 0:
        return False
    return math.log1p(counter) / math.log1p(timing) >= FOLLOWS
