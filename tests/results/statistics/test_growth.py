"""Fits of made-up streams whose answers are known, and how often the intervals cover them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from results import Block, Interval, Measurement, StreamCosts, cost_line, costs_of, crossover, curves_of, growth
from results.statistics import growth as _fits
from tests.results.examples import record

POSITIONS = (1, 4, 16, 64, 256, 1024, 4096, 16384)
EXACT = 1e-9
"""Relative; the costs have no noise, and sums of eight doubles round."""
SIMULATIONS = 1000
COVERAGE = (0.93, 0.995)
"""95% of 1,000 has a standard deviation of 0.7%. The median of a few takes few values, so that
its bootstrap is somewhat too wide; too narrow it must not be."""
Cost = Callable[[int], float]
Curves = list[dict[int, tuple[float, ...]]]


def flat(position: int) -> float:
    return 50e-6


def rising(position: int) -> float:
    return 20e-6 + 45e-9 * position


def windowed(position: int) -> float:
    return 40e-6 + 100e-9 * min(position, 256)


def barely_windowed(position: int) -> float:
    """As a small model is: what attention reads is little beside the fixed cost."""
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
    """Every curve is off by a share of its own, and every block by another."""
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
    found = costs_of(curves(cost, **options), resamples=resamples)
    assert found is not None
    return found


@pytest.mark.parametrize(("cost", "window", "a", "b"), [(rising, None, 20e-6, 45e-9), (windowed, 256, 40e-6, 1e-7)])
def test_a_line_without_noise_is_found_exactly(cost: Cost, window: int | None, a: float, b: float) -> None:
    found = cost_line(costs(cost, noise=0.0), window)
    assert found.start_seconds == pytest.approx((a, a, a), rel=EXACT)
    assert found.seconds_per_step == pytest.approx((b, b, b), rel=EXACT)
    assert found.misfit < EXACT


def test_a_line_that_does_not_fit_says_so() -> None:
    found = cost_line(costs(windowed, noise=0.0))
    assert found.misfit > 0.1


def test_a_power_of_the_position_grows_by_the_same_share_each_doubling() -> None:
    found = growth(costs(lambda position: 1e-6 * position**0.5, noise=0.0))
    assert found.per_doubling == pytest.approx((2**0.5 - 1,) * 3, rel=EXACT)
    assert found.verdict == "growing"


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
def test_verdicts(cost: Cost, window: int | None, verdict: str, count: int) -> None:
    assert growth(costs(cost, count=count), window).verdict == verdict


def test_growth_below_two_per_cent_is_flat_however_far_its_interval_reaches_up_to_ten() -> None:
    """One of six processes grew by 8% a doubling, the others by 0.1%: the median is 0.1%, and certainly not 0."""
    creeping = [{position: (1e-6 * 1.001 ** math.log2(position),) for position in (1, 64, 4096)} for _ in range(5)]
    grown = {position: (1e-6 * 1.08 ** math.log2(position),) for position in (1, 64, 4096)}
    drawn = costs_of([*creeping, grown])
    assert drawn is not None
    found = growth(drawn)
    assert found.per_doubling.low > 0 and found.per_doubling.middle < 0.02 < found.per_doubling.high
    assert found.verdict == "flat"


def test_a_rise_to_the_window_is_worked_out_by_hand() -> None:
    found = growth(costs(windowed, noise=0.0), 256)
    assert found.rise == pytest.approx((255e-7 / 401e-7,) * 3, rel=EXACT)
    assert found.per_doubling == pytest.approx((0.0,) * 3, abs=EXACT)
    assert (found.first, found.last) == (256, 16384)


def test_a_rise_that_doublings_hide_is_seen_at_four_positions() -> None:
    """From 16 to 128 the cost grows by 1.2% a doubling, which alone is flat; it is 8% dearer at the window."""
    positions = (16, 128, 1024, 8192)
    found = growth(costs(barely_windowed, positions=positions), 256)
    assert found.verdict == "saturating"
    assert growth(costs(barely_windowed, positions=positions[:2])).verdict == "flat"
    exact = growth(costs(barely_windowed, positions=positions, noise=0.0), 256)
    assert exact.rise == pytest.approx((240e-8 / 3016e-8,) * 3, rel=EXACT)
    assert (exact.first, exact.last) == (1024, 8192)


def test_a_cost_that_creeps_on_beyond_the_window_lends_nothing_to_the_rise() -> None:
    found = growth(costs(lambda position: 50e-6 + 1e-10 * max(0, position - 256), noise=0.0), 256)
    assert found.rise == pytest.approx((0.0,) * 3, abs=EXACT)
    assert found.verdict == "flat"


def test_a_rise_below_two_per_cent_is_none_although_it_is_seen() -> None:
    found = growth(costs(lambda position: 50e-6 + 3e-9 * min(position, 256), noise=0.0005), 256)
    assert found.rise is not None
    assert 0 < found.rise.low < found.rise.high < 0.02
    assert found.verdict == "flat"


@pytest.mark.parametrize(
    ("positions", "stretch", "verdict"),
    [
        ((16, 64, 256), (16, 256), "growing"),  # the window is never passed
        ((16, 128, 1024), (16, 128), "growing"),  # one position beyond says nothing of flat
        ((1024, 4096, 16384), (1024, 16384), "flat"),  # nothing is known of before
        ((16, 1024), (16, 1024), "growing"),
    ],
)
def test_positions_on_one_side_of_a_window_tell_no_rise(
    positions: tuple[int, ...], stretch: tuple[int, int], verdict: str
) -> None:
    found = growth(costs(windowed, positions=positions), 256)
    assert (found.rise, found.first, found.last, found.verdict) == (None, *stretch, verdict)


def test_growth_below_two_per_cent_is_flat_although_it_is_seen() -> None:
    found = growth(costs(lambda position: 50e-6 * position ** math.log2(1.01), noise=0.001))
    assert found.per_doubling.low > 0
    assert found.verdict == "flat"


def test_noise_that_hides_everything_decides_nothing() -> None:
    assert growth(costs(flat, count=1, noise=1.0, seed=3)).verdict == "undecided"


def test_one_block_of_few_curves_has_no_interval() -> None:
    found = costs(rising, count=2, blocks=1)
    assert found.unit == "blocks"
    assert growth(found).verdict == "undecided"
    low, _, high = cost_line(found).seconds_per_step
    assert (low, high) == (-math.inf, math.inf)


def test_fewer_than_two_positions_are_no_curve() -> None:
    assert costs_of([{16: (1.0, 2.0)}]) is None
    assert costs_of([{16: (1.0,), 32: (1.0,)}, {64: (1.0,)}]) is None
    assert costs_of([]) is None


def test_lines_cross_where_they_are_equal() -> None:
    found = crossover(costs(rising, noise=0.0), costs(flat, noise=0.0))
    assert not found.dearer_first
    assert found.position == pytest.approx((30e-6 / 45e-9,) * 3, rel=EXACT)
    turned = crossover(costs(flat, noise=0.0), costs(rising, noise=0.0))
    assert turned.dearer_first
    assert turned.position == pytest.approx((30e-6 / 45e-9,) * 3, rel=EXACT)


def test_a_window_is_crossed_before_it_is_full() -> None:
    found = crossover(costs(windowed, noise=0.0), costs(flat, noise=0.0), (256, None))
    assert found.position == pytest.approx((100.0,) * 3, rel=EXACT)


@pytest.mark.parametrize(("level", "dearer_first"), [(1e-6, True), (1.0, False)])
def test_lines_that_do_not_cross_where_it_was_measured(level: float, dearer_first: bool) -> None:
    found = crossover(costs(rising, noise=0.0), costs(lambda position: level, noise=0.0))
    assert (found.dearer_first, found.position) == (dearer_first, None)


def test_a_crossover_that_some_resamples_lack_has_a_bound_outside() -> None:
    found = crossover(costs(rising, noise=0.05), costs(lambda position: rising(15_500), noise=0.05, seed=1))
    assert found.position is not None
    assert found.position.high == math.inf


def test_the_same_curves_give_the_same_intervals() -> None:
    assert cost_line(costs(rising)) == cost_line(costs(rising))


def test_curves_are_processes_and_cases_and_their_blocks() -> None:
    beat = Block(calibration_seconds=0.005)
    at = {"position": 16}
    made = record().model_copy(
        update={
            "measurements": tuple(
                Measurement(metric="step_seconds", at=at, samples=samples, blocks=(beat, beat), process=process)
                for process, samples in enumerate([(1.0, 3.0, 2.0, 5.0, 5.0, 9.0), (4.0, 6.0)])
            )
        }
    )
    assert curves_of([made]) == [{16: (2.0, 5.0)}, {16: (4.0, 6.0)}]


def _covered(truth: float, interval: Interval) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize(("count", "blocks"), [(6, 3), (18, 3), (1, 12)])
def test_intervals_cover_as_often_as_they_say(count: int, blocks: int) -> None:
    """Over whole curves where there are enough of them, else over the blocks of one."""
    hits = {"slope": 0, "growth": 0, "crossover": 0, "rise": 0}
    level, growing = costs(flat, resamples=600, noise=0.0), growth(costs(rising, noise=0.0)).per_doubling.middle
    for seed in range(SIMULATIONS):
        # Blocks are drawn within a curve, and say nothing of its own share.
        found = costs(rising, count=count, blocks=blocks, noise=0.03, own=0.03 * (count > 1), seed=seed, resamples=600)
        hits["slope"] += _covered(45e-9, cost_line(found).seconds_per_step)
        hits["growth"] += _covered(growing, growth(found).per_doubling)
        position = crossover(found, level).position
        assert position is not None
        hits["crossover"] += _covered(30e-6 / 45e-9, position)
        rise = growth(found, 256).rise  # a line that goes on beyond the window is one of equation (3) too
        assert rise is not None
        hits["rise"] += _covered(255 * 45e-9 / 20.045e-6, rise)
    for name, hit in hits.items():
        assert COVERAGE[0] <= hit / SIMULATIONS <= COVERAGE[1], (name, hit)


@pytest.mark.parametrize("count", [6, 7, 41, 400, 401])
@pytest.mark.parametrize("middling", [_fits.MIDDLING, 0.05])
@pytest.mark.parametrize("at_once", [_fits.DRAWN_AT_ONCE, 5_000])
def test_medians_of_drawn_curves_are_those_that_sorting_gives(
    count: int, middling: float, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are drawn at once, and where the median lies farther from the middle than is looked at first."""
    monkeypatch.setattr(_fits, "MIDDLING", middling)
    monkeypatch.setattr(_fits, "DRAWN_AT_ONCE", at_once)
    costs_CP = np.random.default_rng(count).lognormal(size=(count, 3))
    chosen_RC = np.random.default_rng(1).integers(0, count, (500, count))
    found_RP = _fits._medians_of_drawn(costs_CP, 500, np.random.default_rng(1))
    np.testing.assert_array_equal(found_RP, np.median(costs_CP[chosen_RC], axis=1))


@pytest.mark.parametrize(("samples", "blocks"), [(1, 1), (7, 3), (8, 0), (2, 5), (60, 4)])
def test_medians_of_blocks_are_those_of_samples_split_evenly(samples: int, blocks: int) -> None:
    values = tuple(np.random.default_rng(samples).lognormal(size=samples).tolist())
    streamed = Measurement(
        metric="step_seconds", at={"position": 16}, samples=values, blocks=(Block(calibration_seconds=0.005),) * blocks
    )
    ((found,),) = (curve.values() for curve in curves_of([record().model_copy(update={"measurements": (streamed,)})]))
    parts = np.array_split(np.array(values), max(1, blocks))
    assert found == tuple(float(np.median(part)) for part in parts if len(part))


def test_costs_are_medians_over_curves_of_medians_over_blocks_however_many_these_are() -> None:
    found = costs_of([{1: (1.0, 2.0, 9.0), 4: (3.0,)}, {1: (5.0,), 4: (6.0, 8.0)}, {1: (7.0, 8.0), 4: (4.0, 5.0)}])
    assert found is not None
    assert found.cost_P.tolist() == [5.0, 4.5]
