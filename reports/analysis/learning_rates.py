"""The learning rate of each architecture, task and length, where it came from, and what its tuning cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.analysis.groups import Group, RateSource
from results import RateResult, Record, choose, is_at_edge, rate_results


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow:
    """The learning rate of one architecture on one task at one length."""

    arch: str
    task: str
    length: int
    learning_rate: float | None
    """The rate of the reported cases, or the rate that tuning chooses if none is trained yet.

    None if there is no such rate, or if the cases have several rates.
    """
    source: RateSource
    found_by: str | None
    """The run that found the rate, in the words of the plan; None if the plan does not say so."""
    results: tuple[RateResult, ...]
    """The results of tuning by ascending rate; empty if the plan fixes the rate."""

    @property
    def validation_score(self) -> float | None:
        """The mean validation score of the rate over tuning seeds; None if the rate was not tuned."""
        own = [result for result in self.results if result.learning_rate == self.learning_rate]
        return own[0].mean_score if own else None

    @property
    def edge(self) -> str:
        """Which edge of the grid the rate lies at, `lowest` or `highest`; empty if it lies at none."""
        if self.learning_rate is None or not is_at_edge(self.learning_rate, self.results):
            return ""
        return "lowest" if self.learning_rate == self.results[0].learning_rate else "highest"

    @property
    def missing(self) -> int:
        """The number of tuning cases without a usable record."""
        return sum(result.missing for result in self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningCost:
    """What choosing the learning rates of a run cost."""

    cases: int
    """The number of tuning cases with a record of their training."""
    seconds: float
    """The training time of these cases, summed over workers."""
    share: float
    """`seconds` as a share of all training time of the run."""


def rate_rows(groups: Sequence[Group], records: Sequence[Record]) -> list[RateRow]:
    """Return one row per group that is trained by gradients, in the order of `groups`.

    `records` include those of tuning cases.
    """
    by_key = {record.key: record for record in records}
    trained = [group for group in groups if group.seeds[0].case.protocol.optimizer == "adam"]
    return [_row(group, rate_results(group.seeds[0].case, by_key)) for group in trained]


def tuning_cost(records: Sequence[Record]) -> TuningCost | None:
    """Return what tuning cost; None if no tuning case was trained. `records` include those of tuning cases."""
    trained = [(record.case.is_reported, record.training.seconds) for record in records if record.training is not None]
    tuning = [seconds for is_reported, seconds in trained if not is_reported]
    if not tuning:
        return None
    total = sum(seconds for _, seconds in trained)
    return TuningCost(cases=len(tuning), seconds=sum(tuning), share=sum(tuning) / total if total else 0.0)


def _row(group: Group, results: tuple[RateResult, ...]) -> RateRow:
    case, rates = group.seeds[0].case, group.learning_rates
    best = choose(results)
    rate = rates[0] if len(rates) == 1 else None
    if not rates:
        rate = case.protocol.learning_rate if best is None else best.learning_rate
    return RateRow(
        arch=group.arch,
        task=group.task,
        length=group.length,
        learning_rate=rate,
        source=group.rate_source or ("plan" if case.tuning is None else "tuned"),
        found_by=group.rate_found_by,
        results=results,
    )
