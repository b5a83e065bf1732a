"""What scores and losses say about memory: memory shares, effective lengths, and the evidence of scores and losses.

The *memory share* places a score between the best score without memory (0%) and a perfect score (100%). The best
score without memory is chance or the memoryless baseline, whichever is higher. Papers call the memory share a scaled
accuracy.

Some tasks also reward what needs no long memory, such as the local rules of a grammar. Their reference scores have a
`memory_floor`: the score of a strategy that lacks only the memory which the task tests. Then this score is 0%. If such
a task records the metric `memory_score`, the share is that of the positions which need the memory.

Memory shares can be compared in the settings that `shared_settings` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

from reports.analysis.convergence import possible_rise
from reports.analysis.groups import Group, Seed, archs_of
from reports.analysis.ranking import Estimate
from results import (
    EffectiveLength,
    Interval,
    LengthRange,
    LossEvidence,
    ReferenceScores,
    ScoreEvidence,
    effective_length,
    interval_of_scores,
    loss_evidence,
    score_evidence,
    score_variance,
)

MAX_PAIRED = 20
"""The largest number of sets of architectures whose pairwise intersections are tried."""

Setting = tuple[str, int]
"""A task and a trained length."""


def no_memory_score(reference: ReferenceScores) -> float:
    """Return the best score without memory: the higher of the two reference scores."""
    return max(reference.chance, reference.memoryless_score or 0.0)


def memory_share(group: Group, length: int | None = None) -> list[float]:
    """Return the memory share of each scored seed at `length` in steps (default: the trained length), at most 1.

    A seed below the best score without memory has a negative share. If negative shares were raised to 0, means over
    seeds would be too high. The list is empty without reference scores, or if a perfect score needs no memory.
    """
    return [(score - floor) / (1 - floor) for score, floor in _scaled(group, length)]


def memory_estimate(group: Group, length: int | None = None) -> Estimate | None:
    """Return the mean memory share over seeds at `length` in steps (default: the trained length).

    Returns None with fewer than two shares.
    """
    scaled = _scaled(group, length)
    if len(scaled) < 2:
        return None
    shares = [(score - floor) / (1 - floor) for score, floor in scaled]
    return Estimate.of(
        shares,
        possible_rise(group, shares) if length in (None, group.length) else 0.0,
        fmean(score_variance(score, group.test_sequences(length)) / (1 - floor) ** 2 for score, floor in scaled),
    )


def range_share(group: Group, lengths: LengthRange) -> Interval | None:
    """Return the mean memory share over a range of test lengths, with its 95% interval.

    Each seed was tested at lengths of its own, so it has reference scores of its own. The ends of the interval are
    those of the mean score, placed between the mean reference score and 1. Returns None without shares.
    """
    pairs = []
    for seed in group.seeds:
        reference = None if seed.record is None else seed.record.reference_over(lengths)
        if lengths in seed.range_scores and reference is not None:
            pairs.append(_on_memory(seed.range_scores[lengths], seed.range_memory_scores.get(lengths), reference))
    if not pairs or max(floor for _, floor in pairs) >= 1:
        return None
    floor = fmean(floor for _, floor in pairs)
    low, _, high = interval_of_scores([score for score, _ in pairs], group.test_sequences(lengths[1]))
    return Interval(
        (low - floor) / (1 - floor),
        fmean((score - floor) / (1 - floor) for score, floor in pairs),
        min(1.0, (high - floor) / (1 - floor)),
    )


def score_evidence_of(group: Group) -> ScoreEvidence | None:
    """Return what the test scores of a group at the trained length show.

    Returns None without scores or without reference scores.
    """
    scored, reference = [seed for seed in group.seeds if seed.score() is not None], group.reference()
    if not scored or reference is None:
        return None
    return score_evidence(
        group.scores(),
        [seed.solved for seed in scored],
        floor=no_memory_score(reference),
        sequences=group.test_sequences(),
        judged=group.judged,
    )


def memory_evidence_of(group: Group) -> ScoreEvidence | None:
    """Return what the memory shares of a group at the trained length show.

    It differs from `score_evidence_of` only if the task has a `memory_floor`. Returns None without shares.
    """
    scaled = _scaled(group, None)
    if not scaled:
        return None
    return score_evidence(
        [score for score, _ in scaled],
        [seed.solved for seed in group.seeds if seed.score() is not None],
        floor=scaled[0][1],
        sequences=group.test_sequences(),
        judged=group.judged,
    )


def effective_length_of(group: Group) -> EffectiveLength | None:
    """Return the effective length of a group, from the lengths at which all its scored seeds were tested.

    Returns None without scores, without reference scores, or if a perfect score needs no memory.
    """
    scored = [seed for seed in group.seeds if seed.scores]
    lengths = [length for length in group.evaluated_lengths() if all(length in seed.scores for seed in scored)]
    references = {length: reference for length in lengths if (reference := group.reference(length)) is not None}
    return effective_length(
        {length: [seed.scores[length] for seed in scored] for length in lengths},
        {length: no_memory_score(reference) for length, reference in references.items()},
        group.length,
        sequences=min(map(group.test_sequences, lengths), default=group.test_sequences()),
    )


def loss_evidence_of(group: Group) -> LossEvidence | None:
    """Return what the test losses of a group at the trained length show, or None if no loss was measured."""
    losses = [seed.loss for seed in group.seeds if seed.loss is not None]
    if not losses:
        return None
    name, reference = losses[0][0], group.reference()
    return loss_evidence(
        name,
        [loss for of_seed, loss in losses if of_seed == name],
        constant=reference.constant_loss if reference else None,
        memoryless=reference.memoryless_loss if reference else None,
        sequences=group.test_sequences(),
    )


def shared_settings(groups: Sequence[Group]) -> dict[Setting, dict[str, Estimate]]:
    """Return memory shares by setting and architecture, with the same architectures in every setting.

    Every returned architecture has at least two scored seeds in every returned setting. `_candidates` returns the
    possible sets of architectures. The set that keeps the most pairs of architecture and setting is used. If several
    sets keep equally many pairs, the largest of these sets is used.
    """
    table: dict[Setting, dict[str, Estimate]] = {}
    for group in groups:
        if (estimate := memory_estimate(group)) is not None:
            table.setdefault((group.task, group.length), {})[group.arch] = estimate
    best: dict[Setting, dict[str, Estimate]] = {}
    for archs in _candidates(groups, table):
        candidate = {
            setting: {arch: row[arch] for arch in archs} for setting, row in table.items() if set(archs) <= set(row)
        }
        if _pairs_and_archs(candidate) > _pairs_and_archs(best):
            best = candidate
    return best


def shares_beyond_training(
    groups: Sequence[Group], shared: dict[Setting, dict[str, Estimate]]
) -> tuple[int | None, dict[str, Estimate]]:
    """Return the mean memory shares at the largest multiple of the trained length at which all groups have scores.

    Args:
        groups: All groups of a run. Groups outside `shared` are ignored.
        shared: The result of `shared_settings(groups)`.

    Returns:
        The multiple and the mean memory share over settings by architecture. The multiple is at least 2.
        Architectures with fewer than two shares in every setting are left out. The result is (None, {}) if there is no
        common multiple. It is also (None, {}) if an architecture has shares in some settings but not in all.
    """
    compared = [group for group in groups if group.arch in shared.get((group.task, group.length), {})]
    multiples = [
        {length // group.length for length in group.evaluated_lengths() if length % group.length == 0} - {1}
        for group in compared
    ]
    common = set.intersection(*multiples) if multiples else set()
    if not common:
        return None, {}
    multiple = max(common)
    by_arch: dict[str, list[Estimate]] = {}
    for group in compared:
        if (estimate := memory_estimate(group, multiple * group.length)) is not None:
            by_arch.setdefault(group.arch, []).append(estimate)
    if any(len(estimates) < len(shared) for estimates in by_arch.values()):
        return None, {}
    return multiple, {arch: Estimate.over(estimates) for arch, estimates in by_arch.items()}


def _candidates(groups: Sequence[Group], table: dict[Setting, dict[str, Estimate]]) -> list[tuple[str, ...]]:
    """Return the set of architectures of each setting, followed by the intersections of any two such sets.

    With more than `MAX_PAIRED` sets, the intersections are left out, because there are too many pairs.
    """
    sets = list(dict.fromkeys(frozenset(row) for row in table.values()))
    if len(sets) <= MAX_PAIRED:
        sets = list(dict.fromkeys([*sets, *(a & b for a, b in combinations(sets, 2))]))
    order = archs_of(groups)
    return [tuple(arch for arch in order if arch in candidate) for candidate in sets if candidate]


def _pairs_and_archs(shared: dict[Setting, dict[str, Estimate]]) -> tuple[int, int]:
    archs = len(next(iter(shared.values()), {}))
    return archs * len(shared), archs


def _scaled(group: Group, length: int | None) -> list[tuple[float, float]]:
    """Return, for each scored seed, the score that counts for its memory share and the score at which the share is 0.

    The list is empty without reference scores, or if a perfect score needs no memory.
    """
    reference = group.reference(length)
    if reference is None:
        return []
    pairs = [
        _on_memory(score, _memory_score(seed, length), reference)
        for seed in group.seeds
        if (score := seed.score(length)) is not None
    ]
    return [(score, floor) for score, floor in pairs if floor < 1]


def _memory_score(seed: Seed, length: int | None) -> float | None:
    return seed.memory_scores.get(seed.case.length if length is None else length)


def _on_memory(score: float, memory_score: float | None, reference: ReferenceScores) -> tuple[float, float]:
    """Return the score that counts for the memory share, and the score at which the share is 0.

    Args:
        score: The score on all scored positions.
        memory_score: The score on the positions that need the memory; None if it was not measured.
        reference: The reference scores at the same length or range.
    """
    if reference.memory_floor is None:
        return score, no_memory_score(reference)
    if memory_score is None:
        return score, max(no_memory_score(reference), reference.memory_floor)
    return memory_score, reference.memory_floor
