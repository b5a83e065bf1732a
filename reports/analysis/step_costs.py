"""What one streamed step costs, by position: quantiles of each case, then the median over cases.

Steps within one process are not independent, so they are never pooled over cases.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from reports.analysis.groups import Group, Seed

FLAT = 1.1
"""A step cost that grows less than this from the first to the last position is told as flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The cost of one step at one position: medians over `cases` of each case's own quantiles."""

    position: int
    cases: int
    p50_seconds: float
    p50_lowest_seconds: float
    p50_highest_seconds: float
    p90_seconds: float
    p99_seconds: float
    max_seconds: float
    state_bytes: float | None
    limit_share: float | None = None
    """Of what the machine can do; None where the architecture or the run does not say."""


def step_costs(seeds: Iterable[Seed]) -> list[StepCost]:
    """Costs by ascending position; empty where nothing was streamed."""
    quantiles: defaultdict[int, list[tuple[float, ...]]] = defaultdict(list)
    states: defaultdict[int, list[float]] = defaultdict(list)
    shares: defaultdict[int, list[float]] = defaultdict(list)
    for seed in seeds:
        for position, found in seed.step_quantiles.items():
            quantiles[position].append(found)
        for position, sizes in seed.state_sizes:
            states[position].extend(sizes)
        for position, share in seed.limit_shares:
            shares[position].append(share)
    costs = []
    for position, rows in sorted(quantiles.items()):
        of_cases = np.array(rows)
        p50, p90, p99, highest = np.median(of_cases, axis=0).tolist()
        costs.append(
            StepCost(
                position=position,
                cases=len(rows),
                p50_seconds=p50,
                p50_lowest_seconds=float(of_cases[:, 0].min()),
                p50_highest_seconds=float(of_cases[:, 0].max()),
                p90_seconds=p90,
                p99_seconds=p99,
                max_seconds=highest,
                state_bytes=float(np.median(states[position])) if states[position] else None,
                limit_share=float(np.median(shares[position])) if shares[position] else None,
            )
        )
    return costs


def step_costs_by_arch(found: Iterable[Group]) -> dict[str, list[StepCost]]:
    """The costs of every architecture that was streamed, over all of its cases."""
    seeds: defaultdict[str, list[Seed]] = defaultdict(list)
    for group in found:
        seeds[group.arch].extend(group.seeds)
    return {arch: costs for arch, kept in seeds.items() if (costs := step_costs(kept))}


def nearest(costs: list[StepCost], position: int) -> StepCost:
    """The cost at the measured position that is nearest to `position` as a ratio, the earlier of two equal."""
    return min(costs, key=lambda cost: (abs(log(max(cost.position, 1) / position)), cost.position))


def describe_growth(costs: Sequence[StepCost]) -> str:
    """`flat from position 1`, or `6.5 times its cost at position 1`."""
    ratio = costs[-1].p50_seconds / costs[0].p50_seconds if costs[0].p50_seconds else 1.0
    flat = f"flat from position {costs[0].position:,}"
    return flat if 1 / FLAT < ratio < FLAT else f"{ratio:.1f} times its cost at position {costs[0].position:,}"
