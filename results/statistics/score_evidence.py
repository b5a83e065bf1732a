"""What the test scores of an architecture say about its use of the past, seed by seed and on average.

Some seeds of an architecture learn a task and others do not. Then the interval of the mean over seeds is wide, although
the test sequences of each seed leave no doubt about its own model. So each seed is judged by its own test sequences,
and the mean by the interval over seeds. Both are stated.

The *floor* f is the best score without the past: the higher of the chance level and the memoryless baseline. A model
without the past has an expected score of at most f on each of its N independent test sequences. The probability that
such a model reaches a score s > f is at most

    P(s, N) = exp(-N (s ln(s / f) + (1 - s) ln((1 - s) / (1 - f))))         (1)  Hoeffding 1963, theorem 1

for any shares of right answers between 0 and 1. So (1) holds for one answer per sequence, for many dependent ones, and
for right and wrong real-valued answers. With K seeds in the report, n of them of this architecture:

    seed i uses the past         P(s_i, N) <= 0.05 / K  and  s_i > f + 0.05 (1 - f)               (2)
    seed i solves the task       (2) and s_i reaches the score at which the task is solved        (3)
    on average it is used        P(m, n N) <= 0.05 / K  and  m > f + 0.05 (1 - f)  and  l > f     (4)

where m is the mean over seeds and l the lower end of its interval. The division by K is Bonferroni's correction: if no
model uses the past, a report claims it of any seed with a probability of at most 5%. A score that exceeds f by less
than a twentieth of the span is of no use to anyone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from results.statistics.sampling_error import interval_of_scores

CLEAR_SHARE = 0.05
"""Share of the span from the floor to 1 by which a score must exceed the floor, in (2) and (4)."""
MAX_ERROR = 0.05
"""Largest probability that a report claims the use of the past of any seed that does not use it."""

Standing = Literal["below", "close below", "indistinguishable", "close above", "above"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEvidence:
    """The scores of an architecture at one length, and what they show."""

    uses: tuple[bool, ...]
    """Whether each seed with a score uses the past, by (2)."""
    solves: tuple[bool, ...]
    """Whether each seed with a score solves the task, by (3)."""
    mean: float
    """The mean score over seeds."""
    low: float
    """With `high`, the 95% interval of the mean, see `interval_of_scores`."""
    high: float
    floor: float
    """The best score without the past."""
    shows_past_on_average: bool
    """Whether the mean shows the past, by (4)."""

    @property
    def seeds(self) -> int:
        """Number of seeds with a score."""
        return len(self.uses)

    @property
    def using(self) -> int:
        """Number of seeds that use the past, by (2)."""
        return sum(self.uses)

    @property
    def solving(self) -> int:
        """Number of seeds that solve the task, by (3)."""
        return sum(self.solves)

    @property
    def shows_past(self) -> bool:
        """Whether the scores show the past, by (2) or (4)."""
        return self.using > 0 or self.shows_past_on_average

    @property
    def standing(self) -> Standing:
        """Where the interval of the mean lies.

        It is *above* or *below* the floor if the whole interval is, and the mean by more than `CLEAR_SHARE` of the
        span. If only the former holds, it is *close*.
        """
        distance = CLEAR_SHARE * (1 - self.floor)
        if self.low > self.floor:
            return "above" if self.mean > self.floor + distance else "close above"
        if self.high < self.floor:
            return "below" if self.mean < self.floor - distance else "close below"
        return "indistinguishable"


def score_evidence(
    scores: Sequence[float], solved: Sequence[bool], *, floor: float, sequences: int, judged: int
) -> ScoreEvidence:
    """Return what the scores of an architecture show.

    Args:
        scores: One test score in [0, 1] per seed.
        solved: Whether each score reaches the score at which the task is solved.
        floor: The best score without the past, in [0, 1].
        sequences: Number of test sequences of a seed.
        judged: Number of all seeds in the report, K in (2) and (4).

    Raises:
        ValueError: If there are no scores, or not as many solved.
    """
    interval = interval_of_scores(scores, sequences)
    uses = tuple(_shows_past(score, floor, sequences, judged) for score in scores)
    return ScoreEvidence(
        uses=uses,
        solves=tuple(each and reaches for each, reaches in zip(uses, solved, strict=True)),
        mean=interval.middle,
        low=interval.low,
        high=interval.high,
        floor=floor,
        shows_past_on_average=interval.low > floor
        and _shows_past(interval.middle, floor, len(scores) * sequences, judged),
    )


def score_p_value(score: float, floor: float, sequences: int) -> float:
    """Return (1): the largest probability that a model without the past has at least this score.

    Args:
        score: The test score in [0, 1].
        floor: The best score without the past, in [0, 1].
        sequences: Number of test sequences.
    """
    if score <= floor:
        return 1.0
    if floor <= 0:
        return 0.0
    right = score * math.log(score / floor)
    wrong = 0.0 if score >= 1 else (1 - score) * math.log((1 - score) / (1 - floor))
    return math.exp(-sequences * (right + wrong))


def _shows_past(score: float, floor: float, sequences: int, judged: int) -> bool:
    """Return whether a score on so many test sequences meets (2)."""
    is_significant = score_p_value(score, floor, sequences) <= MAX_ERROR / judged
    return is_significant and score > floor + CLEAR_SHARE * (1 - floor)
