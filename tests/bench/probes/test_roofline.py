"""Tests of the roofline with a simulated timer. Expected shares are computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from arch.kernels import limits
from bench.plans.plan import Timing
from bench.probes import roofline
from results import Limits, Measurement, attainable
from tests.bench.tiny import subject
from tests.results.examples import record

TIMING = Timing(positions=(1, 8), batch=2)
CALL_SECONDS = 0.001
ROUNDING = 1e-12
"""Relative tolerance for one product and one quotient of float64 numbers."""


def millisecond(call: Callable[[], object], calls: int, device: torch.device) -> float:
    call()
    return CALL_SECONDS


def without_compiler() -> str:
    return "no compiler"


Samples = dict[tuple[str, tuple[tuple[str, int], ...]], tuple[float, ...]]


def measured(name: str = "lstm", seconds: roofline.Seconds = millisecond) -> Samples:
    one = subject(name)
    measurements = roofline.measure([one], TIMING, seconds)[one.case.key]
    return {(measurement.metric, tuple(measurement.at.items())): measurement.samples for measurement in measurements}


@pytest.fixture(autouse=True)
def _forget_rates() -> Iterator[None]:
    """Measure again in each test: some run without a compiler."""
    for cached in (roofline.multiply_add_rates, roofline.product_rates, roofline.read_rates):
        cached.cache_clear()
    yield
    for cached in (roofline.multiply_add_rates, roofline.product_rates, roofline.read_rates):
        cached.cache_clear()


def test_rates_of_torch_are_work_over_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "obstacle", without_compiler)
    samples = measured()
    for batch, rows in ((1, 1), (1, 4), (2, 2), (2, 8)):
        flops = 2 * rows * 4 * 16
        rates = samples["matmul_flops_per_second", (("batch", batch), ("rows", rows))]
        assert rates == pytest.approx((flops / CALL_SECONDS,) * roofline.BLOCKS, rel=ROUNDING)
    moved = subject("lstm").model.step_bytes(8)
    assert moved is not None
    passes = -(-roofline.MIN_READ_BYTES // moved)
    assert samples["read_bytes_per_second", (("position", 8),)] == pytest.approx(
        (passes * moved / CALL_SECONDS,) * roofline.BLOCKS, rel=ROUNDING
    )
    assert "fma_flops_per_second" not in {metric for metric, _ in samples}


def test_rates_of_kernels_are_work_over_seconds() -> None:
    samples = measured()
    assert samples["fma_flops_per_second", ()] == (limits.multiply_adds().amount / CALL_SECONDS,) * roofline.BLOCKS
    (flops,) = {work.amount for work in limits.products(8, 4, 16)}
    rates = samples["matmul_flops_per_second", (("batch", 2), ("rows", 8))]
    assert rates == pytest.approx((flops / CALL_SECONDS,) * roofline.BLOCKS, rel=ROUNDING)
    moved = subject("lstm").model.step_bytes(8)
    assert moved is not None
    (amount,) = {work.amount for work in limits.reads(moved, roofline.MIN_READ_BYTES)}
    assert samples["read_bytes_per_second", (("position", 8),)] == pytest.approx(
        (amount / CALL_SECONDS,) * roofline.BLOCKS, rel=ROUNDING
    )


def test_a_sample_is_the_fastest_way_of_its_block() -> None:
    orders, timed = len(limits.ORDERS), 0

    def seconds(call: Callable[[], object], calls: int, device: torch.device) -> float:
        """Each order takes as many milliseconds as the number of calls before, modulo the number of orders, plus 1."""
        nonlocal timed
        timed += 1
        return CALL_SECONDS * ((timed - 1) % orders + 1)

    rates = roofline.read_rates(1 << 20, "cpu", 1, seconds)
    amount = limits.reads(1 << 20, roofline.MIN_READ_BYTES)[0].amount
    assert rates == (amount / CALL_SECONDS,) * roofline.BLOCKS
    assert timed == 2 * orders * roofline.BLOCKS


def test_needs_are_the_closed_forms_of_the_model() -> None:
    samples, model = measured("transformer"), subject("transformer").model
    assert samples["forward_flops", (("batch", 2),)] == (model.forward_flops(2, 4),)
    assert samples["train_step_flops", (("batch", 2),)] == (model.train_step_flops(2, 4),)
    assert samples["step_flops", (("position", 8),)] == (model.step_flops(8),)
    assert samples["step_bytes", (("position", 8),)] == (model.step_bytes(8),)


def test_each_size_is_measured_once() -> None:
    calls = 0

    def counted(call: Callable[[], object], repeats: int, device: torch.device) -> float:
        nonlocal calls
        calls += 1
        return CALL_SECONDS

    first = roofline.product_rates(3, 4, "cpu", 1, counted)
    ways = 6  # torch's product and the tiles, for three shapes
    assert calls == 2 * ways * roofline.BLOCKS
    assert roofline.product_rates(3, 4, "cpu", 1, counted) == first
    assert calls == 2 * ways * roofline.BLOCKS


@pytest.mark.parametrize(("kibibytes", "memories"), [(1, roofline.BLOCKS), (64, 1)])
def test_memories_that_a_cache_may_hold_differ_between_blocks(
    kibibytes: int, memories: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "MIN_READ_BYTES", 64 << 10)
    reads, made = limits.reads, []

    def counted(memory_bytes: int, min_bytes: int) -> list[limits.Work]:
        made.append(memory_bytes)
        return reads(memory_bytes, min_bytes)

    monkeypatch.setattr(limits, "reads", counted)
    assert len(roofline.read_rates(kibibytes << 10, "cpu", 1, millisecond)) == roofline.BLOCKS
    assert made == [kibibytes << 10] * memories


def test_products_have_a_maximum_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "MAX_ROWS", 3)
    monkeypatch.setattr(roofline, "obstacle", without_compiler)
    rates = measured()["matmul_flops_per_second", (("batch", 2), ("rows", 8))]
    assert rates == pytest.approx((2 * 3 * 4 * 16 / CALL_SECONDS,) * roofline.BLOCKS, rel=ROUNDING)


def test_limit_is_the_lower_of_peak_and_bandwidth() -> None:
    assert attainable(100.0, 50.0, 1e9, 2e8) == 4e8
    assert attainable(100.0, 50.0, 1e8, 2e8) == 1e8
    assert attainable(100.0, None, 1e8, 2e8) == 1e8


def test_shares_of_the_limits_equal_values_computed_by_hand() -> None:
    at, batch = {"position": 16}, {"batch": 8}
    step = Measurement(metric="step_seconds", at=at, samples=(4e-6, 2e-6, 3e-6))
    forward = Measurement(metric="forward_seconds", at=batch, samples=(2e-3,))
    needs_and_limits = (
        Measurement(metric="step_flops", at=at, samples=(600.0,)),
        Measurement(metric="step_bytes", at=at, samples=(1200.0,)),
        Measurement(metric="forward_flops", at=batch, samples=(1e6,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e12,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 8, "rows": 8}, samples=(1e9, 2e9)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 8, "rows": 80}, samples=(1e10, 5e9)),
        Measurement(metric="read_bytes_per_second", at=at, samples=(1e9, 2e9)),
    )
    one = record().model_copy(update={"measurements": (step, forward, *needs_and_limits)})
    # 600 FLOP in 3 µs are 2e8 FLOP/s. Half a FLOP per byte at 2e9 bytes per second allows 1e9 FLOP/s.
    assert Limits(one).share(step) == pytest.approx(0.2, rel=ROUNDING)
    # 1e6 FLOP in 2 ms are 5e8 FLOP/s. The best product of this batch reaches 1e10 FLOP/s.
    assert Limits(one).share(forward) == pytest.approx(0.05, rel=ROUNDING)


@pytest.mark.parametrize("metric", ["step_seconds", "call_step_seconds"])
def test_peak_of_a_step_is_the_rate_of_multiply_adds(metric: str) -> None:
    at = {"position": 16}
    step = Measurement(metric=metric, at=at, samples=(1e-6,))
    others = (
        Measurement(metric="step_flops", at=at, samples=(500.0,)),
        Measurement(metric="step_bytes", at=at, samples=(1.0,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e8,)),
        Measurement(metric="read_bytes_per_second", at=at, samples=(1e12,)),
    )
    multiply_adds = Measurement(metric="fma_flops_per_second", at={}, samples=(5e8, 1e9))
    # 500 FLOP in 1 µs are 5e8 FLOP/s: half of the multiply-adds, and five times the slow product of one row.
    with_kernels = record().model_copy(update={"measurements": (step, *others, multiply_adds)})
    assert Limits(with_kernels).share(step) == pytest.approx(0.5, rel=ROUNDING)
    without = record().model_copy(update={"measurements": (step, *others)})
    assert Limits(without).share(step) == pytest.approx(5, rel=ROUNDING)


@pytest.mark.parametrize("missing", ["step_flops", "step_bytes", "matmul_flops_per_second", "read_bytes_per_second"])
def test_share_is_none_if_a_measurement_is_missing(missing: str) -> None:
    at = {"position": 16}
    places = {
        "step_flops": at,
        "step_bytes": at,
        "matmul_flops_per_second": {"batch": 1},
        "read_bytes_per_second": at,
    }
    step = Measurement(metric="step_seconds", at=at, samples=(1.0,))
    others = [Measurement(metric=name, at=place, samples=(1.0,)) for name, place in places.items()]
    complete = record().model_copy(update={"measurements": (step, *others)})
    assert Limits(complete).share(step) == 1.0
    incomplete = complete.model_copy(update={"measurements": (step, *(one for one in others if one.metric != missing))})
    assert Limits(incomplete).share(step) is None
