"""Choose a learning rate by the validation scores of tuning cases. Test data play no part.

The score of a tuning case is that of the last evaluation of its training curve. The rate with the highest mean score
over tuning seeds is chosen. Ties are decided by the lower mean validation loss, and then by the lower rate. A case that
diverged counts as worse than any that did not. A rate without a usable record of every seed is chosen only if no rate
has them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from results.schema.case import Case
from results.schema.record import Record, Status


@dataclass(frozen=True, slots=True, kw_only=True)
class RateResult:
    """The results of the tuning cases that trained one learning rate."""

    learning_rate: float
    scores: tuple[float, ...]
    """Last validation score of each case that did not diverge."""
    losses: tuple[float, ...]
    """Last validation loss of each case that did not diverge; infinite if it was not finite."""
    diverged: int
    """Number of cases that diverged."""
    missing: int
    """Number of cases without a usable record: they failed or were not run yet."""

    @property
    def mean_score(self) -> float | None:
        """The mean of `scores`; None if no case has a score."""
        return fmean(self.scores) if self.scores else None

    @property
    def is_usable(self) -> bool:
        """Whether any case has a usable record. A case that diverged has one."""
        return bool(self.scores) or self.diverged > 0


def rate_results(case: Case, records: Mapping[str, Record]) -> tuple[RateResult, ...]:
    """Return the results of each learning rate in the grid of a case, in ascending order of the rates.

    `records` are the records of a run by case key. The result is empty if the case is not tuned.
    """
    by_rate: dict[float, list[Record | None]] = {}
    for tuning in case.tuning_cases():
        assert tuning.protocol.learning_rate is not None
        by_rate.setdefault(tuning.protocol.learning_rate, []).append(records.get(tuning.key))
    return tuple(_result_of(rate, of_rate) for rate, of_rate in by_rate.items())


def choose(results: Iterable[RateResult]) -> RateResult | None:
    """Return the best of the results of a grid; None if no rate has a usable record."""
    usable = [result for result in results if result.is_usable]
    return min(usable, key=_from_best_to_worst, default=None)


def chosen_rate(case: Case, records: Mapping[str, Record]) -> float | None:
    """Return the learning rate that tuning chooses for a case; None if no rate of its grid has a usable record.

    `records` are the records of a run by case key.
    """
    best = choose(rate_results(case, records))
    return None if best is None else best.learning_rate


def is_at_edge(rate: float, results: Sequence[RateResult]) -> bool:
    """Return whether a rate is the lowest or the highest of several rates, so that a better one may lie beyond."""
    rates = [result.learning_rate for result in results]
    return len(rates) > 1 and rate in (min(rates), max(rates))


def why_no_rate(case: Case, records: Mapping[str, Record]) -> tuple[Status, str]:
    """Return the status and the reason, in one line, of a case for which no learning rate can be chosen.

    They are those of the first tuning case that failed. `records` are the records of a run by case key.
    """
    tuning = case.tuning_cases()
    for each in tuning:
        record = records.get(each.key)
        if record is not None:
            rate, seed = each.protocol.learning_rate, each.seed
            failed = f"the first, rate {rate:g} and seed {seed}: {record.reason or record.status}"
            return (
                record.status,
                f"no learning rate can be chosen, because all {len(tuning)} tuning cases failed; {failed}",
            )
    return "crashed", f"no learning rate can be chosen, because none of the {len(tuning)} tuning cases has a record"


def _result_of(rate: float, records: Sequence[Record | None]) -> RateResult:
    scores, losses, diverged = [], [], 0
    for record in records:
        if record is None or record.training is None:
            continue
        if record.status == "diverged":
            diverged += 1
        elif record.status == "ok" and record.training.curve:
            last = record.training.curve[-1]
            scores.append(last.validation_score)
            losses.append(math.inf if last.validation_loss is None else last.validation_loss)
    return RateResult(
        learning_rate=rate,
        scores=tuple(scores),
        losses=tuple(losses),
        diverged=diverged,
        missing=len(records) - len(scores) - diverged,
    )


def _from_best_to_worst(result: RateResult) -> tuple[bool, int, float, float, float]:
    score = -math.inf if result.mean_score is None else result.mean_score
    loss = fmean(result.losses) if result.losses else math.inf
    return result.missing > 0, result.diverged, -score, loss, result.learning_rate
