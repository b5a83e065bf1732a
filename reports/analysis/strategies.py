"""Partial strategies: which of them would score as an architecture does, or as single seeds of it do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from reports.analysis.groups import Group
from reports.analysis.memory_share import score_evidence_of
from results import score_variance

CLOSE = 0.01
"""A score within this distance of a strategy's score is close to it, whatever the size of the test sets."""
STANDARD_ERRORS = 2.0
"""A score within this many standard errors of the test set is close too."""


def explaining_strategy(group: Group) -> tuple[str, float] | None:
    """Return the name and the score of the partial strategy that explains the scores of a group, or None.

    Each seed's score at the trained length must be close to that of the strategy. Of several such strategies, the
    nearest to the mean score is returned.
    """
    return _explaining(group, group.scores())


def strategies_of_seeds(group: Group) -> dict[tuple[str, float], int]:
    """Return the partial strategies that explain single seeds: the number of seeds by name and score of the strategy.

    Only seeds that use the past without solving the task are counted, each for the strategy that is nearest to its
    score. The result is empty without scores or reference scores.
    """
    evidence = score_evidence_of(group)
    if evidence is None:
        return {}
    seeds = zip(group.scores(), evidence.uses, evidence.solves, strict=True)
    found = (_explaining(group, [score]) for score, uses, solves in seeds if uses and not solves)
    return dict(Counter(strategy for strategy in found if strategy is not None))


def _explaining(group: Group, scores: Sequence[float]) -> tuple[str, float] | None:
    """Return the strategy to which each of the scores is close, the nearest to their mean if there are several."""
    reference, sequences = group.reference(), group.test_sequences()
    if not scores or reference is None:
        return None
    explaining = [
        (abs(fmean(scores) - strategy.score), strategy.name, strategy.score)
        for strategy in reference.strategies
        if strategy.score is not None
        and all(
            abs(score - strategy.score) <= max(CLOSE, STANDARD_ERRORS * math.sqrt(score_variance(score, sequences)))
            for score in scores
        )
    ]
    return min(explaining)[1:] if explaining else None
