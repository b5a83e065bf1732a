"""What captions and findings say of the quality of step timings: interpreted, noisy, or of a single process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.analysis.streaming.step_costs import StepCost
from reports.format.numbers import listed

INTERPRETED_MARKERS = " Half-filled markers are interpreted steps, which are called from Python."
"""The part of a caption that explains the markers of interpreted architectures."""
NOISY_MARKERS = " Hollow markers are noisy: other work on the machine disturbed at least half of their timings."
"""The part of a caption that explains the markers of disturbed points."""


def markers_explained(costs: Iterable[StepCost]) -> str:
    """Return the sentences of a caption that explain the markers of step costs, each with a leading space."""
    shown = list(costs)
    is_any_interpreted = any(cost.timing == "interpreted" and not cost.noisy for cost in shown)
    return INTERPRETED_MARKERS * is_any_interpreted + NOISY_MARKERS * any(cost.noisy for cost in shown)


def single_process_sentence(costs: Mapping[str, Sequence[StepCost]]) -> str:
    """Return a sentence that names the architectures whose steps a single process timed; empty if there are none.

    `costs` are the shown step costs by architecture.
    """
    names = [arch for arch, own_costs in costs.items() if any(cost.is_single for cost in own_costs)]
    if not names:
        return ""
    its = "Its cost does" if len(names) == 1 else "Their costs do"
    return f"Timed in a single process: {listed(names)}. {its} not show how much timings differ between processes."
