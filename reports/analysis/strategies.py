"""Partial strategies: which of them would score as an architecture does."""

from __future__ import annotations

import math
from statistics import fmean

from reports.analysis.groups import Group
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
    scores, reference = group.scores(), group.reference()
    if not scores or reference is None:
        return None
    sequences = group.test_sequences()
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
