"""The limits against a clock that is made up, and shares worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bench.plans.plan import Timing
from bench.probes import roofline
from results import Limits, Measurement, attainable
from tests.bench.tiny import subject
from tests.results.examples import record

TIMING = Timing(positions=(1, 8), batch=2)
A_CALL = 0.001
ROUNDING = 1e-12
"""Relative; one product and one quotient of doubles."""


def millisecond(call: Callable[[], object], calls: int, device: torch.device) -> float:
    call()
    return A_CALL


def measured(name: str = "lstm") -> dict[tuple[str, tuple[tuple[str, int], ...]], tuple[float, ...]]:
    one = subject(name)
    found = roofline.measure([one], TIMING, millisecond)[one.case.key]
    return {(measurement.metric, tuple(measurement.at.items())): measurement.samples for measurement in found}


def test_rates_are_work_over_seconds() -> None:
    found = measured()
    for batch, rows in ((1, 1), (1, 4), (2, 2), (2, 8)):
        flops = 2 * rows * 4 * 16
        rates = found["matmul_flops_per_second", (("batch", batch), ("rows", rows))]
        assert rates == pytest.approx((flops / A_CALL,) * roofline.BLOCKS, rel=ROUNDING)
    moved = subject("lstm").model.step_bytes(8)
    assert moved is not None
    passes = -(-roofline.PASS_BYTES // moved)
    assert found["read_bytes_per_second", (("position", 8),)] == pytest.approx(
        (passes * moved / A_CALL,) * roofline.BLOCKS, rel=ROUNDING
    )


def test_what_is_asked_is_the_models_own_closed_form() -> None:
    found, model = measured("transformer"), subject("transformer").model
    assert found["forward_flops", (("batch", 2),)] == (model.forward_flops(2, 4),)
    assert found["train_step_flops", (("batch", 2),)] == (model.train_step_flops(2, 4),)
    assert found["step_flops", (("position", 8),)] == (model.step_flops(8),)
    assert found["step_bytes", (("position", 8),)] == (model.step_bytes(8),)


def test_the_same_size_is_measured_once() -> None:
    calls = 0

    def counted(call: Callable[[], object], repeats: int, device: torch.device) -> float:
        nonlocal calls
        calls += 1
        return A_CALL

    first = roofline.product_rates(3, 4, "cpu", 1, counted)
    assert roofline.product_rates(3, 4, "cpu", 1, counted) == first
    assert calls == 1 + roofline.BLOCKS


def test_the_lesser_of_peak_and_bandwidth_is_the_limit() -> None:
    assert attainable(100.0, 50.0, 1e9, 2e8) == 4e8
    assert attainable(100.0, 50.0, 1e8, 2e8) == 1e8
    assert attainable(100.0, None, 1e8, 2e8) == 1e8


def test_shares_by_hand() -> None:
    at, batch = {"position": 16}, {"batch": 8}
    step = Measurement(metric="step_seconds", at=at, samples=(4e-6, 2e-6, 3e-6))
    forward = Measurement(metric="forward_seconds", at=batch, samples=(2e-3,))
    stated = (
        Measurement(metric="step_flops", at=at, samples=(600.0,)),
        Measurement(metric="step_bytes", at=at, samples=(1200.0,)),
        Measurement(metric="forward_flops", at=batch, samples=(1e6,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e12,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 8, "rows": 8}, samples=(1e9, 2e9)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 8, "rows": 80}, samples=(1e10, 5e9)),
        Measurement(metric="read_bytes_per_second", at=at, samples=(1e9, 2e9)),
    )
    one = record().model_copy(update={"measurements": (step, forward, *stated)})
    # 600 FLOP in 3 µs are 2e8 a second; half a FLOP a byte at 2e9 bytes a second allows 1e9.
    assert Limits(one).share(step) == pytest.approx(0.2, rel=ROUNDING)
    # 1e6 FLOP in 2 ms are 5e8 a second; the best product of this batch does 1e10.
    assert Limits(one).share(forward) == pytest.approx(0.05, rel=ROUNDING)


@pytest.mark.parametrize("missing", ["step_flops", "step_bytes", "matmul_flops_per_second", "read_bytes_per_second"])
def test_where_anything_is_not_stated_there_is_no_share(missing: str) -> None:
    at = {"position": 16}
    places = {"step_flops": at, "step_bytes": at, "matmul_flops_per_second": {"batch": 1}, "read_bytes_per_second": at}
    step = Measurement(metric="step_seconds", at=at, samples=(1.0,))
    stated = [Measurement(metric=name, at=place, samples=(1.0,)) for name, place in places.items()]
    whole = record().model_copy(update={"measurements": (step, *stated)})
    assert Limits(whole).share(step) == 1.0
    part = whole.model_copy(update={"measurements": (step, *(one for one in stated if one.metric != missing))})
    assert Limits(part).share(step) is None
