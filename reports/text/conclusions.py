"""Findings in words: which architectures use the past, and what a streamed step costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reports.analysis.convergence import is_undecided
from reports.analysis.groups import Group
from reports.analysis.memory_share import CLEAR_SHARE, clears, loss_evidence_of, no_memory_score
from reports.analysis.streaming.step_costs import StepCost, step_costs_by_arch
from reports.format.numbers import listed, plural, short_score
from reports.text.convergence import undecided_sentence, unimproved_steps
from reports.text.losses import loss_text
from reports.text.streaming import streaming_conclusions
from results import ReferenceScores, interval_of_mean, solved_score

NEARLY_SOLVED_SHARE = 0.8
"""An unsolved task counts as nearly solved if the interval of the memory share starts at this value or above."""
LONGER = " (with more steps, learning may still begin)"
"""What a flat curve cannot exclude: some models learn suddenly after a long time without progress."""


def conclusions(groups: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[str]:
    """Return one sentence per task and length, then one on undecided architectures, then those on streamed steps.

    Sentences on the cost of a streamed step are left out if nothing was streamed. If `costs` is None, it is computed as
    `step_costs_by_arch(groups)`.
    """
    settings = dict.fromkeys((group.task, group.length) for group in groups)
    lines = [_of_setting([group for group in groups if (group.task, group.length) == setting]) for setting in settings]
    lines += filter(None, [undecided_sentence(groups)])
    return lines + streaming_conclusions(groups, step_costs_by_arch(groups) if costs is None else costs)


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
        if single := [_with_loss(group) for group in scored if len(group.scores()) == 1]:
            parts.append(f"single seed, no interval: {listed(single)}, compared with {_reference_name(reference)}")
    if unscored:
        parts.append(f"no scores for {listed(unscored)}")
    return f"{task} at {length:,}: {'; '.join(parts)}."


def _against_reference(scored: Sequence[Group], reference: ReferenceScores) -> list[str]:
    kinds: dict[str, list[Group]] = {
        "solved": [],
        "nearly": [],
        "some": [],
        "by loss": [],
        "better": [],
        "learning": [],
        "at": [],
        "below": [],
    }
    for group in scored:
        kind, evidence = _kind(group.scores(), reference), loss_evidence_of(group)
        if kind in ("at", "below"):
            if evidence is not None and evidence.shows_past:
                kind = "better" if evidence.memoryless is None else "by loss"
            elif is_undecided(group):
                kind = "learning"
        kinds[kind].append(group)
    name = _reference_name(reference)
    scores = (f"but its score is not clearly above {name}", f"but their scores are not clearly above {name}")
    words = {
        "solved": ("solves the task", "solve the task"),
        "nearly": ("nearly solves the task", "nearly solve the task"),
        "some": ("uses some of the past", "use some of the past"),
        "by loss": (
            f"uses some of the past by its loss, {scores[0]}",
            f"use some of the past by their loss, {scores[1]}",
        ),
        "better": (
            f"has a lower loss than the best constant, {scores[0]}",
            f"have a lower loss than the best constant, {scores[1]}",
        ),
        "learning": ("was still learning when its training ended", "were still learning when their training ended"),
        "at": (f"is indistinguishable from {name}", f"are indistinguishable from {name}"),
        "below": (f"falls below {name}", f"fall below {name}"),
    }
    parts = []
    for kind, groups in kinds.items():
        if groups:
            names = [_described(group, kind) for group in groups]
            steps = unimproved_steps(groups) if kind in ("at", "below") else 0
            unimproved = f" and did not improve in the last {plural(steps, 'step')}{LONGER}" if steps else ""
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


def _described(group: Group, kind: str) -> str:
    """Return an architecture with its mean score, and with its loss if the score says too little."""
    told = _with_mean if kind in ("solved", "nearly", "some") else _with_loss
    return told(group, marked=kind != "learning")


def _with_mean(group: Group, loss: str = "", *, marked: bool = True) -> str:
    """Return an architecture with its mean score, the number of scored seeds if some have no score, and its loss.

    If `marked`, an undecided one is called still learning.
    """
    scores = group.scores()
    partial = "" if len(scores) == len(group.seeds) else f", {len(scores)} of {len(group.seeds)} seeds"
    learning = ", still learning" if marked and is_undecided(group) else ""
    return f"{group.arch} ({fmean(scores):.2f}{partial}{f'; {loss}' if loss else ''}{learning})"


def _with_loss(group: Group, *, marked: bool = True) -> str:
    """Return an architecture with its mean score.

    Its loss is added if it shows use of the past, or if it can be compared with that of the best constant.
    """
    evidence = loss_evidence_of(group)
    is_told = evidence is not None and (evidence.shows_past or evidence.constant is not None)
    return _with_mean(group, loss_text(evidence) if evidence is not None and is_told else "", marked=marked)
