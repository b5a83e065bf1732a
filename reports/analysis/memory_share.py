"""What scores and losses say about memory: memory shares, effective lengths and the evidence of losses.

The *memory share* places a score between the best score without memory (0%) and a perfect score (100%). The best
score without memory is chance or the memoryless baseline, whichever is higher. Papers call the memory share a scaled
accuracy.

Memory shares can be compared in the settings that `shared_settings` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from reports.analysis.convergence import possible_rise
from reports.analysis.groups import Group, archs_of
from reports.analysis.ranking import Estimate
from results import EffectiveLength, LengthRange, LossEvidence, ReferenceScores, effective_length, loss_evidence

CLEAR_SHARE = 0.05
"""The smallest memory share that counts as memory. A lower share is no evidence of memory, even if its interval lies
above 0. With few seeds, an interval can be narrow by chance."""
MAX_PAIRED = 20
"""The largest number of sets of architectures whose pairwise intersections are tried."""

Setting = tuple[str, int]
"""A task and a trained length."""


def no_memory_score(reference: ReferenceScores) -> float:
    """Return the best score without memory: the higher of the two reference scores."""
    return max(reference.chance, reference.memoryless_score or 0.0)


def memory_share(group: Group, length: int | None = None) -> list[float]:
    """Return the memory share in [0, 1] of each scored seed at `length` in steps (default: the trained length).

    Negative shares are raised to 0. The list is empty without reference scores, or if a perfect score needs no memory.
    """
    reference = group.reference(length)
    if reference is None or no_memory_score(reference) >= 1:
        return []
    base = no_memory_score(reference)
    return [max(0.0, (score - base) / (1 - base)) for score in group.scores(length)]


def range_shares(group: Group, lengths: LengthRange) -> list[float]:
    """Return the memory share in [0, 1] of each scored seed over a range of test lengths.

    Each seed was tested at lengths of its own, so it has reference scores of its own. The list is empty as for
    `memory_share`.
    """
    shares = []
    for seed in group.seeds:
        reference = None if seed.record is None else seed.record.reference_over(lengths)
        if lengths in seed.range_scores and reference is not None and (base := no_memory_score(reference)) < 1:
            shares.append(max(0.0, (seed.range_scores[lengths] - base) / (1 - base)))
    return shares


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
        sequences=min(seed.case.protocol.test_sequences for seed in group.seeds),
    )


def clears(mean: float, low: float, floor: float) -> bool:
    """Return whether the scores of an architecture are evidence that it uses the past.

    Args:
        mean: The mean score over seeds. It has to exceed `floor` by more than `CLEAR_SHARE` of the distance from
            `floor` to 1.
        low: The lower end of the interval of the mean. It has to exceed `floor`.
        floor: The best score without memory.
    """
    return low > floor and mean > floor + CLEAR_SHARE * (1 - floor)


def shared_settings(groups: Sequence[Group]) -> dict[Setting, dict[str, Estimate]]:
    """Return memory shares by setting and architecture, with the same architectures in every setting.

    Every returned architecture has at least two scored seeds in every returned setting. `_candidates` returns the
    possible sets of architectures. The set that keeps the most pairs of architecture and setting is used. If several
    sets keep equally many pairs, the largest of these sets is used.
    """
    table: dict[Setting, dict[str, Estimate]] = {}
    for group in groups:
        if len(shares := memory_share(group)) > 1:
            reference = group.reference()
            assert reference is not None  # otherwise there are no shares
            estimate = Estimate.of(shares, possible_rise(group, no_memory_score(reference)))
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
) -> tuple[int | None, dict[str, float]]:
    """Return the mean memory shares at the largest multiple of the trained length at which all groups have scores.

    Args:
        groups: All groups of a run. Groups outside `shared` are ignored.
        shared: The result of `shared_settings(groups)`.

    Returns:
        The multiple and the mean memory share over settings by architecture. The multiple is at least 2.
        Architectures with no share in any setting are left out. The result is (None, {}) if there is no common
        multiple. It is also (None, {}) if an architecture has shares in some settings but not in all.
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
    by_arch: dict[str, list[float]] = {}
    for group in compared:
        if shares := memory_share(group, multiple * group.length):
            by_arch.setdefault(group.arch, []).append(sum(shares) / len(shares))
    if any(len(means) < len(shared) for means in by_arch.values()):
        return None, {}
    return multiple, {arch: sum(means) / len(means) for arch, means in by_arch.items()}


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
