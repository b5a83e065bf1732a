"""The memory share of a seed, and the settings in which the memory shares of architectures can be compared.

The *memory share* places a score between the best score without memory (0%) and a perfect score (100%). The best
score without memory is chance or the memoryless baseline, whichever is higher. Papers call the memory share a scaled
accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from reports.analysis.convergence import possible_rise
from reports.analysis.groups import Group, archs_of
from reports.analysis.ranking import Estimate
from results import ReferenceScores

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
