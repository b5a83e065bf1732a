"""The cost of a streamed step as a function of its position: cost lines, growth and crossovers, with intervals.

    cost(t) = a + b · min(t, window)                             (1)  least squares of relative errors
    log cost(t) = α + β log2 t                                   (2)  growth per doubling: exp(β) - 1
    cost(t) = a + b · min(t, window) + c · max(t - window, 0)    (3)  as (1), with a free slope beyond the window

Attention with a window reads one more step at each position until the window is full. Beyond the window, the number of
steps is constant. So (2) is fitted from the window on if at least two positions are there. The rise up to the window is
taken from (3), since (2) is not sensitive enough up to the window. The cost of reading is small relative to the fixed
cost. Most of its rise lies in the last doubling before the window.

A verdict holds only if the costs are near what it claims. For a flat cost, no cost may be further than `MAX_MISFIT`
from the median. For a growing one, no cost may be further from the line of (1), or from that of (2), than the
cost grows by (2). Otherwise the verdict is undecided, for example if costs fall.

A curve contains the timings of a case by a single process. At each position, a curve has one median per block. The cost
of a curve is the median of its block medians. The cost of several curves is the median of the costs of these curves.

Intervals are percentile bootstraps. With six or more curves, whole curves are resampled, so that the interval includes
the variation between processes. The percentiles are widened, since the number of curves is small (Hesterberg 2015,
section 3.1). With fewer curves, blocks are resampled within each curve and position, so the interval excludes the
variation between processes. If a curve has a single block at any position, blocks are not resampled and the bounds are
infinite.
"""

# Shape suffixes: R resamples, C curves, W curves of medium cost, K blocks, P positions, E ends of a linear piece

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.statistics.intervals import LEVEL, Interval
from results.statistics.step_curves import Curve, Floats, medians_of

RESAMPLES = 10_000
CHUNK_CURVES = 500_000
"""Number of drawn curves per chunk of resamples. Chunks of this size stay in the processor's cache."""
MEDIUM_RANGE = 3.0
"""Number of curves of medium cost on either side of the median curve, in units of √C. The median of C resampled curves
is outside this range with a probability below 1e-7. This is Hoeffding's bound (1963): the number of draws from one
half of the curves is binomial."""
MIN_CURVES = 6
"""Minimum number of curves for resampling whole curves. With three, a 95% percentile bootstrap covers about 75%."""
FLAT_GROWTH = 0.02
"""Minimum growth per doubling of the position for a cost to count as growing. It is also the minimum relative rise
up to the window for a cost to count as saturating."""
MAX_UNCERTAIN_GROWTH = 0.10
"""Growth per doubling below which the interval of a flat cost must end."""

MAX_MISFIT = 0.20
"""Largest distance of a cost from the median of a flat cost, relative to the cost. A step that costs the same at every
position varies by a few per cent on a quiet machine."""

