"""What a claim's quantity is in one record: a number, or None where it was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean

from results.schema.case import Protocol
from results.schema.claims import Quantity, Series
from results.schema.metrics import middle_of
from results.schema.record import EvalPoint, Record


def value_of(quantity: Quantity, record: Record) -> float | None:
    """The quantity in a record; None of a case that diverged or did not measure it."""
    if record.status == "diverged":
        return None
    if quantity.model is not None:
        return None if record.model is None else float(record.model.parameters)
    if quantity.curve is not None:
        return _of_curve(quantity, record)
    assert quantity.metric is not None
    found = [
        middle_of(quantity.metric, measurement.samples)
        for measurement in record.of(quantity.metric)
        if measurement.samples and quantity.at.items() <= measurement.at.items()
    ]
    return fmean(found) if found else None


def epoch_of(step: int, protocol: Protocol) -> float:
    """How many passes over the fixed training set `step` steps are; steps themselves where batches are fresh."""
    if protocol.train_sequences is None:
        return float(step)
    return step / math.ceil(protocol.train_sequences / protocol.batch)


def value_at(series: Series, point: EvalPoint) -> float | None:
    """One value of a curve at one look."""
    if series == "loss_gap":
        return _less(point.validation_loss, point.fit_loss)
    if series == "score_gap":
        return _less(point.fit_score, point.validation_score)
    found: float | None = getattr(point, series)
    return found


def _of_curve(quantity: Quantity, record: Record) -> float | None:
    if record.training is None:
        return None
    assert quantity.curve is not None
    first = -math.inf if quantity.from_epoch is None else quantity.from_epoch
    last = math.inf if quantity.until_epoch is None else quantity.until_epoch
    series = [
        value_at(quantity.curve, point)
        for point in record.training.curve
        if first <= epoch_of(point.step, record.case.protocol) <= last
    ]
    kept = list(_present(series))
    if not kept:
        return None
    return {"last": kept[-1], "highest": max(kept), "lowest": min(kept)}[quantity.reduce]


def _present(values: Iterable[float | None]) -> Iterable[float]:
    return (value for value in values if value is not None)


def _less(value: float | None, taken: float | None) -> float | None:
    return None if value is None or taken is None else value - taken
