"""Evaluate the quantity of a claim on one record."""

from __future__ import annotations

import math
from statistics import fmean

from results.schema.case import Protocol
from results.schema.claims import CurveName, Quantity
from results.schema.location import range_at
from results.schema.metrics import METRICS, central_value
from results.schema.record import EvalPoint, Measurement, Record


def value_of(quantity: Quantity, record: Record) -> float | None:
    """Return the value of a quantity in a record.

    The result is None if the case diverged or is inconsistent, or if the record does not contain the quantity. But a
    training that diverged has not solved its task.
    """
    if quantity.training is not None:
        return None if record.training is None else float(bool(record.of("sequences_until_solved")))
    if record.status in ("diverged", "inconsistent"):
        return None
    if quantity.model is not None:
        return None if record.model is None else float(record.model.parameters)
    if quantity.curve is not None:
        return _of_curve(quantity, record)
    assert quantity.metric is not None
    values = [
        central_value(quantity.metric, measurement.samples)
        for measurement in record.of(quantity.metric)
        if measurement.samples and quantity.at.items() <= measurement.at.items() and _is_wanted(quantity, measurement)
    ]
    return fmean(values) if values else None


def sequences_of(quantity: Quantity, record: Record) -> int | None:
    """Return the number of sequences on which a quantity was measured in a record.

    The result is None for quantities that are not shares of right answers, such as losses, timings and gaps. It is also
    None for scores of training sequences: the training set is no sample. Whether a training solved its task is one
    right or wrong answer.
    """
    if quantity.training is not None:
        return 1
    protocol = record.case.protocol
    if quantity.curve == "validation_score":
        return protocol.validation_sequences
    is_test_score = quantity.metric is not None and METRICS[quantity.metric].kind == "score"
    return record.case.test_sequences_at(quantity.at) if is_test_score else None


def best_of(quantity: Quantity) -> float | None:
    """Return the best value of a score or a loss: 1 or 0. More training brings a case closer to it.

    The result is None for all other quantities, such as timings, sizes and gaps, and for the first epochs of a curve.
    """
    if quantity.curve is not None and quantity.until_epoch is None:
        return {"fit_score": 1.0, "validation_score": 1.0, "fit_loss": 0.0, "validation_loss": 0.0}.get(quantity.curve)
    if quantity.training is not None:
        return 1.0
    if quantity.metric is not None and METRICS[quantity.metric].kind in ("score", "loss"):
        return 1.0 if METRICS[quantity.metric].better == "higher" else 0.0
    return None


def _is_wanted(quantity: Quantity, measurement: Measurement) -> bool:
    """Return whether a measurement is no mean over a range of lengths, unless the quantity names `from` or `to`."""
    return range_at(measurement.at) is None or not quantity.at.keys().isdisjoint({"from", "to"})


def epoch_of(step: int, protocol: Protocol) -> float:
    """Return the number of epochs after `step` steps, or `step` itself if the protocol uses fresh batches."""
    if protocol.train_sequences is None:
        return float(step)
    return step / math.ceil(protocol.train_sequences / protocol.batch)


def value_at(curve: CurveName, point: EvalPoint) -> float | None:
    """Return the value of a curve at one evaluation, or None if no finite value was measured."""
    if curve == "loss_gap":
        return _gap(point.validation_loss, point.fit_loss)
    if curve == "score_gap":
        return _gap(point.fit_score, point.validation_score)
    value: float | None = getattr(point, curve)
    return value


def _of_curve(quantity: Quantity, record: Record) -> float | None:
    if record.training is None:
        return None
    assert quantity.curve is not None
    first = -math.inf if quantity.from_epoch is None else quantity.from_epoch
    last = math.inf if quantity.until_epoch is None else quantity.until_epoch
    values = [
        value_at(quantity.curve, point)
        for point in record.training.curve
        if first <= epoch_of(point.step, record.case.protocol) <= last
    ]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"last": known[-1], "highest": max(known), "lowest": min(known)}[quantity.reduce]


def _gap(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
