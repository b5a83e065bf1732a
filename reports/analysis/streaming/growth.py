"""Rows on the growth of step costs with the position in a stream, and on crossovers between architectures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from reports.analysis.groups import Group, archs_of
from reports.analysis.streaming.step_costs import StepTiming, any_compiled, timing_of
from results import (
    CostLine,
    Crossover,
    Growth,
    StreamCosts,
    cost_line,
    costs_of,
    crossover,
    curves_of,
    growth,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthRow:
    """The growth of the step cost of one architecture with the position in the stream."""

    arch: str
    growth: Growth
    line: CostLine
    window: int | None
    """The attention window in steps; None if the architecture has no window."""
    timing: StepTiming


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossoverRow:
    """The crossover of the step costs of two architectures. The cost line of `arch` has the larger slope."""

    arch: str
    other: str
    crossover: Crossover
    first: int
    """The first position of the range that was measured for both architectures."""
    last: int
    """The last position of the range that was measured for both architectures."""


class ArchCosts(NamedTuple):
    """The step costs of one architecture."""

    costs: StreamCosts
    window: int | None
    """The attention window in steps; None if the architecture has no window."""
    timing: StepTiming


Costs = dict[str, ArchCosts]
"""The step costs of each architecture, by its label."""


def growth_rows(costs: Costs) -> list[GrowthRow]:
    """Return the growth and the cost line of each architecture, in the order of `costs`."""
    return [
        GrowthRow(arch=arch, growth=growth(own, window), line=cost_line(own, window), window=window, timing=timing)
        for arch, (own, window, timing) in costs.items()
    ]


def crossover_rows(costs: Costs, growths: Sequence[GrowthRow]) -> list[CrossoverRow]:
    """Return one row per pair of comparable architectures with at least one growing or saturating cost.

    A compiled step is not compared with a step that was called from Python. `growths` is the result of
    `growth_rows(costs)`.
    """
    grows = {row.arch: row.growth.verdict in ("growing", "saturating") for row in growths}
    rows = []
    for pair in combinations(costs, 2):
        is_mixed = len({costs[arch].timing == "compiled" for arch in pair}) > 1
        if is_mixed or not any(grows[arch] for arch in pair):
            continue
        arch, other = sorted(pair, key=lambda name: -_slope(costs[name]))
        (own_costs, own_window, _), (other_costs, other_window, _) = costs[arch], costs[other]
        rows.append(
            CrossoverRow(
                arch=arch,
                other=other,
                crossover=crossover(own_costs, other_costs, (own_window, other_window)),
                first=int(max(own_costs.positions_P[0], other_costs.positions_P[0])),
                last=int(min(own_costs.positions_P[-1], other_costs.positions_P[-1])),
            )
        )
    return rows


def stream_costs(groups: Sequence[Group]) -> Costs:
    """Return the step costs and the attention window of each architecture, by its label.

    An architecture is left out if its streams share fewer than two positive positions, or if a step took no time by the
    clock.
    """
    table = {}
    beside_compiled = any_compiled(groups)
    for arch in archs_of(groups):
        own = [group for group in groups if group.arch == arch]
        costs = costs_of(curves_of(record for group in own for record in group.records))
        if costs is not None:
            option = re.search(r"[:,]window=(\d+)", own[0].seeds[0].case.arch)
            seeds = [seed for group in own for seed in group.seeds]
            timing = timing_of(seeds, beside_compiled=beside_compiled)
            table[arch] = ArchCosts(costs, int(option[1]) if option else None, timing)
    return table


def growths_by_arch(groups: Sequence[Group]) -> dict[str, Growth]:
    """Return the growth of each architecture that was streamed to at least two positive positions, by its label."""
    return {arch: growth(own, window) for arch, (own, window, _) in stream_costs(groups).items()}


def _slope(own: ArchCosts) -> float:
    return cost_line(own.costs, own.window).seconds_per_step.middle
