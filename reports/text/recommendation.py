"""What an architecture remembers and costs over the whole run, in one row each, and which one to stream."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import CLEAR_SHARE, shared_settings
from reports.analysis.overview import NEARLY_BEST, OverviewRow, overview_rows
from reports.analysis.ranking import distinguishable_pairs
from reports.analysis.step_costs import describe_growth
from reports.format.numbers import listed, microseconds, significant, size

MAX_PLACES = 3
"""Settings or architectures that a sentence names before it only counts them."""


def choice(found: Sequence[Group], rows: Sequence[OverviewRow] | None = None) -> str | None:
    """Which architecture to stream, and why; None where fewer than two were streamed or seeds were not repeated."""
    rows = overview_rows(found) if rows is None else rows
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
        f"{describe_growth(best.costs)}.",
    ]
    for words, rivals in (
        ("Clearly more is remembered by", [row for row in streamed if row.share > best.share and not _tied(row, best)]),
        ("Not told apart from it in memory:", [row for row in streamed if row is not best and _tied(row, best)]),
        ("Cheaper, but clearly less memory:", [row for row in streamed if _cheap_but_less(row, best)]),
    ):
        if rivals:
            parts.append(f"{words} {listed([f'{row.arch} ({_beside(row, best)})' for row in rivals])}.")
    return " ".join([*parts, *_lasting(best, streamed)])


def exceptions(found: Sequence[Group], rows: Sequence[OverviewRow]) -> str | None:
    """Where another architecture clearly remembers more than the chosen one; None where nowhere or none is chosen."""
    best = next((row.arch for row in rows if row.chosen), None)
    if best is None:
        return None
    better: dict[str, list[str]] = {}
    for (task, length), row in shared_settings(found).items():
        for arch, other in distinguishable_pairs(row):
            if other == best:
                better.setdefault(arch, []).append(
                    f"{task} at {length:,} ({row[arch].mean:.0%} against {row[best].mean:.0%})"
                )
    if not better:
        return None
    parts = [f"{arch} clearly remembers more than {best} on {_some(places)}" for arch, places in better.items()]
    return f"Setting by setting: {'; '.join(parts)}."


def left_out(found: Sequence[Group], rows: Sequence[OverviewRow]) -> str | None:
    """Which architectures have no row, and why; None where all have one or none has."""
    without = [arch for arch in archs_of(found) if arch not in {row.arch for row in rows}]
    if not without or not rows:
        return None
    return f"Left out, without two scored seeds in every one of these settings: {_some(without)}."


def _reason(best: OverviewRow, streamed: Sequence[OverviewRow]) -> str:
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


def _lasting(best: OverviewRow, streamed: Sequence[OverviewRow]) -> list[str]:
    """What is left beyond the trained length, where a stream is longer than any sequence of the training."""
    if best.beyond is None:
        return []
    most = max((row for row in streamed if row.beyond is not None), key=lambda row: row.beyond or 0.0)
    assert most.beyond is not None
    clearly = most.beyond > best.beyond + CLEAR_SHARE
    other = f"; the most is left to {most.arch}, {most.beyond:.0%}" if clearly else ""
    return [f"On sequences {best.multiple} times as long as those it was trained on, {best.beyond:.0%} is left{other}."]


def _tied(a: OverviewRow, b: OverviewRow) -> bool:
    return bool(set(a.ties) & set(b.ties))


def _cheap_but_less(row: OverviewRow, best: OverviewRow) -> bool:
    assert row.cost is not None
    assert best.cost is not None
    return row.share < best.share and not _tied(row, best) and row.cost.p50_seconds < best.cost.p50_seconds


def _beside(row: OverviewRow, best: OverviewRow) -> str:
    """What a rival remembers and costs. One whose interval reaches nothing is never chosen, however cheap."""
    doubt = ", perhaps nothing" if row.low <= 0 else ""
    return f"{row.share:.0%}{doubt}, {_price(row, best)}"


def _price(row: OverviewRow, best: OverviewRow) -> str:
    assert row.cost is not None
    assert best.cost is not None
    ratio = row.cost.p50_seconds / best.cost.p50_seconds
    return f"{significant(ratio, 2)} times the cost" if ratio >= 1 else f"{100 * ratio:.0f}% of the cost"


def _some(names: Sequence[str]) -> str:
    if len(names) <= MAX_PLACES + 1:
        return listed(list(names))
    return listed([*names[:MAX_PLACES], f"{len(names) - MAX_PLACES} more"])
