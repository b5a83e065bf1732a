"""What an architecture remembers and costs over the whole run, in one row each, and which one to stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports._numbers import listed, microseconds, significant, size
from reports._ranks import Estimate, ranks, told_apart
from reports._remembered import CLEAR_SHARE, beyond, settings
from reports._series import Group, archs_of
from reports._streaming import StepCost, grown, step_costs_by_arch

NEARLY_BEST = 0.1
"""The cheapest step is chosen among the architectures that remember at most this much less than the best of them."""
MOST_PLACES = 3
"""Settings or architectures that a sentence names before it only counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """One architecture over all settings."""

    arch: str
    share: float
    low: float
    high: float
    ties: str
    beyond: float | None
    """The share at `multiple` times the trained length."""
    multiple: int | None
    costs: tuple[StepCost, ...]
    """By ascending position; empty where it was not streamed."""
    chosen: bool

    @property
    def cost(self) -> StepCost | None:
        """At the longest streamed position."""
        return self.costs[-1] if self.costs else None

    @property
    def growth(self) -> float | None:
        """That cost over the cost at the first position."""
        first = self.costs[0].p50_seconds if self.costs else 0.0
        return self.costs[-1].p50_seconds / first if first else None


def glance(found: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[Glance]:
    """One row an architecture, the most remembered first; empty where no setting is shared.

    What steps cost is worked out where it is not at hand.
    """
    shared = settings(found)
    if not shared:
        return []
    archs = next(iter(shared.values()))
    overall = {arch: Estimate.over([row[arch] for row in shared.values()]) for arch in archs}
    multiple, kept = beyond(found, shared)
    costs = step_costs_by_arch(found) if costs is None else costs
    chosen = _chosen(overall, costs)
    rows = []
    for arch, rank in ranks(overall).items():
        low, middle, high = overall[arch].interval()
        rows.append(
            Glance(
                arch=arch,
                share=middle,
                low=max(low, 0.0),
                high=min(high, 1.0),
                ties=rank.ties,
                beyond=kept.get(arch),
                multiple=multiple,
                costs=tuple(costs.get(arch, ())),
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
        _reason(best, streamed),
        f"A step costs {microseconds(best.cost.p50_seconds)} µs{state} at position {best.cost.position:,}, "
        f"{grown(best.costs)}.",
    ]
    for words, rivals in (
        ("Clearly more is remembered by", [row for row in streamed if row.share > best.share and not _tied(row, best)]),
        ("Not told apart from it in memory:", [row for row in streamed if row is not best and _tied(row, best)]),
        ("Cheaper, but clearly less memory:", [row for row in streamed if _cheap_but_less(row, best)]),
    ):
        if rivals:
            parts.append(f"{words} {listed([f'{row.arch} ({_beside(row, best)})' for row in rivals])}.")
    return " ".join([*parts, *_lasting(best, streamed)])


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


def left_out(found: Sequence[Group], rows: Sequence[Glance]) -> str | None:
    """Which architectures have no row, and why; None where all have one or none has."""
    without = [arch for arch in archs_of(found) if arch not in {row.arch for row in rows}]
    if not without or not rows:
        return None
    return f"Left out, without two scored seeds in every one of these settings: {_some(without)}."


def _reason(best: Glance, streamed: Sequence[Glance]) -> str:
    """The rule, and how it led to this choice."""
    points = f"{100 * NEARLY_BEST:.0f} points"
    most = max(streamed, key=lambda row: row.share)
    share = f"{best.share:.0%} ({100 * best.low:.0f}–{100 * best.high:.0f}%)"
    told = f"remembers {share} of what there is to remember at the trained length"
    if most is not best:
        return (
            f"For streaming, choose {best.arch}: its step is the cheapest of those that surely use the past and "
            f"remember at most {points} less than the best, {most.arch} ({most.share:.0%}). It {told}."
        )
    if any(row is not best and row.share >= best.share - NEARLY_BEST for row in streamed):
        return (
            f"For streaming, choose {best.arch}: it {told}, more than any other, and its step is the cheapest of those "
            f"that surely use the past and come within {points} of it."
        )
    return f"For streaming, choose {best.arch}: it {told}, and no other comes within {points} of it."


def _lasting(best: Glance, streamed: Sequence[Glance]) -> list[str]:
    """What is left beyond the trained length, where a stream is longer than any sequence of the training."""
    if best.beyond is None:
        return []
    most = max((row for row in streamed if row.beyond is not None), key=lambda row: row.beyond or 0.0)
    assert most.beyond is not None
    clearly = most.beyond > best.beyond + CLEAR_SHARE
    other = f"; the most is left to {most.arch}, {most.beyond:.0%}" if clearly else ""
    return [f"On sequences {best.multiple} times as long as those it was trained on, {best.beyond:.0%} is left{other}."]


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


def _beside(row: Glance, best: Glance) -> str:
    """What a rival remembers and costs. One whose interval reaches nothing is never chosen, however cheap."""
    doubt = ", perhaps nothing" if row.low <= 0 else ""
    return f"{row.share:.0%}{doubt}, {_price(row, best)}"


def _price(row: Glance, best: Glance) -> str:
    assert row.cost is not None
    assert best.cost is not None
    ratio = row.cost.p50_seconds / best.cost.p50_seconds
    return f"{significant(ratio, 2)} times the cost" if ratio >= 1 else f"{100 * ratio:.0f}% of the cost"


def _some(names: Sequence[str]) -> str:
    if len(names) <= MOST_PLACES + 1:
        return listed(list(names))
    return listed([*names[:MOST_PLACES], f"{len(names) - MOST_PLACES} more"])
