"""The cost of one streamed step by position: the median over cases of the quantiles within each case.

Samples of different cases are not pooled, because the steps within one process are not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from reports.analysis.groups import Group, Seed

FLAT = 1.1
"""A cost is flat if its last value divided by its first value is between 1 / `FLAT` and `FLAT`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The cost of one step at `position`.

    Quantiles of step times are computed per case. All other fields without a description are medians over cases.
    """

    position: int
    cases: int
    """The number of cases that were streamed to this position."""
    p50_seconds: float
    p50_lowest_seconds: float
    """The lowest p50 of any case."""
    p50_highest_seconds: float
    """The highest p50 of any case."""
    p90_seconds: float
    p99_seconds: float
    max_seconds: float
    state_bytes: float | None
    limit_share: float | None = None
    """The share of the roofline limit that the step reaches, as the median over cases; None if it is unknown."""


def step_costs(seeds: Iterable[Seed]) -> list[StepCost]:
    """Return the step cost at each streamed position, ascending. The list is empty if no seed was streamed."""
    quantiles: defaultdict[int, list[tuple[float, ...]]] = defaultdict(list)
    states: defaultdict[int, list[float]] = defaultdict(list)
    shares: defaultdict[int, list[float]] = defaultdict(list)
    for seed in seeds:
        for position, row in seed.step_quantiles.items():
            quantiles[position].append(row)
        for position, sizes in seed.state_sizes:
            states[position].extend(sizes)
        for position, share in seed.limit_shares:
            shares[position].append(share)
    costs = []
    for position, rows in sorted(quantiles.items()):
        quantiles_of_cases = np.array(rows)
        p50, p90, p99, highest = np.median(quantiles_of_cases, axis=0).tolist()
        costs.append(
            StepCost(
                position=position,
                cases=len(rows),
                p50_seconds=p50,
                p50_lowest_seconds=float(quantiles_of_cases[:, 0].min()),
                p50_highest_seconds=float(quantiles_of_cases[:, 0].max()),
                p90_seconds=p90,
                p99_seconds=p99,
                max_seconds=highest,
                state_bytes=float(np.median(states[position])) if states[position] else None,
                limit_share=float(np.median(shares[position])) if shares[position] else None,
            )
        )
    return costs


def step_costs_by_arch(groups: Iterable[Group]) -> dict[str, list[StepCost]]:
    """Return the step costs of each streamed architecture over all its cases, by the label of the architecture."""
    seeds: defaultdict[str, list[Seed]] = defaultdict(list)
    for group in groups:
        seeds[group.arch].extend(group.seeds)
    return {arch: costs for arch, own_seeds in seeds.items() if (costs := step_costs(own_seeds))}


def nearest(costs: list[StepCost], position: int) -> StepCost:
    """Return the cost at the measured position whose ratio to `position` is closest to 1 on a logarithmic scale.

    If two positions are equally close, the earlier position is chosen. `costs` must not be empty. `position` must be
    positive.
    """
    return min(costs, key=lambda cost: (abs(log(max(cost.position, 1) / position)), cost.position))


def describe_growth(costs: Sequence[StepCost]) -> str:
    """Describe how the median step time changes from the first to the last position.

    Examples: `flat from position 1` and `6.5 times its cost at position 1`. The text is empty if fewer than two
    positions were measured, or if the first step time is 0: nothing is known of the growth.
    """
    if len(costs) < 2 or not costs[0].p50_seconds:
        return ""
    ratio = costs[-1].p50_seconds / costs[0].p50_seconds
    flat = f"flat from position {costs[0].position:,}"
    return flat if 1 / FLAT < ratio < FLAT else f"{ratio:.1f} times its cost at position {costs[0].position:,}"
