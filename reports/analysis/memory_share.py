"""The memory share of a seed, and the settings in which the memory shares of architectures can be compared.

The *memory share* places a score between the best score without memory (0%) and a perfect score (100%). The best
score without memory is chance or the memoryless baseline, whichever is higher. Papers call this a scaled accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from reports.analysis.groups import Group, archs_of
from reports.analysis.ranking import Estimate
from results import ReferenceScores

CLEAR_SHARE = 0.05
"""The smallest memory share that counts as memory. Even a narrow interval around a lower share is no evidence of
memory. The interval does not include the sampling error of the test set."""
MAX_PAIRED = 20
"""With more sets of architectures than this, pairwise intersections are not tried."""

Setting = tuple[str, int]
"""A task and a trained length."""


def no_memory_score(reference: ReferenceScores) -> float:
    """Return the best score without memory. Only a higher score shows that a model uses the past."""
    return max(reference.chance, reference.memoryless_score or 0.0)


def memory_share(group: Group, length: int | None = None) -> list[float]:
    """Return the memory share of each seed at `length` (default: the trained length).

    Negative shares are raised to 0. The list is empty without reference scores, or if a score of 1 needs no memory.
    """
    reference = group.reference(length)
    if reference is None or no_memory_score(reference) >= 1:
        return []
    base = no_memory_score(reference)
    return [max(0.0, (score - base) / (1 - base)) for score in group.scores(length)]


def shared_settings(groups: Sequence[Group]) -> dict[Setting, dict[str, Estimate]]:
    """Return memory shares by setting and architecture. Every setting has the same architectures.

    Every architecture has at least two scored seeds in every setting. Architectures or settings are left out if
    necessary. As many pairs of architecture and setting as possible are kept. If several choices keep equally many,
    the one with the most architectures is used.
    """
    table: dict[Setting, dict[str, Estimate]] = {}
    for group in groups:
        if len(shares := memory_share(group)) > 1:
            table.setdefault((group.task, group.length), {})[group.arch] = Estimate.of(shares)
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
    """Return the mean memory shares at the largest multiple of the trained length that all groups share.

    Args:
        groups: All groups of a run. Groups outside `shared` are ignored.
        shared: The result of `shared_settings(groups)`.

    Returns:
        The multiple, and the mean over settings by architecture. Returns (None, {}) if there is no common multiple,
        or if a share is missing.
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
    """Return the set of architectures of each setting, and the intersections of any two such sets."""
    sets = list(dict.fromkeys(frozenset(row) for row in table.values()))
    if len(sets) <= MAX_PAIRED:
        sets = list(dict.fromkeys([*sets, *(a & b for a, b in combinations(sets, 2))]))
    order = archs_of(groups)
    return [tuple(arch for arch in order if arch in candidate) for candidate in sets if candidate]


def _pairs_and_archs(shared: dict[Setting, dict[str, Estimate]]) -> tuple[int, int]:
    archs = len(next(iter(shared.values()), {}))
    return archs * len(shared), archs
