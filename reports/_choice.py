"""What an architecture remembers and costs over the whole run, in one row each, and which one to stream.

The *remembered share* of a seed is where its score lies between the line that needs no memory (0%: chance, or an
answer blind to the past where that is better) and a perfect score (100%). It is averaged over the settings, a task at
a trained length each, in which every architecture in the table has at least two seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports._numbers import listed, microseconds, significant, size
from reports._ranks import Estimate, ranks, told_apart
from reports._series import Group, archs_of
from reports._streaming import StepCost, step_costs_by_arch
from results import Line

ENOUGH_SETTINGS = 0.5
"""An architecture with two seeds in less than this share of the settings is left out, not the settings."""
CLEAR_SHARE = 0.05
"""A remembered share below this cannot be told from nothing, however narrow its interval:
the interval leaves out the sampling error of the test set."""


NEARLY_BEST = 0.1
"""The cheapest step is chosen among the architectures that remember at most this much less than the best of them."""
MOST_PLACES = 3
"""Settings that a sentence names before it only counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One architecture over all settings."""

    arch: str
    share: float
    low: float
    high: float
    ties: str
    cost: StepCost | None
    """At the longest streamed position."""
    growth: float | None
    """That cost over the cost at the first position."""
    chosen: bool


def baseline(line: Line) -> float:
    """The score that needs no memory: a model must pass it to have used the past."""
    return max(line.chance, line.blind_to_the_past or 0.0)


def remembered(group: Group, length: int | None = None) -> list[float]:
    """The remembered share of each seed at `length`, the trained one by default; never below 0."""
    line = group.line(length)
    if line is None or baseline(line) >= 1:
        return []
    base = baseline(line)
    return [max(0.0, (score - base) / (1 - base)) for score in group.scores(length)]


def settings(found: Sequence[Group]) -> dict[tuple[str, int], dict[str, Estimate]]:
    """By task and length, what each architecture remembers: only settings that all the architectures share."""
    table: dict[tuple[str, int], dict[str, Estimate]] = {}
    for group in found:
        if len(shares := remembered(group)) > 1:
            table.setdefault((group.task, group.length), {})[group.arch] = Estimate.of(shares)
    archs = [
        arch for arch in archs_of(found) if sum(arch in row for row in table.values()) > ENOUGH_SETTINGS * len(table)
    ]
    return {
        place: {arch: row[arch] for arch in archs} for place, row in table.items() if archs and set(archs) <= set(row)
    }


def glance(found: Sequence[Group]) -> list[Glance]:
    """One row an architecture, the most remembered first; empty where no setting is shared."""
    shared = settings(found)
    if not shared:
        return []
    archs = next(iter(shared.values()))
    overall = {arch: Estimate.over([row[arch] for row in shared.values()]) for arch in archs}
    costs = step_costs_by_arch(found)
    chosen = _chosen(overall, costs)
    rows = []
    for arch, rank in ranks(overall).items():
        low, middle, high = overall[arch].interval()
        kept = costs.get(arch)
        rows.append(
            Glance(
                arch=arch,
                share=middle,
                low=max(low, 0.0),
                high=min(high, 1.0),
                ties=rank.ties,
                cost=kept[-1] if kept else None,
                growth=kept[-1].p50_seconds / kept[0].p50_seconds if kept and kept[0].p50_seconds else None,
                chosen=arch == chosen,
            )
        )
    return rows


def choice(found: Sequence[Group], rows: Sequence[Glance] | None = None) -> str | None:
    """Which architecture to stream, and why; None where fewer than two were streamed or seeds were not repeated."""
    rows = glance(found) if rows is None else rows
    streamed = [row for row in rows if row.cost is not None]
    if len(streamed) < 2:
        return None
    best = next((row for row in rows if row.chosen), None)
    if best is None or best.cost is None:
        return "No streamed architecture clearly used the past in this run, so none is to be preferred."
    state = f" and {size(best.cost.state_bytes)} of state" if best.cost.state_bytes is not None else ""
    parts = [
        f"For streaming, choose {best.arch}: the cheapest step of those that remember at most {NEARLY_BEST:.0%} less "
        f"than the best. It remembers {told(best)} of what there is to remember at the trained length, at "
        f"{microseconds(best.cost.p50_seconds)} µs a step{state} at position {best.cost.position:,}."
    ]
    for words, rivals in (
        ("Clearly more is remembered by", [row for row in streamed if row.share > best.share and not _tied(row, best)]),
        ("Not told apart from it in memory:", [row for row in streamed if row is not best and _tied(row, best)]),
        ("Cheaper, but clearly less memory:", [row for row in streamed if _cheap_but_less(row, best)]),
    ):
        if rivals:
            parts.append(f"{words} {listed([f'{row.arch} ({told(row)}, {_price(row, best)})' for row in rivals])}.")
    return " ".join(parts)


def exceptions(found: Sequence[Group], rows: Sequence[Glance]) -> str | None:
    """Where another architecture clearly remembers more than the chosen one; None where nowhere or none is chosen."""
    best = next((row.arch for row in rows if row.chosen), None)
    if best is None:
        return None
    better: dict[str, list[str]] = {}
    for (task, length), row in settings(found).items():
        for arch, other in told_apart(row):
            if other == best:
                better.setdefault(arch, []).append(
                    f"{task} at {length:,} ({row[arch].mean:.0%} against {row[best].mean:.0%})"
                )
    if not better:
        return None
    parts = [f"{arch} clearly remembers more than {best} on {_some(places)}" for arch, places in better.items()]
    return f"Setting by setting: {'; '.join(parts)}."


def told(row: Glance) -> str:
    """`78% (72–84%)`."""
    return f"{row.share:.0%} ({100 * row.low:.0f}–{100 * row.high:.0f}%)"


def _chosen(overall: dict[str, Estimate], costs: dict[str, list[StepCost]]) -> str | None:
    """The cheapest step among those of the streamed architectures that remember nearly as much as the best."""
    streamed = {arch: estimate for arch, estimate in overall.items() if arch in costs}
    if len(streamed) < 2:
        return None
    best = max(estimate.mean for estimate in streamed.values())
    kept = [
        arch
        for arch, estimate in streamed.items()
        if estimate.mean >= max(CLEAR_SHARE, best - NEARLY_BEST) and estimate.interval().low > 0
    ]
    return min(kept, key=lambda arch: costs[arch][-1].p50_seconds, default=None)


def _tied(a: Glance, b: Glance) -> bool:
    return bool(set(a.ties) & set(b.ties))


def _cheap_but_less(row: Glance, best: Glance) -> bool:
    assert row.cost is not None
    assert best.cost is not None
    return row.share < best.share and not _tied(row, best) and row.cost.p50_seconds < best.cost.p50_seconds


def _price(row: Glance, best: Glance) -> str:
    assert row.cost is not None
    assert best.cost is not None
    ratio = row.cost.p50_seconds / best.cost.p50_seconds
    return f"{significant(ratio, 2)} times the cost"


def _some(places: Sequence[str]) -> str:
    if len(places) <= MOST_PLACES + 1:
        return listed(list(places))
    return listed([*places[:MOST_PLACES], f"{len(places) - MOST_PLACES} more"])
