"""Findings in words: which architectures use the past, and what a streamed step costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reports.analysis.convergence import is_undecided
from reports.analysis.groups import Group
from reports.analysis.memory_share import CLEAR_SHARE, no_memory_score
from reports.analysis.step_costs import StepCost, step_costs_by_arch
from reports.format.numbers import listed, plural, short_score
from reports.text.convergence import undecided_sentences, unimproved_steps
from reports.text.streaming import streaming_conclusions
from results import ReferenceScores, interval_of_mean, solved_score

NEARLY_SOLVED_SHARE = 0.8
"""An unsolved task counts as nearly solved if the interval of the memory share starts at this value or above."""


def conclusions(groups: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[str]:
    """Return one sentence per task and length, then one per undecided architecture, then those on streamed steps.

    Sentences on the cost of a streamed step are left out if nothing was streamed. If `costs` is None, it is computed as
    `step_costs_by_arch(groups)`.
    """
    settings = dict.fromkeys((group.task, group.length) for group in groups)
    lines = [_of_setting([group for group in groups if (group.task, group.length) == setting]) for setting in settings]
    lines += undecided_sentences(groups)
    return lines + streaming_conclusions(groups, step_costs_by_arch(groups) if costs is None else costs)


def clears(mean: float, low: float, floor: float) -> bool:
    """Return whether the scores of an architecture are evidence that it uses the past.

    Args:
        mean: The mean score over seeds. It has to exceed `floor` by more than `CLEAR_SHARE` of the distance from
            `floor` to 1.
        low: The lower end of the interval of the mean. It has to exceed `floor`.
        floor: The best score without memory.
    """
    return low > floor and mean > floor + CLEAR_SHARE * (1 - floor)


def _of_setting(rivals: Sequence[Group]) -> str:
    """Return one sentence on the scores of all architectures for one task and length."""
    task, length = rivals[0].task, rivals[0].length
    reference = next((group.reference() for group in rivals if group.reference() is not None), None)
    scored = sorted((group for group in rivals if group.scores()), key=lambda group: -fmean(group.scores()))
    unscored = [group.arch for group in rivals if not group.scores()]
    parts = []
    if reference is None and scored:
        parts.append(listed([_with_mean(group) for group in scored]))
    elif reference is not None:
        parts += _against_reference([group for group in scored if len(group.scores()) > 1], reference)
        if single := [_with_mean(group) for group in scored if len(group.scores()) == 1]:
            parts.append(f"single seed, no interval: {listed(single)}, compared with {_reference_name(reference)}")
    if unscored:
        parts.append(f"no scores for {listed(unscored)}")
    return f"{task} at {length:,}: {'; '.join(parts)}."


def _against_reference(scored: Sequence[Group], reference: ReferenceScores) -> list[str]:
    kinds: dict[str, list[Group]] = {"solved": [], "nearly": [], "some": [], "learning": [], "at": [], "below": []}
    for group in scored:
        kind = _kind(group.scores(), reference)
        kinds["learning" if kind in ("at", "below") and is_undecided(group) else kind].append(group)
    name = _reference_name(reference)
    words = {
        "solved": ("solves the task", "solve the task"),
        "nearly": ("nearly solves the task", "nearly solve the task"),
        "some": ("uses some of the past", "use some of the past"),
        "learning": ("was still learning when its training ended", "were still learning when their training ended"),
        "at": (f"is indistinguishable from {name}", f"are indistinguishable from {name}"),
        "below": (f"falls below {name}", f"fall below {name}"),
    }
    parts = []
    for kind, groups in kinds.items():
        if groups:
            names = [_with_mean(group, marked=kind != "learning") for group in groups]
            steps = unimproved_steps(groups) if kind in ("at", "below") else 0
            unimproved = f" and did not improve in the last {plural(steps, 'step')}" if steps else ""
            parts.append(f"{listed(names)} {words[kind][len(groups) > 1]}{unimproved}")
    return parts


def _kind(scores: Sequence[float], reference: ReferenceScores) -> str:
    """Return the strongest statement that the scores support: `solved`, `nearly`, `some`, `at` or `below`."""
    interval, floor = interval_of_mean(scores), no_memory_score(reference)
    if clears(interval.middle, interval.low, floor):
        if min(scores) >= solved_score(reference.chance):
            return "solved"
        return "nearly" if interval.low >= floor + NEARLY_SOLVED_SHARE * (1 - floor) else "some"
    return "below" if interval.high < floor and interval.middle < floor - CLEAR_SHARE * (1 - floor) else "at"


def _reference_name(reference: ReferenceScores) -> str:
    memoryless_leads = reference.memoryless_score is not None and reference.memoryless_score > reference.chance
    kind = "memoryless baseline" if memoryless_leads else "chance level"
    return f"the {kind} ({short_score(no_memory_score(reference))})"


def _with_mean(group: Group, *, marked: bool = True) -> str:
    """Return the architecture with its mean score. If `marked`, an undecided one is called still learning."""
    scores = group.scores()
    partial = "" if len(scores) == len(group.seeds) else f", {len(scores)} of {len(group.seeds)} seeds"
    learning = ", still learning" if marked and is_undecided(group) else ""
    return f"{group.arch} ({fmean(scores):.2f}{partial}{learning})"
