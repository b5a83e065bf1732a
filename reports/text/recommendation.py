"""The architecture that a run recommends for streaming, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import CLEAR_SHARE, shared_settings
from reports.analysis.overview import NEARLY_BEST, OverviewRow, overview_rows
from reports.analysis.ranking import distinguishable_pairs
from reports.analysis.step_costs import describe_growth
from reports.format.numbers import listed, microseconds, significant, size
from reports.text.losses import loss_note
from reports.text.streaming import CALLED

MAX_NAMES = 3
"""A list of settings or architectures with at least `MAX_NAMES` + 2 names is cut to `MAX_NAMES` names. The cut list
ends with the number of names that were cut."""


def recommendation(groups: Sequence[Group], rows: Sequence[OverviewRow] | None = None) -> str | None:
    """Return a text that recommends an architecture for streaming, with reasons.

    If no row of the overview is chosen, the text says that no architecture is recommended. It names the undecided
    architectures if the choice would rest on them or could change with more training. Interpreted architectures
    are named but not compared with compiled ones. Returns None if the step costs of fewer than two architectures of the
    overview can be compared.

    Args:
        groups: The groups of the run.
        rows: The result of `overview_rows(groups)`, which is computed if `rows` is None.
    """
    rows = overview_rows(groups) if rows is None else rows
    streamed = [row for row in rows if row.cost is not None and row.has_ranked_cost]
    if len(streamed) < 2:
        return None
    if preventing := [row for row in streamed if row.prevents_choice]:
        return _undecided(preventing)
    best = next((row for row in rows if row.chosen), None)
    if best is None or best.cost is None:
        note = loss_note(groups)
        by_score = " by its scores" if note else ""
        sentence = f"No streamed architecture clearly used its memory{by_score} in this run, so none is recommended."
        return f"{sentence} {note}" if note else sentence
    state = f" and needs {size(best.cost.state_bytes)} of state" if best.cost.state_bytes is not None else ""
    growth = describe_growth(best.costs)
    sentences = [
        _reason(best, streamed),
        f"A step at position {best.cost.position:,}{_how(best)} takes {microseconds(best.cost.p50_seconds)} µs"
        f"{f' ({growth})' if growth else ''}{state}.",
    ]
    for label, rivals in (
        (
            "Significantly higher memory share",
            [row for row in streamed if row.share > best.share and not _tied(row, best)],
        ),
        (
            "Statistically indistinguishable memory share",
            [row for row in streamed if row is not best and _tied(row, best) and not row.undecided],
        ),
        (
            "Still learning when training ended, so undecided",
            [row for row in streamed if row.undecided and _tied(row, best)],
        ),
        (
            "Cheaper, but significantly lower memory share",
            [row for row in streamed if _is_cheaper_but_worse(row, best)],
        ),
    ):
        if rivals:
            sentences.append(f"{label}: {listed([f'{row.arch} ({_share_and_price(row, best)})' for row in rivals])}.")
    return " ".join([*sentences, *_beyond_trained_length(best, streamed), *_not_compared(rows)])


def exceptions(groups: Sequence[Group], rows: Sequence[OverviewRow]) -> str | None:
    """Return a sentence on the settings in which rivals are better than the recommended architecture.

    A rival is better in a setting if its memory share there is significantly higher. Returns None without a
    recommendation, or if there is no such setting.

    Args:
        groups: The groups of the run.
        rows: The result of `overview_rows(groups)`.
    """
    best = next((row.arch for row in rows if row.chosen), None)
    if best is None:
        return None
    better: dict[str, list[str]] = {}
    for (task, length), estimates in shared_settings(groups).items():
        for arch, worse in distinguishable_pairs(estimates):
            if worse == best:
                better.setdefault(arch, []).append(
                    f"{task} at {length:,} ({estimates[arch].mean:.0%} against {estimates[best].mean:.0%})"
                )
    if not better:
        return None
    parts = [
        f"{arch} has a significantly higher memory share than {best} on {_first_few(names)}"
        for arch, names in better.items()
    ]
    return f"Exceptions: {'; '.join(parts)}."


def left_out(groups: Sequence[Group], rows: Sequence[OverviewRow]) -> str | None:
    """Return a sentence on the architectures in `groups` that the overview `rows` leaves out.

    Returns None if no architecture is left out, or if the overview is empty.
    """
    shown = {row.arch for row in rows}
    hidden = [arch for arch in archs_of(groups) if arch not in shown]
    if not hidden or not rows:
        return None
    return f"Left out, with fewer than two scored seeds in one of these settings: {_first_few(hidden)}."


def _undecided(preventing: Sequence[OverviewRow]) -> str:
    """Return why no architecture is recommended, if undecided ones prevent the choice."""
    names = listed([f"{row.arch} ({row.share:.0%} so far)" for row in preventing])
    were, theirs, them = ("was", "its", "it") if len(preventing) == 1 else ("were", "their", "them")
    return (
        f"No architecture is recommended for streaming: {names} {were} still learning when {theirs} training ended, "
        f"and more steps could change the choice. Give {them} more steps."
    )


def _reason(best: OverviewRow, streamed: Sequence[OverviewRow]) -> str:
    """Return the recommendation of `best` with its reason. `streamed` are the rows to choose from, including `best`."""
    points = f"{100 * NEARLY_BEST:.0f} points"
    highest = max(streamed, key=lambda row: row.share)
    share = f"{best.share:.0%} ({100 * best.low:.0f}–{100 * best.high:.0f}%)"
    if highest is not best:
        return (
            f"For streaming, choose {best.arch}: its step is the cheapest among the architectures that clearly use "
            f"memory and whose memory share is within {points} of the highest ({highest.arch}, {highest.share:.0%}). "
            f"Its memory share at the trained length is {share}."
        )
    if any(row is not best and row.share >= best.share - NEARLY_BEST for row in streamed):
        return (
            f"For streaming, choose {best.arch}: its memory share at the trained length, {share}, is the highest. Its "
            f"step is the cheapest among the architectures that clearly use memory and come within {points} of it."
        )
    return (
        f"For streaming, choose {best.arch}: its memory share at the trained length, {share}, is the highest, and no "
        f"other comes within {points} of it."
    )


def _beyond_trained_length(best: OverviewRow, streamed: Sequence[OverviewRow]) -> list[str]:
    """Return a list with one sentence on the memory share of `best` beyond the trained length.

    The list is empty if this memory share was not measured.
    """
    if best.beyond is None:
        return []
    highest = max((row for row in streamed if row.beyond is not None), key=lambda row: row.beyond or 0.0)
    assert highest.beyond is not None
    clearly_higher = highest.beyond > best.beyond + CLEAR_SHARE
    other = f"; the highest is {highest.arch}, {highest.beyond:.0%}" if clearly_higher else ""
    return [f"On sequences {best.multiple} times the trained length, its memory share is {best.beyond:.0%}{other}."]


def _how(row: OverviewRow) -> str:
    """Return how the step of a row was timed, with a leading separator."""
    return " inside a compiled loop" if row.cost is not None and row.cost.timing == "compiled" else f", {CALLED},"


def _not_compared(rows: Sequence[OverviewRow]) -> list[str]:
    """Return a list with one sentence on the architectures whose steps are interpreted in a run with compiled ones."""
    names = [f"{row.arch} ({row.share:.0%})" for row in rows if row.cost is not None and not row.has_ranked_cost]
    return [f"Interpreted, so not compared: {listed(names)}."] if names else []


def _tied(a: OverviewRow, b: OverviewRow) -> bool:
    return bool(set(a.ties) & set(b.ties))


def _is_cheaper_but_worse(row: OverviewRow, best: OverviewRow) -> bool:
    assert row.cost is not None
    assert best.cost is not None
    return row.share < best.share and not _tied(row, best) and row.cost.p50_seconds < best.cost.p50_seconds


def _share_and_price(row: OverviewRow, best: OverviewRow) -> str:
    """Return the memory share of a rival, and the cost of its step relative to that of `best`.

    A share whose interval includes 0% is marked, because such a rival is never recommended, even if it is cheap.
    """
    doubt = ", interval includes 0%" if row.low <= 0 else ""
    return f"{row.share:.0%}{doubt}, {_price(row, best)}"


def _price(row: OverviewRow, best: OverviewRow) -> str:
    assert row.cost is not None
    assert best.cost is not None
    ratio = row.cost.p50_seconds / best.cost.p50_seconds
    return f"{significant(ratio, 2)} times the cost" if ratio >= 1 else f"{100 * ratio:.0f}% of the cost"


def _first_few(names: Sequence[str]) -> str:
    if len(names) <= MAX_NAMES + 1:
        return listed(list(names))
    return listed([*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"])
