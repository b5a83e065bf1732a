"""Findings in words: which architectures use the past, and what a streamed step costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from reports.analysis.convergence import is_undecided
from reports.analysis.groups import Group
from reports.analysis.memory_share import loss_evidence_of, no_memory_score, score_evidence_of
from reports.analysis.strategies import explaining_strategy, strategies_of_seeds
from reports.analysis.streaming.step_costs import StepCost, step_costs_by_arch
from reports.format.numbers import listed, plural, short_score
from reports.text.context import untrained_sentence
from reports.text.convergence import undecided_sentence, unimproved_steps
from reports.text.losses import loss_text
from reports.text.streaming import streaming_conclusions
from results import ScoreEvidence

NEARLY_SOLVED_SHARE = 0.8
"""An unsolved task counts as nearly solved if the interval of the memory share starts at this value or above."""
LONGER = " (with more steps, learning may still begin)"
"""What a flat curve cannot exclude: some models learn suddenly after a long time without progress."""

Kind = Literal[
    "solved",
    "nearly",
    "some",
    "by seed",
    "by loss",
    "better",
    "learning",
    "above",
    "close above",
    "indistinguishable",
    "close below",
    "below",
]
"""The statement on an architecture in a setting, from the strongest to the weakest."""
Counted = tuple[int, str, str]
"""A number of seeds, and what one seed does and several seeds do, such as `solves it` and `solve it`."""
BY_SCORE: tuple[Kind, ...] = ("solved", "nearly", "some", "by seed")
"""The statements that the scores alone support."""
FLAT: tuple[Kind, ...] = ("above", "close above", "indistinguishable", "close below", "below")
"""The statements that neither scores nor losses show use of the past."""


def conclusions(groups: Sequence[Group], costs: dict[str, list[StepCost]] | None = None) -> list[str]:
    """Return one sentence per task and length, then one on undecided architectures, then those on streamed steps.

    Untrained architectures have no sentence on scores. One sentence says that they are untrained.
    Sentences on the cost of a streamed step are left out if nothing was streamed. If `costs` is None, it is computed as
    `step_costs_by_arch(groups)`.
    """
    trained = [group for group in groups if group.trains]
    settings = dict.fromkeys((group.task, group.length) for group in trained)
    lines = [_of_setting([group for group in trained if (group.task, group.length) == setting]) for setting in settings]
    lines += filter(None, [undecided_sentence(groups), untrained_sentence(groups)])
    return lines + streaming_conclusions(groups, step_costs_by_arch(groups) if costs is None else costs)


def _of_setting(rivals: Sequence[Group]) -> str:
    """Return one sentence on the scores of all architectures for one task and length."""
    task, length = rivals[0].task, rivals[0].length
    scored = sorted((group for group in rivals if group.scores()), key=lambda group: -fmean(group.scores()))
    unscored = [group.arch for group in rivals if not group.scores()]
    judged = [group for group in scored if score_evidence_of(group) is not None]
    parts = _statements([group for group in judged if len(group.scores()) > 1])
    if single := _statements([group for group in judged if len(group.scores()) == 1]):
        parts.append(f"by a single seed: {', '.join(single)}")
    if unjudged := [_with_mean(group) for group in scored if score_evidence_of(group) is None]:
        parts.append(listed(unjudged))
    if unscored:
        parts.append(f"no scores for {listed(unscored)}")
    return f"{task} at {length:,}: {'; '.join(parts)}."


def _statements(judged: Sequence[Group]) -> list[str]:
    """Return one statement per kind of evidence, and one per architecture whose seeds differ in what they show.

    All groups are of one task and length, with scores and reference scores.
    """
    if not judged:
        return []
    kinds: dict[Kind, list[Group]] = {}
    for group in judged:
        kinds.setdefault(_kind(group), []).append(group)
    name = _reference_name(judged[0])
    parts = []
    for kind, (one, several) in _words(name).items():
        groups = kinds.get(kind, [])
        if groups and kind == "by seed":
            parts += [_by_seed(group, name) for group in groups]
        elif groups:
            names = [_described(group, kind) for group in groups]
            steps = unimproved_steps(groups) if kind in FLAT else 0
            unimproved = f" and did not improve in the last {plural(steps, 'step')}{LONGER}" if steps else ""
            parts.append(f"{listed(names)} {several if len(groups) > 1 else one}{unimproved}")
    return parts


def _words(name: str) -> dict[Kind, tuple[str, str]]:
    """Return the words of each kind of statement for one and for several architectures, the strongest first.

    `name` is the name of the best score without memory.
    """
    scores = (f"but its score is not clearly above {name}", f"but their scores are not clearly above {name}")
    return {
        "solved": ("solves the task", "solve the task"),
        "nearly": ("nearly solves the task", "nearly solve the task"),
        "some": ("uses some of the past", "use some of the past"),
        "by seed": ("", ""),
        "by loss": (
            f"uses some of the past by its loss, {scores[0]}",
            f"use some of the past by their loss, {scores[1]}",
        ),
        "better": (
            f"has a lower loss than the best constant, {scores[0]}",
            f"have a lower loss than the best constant, {scores[1]}",
        ),
        "learning": ("was still learning when its training ended", "were still learning when their training ended"),
        "above": (f"is not clearly above {name}", f"are not clearly above {name}"),
        "close above": (f"is hardly above {name}", f"are hardly above {name}"),
        "indistinguishable": (f"is indistinguishable from {name}", f"are indistinguishable from {name}"),
        "close below": (f"is slightly below {name}", f"are slightly below {name}"),
        "below": (f"falls below {name}", f"fall below {name}"),
    }


def _kind(group: Group) -> Kind:
    """Return the strongest statement that the scores and the losses of a group support."""
    scores, losses = score_evidence_of(group), loss_evidence_of(group)
    assert scores is not None
    if scores.shows_past:
        return _kind_of_use(scores)
    if losses is not None and losses.shows_past:
        return "better" if losses.memoryless is None else "by loss"
    if is_undecided(group):
        return "learning"
    return scores.standing


def _kind_of_use(scores: ScoreEvidence) -> Kind:
    """Return the strongest statement that scores support which show use of the past."""
    if scores.solving == scores.seeds:
        return "solved"
    if not scores.shows_past_on_average:
        return "by seed"
    return "nearly" if scores.low >= scores.floor + NEARLY_SOLVED_SHARE * (1 - scores.floor) else "some"


def _by_seed(group: Group, name: str) -> str:
    """Return a statement on a group whose seeds differ: how many solve the task, use some of the past, or neither.

    Seeds that score as a partial strategy does are counted apart from others that use some of the past.

    Args:
        group: The group.
        name: The name of the best score without memory.
    """
    evidence = score_evidence_of(group)
    assert evidence is not None
    seeds, using, solving = evidence.seeds, evidence.using - evidence.solving, evidence.solving
    explained = _explained_seeds(group)
    counts = [
        (solving, "solves the task", "solve the task"),
        (using - sum(count for count, _, _ in explained), "uses some of the past", "use some of the past"),
        *explained,
        (seeds - using - solving, f"is not clearly above {name}", f"are not clearly above {name}"),
    ]
    return f"{_described(group, 'by seed')}: {_counted(counts, seeds)}"


def _explained_seeds(group: Group) -> list[Counted]:
    """Return how many seeds each partial strategy explains, if some seeds use the past without solving the task."""
    named = [
        (count, f"as “{name}” does ({short_score(score)})")
        for (name, score), count in strategies_of_seeds(group).items()
    ]
    return [(count, f"scores {words}", f"score {words}") for count, words in named]


def _counted(counts: Sequence[Counted], seeds: int) -> str:
    """Return how many of so many seeds do what: `1 of 3 seeds solves it and 2 use some of the past`.

    Counts of 0 are left out. The text is empty if all of them are 0.
    """
    parts = [f"{count} {one if count == 1 else several}" for count, one, several in counts if count]
    if not parts:
        return ""
    return listed([parts[0].replace(" ", f" of {plural(seeds, 'seed')} ", 1), *parts[1:]])


def _reference_name(group: Group) -> str:
    reference = group.reference()
    assert reference is not None
    memoryless_leads = reference.memoryless_score is not None and reference.memoryless_score > reference.chance
    kind = "memoryless baseline" if memoryless_leads else "chance level"
    return f"the {kind} ({short_score(no_memory_score(reference))})"


def _described(group: Group, kind: Kind) -> str:
    """Return an architecture with its mean score, and what else a statement of this kind needs.

    That is the lowest and the highest score if seeds are listed singly, how many seeds solve the task if only some do,
    the partial strategies that explain the scores, and the loss if the scores say too little.
    """
    scores, evidence = group.scores(), score_evidence_of(group)
    if kind == "by seed":
        return _with_mean(group, f", {min(scores):.2f} to {max(scores):.2f}")
    if kind in BY_SCORE:
        solving = 0 if evidence is None or kind == "solved" else evidence.solving
        if kind == "some" and not solving and (strategy := explaining_strategy(group)) is not None:
            return _with_mean(group, f", as “{strategy[0]}” scores ({short_score(strategy[1])})")
        counts = [(solving, "solves it", "solve it"), *(_explained_seeds(group) if kind == "some" else [])]
        words = _counted(counts, len(scores))
        return _with_mean(group, f", {words}" if words else "")
    losses = loss_evidence_of(group)
    is_told = losses is not None and (losses.shows_past or losses.constant is not None)
    return _with_mean(group, f"; {loss_text(losses)}" if losses is not None and is_told else "", kind != "learning")


def _with_mean(group: Group, details: str = "", is_marked: bool = True) -> str:
    """Return an architecture with its mean score, the number of scored seeds if some have no score, and `details`.

    If `is_marked`, an undecided one is called still learning.
    """
    scores = group.scores()
    partial = "" if len(scores) == len(group.seeds) else f", {len(scores)} of {len(group.seeds)} seeds"
    learning = ", still learning" if is_marked and is_undecided(group) else ""
    return f"{group.arch} ({fmean(scores):.2f}{partial}{details}{learning})"
