"""What a streamed step costs as its stream goes on: lines, growth and crossovers, each with an interval.

    cost(t) = a + b · min(t, window)                             (1)  least squares of relative errors
    log cost(t) = α + β log2 t                                   (2)  growth per doubling: exp(β) - 1
    cost(t) = a + b · min(t, window) + c · max(t - window, 0)    (3)  as (1), its slope free beyond the window

Attention with a window reads more steps each time until the window is full, and then as many for ever. So (2) is
fitted from the window on, and (3) says by how much the cost has risen until then: what is read there is little beside
the fixed cost, and comes mostly in the last doubling, so that (2) below the window would call nearly anything flat.

The cost at a position is the median over curves, each a process of a case, of the p50 of its blocks. Intervals
are percentile bootstraps: from six curves on whole curves are drawn, so that what differs from process to process
is in the interval, and the percentiles are expanded for their small number (Hesterberg 2015, section 3.1). Of fewer,
blocks are drawn within each curve and position, which leaves that out. Where there
is only one block at a position nothing can be drawn, and the bounds are infinite.
"""

# Shape suffixes: R resamples, C curves, W those of middling cost, K blocks, P positions, E ends of a stretch

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from results.schema.record import Measurement, Record
from results.statistics.intervals import LEVEL, Interval

Floats = NDArray[np.float64]
Curve = Mapping[int, tuple[float, ...]]
"""The p50 of each block in seconds, by position: one process of one case."""

RESAMPLES = 10_000
DRAWN_AT_ONCE = 500_000
"""Curves drawn before their medians are taken, so that thousands of them stay in the processor's cache."""
MIDDLING = 3.0
"""Square roots of the number of curves to both sides of the middle one: the median of as many drawn lies farther off
less than once in ten million (Hoeffding 1963), as the number drawn from one half is binomial."""
MIN_CURVES = 6
"""With fewer, a percentile bootstrap over curves covers less than it says: of 95%, about 75% with three."""
FLAT_GROWTH = 0.02
"""Growth of the cost per doubling of the position that counts as none."""
TELLING_GROWTH = 0.10
"""An interval that holds both no growth and this much decides nothing."""

Verdict = Literal["flat", "growing", "saturating", "undecided"]


