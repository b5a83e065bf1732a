"""The share of the roofline limit that a streamed step reaches.

The share shows whether a slow step is due to the architecture or to its implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from reports.analysis.groups import Group
from reports.format.numbers import MISSING, significant

EXPLANATION = (
    "The share of the limit is the measured FLOP rate divided by the best rate of this machine at the same sizes (the "
    "roofline model of Williams, Waterman and Patterson, 2009). For whole sequences, the limit is the rate of the "
    "fastest matrix product, over one step of the batch or over all its steps. For a streamed step, it is the lower of "
    "the rate of multiply-adds in registers and the step's FLOPs per byte times the read bandwidth of a compiled loop, "
    "over as much memory as the step moves. A low share is due to the "
    "implementation or the interpreter, not to the architecture. Only matrix products count as FLOPs. A dash means "
    "that the limit was not measured, or that the architecture does not state its FLOPs."
)


def shares_of(groups: Sequence[Group]) -> dict[tuple[str, str, int], float]:
    """Return the share of the roofline limit at the last position, by (architecture, task, length).

    Each share is the median over seeds. Groups without a share are left out.
    """
    shares = {}
    for group in groups:
        last = max((position for seed in group.seeds for position in seed.step_quantiles), default=None)
        last_shares = [share for seed in group.seeds for position, share in seed.limit_shares if position == last]
        if last_shares:
            shares[group.arch, group.task, group.length] = median(last_shares)
    return shares


def percent(share: float | None) -> str:
    """Format a share as a percentage with two significant digits: `12%`, `0.85%`. None becomes a dash."""
    return MISSING if share is None else f"{significant(100 * share, 2)}%"
