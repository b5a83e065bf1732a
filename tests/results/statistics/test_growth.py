"""Test fits of synthetic streams with known parameters, and the coverage of their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from results import (
    MAX_MISFIT,
    Block,
    Interval,
    Measurement,
    Record,
    StreamCosts,
    cost_line,
    costs_of,
    crossover,
    curves_of,
    growth,
    step_metric,
)
from results.statistics import growth as fits
from tests.results.examples import record

POSITIONS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
EXACT = 1e-9
"""Relative rounding error of sums of eight doubles, for costs without noise."""
SIMULATIONS = 1000
COVERAGE = (0.93, 0.995)
"""Accepted coverage of 95% intervals. In 1,000 simulations, its standard deviation is 0.7%. The upper limit is higher,
since the bootstrap interval of a median of few curves is somewhat too wide."""
Cost = Callable[[int], float]
Curves = list[dict[int, tuple[float, ...]]]


def flat(position: int) -> float:
    return 50e-6


def rising(position: int) -> float:
    return 20e-6 + 45e-9 * position


def windowed(position: int) -> float:
    return 40e-6 + 100e-9 * min(position, 256)


def barely_windowed(position: int) -> float:
    """Return the step cost of a small model in seconds. The fixed cost is much larger than the cost of attention."""
    return 30e-6 + 10e-9 * min(position, 256)


def curves(
    cost: Cost,
    count: int = 8,
    blocks: int = 5,
    noise: float = 0.01,
    own: float | None = None,
    seed: int = 0,
    positions: Sequence[int] = POSITIONS,
) -> Curves:
    """Return curves with multiplicative noise.

    Args:
        cost: True cost at each position, in seconds.
        count: Number of curves.
        blocks: Number of blocks per position.
        noise: Standard deviation of the logarithm of each block.
        own: Standard deviation of the logarithm of each curve; `noise` if None.
        seed: Seed of the noise.
        positions: Measured positions, in steps.
    """
    generator = np.random.default_rng(seed)
    made: Curves = []
    for _ in range(count):
        share = math.exp(generator.normal(0, noise if own is None else own))
        made.append(
            {
                position: tuple(cost(position) * share * np.exp(generator.normal(0, noise, blocks)))
                for position in positions
            }
        )
    return made


def costs(cost: Cost, *, resamples: int = 2000, **options: Any) -> StreamCosts:
    result = costs_of(curves(cost, **options), resamples=resamples)
    assert result is not None
    return result


@pytest.mark.parametrize(("cost", "window", "a", "b"), [(rising, None, 20e-6, 45e-9), (windowed, 256, 40e-6, 1e-7)])
def test_a_line_without_noise_is_fitted_exactly(cost: Cost, window: int | None, a: float, b: float) -> None:
    result = cost_line(costs(cost, noise=0.0), window)
    assert result.start_seconds == pytest.approx((a, a, a), rel=EXACT)
    assert result.seconds_per_step == pytest.approx((b, b, b), rel=EXACT)
    assert result.misfit < EXACT


@pytest.mark.parametrize("count", [1, 4])
def test_a_clock_that_is_too_coarse_for_a_step_tells_no_growth(count: int) -> None:
    coarse = curves(rising, count=count)
    for curve in coarse:
        curve[POSITIONS[0]] = (0.0,) * len(curve[POSITIONS[0]])
    assert costs_of(coarse) is None
    assert costs_of(curves(rising, count=count)) is not None


def test_a_poor_fit_has_a_large_misfit() -> None:
    result = cost_line(costs(windowed, noise=0.0))
    assert result.misfit > 0.1


def test_a_power_law_has_constant_growth_per_doubling() -> None:
    result = growth(costs(lambda position: 1e-6 * position**0.5, noise=0.0))
    assert result.per_doubling == pytest.approx((2**0.5 - 1,) * 3, rel=EXACT)
    assert result.verdict == "growing"


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(
    ("cost", "window", "verdict"),
    [
        (flat, None, "flat"),
        (flat, 256, "flat"),
        (rising, None, "growing"),
        (rising, 256, "growing"),
        (windowed, 256, "saturating"),
        (windowed, None, "growing"),
        (barely_windowed, 256, "saturating"),
    ],
)
def test_verdicts_of_known_costs(cost: Cost, window: int | None, verdict: str, count: int) -> None:
    assert growth(costs(cost, count=count), window).verdict == verdict


def test_growth_below_two_per_cent_is_flat_if_the_interval_ends_below_ten() -> None:
    """Check that a significant growth below 2% is flat although the cost of one of six processes grows more.

    The cost of this process grows by 8% per doubling, and the costs of five processes grow by 0.1%. So the interval
    lies above 0 and ends between 2% and 10%.
    """
    creeping = [{position: (1e-6 * 1.001 ** math.log2(position),) for position in (1, 64, 4096)} for _ in range(5)]
    grown = {position: (1e-6 * 1.08 ** math.log2(position),) for position in (1, 64, 4096)}
    estimate = costs_of([*creeping, grown])
    assert estimate is not None
    result = growth(estimate)
    assert result.per_doubling.low > 0 and result.per_doubling.middle < 0.02 < result.per_doubling.high
    assert result.verdict == "flat"


def test_the_rise_to_the_window_matches_the_formula() -> None:
    result = growth(costs(windowed, noise=0.0), 256)
    assert result.rise == pytest.approx((255e-7 / 401e-7,) * 3, rel=EXACT)
    assert result.per_doubling == pytest.approx((0.0,) * 3, abs=EXACT)
    assert (result.first, result.last) == (256, 16384)


def test_a_rise_hidden_in_growth_per_doubling_is_detected_at_four_positions() -> None:
    """Check that the rise up to the window is found although the growth up to position 128 counts as flat.

    From 16 to 128, the cost grows by 1.2% per doubling. At the window, the cost is 8% higher than at 16.
    """
    positions = (16, 128, 1024, 8192)
    result = growth(costs(barely_windowed, positions=positions), 256)
    assert result.verdict == "saturating"
    assert growth(costs(barely_windowed, positions=positions[:2])).verdict == "flat"
    exact = growth(costs(barely_windowed, positions=positions, noise=0.0), 256)
    assert exact.rise == pytest.approx((240e-8 / 3016e-8,) * 3, rel=EXACT)
    assert (exact.first, exact.last) == (1024, 8192)


def test_a_slope_beyond_the_window_does_not_affect_the_rise() -> None:
    result = growth(costs(lambda position: 50e-6 + 1e-10 * max(0, position - 256), noise=0.0), 256)
    assert result.rise == pytest.approx((0.0,) * 3, abs=EXACT)
    assert result.verdict == "flat"


def test_a_significant_rise_below_two_per_cent_is_flat() -> None:
    result = growth(costs(lambda position: 50e-6 + 3e-9 * min(position, 256), noise=0.0005), 256)
    assert result.rise is not None
    assert 0 < result.rise.low < result.rise.high < 0.02
    assert result.verdict == "flat"


@pytest.mark.parametrize(
    ("positions", "stretch", "verdict"),
    [
        ((16, 64, 256), (16, 256), "growing"),  # no position is beyond the window
        ((16, 128, 1024), (16, 128), "growing"),  # a single position beyond the window shows no growth
        ((1024, 4096, 16384), (1024, 16384), "flat"),  # no position is before the window
        ((16, 1024), (16, 1024), "growing"),
    ],
)
def test_positions_on_one_side_of_the_window_give_no_rise(
    positions: tuple[int, ...], stretch: tuple[int, int], verdict: str
) -> None:
    result = growth(costs(windowed, positions=positions), 256)
    assert (result.rise, result.first, result.last, result.verdict) == (None, *stretch, verdict)


def test_significant_growth_below_two_per_cent_is_flat() -> None:
    result = growth(costs(lambda position: 50e-6 * position ** math.log2(1.01), noise=0.001))
    assert result.per_doubling.low > 0
    assert result.verdict == "flat"


def test_strong_noise_is_undecided() -> None:
    assert growth(costs(flat, count=1, noise=1.0, seed=3)).verdict == "undecided"


@pytest.mark.parametrize(
    "cost",
    [
        lambda position: 50e-6 * (1 + 0.5 / (1 + position / 64)),  # falls by a third
        lambda position: 50e-6 * (1.5 if position == 1 else 1.0),
        lambda position: 50e-6 * (1.5 if position == 256 else 1.0),
        lambda position: 50e-6 * position**-0.05,
    ],
)
def test_cost_far_from_a_constant_is_not_flat(cost: Cost) -> None:
    result = growth(costs(cost, noise=0.001))
    assert result.per_doubling.high < fits.MAX_UNCERTAIN_GROWTH
    assert (result.fits, result.verdict) == (False, "undecided")
    assert result.misfit > MAX_MISFIT


def test_cost_within_a_fifth_of_a_constant_is_flat() -> None:
    result = growth(costs(lambda position: 50e-6 * (1.18 if position == 1 else 1.0), noise=0.001))
    assert (result.fits, result.verdict) == (True, "flat")
    assert result.misfit == pytest.approx(1 - 1 / 1.18, abs=0.005)


def test_cost_further_from_its_fit_than_it_grows_is_undecided() -> None:
    """Check that a cost which jumps up and down is not called growing, although it is higher on average at the end."""
    jumping = {16: 1.0, 128: 3.0, 1024: 1.0, 8192: 2.0}
    result = growth(costs(lambda position: 50e-6 * jumping[position], positions=tuple(jumping), noise=0.001))
    assert result.per_doubling.low > 0 and result.per_doubling.middle > 0.02
    assert (result.fits, result.verdict) == (False, "undecided")


def test_few_curves_with_one_block_have_no_interval() -> None:
    result = costs(rising, count=2, blocks=1)
    assert result.unit == "blocks"
    assert growth(result).verdict == "undecided"
    low, _, high = cost_line(result).seconds_per_step
    assert (low, high) == (-math.inf, math.inf)


def test_fewer_than_two_shared_positions_give_no_costs() -> None:
    assert costs_of([{16: (1.0, 2.0)}]) is None
    assert costs_of([{16: (1.0,), 32: (1.0,)}, {64: (1.0,)}]) is None
    assert costs_of([]) is None


def test_lines_cross_where_their_costs_are_equal() -> None:
    result = crossover(costs(rising, noise=0.0), costs(flat, noise=0.0))
    assert not result.dearer_first
    assert result.position == pytest.approx((30e-6 / 45e-9,) * 3, rel=EXACT)
    turned = crossover(costs(flat, noise=0.0), costs(rising, noise=0.0))
    assert turned.dearer_first
    assert turned.position == pytest.approx((30e-6 / 45e-9,) * 3, rel=EXACT)


def test_lines_may_cross_before_the_window_is_full() -> None:
    result = crossover(costs(windowed, noise=0.0), costs(flat, noise=0.0), (256, None))
    assert result.position == pytest.approx((100.0,) * 3, rel=EXACT)


@pytest.mark.parametrize(("level", "dearer_first"), [(1e-6, True), (1.0, False)])
def test_lines_that_do_not_cross_in_the_measured_range(level: float, dearer_first: bool) -> None:
    result = crossover(costs(rising, noise=0.0), costs(lambda position: level, noise=0.0))
    assert (result.dearer_first, result.position) == (dearer_first, None)


def test_a_crossover_has_an_infinite_bound_if_some_resamples_do_not_cross() -> None:
    result = crossover(costs(rising, noise=0.05), costs(lambda position: rising(15_500), noise=0.05, seed=1))
    assert result.position is not None
    assert result.position.high == math.inf


def test_the_same_curves_give_the_same_intervals() -> None:
    assert cost_line(costs(rising)) == cost_line(costs(rising))


def test_each_process_of_a_case_is_a_curve_of_block_medians() -> None:
    block = Block(calibration_seconds=0.005)
    at = {"position": 16}
    made = record().model_copy(
        update={
            "measurements": tuple(
                Measurement(metric="step_seconds", at=at, samples=samples, blocks=(block, block), process=process)
                for process, samples in enumerate([(1.0, 3.0, 2.0, 5.0, 5.0, 9.0), (4.0, 6.0)])
            )
        }
    )
    assert curves_of([made]) == [{16: (2.0, 5.0)}, {16: (4.0, 6.0)}]


def test_growth_is_fitted_to_steps_in_compiled_code_if_any_record_has_them() -> None:
    def made(metric: str, seconds: float) -> Record:
        measured = Measurement(metric=metric, at={"position": 16}, samples=(seconds,))
        return record().model_copy(update={"measurements": (measured,)})

    compiled, called = made("step_seconds", 2.0), made("call_step_seconds", 9.0)
    both = compiled.model_copy(update={"measurements": (*called.measurements, *compiled.measurements)})
    assert curves_of([called, both, compiled]) == [{16: (2.0,)}]  # both have the same key and process
    assert curves_of([called]) == [{16: (9.0,)}]
    assert curves_of([both], "call_step_seconds") == [{16: (9.0,)}]
    assert curves_of([compiled], "call_step_seconds") == []
    assert [step_metric(one) for one in ([called], [called, compiled], [])] == [
        "call_step_seconds",
        "step_seconds",
        "call_step_seconds",
    ]


def _covered(truth: float, interval: Interval) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.slow
@pytest.mark.parametrize(("count", "blocks"), [(6, 3), (18, 3), (1, 12)])
def test_intervals_have_their_nominal_coverage(count: int, blocks: int) -> None:
    """Check the coverage of intervals from resampled curves (6 and 18 curves) and from resampled blocks (1 curve)."""
    hits = {"slope": 0, "growth": 0, "crossover": 0, "rise": 0}
    level, growing = costs(flat, resamples=600, noise=0.0), growth(costs(rising, noise=0.0)).per_doubling.middle
    for seed in range(SIMULATIONS):
        # The bootstrap of blocks does not include the noise of whole curves.
        result = costs(rising, count=count, blocks=blocks, noise=0.03, own=0.03 * (count > 1), seed=seed, resamples=600)
        hits["slope"] += _covered(45e-9, cost_line(result).seconds_per_step)
        hits["growth"] += _covered(growing, growth(result).per_doubling)
        position = crossover(result, level).position
        assert position is not None
        hits["crossover"] += _covered(30e-6 / 45e-9, position)
        rise = growth(result, 256).rise  # a line without a window also satisfies equation (3)
        assert rise is not None
        hits["rise"] += _covered(255 * 45e-9 / 20.045e-6, rise)
    for name, hit in hits.items():
        assert COVERAGE[0] <= hit / SIMULATIONS <= COVERAGE[1], (name, hit)


@pytest.mark.parametrize("count", [6, 7, 41, 400, 401])
@pytest.mark.parametrize("medium_range", [fits.MEDIUM_RANGE, 0.05])
@pytest.mark.parametrize("chunk_curves", [fits.CHUNK_CURVES, 5_000])
def test_resampled_medians_equal_those_of_sorting(
    count: int, medium_range: float, chunk_curves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the chunk size and the number of curves counted one by one do not affect the medians."""
    monkeypatch.setattr(fits, "MEDIUM_RANGE", medium_range)
    monkeypatch.setattr(fits, "CHUNK_CURVES", chunk_curves)
    costs_CP = np.random.default_rng(count).lognormal(size=(count, 3))
    chosen_RC = np.random.default_rng(1).integers(0, count, (500, count))
    medians_RP = fits.resampled_medians(costs_CP, 500, np.random.default_rng(1))
    np.testing.assert_array_equal(medians_RP, np.median(costs_CP[chosen_RC], axis=1))


@pytest.mark.parametrize(("samples", "blocks"), [(1, 1), (7, 3), (8, 0), (2, 5), (60, 4)])
def test_samples_are_split_evenly_into_blocks(samples: int, blocks: int) -> None:
    values = tuple(np.random.default_rng(samples).lognormal(size=samples).tolist())
    streamed = Measurement(
        metric="step_seconds", at={"position": 16}, samples=values, blocks=(Block(calibration_seconds=0.005),) * blocks
    )
    ((medians,),) = (curve.values() for curve in curves_of([record().model_copy(update={"measurements": (streamed,)})]))
    parts = np.array_split(np.array(values), max(1, blocks))
    assert medians == tuple(float(np.median(part)) for part in parts if len(part))


def test_costs_are_medians_over_curves_of_medians_over_blocks() -> None:
    result = costs_of([{1: (1.0, 2.0, 9.0), 4: (3.0,)}, {1: (5.0,), 4: (6.0, 8.0)}, {1: (7.0, 8.0), 4: (4.0, 5.0)}])
    assert result is not None
    assert result.cost_P.tolist() == [5.0, 4.5]
