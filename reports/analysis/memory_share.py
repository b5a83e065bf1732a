"""What a seed remembers, and the settings in which architectures can be compared by it.

The *remembered share* of a seed is where its score lies between the line that needs no memory (0%: chance, or an
answer blind to the past where that is better) and a perfect score (100%).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from reports.analysis.groups import Group, archs_of
from reports.analysis.ranking import Estimate
from results import ReferenceScores

CLEAR_SHARE = 0.05
"""A remembered share below this cannot be told from nothing, however narrow its interval:
the interval leaves out the sampling error of the test set."""
MAX_PAIRED = 20
"""With more different sets of architectures than this, what two of them have in common is not tried too."""

Place = tuple[str, int]
"""A task and a trained length."""


def no_memory_score(line: ReferenceScores) -> float:
    """The score that needs no memory: a model must pass it to have used the past."""
    return max(line.chance, line.memoryless_score or 0.0)


def memory_share(group: Group, length: int | None = None) -> list[float]:
    """The remembered share of each seed at `length`, the trained one by default; never below 0."""
    line = group.reference(length)
    if line is None or no_memory_score(line) >= 1:
        return []
    base = no_memory_score(line)
    return [max(0.0, (score - base) / (1 - base)) for score in group.scores(length)]


def shared_settings(found: Sequence[Group]) -> dict[Place, dict[str, Estimate]]:
    """What each architecture remembers, by task and length: the settings that these architectures share.

    Each has at least two seeds in each setting. Of all ways to leave out architectures or settings so that this
    holds, the one that keeps the most pairs of both is taken, and of equal ones that with more architectures.
    """
    table: dict[Place, dict[str, Estimate]] = {}
    for group in found:
        if len(shares := memory_share(group)) > 1:
            table.setdefault((group.task, group.length), {})[group.arch] = Estimate.of(shares)
    best: dict[Place, dict[str, Estimate]] = {}
    for archs in _candidates(found, table):
        kept = {place: {arch: row[arch] for arch in archs} for place, row in table.items() if set(archs) <= set(row)}
        if _kept(kept) > _kept(best):
            best = kept
    return best


def shares_beyond_training(
    found: Sequence[Group], shared: dict[Place, dict[str, Estimate]]
) -> tuple[int | None, dict[str, float]]:
    """The largest whole multiple of the trained length at which all were tested, and the mean share kept there."""
    here = [group for group in found if group.arch in shared.get((group.task, group.length), {})]
    multiples = [
        {length // group.length for length in group.evaluated_lengths() if length % group.length == 0} - {1}
        for group in here
    ]
    common = set.intersection(*multiples) if multiples else set()
    if not common:
        return None, {}
    multiple = max(common)
    kept: dict[str, list[float]] = {}
    for group in here:
        if shares := memory_share(group, multiple * group.length):
            kept.setdefault(group.arch, []).append(sum(shares) / len(shares))
    if any(len(means) < len(shared) for means in kept.values()):
        return None, {}
    return multiple, {arch: sum(means) / len(means) for arch, means in kept.items()}


def _candidates(found: Sequence[Group], table: dict[Place, dict[str, Estimate]]) -> list[tuple[str, ...]]:
    """Every set of architectures that some setting has, and what two of these have in common."""
    sets = list(dict.fromkeys(frozenset(row) for row in table.values()))
    if len(sets) <= MAX_PAIRED:
        sets = list(dict.fromkeys([*sets, *(a & b for a, b in combinations(sets, 2))]))
    order = archs_of(found)
    return [tuple(arch for arch in order if arch in kept) for kept in sets if kept]


def _kept(shared: dict[Place, dict[str, Estimate]]) -> tuple[int, int]:
    archs = len(next(iter(shared.values()), {}))
    return archs * len(shared), archs