Verdict = Literal["flat", "growing", "saturating", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCosts:
    """The costs in seconds at the positions that all curves share, with bootstrap resamples."""

    positions_P: Floats
    cost_P: Floats
    cost_RP: Floats | None
    """Resampled costs; None if nothing can be resampled."""
    unit: Literal["curves", "blocks"]
    """Unit of resampling: whole curves, or the blocks within each curve."""
    curves: int
    """Number of curves."""

    @property
    def tail(self) -> float:
        """The share of resamples beyond each bound of an interval."""
        from scipy import stats

        half = (1 - LEVEL) / 2
        if self.unit == "blocks":
            return half
        widening = math.sqrt(self.curves / (self.curves - 1))
        return float(stats.norm.cdf(widening * stats.t.ppf(half, self.curves - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """The cost line of equation (1), with intervals."""

    start_seconds: Interval
    """Fixed cost a, in seconds."""
    seconds_per_step: Interval
    """Slope b, in seconds per step."""
    misfit: float
    """Largest distance of a cost from the line, relative to the cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth of equation (2) between two positions, with a verdict."""

    per_doubling: Interval
    first: int
    """First position of the fit. The fit starts at or beyond the window if there are at least two such positions."""
    last: int
    """Last position of the fit."""
    rise: Interval | None
    """Relative rise of the cost from the first position to the window, by (3). None if there is no window, or if fewer
    than two positions are on either side of the window. A position at the window counts on each side."""
    misfit: float
    """Largest distance of a cost, relative to the cost: from the line of (1) or of (2), whichever is nearer, if the
    interval says that the cost grows; from the median otherwise."""
    fits: bool
    """Whether the costs are near what the interval claims. If not, the verdict is `undecided`."""
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """The position at which the cost lines of two architectures cross."""

    dearer_first: bool
    """Whether the first architecture costs more at the first position."""
    position: Interval | None
    """Position of the crossing, in steps. None if the lines do not cross between the first and last shared position. A
    bound outside that range is infinite."""


def costs_of(curves: Sequence[Curve], *, resamples: int = RESAMPLES, seed: int = 0) -> StreamCosts | None:
    """Return the costs at the positive positions that all curves share.

    Returns None if there are fewer than two, or if a cost is zero because the clock is too coarse for a step.

    Args:
        curves: Curves of one architecture.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
    """
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    positions = sorted(position for position in shared if position > 0)
    if len(positions) < 2:
        return None
    generator = np.random.default_rng(seed)
    medians_CP = np.stack([medians_of([curve[position] for curve in curves]) for position in positions], 1)
    unit: Literal["curves", "blocks"] = "curves" if len(curves) >= MIN_CURVES else "blocks"
    cost_RP: Floats | None = None
    if unit == "curves":
        cost_RP = resampled_medians(medians_CP, resamples, generator)
    elif min(len(curve[position]) for curve in curves for position in positions) > 1:
        cost_RP = np.stack([_resampled_blocks(curves, position, resamples, generator) for position in positions], 1)
    cost_P = np.median(medians_CP, axis=0)
    if min(cost_P.min(), math.inf if cost_RP is None else cost_RP.min()) <= 0:
        return None
    positions_P = np.array(positions, float)
    return StreamCosts(positions_P=positions_P, cost_P=cost_P, cost_RP=cost_RP, unit=unit, curves=len(curves))


def cost_line(costs: StreamCosts, window: int | None = None) -> CostLine:
    """Fit the line of equation (1). `window` is the attention window in steps; None without a window."""
    start, slope = _fit(costs, window)
    return CostLine(
        start_seconds=_interval(start[0], start[1:], costs.tail),
        seconds_per_step=_interval(slope[0], slope[1:], costs.tail),
        misfit=_line_misfit(costs, window),
    )


def growth(costs: StreamCosts, window: int | None = None) -> Growth:
    """Judge whether the cost grows with the position.

    The cost is `growing` if the interval lies above 0 and the growth is at least 2% per doubling. A cost that is not
    growing is `flat` if the interval ends below 10%, and `undecided` if not. With a window, the cost can also be
    `saturating`. Such a cost rises significantly up to the window, by at least 2%. It is flat beyond the window. If the
    costs are too far from what the verdict claims, it is `undecided`, and `Growth.fits` is false.

    `window` is the attention window in steps; None without a window.
    """
    limit = math.inf if window is None else window
    before_P, after_P = costs.positions_P <= limit, costs.positions_P >= limit
    fitted_P = next(mask_P for mask_P in (after_P, before_P, before_P | after_P) if mask_P.sum() > 1)
    per_doubling, rise = _growth(costs, fitted_P), None
    verdict = _verdict(per_doubling)
    if window is not None and min(before_P.sum(), after_P.sum()) > 1:
        rise = _rise(costs, window)
        if verdict == "flat" and _verdict(rise) == "growing":
            verdict = "saturating"
    first, last = costs.positions_P[fitted_P][[0, -1]]
    if verdict == "growing":
        misfit = min(_power_misfit(costs, fitted_P), _line_misfit(costs, window))
        fits = misfit <= (1 + per_doubling.middle) ** math.log2(last / first) - 1
    else:
        misfit = _relative_misfit(np.median(costs.cost_P[fitted_P]), costs.cost_P[fitted_P])
        fits = verdict == "undecided" or misfit <= MAX_MISFIT
    return Growth(
        per_doubling=per_doubling,
        first=int(first),
        last=int(last),
        rise=rise,
        misfit=misfit,
        fits=fits,
        verdict=verdict if fits else "undecided",
    )


def crossover(
    first: StreamCosts, second: StreamCosts, windows: tuple[int | None, int | None] = (None, None)
) -> Crossover:
    """Return the position at which the fitted lines (1) of two architectures cross.

    The position is None if the lines do not cross within the range of positions that the two architectures share.

    Args:
        first: Costs of the first architecture.
        second: Costs of the second architecture.
        windows: Attention window of each architecture, in steps; None without a window.
    """
    nearest = max(first.positions_P[0], second.positions_P[0])
    farthest = min(first.positions_P[-1], second.positions_P[-1])
    inner = [float(window) for window in windows if window and nearest < window < farthest]
    ends_E = np.unique([nearest, farthest, *inner])
    lines = [_fit(costs, window) for costs, window in zip((first, second), windows, strict=True)]
    rows = min(len(start) for start, _ in lines)
    costs_2RE = [
        start[:rows, None] + slope[:rows, None] * _steps_read(ends_E, window)
        for (start, slope), window in zip(lines, windows, strict=True)
    ]
    excess_RE = costs_2RE[0] - costs_2RE[1]
    crossed_R = _first_crossing(excess_RE, ends_E, bool(excess_RE[0, 0] > 0))
    inside = nearest < crossed_R[0] < farthest
    return Crossover(
        dearer_first=bool(excess_RE[0, 0] > 0),
        position=_interval(crossed_R[0], crossed_R[1:], min(first.tail, second.tail)) if inside else None,
    )


def _first_crossing(excess_RE: Floats, ends_E: Floats, dearer_first: bool) -> Floats:
    """Return, per resample, the first position at which the excess changes sign.

    The result is infinity if the sign never changes. The result is minus infinity if a resample differs in sign from
    the estimate at the first position.

    Args:
        excess_RE: Cost of the first architecture minus that of the second in seconds, (1 + R, E), estimate in row 0.
        ends_E: Positions in ascending order, (E,). The excess is linear between neighbouring positions.
        dearer_first: Whether the estimate is positive at the first position.
    """
    turned_RE = (excess_RE <= 0) if dearer_first else (excess_RE >= 0)
    after_R = np.argmax(turned_RE, axis=1)
    before_R = np.maximum(after_R - 1, 0)
    rows = np.arange(len(excess_RE))
    left_R, right_R = excess_RE[rows, before_R], excess_RE[rows, after_R]
    with np.errstate(divide="ignore", invalid="ignore"):
        share_R = left_R / (left_R - right_R)
        crossed_R = ends_E[before_R] + share_R * (ends_E[after_R] - ends_E[before_R])
    position_R: Floats = np.where(turned_RE[:, 0], -np.inf, np.where(turned_RE.any(axis=1), crossed_R, np.inf))
    return position_R


def _fit(costs: StreamCosts, window: int | None) -> tuple[Floats, Floats]:
    """Return a (seconds) and b (seconds per step) of equation (1), (1 + R,) each, with the estimate first."""
    rows = _rows(costs)
    weight_P = 1 / costs.cost_P**2
    read_P = _steps_read(costs.positions_P, window)
    centred_P = read_P - np.average(read_P, weights=weight_P)
    spread = float(np.sum(weight_P * centred_P**2))
    slope = rows @ (weight_P * centred_P) / spread if spread > 0 else np.zeros(len(rows))
    start = rows @ weight_P / weight_P.sum() - slope * float(np.average(read_P, weights=weight_P))
    return start, slope


def _line_misfit(costs: StreamCosts, window: int | None) -> float:
    """Return the largest relative distance of a cost from the line of equation (1)."""
    start, slope = _fit(costs, window)
    return _relative_misfit(start[0] + slope[0] * _steps_read(costs.positions_P, window), costs.cost_P)


def _power_misfit(costs: StreamCosts, fitted_P: NDArray[np.bool_]) -> float:
    """Return the largest relative distance of a cost in the fit from the line of equation (2)."""
    doublings = np.log2(costs.positions_P[fitted_P])
    slope, start = np.polyfit(doublings, np.log(costs.cost_P[fitted_P]), 1)
    return _relative_misfit(np.exp(start + slope * doublings), costs.cost_P[fitted_P])


def _relative_misfit(fitted: Floats | np.floating, cost_P: Floats) -> float:
    return float(np.max(np.abs(fitted / cost_P - 1)))


def _rise(costs: StreamCosts, window: int) -> Interval:
    """Return the relative rise of the cost from the first position to the window, by equation (3)."""
    first = costs.positions_P[0]
    filling_P = np.minimum(costs.positions_P, window) - first
    beyond_P = np.maximum(costs.positions_P - window, 0)
    weighted_3P = np.stack([np.ones_like(filling_P), filling_P, beyond_P]) / costs.cost_P
    start_R, slope_R, _ = np.linalg.pinv(weighted_3P.T) @ (_rows(costs) / costs.cost_P).T
    rise_R = slope_R * (window - first) / start_R
    return _interval(rise_R[0], rise_R[1:], costs.tail)


def _growth(costs: StreamCosts, fitted_P: NDArray[np.bool_]) -> Interval:
    """Return the growth per doubling by equation (2), fitted to the positions that `fitted_P` selects."""
    rows = _rows(costs)
    doublings = np.log2(costs.positions_P[fitted_P])
    centred = doublings - doublings.mean()
    per_doubling = np.expm1(np.log(rows[:, fitted_P]) @ centred / np.sum(centred**2))
    return _interval(per_doubling[0], per_doubling[1:], costs.tail)


def _rows(costs: StreamCosts) -> Floats:
    """Return the costs of the estimate, followed by those of every resample, (1 + R, P)."""
    return costs.cost_P[None] if costs.cost_RP is None else np.vstack([costs.cost_P, costs.cost_RP])


def _verdict(growth: Interval) -> Verdict:
    low, middle, high = growth
    if low > 0 and middle >= FLAT_GROWTH:
        return "growing"
    return "flat" if high < MAX_UNCERTAIN_GROWTH else "undecided"


def _steps_read(positions: Floats, window: int | None) -> Floats:
    """Return min(t, window) of (1) at each position t, or t itself without a window."""
    return positions if window is None else np.minimum(positions, window)


def _resampled_blocks(curves: Sequence[Curve], position: int, resamples: int, generator: np.random.Generator) -> Floats:
    """Return resampled costs in seconds at a position, (R,), with blocks resampled within every curve.

    Args:
        curves: Curves that all have the position.
        position: Position in the stream, in steps.
        resamples: Number of resamples R.
        generator: Source of randomness.
    """
    medians = []
    for curve in curves:
        blocks_K = np.array(curve[position])
        medians.append(np.median(blocks_K[generator.integers(0, len(blocks_K), (resamples, len(blocks_K)))], axis=1))
    resampled: Floats = np.median(medians, axis=0)
    return resampled


def resampled_medians(medians_CP: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """Return medians over C curves that are drawn with replacement, (R, P).

    The curves are sorted by cost once per position. So resamples need no sorting: the number of times that each curve
    was drawn determines the median. First, only curves of medium cost are counted one by one. If a median is not among
    them, all curves are counted.
    """
    C = len(medians_CP)
    order_CP = np.argsort(medians_CP, axis=0)
    chunks = []
    for chunk in np.array_split(np.arange(resamples), -(-resamples * C // CHUNK_CURVES)):
        chosen_RC = generator.integers(0, C, (len(chunk), C))
        flat_RC = chosen_RC * len(chunk) + np.arange(len(chunk))[:, None]
        counts_CR = np.bincount(flat_RC.ravel(), minlength=C * len(chunk)).reshape(C, len(chunk)).astype(np.float32)
        medians_RP = _medians_from_counts(medians_CP, order_CP, counts_CR, math.ceil(MEDIUM_RANGE * math.sqrt(C)))
        if medians_RP is None:
            medians_RP = _medians_from_counts(medians_CP, order_CP, counts_CR, C)
        assert medians_RP is not None
        chunks.append(medians_RP)
    return np.concatenate(chunks)


def _medians_from_counts(
    medians_CP: Floats, order_CP: NDArray[np.intp], counts_CR: NDArray[np.float32], reach: int
) -> Floats | None:
    """Return the medians of resampled curves, (R, P), or None if a median is beyond `reach`.

    Args:
        medians_CP: Cost of each curve in seconds, (C, P).
        order_CP: Indices of the curves in ascending order of their cost, (C, P).
        counts_CR: Number of times that each resample contains each curve, (C, R).
        reach: Number of curves on either side of the median curve that are counted one by one.
    """
    C, P = medians_CP.shape
    first = max(C // 2 - reach, 0)
    medians = []
    for p in range(P):
        medium_W = order_CP[first : C // 2 + reach + 1, p]
        below_R = counts_CR[order_CP[:first, p]].sum(axis=0)  # integers, which float32 represents exactly
        reached_WR = below_R + np.cumsum(counts_CR[medium_W], axis=0)
        if (below_R > (C - 1) // 2).any() or (reached_WR[-1] <= C // 2).any():
            return None
        low_R, high_R = (medium_W[(reached_WR > rank).argmax(axis=0)] for rank in ((C - 1) // 2, C // 2))
        medians.append((medians_CP[low_R, p] + medians_CP[high_R, p]) / 2)
    return np.stack(medians, 1)


def _interval(middle: float, resampled: Floats, tail: float) -> Interval:
    """Return an estimate with the `tail` and `1 - tail` quantiles of its resamples as bounds.

    The bounds are infinite if there are no resamples.
    """
    if not len(resampled):
        return Interval(-math.inf, float(middle), math.inf)
    low, high = np.quantile(resampled, (tail, 1 - tail), method="inverted_cdf")
    return Interval(float(low), float(middle), float(high))
