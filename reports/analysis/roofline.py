"""What share of the machine's limit each timing reaches: tells a slow architecture from a slow implementation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from reports.analysis.groups import Group
from reports.format.numbers import MISSING, significant

EXPLANATION = (
    "Share of the limit is what a timing achieved of what the machine can do at the same sizes: for whole sequences "
    "the best matrix product of a step of the batch or of all its steps, for a streamed step the lesser of that and of "
    "its FLOPs a byte times the bandwidth of reading as many bytes. A low share is the implementation's or the "
    "interpreter's, and not the architecture's. Only matrix products count as FLOPs; an architecture that does not "
    "state its own has a dash."
)


def shares_of(found: Sequence[Group]) -> dict[tuple[str, str, int], float]:
    """The share of the limit of a streamed step at the last position, by architecture, task and length."""
    shares = {}
    for group in found:
        last = max((position for seed in group.seeds for position in seed.step_quantiles), default=None)
        reached = [share for seed in group.seeds for position, share in seed.limit_shares if position == last]
        if reached:
            shares[group.arch, group.task, group.length] = median(reached)
    return shares


def percent(share: float | None) -> str:
    """`12%`, `0.85%`."""
    return MISSING if share is None else f"{significant(100 * share, 2)}%"
