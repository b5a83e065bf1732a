"""Find the scores of the base that cannot fall, because they are those of a model without memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from results.comparison.pairing import Pair
from results.schema.case import Case
from results.schema.location import range_at
from results.schema.record import Record
from results.statistics.score_evidence import CLEAR_SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreAtFloor:
    """A mean score of the base that exceeds the best score without memory by too little to show a loss."""

    case: Case
    length: int
    """The test length, in time steps: the trained length or, if it was not tested, the shortest one."""
    score: float
    """Mean score over the seeds of the base."""
    floor: float
    """The higher of the chance level and the memoryless baseline."""


def scores_at_floor(pairs: Sequence[Pair]) -> Iterator[ScoreAtFloor]:
    """Yield the scores of the base that exceed their floor by at most `CLEAR_SHARE` of the span from there to 1.

    Longer test lengths do not count: there, many models are expected to fail. Cases without reference scores are left
    out.
    """
    for pair in pairs:
        records = list(pair.base.values())
        lengths = {at for record in records for at in _scores(record)}
        if not lengths:
            continue
        length = pair.case.length if pair.case.length in lengths else min(lengths)
        scores = [each[length] for each in map(_scores, records) if length in each]
        references = [each for record in records if (each := record.reference_at(length)) is not None]
        if not references:
            continue
        floor = max(max(each.chance, each.memoryless_score or 0.0) for each in references)
        if fmean(scores) <= floor + CLEAR_SHARE * (1 - floor):
            yield ScoreAtFloor(case=pair.case, length=length, score=fmean(scores), floor=floor)


def _scores(record: Record) -> dict[int, float]:
    """Return the scores of a record by test length, without those of ranges of lengths."""
    return {
        each.at["length"]: fmean(each.samples)
        for each in record.by_process("accuracy")
        if each.samples and range_at(each.at) is None and "length" in each.at
    }