@dataclass(frozen=True, slots=True)
class StreamCosts:
    """StreamCosts at common positions, as estimated and as resampled."""

    positions_P: Floats
    cost_P: Floats
    cost_RP: Floats | None
    """None where nothing can be drawn."""
    unit: Literal["curves", "blocks"]
    curves: int

    @property
    def tail(self) -> float:
        """The share of resamples that lies beyond each bound."""
        half = (1 - LEVEL) / 2
        if self.unit == "blocks":
            return half
        widening = math.sqrt(self.curves / (self.curves - 1))
        return float(scipy.stats.norm.cdf(widening * scipy.stats.t.ppf(half, self.curves - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """Equation (1)."""

    start_seconds: Interval
    """a"""
    seconds_per_step: Interval
    """b"""
    misfit: float
    """The largest distance of a cost from the line, relative to the cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Equation (2) between two positions, and what it amounts to."""

    per_doubling: Interval
    first: int
    """The window, or the first position beyond, where two positions or more lie from there on; else the very first."""
    last: int
    rise: Interval | None
    """By how much a step at the window is dearer than one at the first position, as a share of that one, by (3).
    None where there is no window, or not two positions on both sides of it."""
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """From which position on the one costs more than the other; `position` is None where the lines do not cross
    between the first and the last measured one. A bound of the interval is infinite where it lies outside.
    """

    dearer_first: bool
    """Whether the one is the dearer at the first position."""
    position: Interval | None


def curves_of(records: Iterable[Record]) -> list[Curve]:
    """One curve for each process of each record that streamed."""
    found: dict[tuple[str, int], dict[int, tuple[float, ...]]] = {}
    for record in records:
        streamed = [one for one in record.by_process("step_seconds") if one.at.keys() == {"position"} and one.samples]
        blocks = [_blocks(one) for one in streamed]
        medians = iter(_medians([block for kept in blocks for block in kept]).tolist())
        for measurement, kept in zip(streamed, blocks, strict=True):
            curve = found.setdefault((record.key, measurement.process), {})
            curve[measurement.at["position"]] = tuple(islice(medians, len(kept)))
    return list(found.values())


def costs_of(curves: Sequence[Curve], *, resamples: int = RESAMPLES, seed: int = 0) -> StreamCosts | None:
    """The costs at the positions that all curves have; None with fewer than two."""
    shared = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    positions = sorted(position for position in shared if position > 0)
    if len(positions) < 2:
        return None
    generator = np.random.default_rng(seed)
    medians_CP = np.stack([_medians([curve[position] for curve in curves]) for position in positions], 1)
    unit: Literal["curves", "blocks"] = "curves" if len(curves) >= MIN_CURVES else "blocks"
    cost_RP: Floats | None = None
    if unit == "curves":
        cost_RP = _medians_of_drawn(medians_CP, resamples, generator)
    elif min(len(curve[position]) for curve in curves for position in positions) > 1:
        cost_RP = np.stack([_drawn(curves, position, resamples, generator) for position in positions], 1)
    return StreamCosts(np.array(positions, float), np.median(medians_CP, axis=0), cost_RP, unit, len(curves))


def cost_line(costs: StreamCosts, window: int | None = None) -> CostLine:
    """The line of equation (1) through the costs."""
    start, slope = _fit(costs, window)
    fitted_P = start[0] + slope[0] * _read(costs.positions_P, window)
    return CostLine(
        start_seconds=_interval(start[0], start[1:], costs.tail),
        seconds_per_step=_interval(slope[0], slope[1:], costs.tail),
        misfit=float(np.max(np.abs(fitted_P / costs.cost_P - 1))),
    )


def growth(costs: StreamCosts, window: int | None = None) -> Growth:
    """Whether the cost grows with the position: flat where the interval contains 0, or it is below 2% per doubling.

    With a window it is `saturating` where it is flat from there on and has risen until there, by more than 2%.
    """
    limit = math.inf if window is None else window
    before_P, after_P = costs.positions_P <= limit, costs.positions_P >= limit
    kept_P = next(some_P for some_P in (after_P, before_P, before_P | after_P) if some_P.sum() > 1)
    per_doubling, rise = _growth(costs, kept_P), None
    verdict = _judged(per_doubling)
    if window is not None and min(before_P.sum(), after_P.sum()) > 1:
        rise = _rise(costs, window)
        if verdict == "flat" and _judged(rise) == "growing":
            verdict = "saturating"
    first, last = costs.positions_P[kept_P][[0, -1]]
    return Growth(per_doubling=per_doubling, first=int(first), last=int(last), rise=rise, verdict=verdict)


def crossover(one: StreamCosts, other: StreamCosts, windows: tuple[int | None, int | None] = (None, None)) -> Crossover:
    """Where the lines of equation (1) of two architectures cross, within the positions that both have."""
    first = max(one.positions_P[0], other.positions_P[0])
    last = min(one.positions_P[-1], other.positions_P[-1])
    ends_E = np.unique([first, last, *(float(window) for window in windows if window and first < window < last)])
    lines = [_fit(costs, window) for costs, window in zip((one, other), windows, strict=True)]
    rows = min(len(start) for start, _ in lines)
    costs_2RE = [
        start[:rows, None] + slope[:rows, None] * _read(ends_E, window)
        for (start, slope), window in zip(lines, windows, strict=True)
    ]
    excess_RE = costs_2RE[0] - costs_2RE[1]
    crossed_R = _first_crossing(excess_RE, ends_E, bool(excess_RE[0, 0] > 0))
    inside = first < crossed_R[0] < last
    return Crossover(
        dearer_first=bool(excess_RE[0, 0] > 0),
        position=_interval(crossed_R[0], crossed_R[1:], min(one.tail, other.tail)) if inside else None,
    )


def _first_crossing(excess_RE: Floats, ends_E: Floats, dearer_first: bool) -> Floats:
    """The first position from which the excess has the other sign than the estimate has at first.

    Minus infinity where it has it from the start, infinity where it never does.
    """
    turned_RE = (excess_RE <= 0) if dearer_first else (excess_RE >= 0)
    stretch_R = np.argmax(turned_RE, axis=1)
    before_R = np.maximum(stretch_R - 1, 0)
    rows = np.arange(len(excess_RE))
    left_R, right_R = excess_RE[rows, before_R], excess_RE[rows, stretch_R]
    with np.errstate(divide="ignore", invalid="ignore"):
        share_R = left_R / (left_R - right_R)
        crossed_R = ends_E[before_R] + share_R * (ends_E[stretch_R] - ends_E[before_R])
    found: Floats = np.where(turned_RE[:, 0], -np.inf, np.where(turned_RE.any(axis=1), crossed_R, np.inf))
    return found


def _fit(costs: StreamCosts, window: int | None) -> tuple[Floats, Floats]:
    """a and b of equation (1), of the estimate first, then of every resample."""
    rows = _rows(costs)
    weight_P = 1 / costs.cost_P**2
    read_P = _read(costs.positions_P, window)
    centred_P = read_P - np.average(read_P, weights=weight_P)
    spread = float(np.sum(weight_P * centred_P**2))
    slope = rows @ (weight_P * centred_P) / spread if spread > 0 else np.zeros(len(rows))
    start = rows @ weight_P / weight_P.sum() - slope * float(np.average(read_P, weights=weight_P))
    return start, slope


def _rise(costs: StreamCosts, window: int) -> Interval:
    """The share of equation (3) that the first position's cost rises by until the window is full."""
    first = costs.positions_P[0]
    filling_P = np.minimum(costs.positions_P, window) - first
    beyond_P = np.maximum(costs.positions_P - window, 0)
    weighted_3P = np.stack([np.ones_like(filling_P), filling_P, beyond_P]) / costs.cost_P
    start_R, slope_R, _ = np.linalg.pinv(weighted_3P.T) @ (_rows(costs) / costs.cost_P).T
    rise_R = slope_R * (window - first) / start_R
    return _interval(rise_R[0], rise_R[1:], costs.tail)


def _growth(costs: StreamCosts, kept_P: NDArray[np.bool_]) -> Interval:
    rows = _rows(costs)
    doublings = np.log2(costs.positions_P[kept_P])
    centred = doublings - doublings.mean()
    per_doubling = np.expm1(np.log(rows[:, kept_P]) @ centred / np.sum(centred**2))
    return _interval(per_doubling[0], per_doubling[1:], costs.tail)


def _rows(costs: StreamCosts) -> Floats:
    """The estimate first, then every resample, (1 + R, P)."""
    return costs.cost_P[None] if costs.cost_RP is None else np.vstack([costs.cost_P, costs.cost_RP])


def _judged(per_doubling: Interval) -> Verdict:
    low, middle, high = per_doubling
    if low > 0 and middle >= FLAT_GROWTH:
        return "growing"
    return "flat" if high < TELLING_GROWTH else "undecided"


def _read(positions: Floats, window: int | None) -> Floats:
    return positions if window is None else np.minimum(positions, window)


def _drawn(curves: Sequence[Curve], position: int, resamples: int, generator: np.random.Generator) -> Floats:
    """The cost at a position, its blocks drawn anew within every curve."""
    medians = []
    for curve in curves:
        blocks_K = np.array(curve[position])
        medians.append(np.median(blocks_K[generator.integers(0, len(blocks_K), (resamples, len(blocks_K)))], axis=1))
    drawn: Floats = np.median(medians, axis=0)
    return drawn


def _medians_of_drawn(medians_CP: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    """The median over as many curves as there are, drawn with replacement, (R, P).

    How often each curve was drawn is counted in the order of its cost, so that nothing is sorted but the curves. Of
    many curves only those of middling cost are gone through one by one, and the cheaper ones counted together.
    """
    C = len(medians_CP)
    order_CP = np.argsort(medians_CP, axis=0)
    found = []
    for some in np.array_split(np.arange(resamples), -(-resamples * C // DRAWN_AT_ONCE)):
        chosen_RC = generator.integers(0, C, (len(some), C))
        places_RC = chosen_RC * len(some) + np.arange(len(some))[:, None]
        times_CR = np.bincount(places_RC.ravel(), minlength=C * len(some)).reshape(C, len(some)).astype(np.float32)
        medians_RP = _medians_of_times(medians_CP, order_CP, times_CR, math.ceil(MIDDLING * math.sqrt(C)))
        if medians_RP is None:
            medians_RP = _medians_of_times(medians_CP, order_CP, times_CR, C)
        assert medians_RP is not None
        found.append(medians_RP)
    return np.concatenate(found)


def _medians_of_times(
    medians_CP: Floats, order_CP: NDArray[np.intp], times_CR: NDArray[np.float32], reach: int
) -> Floats | None:
    """The medians where each curve was drawn so many times; None where one is not within `reach` of the middle."""
    C, P = medians_CP.shape
    first = max(C // 2 - reach, 0)
    found = []
    for p in range(P):
        middling_W = order_CP[first : C // 2 + reach + 1, p]
        below_R = times_CR[order_CP[:first, p]].sum(axis=0)  # whole numbers, which float32 holds exactly
        reached_WR = below_R + np.cumsum(times_CR[middling_W], axis=0)
        if (below_R > (C - 1) // 2).any() or (reached_WR[-1] <= C // 2).any():
            return None
        low_R, high_R = (middling_W[(reached_WR > middle).argmax(axis=0)] for middle in ((C - 1) // 2, C // 2))
        found.append((medians_CP[low_R, p] + medians_CP[high_R, p]) / 2)
    return np.stack(found, 1)


def _blocks(measurement: Measurement) -> list[tuple[float, ...]]:
    """The samples of each block: as even as can be, the longer ones first."""
    count = len(measurement.blocks)
    if count < 2:
        return [measurement.samples]
    least, longer = divmod(len(measurement.samples), count)
    ends = [0, *accumulate([least + 1] * longer + [least] * (count - longer))]
    return [measurement.samples[start:end] for start, end in pairwise(ends) if end > start]


def _medians(rows_K: Sequence[Sequence[float]]) -> Floats:
    """The median of each row; of all rows of one length at once."""
    lengths_K = np.array([len(row) for row in rows_K])
    found_K = np.empty(len(rows_K))
    for length in np.unique(lengths_K):
        places = np.flatnonzero(lengths_K == length).tolist()
        found_K[places] = np.median(np.array([rows_K[place] for place in places]), axis=1)
    return found_K


def _interval(middle: float, resampled: Floats, tail: float) -> Interval:
    if not len(resampled):
        return Interval(-math.inf, float(middle), math.inf)
    low, high = np.quantile(resampled, (tail, 1 - tail), method="inverted_cdf")
    return Interval(float(low), float(middle), float(high))
