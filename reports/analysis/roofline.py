"""The share of the roofline limit that a streamed step inside a compiled loop reaches.

The share shows whether a slow step is due to the architecture or to its implementation.
"""

from __future__ import annotations

from reports.format.numbers import MISSING, significant

EXPLANATION = (
    "The share of the limit is the measured FLOP rate divided by the best rate of this machine at the same sizes (the "
    "roofline model of Williams, Waterman and Patterson, 2009). For whole sequences, the limit is the rate of the "
    "fastest matrix product, over one step of the batch or over all its steps. For a streamed step inside the compiled "
    "loop, it is the lower of the rate of multiply-adds in registers and the step's FLOPs per byte times the read "
    "bandwidth of a compiled loop, over as much memory as the step moves. A low share is due to the implementation, "
    "not to the architecture. Only matrix products count as FLOPs. A dash means that the limit was not measured, that "
    "the architecture does not state its FLOPs, or that its steps are called from Python."
)


def percent(share: float | None) -> str:
    """Format a share as a percentage with two significant digits: `12%`, `0.85%`. None becomes a dash."""
    return MISSING if share is None else f"{significant(100 * share, 2)}%"
