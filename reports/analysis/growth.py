"""Who pays more the longer a stream has run, and from where on who is the cheaper: in words and rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from reports.analysis.groups import Group, archs_of
from reports.format.numbers import plural
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
    """How one architecture's step cost depends on the position."""

    arch: str
    growth: Growth
    line: CostLine
    window: int | None
    drawn: str
    """What the intervals are over: `18 curves`, `blocks of 3 curves`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossoverRow:
    """From where on `one`, whose cost grows, is the dearer of two."""

    one: str
    other: str
    crossover: Crossover
    first: int
    last: int


Costs = dict[str, tuple[StreamCosts, int | None]]
"""What each architecture's steps cost, and its window."""


def growth_rows(costs: Costs) -> list[GrowthRow]:
    """One row for each architecture that was streamed at two positions or more."""
    return [
        GrowthRow(
            arch=arch,
            growth=growth(own, window),
            line=cost_line(own, window),
            window=window,
            drawn=plural(own.curves, "curve") if own.unit == "curves" else f"blocks of {plural(own.curves, 'curve')}",
        )
        for arch, (own, window) in costs.items()
    ]


def crossover_rows(costs: Costs, growths: Sequence[GrowthRow]) -> list[CrossoverRow]:
    """One row for each pair of which one grows or saturates; between two flat lines there is nothing to cross."""
    grows = {row.arch: row.growth.verdict in ("growing", "saturating") for row in growths}
    rows = []
    for pair in combinations(costs, 2):
        if not any(grows[arch] for arch in pair):
            continue
        one, other = sorted(pair, key=lambda arch: -_slope(*costs[arch]))
        (costs_one, window_one), (costs_other, window_other) = costs[one], costs[other]
        rows.append(
            CrossoverRow(
                one=one,
                other=other,
                crossover=crossover(costs_one, costs_other, (window_one, window_other)),
                first=int(max(costs_one.positions_P[0], costs_other.positions_P[0])),
                last=int(min(costs_one.positions_P[-1], costs_other.positions_P[-1])),
            )
        )
    return rows


def stream_costs(found: Sequence[Group]) -> Costs:
    """What steps cost in a stream, of each architecture that was streamed at two positions or more."""
    table = {}
    for arch in archs_of(found):
        own = [group for group in found if group.arch == arch]
        costs = costs_of(curves_of(record for group in own for record in group.records))
        if costs is not None:
            option = re.search(r"[:,]window=(\d+)", own[0].seeds[0].case.arch)
            table[arch] = (costs, int(option[1]) if option else None)
    return table


def _slope(costs: StreamCosts, window: int | None) -> float:
    return cost_line(costs, window).seconds_per_step.middle
