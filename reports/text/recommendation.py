"""The architectures that a run recommends for streaming, and the reasons."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.frontier import Frontier
from reports.analysis.groups import Group, archs_of
from reports.analysis.memory_share import shared_settings
from reports.analysis.overview import OverviewRow
from reports.analysis.ranking import Estimate, distinguishable_pairs
from reports.format.numbers import listed, memory_share
from reports.text.growth import brief_growth
from reports.text.needs import compared_where, not_considered, summaries, summary
from reports.text.streaming import CALLED
from reports.text.timing_quality import single_process_sentence
from results import CLEAR_SHARE

MAX_NAMES = 3
"""A list of settings or architectures with at least `MAX_NAMES` + 2 names is cut to `MAX_NAMES` names. The cut list
ends with the number of names that were cut."""


def recommendation(frontier: Frontier) -> str | None:
    """Return a text that recommends the architectures of a frontier for streaming, with reasons.

    If the frontier has several architectures, the text names them and their trade-off instead of a single choice.
    Returns None if fewer than two architectures were streamed and compared.
    """
    return " ".join(recommendation_sentences(frontier)) or None


def recommendation_sentences(frontier: Frontier) -> list[str]:
    """Return the text of `recommendation` in parts. The first part is the answer, and the others are the reasons.

    The list is empty if fewer than two architectures were streamed and compared.
    """
    if len(frontier.considered) + len(frontier.left_out) < 2:
        return []
    members = frontier.members()
    if frontier.could_change():
        sentences = _not_yet(frontier, members)
    elif members:
        single = single_process_sentence({row.arch: [row.cost] for row in members if row.cost is not None})
        sentences = [
            *_choice(frontier, members),
            _where(frontier, members),
            *(_beyond_trained_length(members[0], frontier.candidates) if len(members) == 1 else []),
            *_settled(frontier),
            *_interpreted(frontier),
            single,
        ]
    else:
        sentences = ["No architecture is recommended for streaming."]
    return [sentence for sentence in [*sentences, not_considered(frontier)] if sentence]


def exceptions(groups: Sequence[Group], frontier: Frontier) -> str | None:
    """Return a sentence on the settings in which rivals are better than the recommended architecture.

    A rival is better in a setting if its memory share there is significantly higher. Returns None if there is no such
    setting, or if no single architecture is recommended.

    Args:
        groups: The groups of the run.
        frontier: The frontier of the run.
    """
    members = frontier.members()
    if len(members) != 1 or frontier.could_change():
        return None
    best = members[0].arch
    better: dict[str, list[str]] = {}
    for (task, length), estimates in shared_settings(groups).items():
        for arch, worse in distinguishable_pairs(estimates):
            if worse == best:
                better.setdefault(arch, []).append(
                    f"{task} at {length:,} ({_share(estimates[arch])} against {_share(estimates[best])})"
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


def _not_yet(frontier: Frontier, members: Sequence[OverviewRow]) -> list[str]:
    """Return sentences on why no architecture is recommended, if undecided ones could change the choice."""
    changing = frontier.could_change()
    names = listed([f"{row.arch} ({memory_share(row.share, row.high)} so far)" for row in changing])
    were, theirs, them = ("was", "its", "it") if len(changing) == 1 else ("were", "their", "them")
    sentences = [
        f"No architecture is recommended for streaming yet: {names} {were} still learning when {theirs} training "
        f"ended, and more steps could change the choice.",
        f"Give {them} more steps.",
    ]
    if members:
        sentences.append(f"Among the others, none beats {summaries(members)}.")
    return [*sentences, *_settled(frontier), *_interpreted(frontier)]


def _settled(frontier: Frontier) -> list[str]:
    """Return a list with one sentence on the undecided architectures that cannot change the choice."""
    changing = frontier.could_change()
    names = [
        f"{row.arch} (still learning, {memory_share(row.share, row.high)} so far)"
        for row in frontier.undecided
        if row not in changing
    ]
    return [f"More training of {listed(names)} could not change the choice."] if names else []


def _choice(frontier: Frontier, members: Sequence[OverviewRow]) -> list[str]:
    """Return sentences on what to choose. The first names the members of the frontier."""
    beaten = [row for row in frontier.candidates if row not in members]
    if len(members) > 1:
        return [
            f"For streaming, choose by what matters most: {summaries(members)}.",
            "None of them beats another in memory share, state and step cost together.",
            f"Beaten by one of these: {_with_summaries(beaten)}." if beaten else "",
        ]
    best = members[0]
    if not beaten:
        return [f"For streaming, only {best.arch} can be recommended: {summary(best, is_first=True)}."]
    rivals = f"{_with_summaries(beaten)} {'has' if len(beaten) == 1 else 'have'}"
    return [
        f"For streaming, choose {best.arch}: {summary(best, is_first=True)}.",
        f"{rivals} no significantly higher memory share, no smaller state and no cheaper step.",
    ]


def _with_summaries(rows: Sequence[OverviewRow]) -> str:
    return listed([f"{row.arch} ({summary(row, is_first=False)})" for row in rows])


def _where(frontier: Frontier, members: Sequence[OverviewRow]) -> str:
    """Return a sentence on the position and the kind of the costs, and on the growth of the only member."""
    costs = [row.cost for row in members if row.cost is not None]
    positions = {cost.position for cost in costs}
    where = f"at position {costs[0].position:,}" if len(positions) == 1 else "at the last position of each"
    timings = {cost.timing for cost in costs}
    how = " inside a compiled loop" if "compiled" in timings else f", {CALLED}"
    growth = brief_growth(members[0].costs, frontier.growth) if len(members) == 1 else ""
    sentence = f"Costs are {where}{how}{f' ({growth})' if growth else ''}."
    return " ".join(filter(None, [sentence, compared_where(frontier)]))


def _beyond_trained_length(best: OverviewRow, rows: Sequence[OverviewRow]) -> list[str]:
    """Return a list with one sentence on the memory share of `best` beyond the trained length.

    The list is empty if this memory share was not measured.
    """
    if best.beyond is None:
        return []
    highest = max((row for row in rows if row.beyond is not None), key=lambda row: row.beyond or 0.0)
    assert highest.beyond is not None
    clearly_higher = highest.beyond > best.beyond + CLEAR_SHARE
    other = f"; the highest is {highest.arch}, {_share_beyond(highest)}" if clearly_higher else ""
    share = _share_beyond(best)
    return [f"On sequences {best.multiple} times the trained length, its memory share is {share}{other}."]


def _interpreted(frontier: Frontier) -> list[str]:
    """Return a list with one sentence on interpreted architectures in a run with compiled ones."""
    names = [row.arch for row in frontier.candidates if not row.has_ranked_cost]
    if not names:
        return []
    return [f"Interpreted, so compared by memory share and state only: {listed(names)}."]


def _share(estimate: Estimate) -> str:
    return memory_share(estimate.mean, estimate.interval().high)


def _share_beyond(row: OverviewRow) -> str:
    assert row.beyond is not None and row.beyond_high is not None
    return memory_share(row.beyond, row.beyond_high)


def _first_few(names: Sequence[str]) -> str:
    if len(names) <= MAX_NAMES + 1:
        return listed(list(names))
    return listed([*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"])
