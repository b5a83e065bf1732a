"""What a comparison promises, simulated: false alarms, power, coverage.

    python -m tests.promises

Without a change, at most 1% of comparisons and 5% of reports raise a false alarm, whatever the noise; where one
process resembles the one before it the promise holds for reports, not for a comparison by itself, which nothing but
the pulse can tell from a change. A kernel that is 20% slower is found at 5% noise by six processes a side in at
least 99%, in a report of the size of plan `quick`.
Noise is that of a process: of the logarithm of its median. Exits with 1 where a promise is broken.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results import _resample as resample
from results._evidence import evidence
from results._units import Units
from results._verdict import Change, Thresholds, found

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
SIDE = 6
QUICK = 168
"""Comparisons of timings that plan `quick` makes: 4 architectures, 3 tasks, 2 lengths, 7 timings each."""
NOISE = 0.05
MOST_ALONE, MOST_REPORTS, LEAST_POWER = 0.01, 0.05, 0.99
LEAST_COVERAGE, MOST_COVERAGE = 0.93, 0.97
SURE = 3.0
"""Standard errors of a simulated share that are not held against a promise: of a fair one, 1 in 700 fails."""


def normal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    return NOISE * generator.standard_normal((units, comparisons))


def coarse(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    return 0.2 * generator.standard_normal((units, comparisons))


def log_normal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Skewed even in its logarithm."""
    drawn = np.exp(0.8 * generator.standard_normal((units, comparisons)))
    return NOISE * (drawn - drawn.mean()) / drawn.std()


def bimodal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Three in ten processes are 12% slower: memory laid out badly."""
    slow = generator.random((units, comparisons)) < 0.3
    return np.where(slow, 0.12, 0.0) + 0.02 * generator.standard_normal((units, comparisons))


def outliers(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """One in twenty processes takes twice as long."""
    doubled = generator.random((units, comparisons)) < 0.05
    return normal(generator, units, comparisons) + np.where(doubled, math.log(2), 0.0)


def uneven(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Comparisons of 2, 5 and 10% noise in one report."""
    return generator.choice([0.02, 0.05, 0.1], comparisons) * generator.standard_normal((units, comparisons))


def shared(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Half of the variance moves all comparisons of a process together."""
    own, common = generator.standard_normal((units, comparisons)), generator.standard_normal((units, 1))
    return NOISE * (own + common) / math.sqrt(2)


def autocorrelated_blocks(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """AR(1), 0.5, from block to block; a process is the median of five."""
    return np.median(_ar1(generator, 5 * units, comparisons).reshape(units, 5, comparisons), axis=1)


def autocorrelated(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """AR(1), 0.5, from process to process, each side for itself."""
    return np.concatenate([_ar1(generator, units // 2, comparisons) for _ in range(2)])


def drift(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """The machine becomes 20% slower from the first process to the last: between the sides, 12%."""
    return normal(generator, units, comparisons) + np.linspace(0.0, math.log(1.2), units)[:, None]


def _ar1(generator: np.random.Generator, steps: int, comparisons: int) -> Floats:
    found_TC = NOISE * generator.standard_normal((steps, comparisons))
    for t in range(1, steps):
        found_TC[t] = 0.5 * found_TC[t - 1] + math.sqrt(0.75) * found_TC[t]
    return found_TC


STEADY: tuple[Draw, ...] = (normal, coarse, log_normal, bimodal, outliers, uneven, shared, autocorrelated_blocks)
RESTLESS: tuple[Draw, ...] = (autocorrelated, drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A simulated share, and what it must be."""

    what: str
    share: float
    trials: int
    low: float = 0.0
    high: float = 1.0

    @property
    def kept(self) -> bool:
        bound = self.high if self.share > self.high else self.low
        slack = SURE * math.sqrt(bound * (1 - bound) / self.trials)
        return self.low - slack <= self.share <= self.high + slack


def verdicts(values_UC: Floats, base: int = SIDE, beat: float = 0.0) -> tuple[list[Change], bool]:
    """The verdicts of one report of streamed steps, and whether any was called unstable."""
    units = [
        Units(
            pair=index,
            metric="step_seconds",
            at=(),
            kind="timing",
            base=tuple(column[:base].tolist()),
            new=tuple(column[base:].tolist()),
            noisy=0.0,
        )
        for index, column in enumerate(values_UC.T)
    ]
    judged, _ = evidence(units, [], Thresholds(), beat)
    findings = [found(one) for one in judged]
    return [one.verdict for one in findings], any("unstable" in one.reason for one in findings)


def false_alarms(draw: Draw, pairs: int, reports: int, size: int = QUICK) -> list[Promise]:
    """Of single comparisons, each a report of its own, and of whole reports; and how many pairs were unchanged."""
    generator = np.random.default_rng(1)
    single_UC = draw(generator, 2 * SIDE, pairs)
    alone = [verdicts(single_UC[:, [index]])[0][0] for index in range(pairs)]
    whole = [verdicts(draw(generator, 2 * SIDE, size)) for _ in range(reports)]
    alarmed = sum("regressed" in found_of for found_of, _ in whole) / reports
    all_of = [verdict for found_of, _ in whole for verdict in found_of]
    name, held = draw.__name__.replace("_", " "), draw in STEADY
    most = MOST_ALONE if held else 1.0
    return [
        Promise(
            what=f"{name}: false alarms, one comparison", share=_share(alone, "regressed"), trials=pairs, high=most
        ),
        Promise(
            what=f"{name}: the same, of those in a report",
            share=_share(all_of, "regressed"),
            trials=len(all_of),
            high=MOST_ALONE,
        ),
        Promise(what=f"{name}: reports with a false alarm", share=alarmed, trials=reports, high=MOST_REPORTS),
        Promise(
            what=f"{name}: reports called unstable", share=sum(flag for _, flag in whole) / reports, trials=reports
        ),
        Promise(what=f"{name}: comparisons called unchanged", share=_share(all_of, "unchanged"), trials=len(all_of)),
    ]


def drift_seen(pairs: int) -> Promise:
    """False alarms of single comparisons in a drift that the pulse follows."""
    values_UC = drift(np.random.default_rng(6), 2 * SIDE, pairs)
    beat = math.log(1.2) * SIDE / (2 * SIDE - 1)
    alone = [verdicts(values_UC[:, [index]], beat=beat)[0][0] for index in range(pairs)]
    what = "drift seen by the pulse: false alarms, one comparison"
    return Promise(what=what, share=_share(alone, "regressed"), trials=pairs, high=MOST_ALONE)


def power(slower: float, reports: int, *, affected: int = 1, size: int = QUICK) -> Promise:
    """How many of the affected comparisons are found at 5% noise."""
    generator = np.random.default_rng(2)
    hits = 0
    for _ in range(reports):
        values_UC = normal(generator, 2 * SIDE, size)
        values_UC[SIDE:, :affected] += math.log1p(slower)
        hits += verdicts(values_UC)[0][:affected].count("regressed")
    least = LEAST_POWER if slower >= 0.2 else 0.0
    what = f"found, {slower:.0%} slower in {affected} of {size}"
    return Promise(what=what, share=hits / (reports * affected), trials=reports * affected, low=least)


def coverage(draw: Draw, simulations: int, side: int = SIDE) -> Promise:
    """How often the interval of a ratio holds the true one, which is 1."""
    bounds = resample.shift(draw(np.random.default_rng(3), 2 * side, simulations), side)
    share = float(np.mean((bounds.low <= 0) & (bounds.high >= 0)))
    what = f"coverage, {draw.__name__.replace('_', ' ')}, {side} a side"
    return Promise(what=what, share=share, trials=simulations, low=LEAST_COVERAGE, high=MOST_COVERAGE)


def pulse_divided(follows: float, trials: int) -> float:
    """Noise of timings divided by the pulse, as a share of what it was: below 1, dividing helps.

    Timings and pulse have 5% of noise; the share `follows` of the timings' variance is the pulse's own.
    """
    generator = np.random.default_rng(4)
    machine, own, pulse_own = NOISE * generator.standard_normal((3, trials))
    timing = math.sqrt(follows) * machine + math.sqrt(1 - follows) * own
    pulse = math.sqrt(0.5) * (machine + pulse_own)
    return float(np.std(timing - pulse) / np.std(timing))


def _share(verdicts_of: Sequence[Change], verdict: Change) -> float:
    return verdicts_of.count(verdict) / len(verdicts_of)


def main() -> int:
    parser = argparse.ArgumentParser(description="The promises of a comparison, simulated.")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--reports", type=int, default=300)
    given = parser.parse_args()
    kept = True
    for draw in (*STEADY, *RESTLESS):
        kept &= _print(false_alarms(draw, given.pairs, given.reports))
    kept &= _print([drift_seen(given.pairs)])
    kept &= _print([power(slower, given.reports) for slower in (0.05, 0.1, 0.2)])
    kept &= _print([power(0.2, max(1, given.reports // 4), affected=QUICK // 4)])
    kept &= _print([coverage(draw, 1000) for draw in STEADY])
    kept &= _print([coverage(normal, 1000, side) for side in (5, 8, 12)])
    for follows in (0.0, 0.5, 1.0):
        what = f"noise, pulse divided out, {follows:.0%} of it shared"
        print(f"{what:<62} {pulse_divided(follows, 100_000):>8.2f} times")
    print("every promise was kept" if kept else "a promise was broken")
    return 0 if kept else 1


def _print(promises: Sequence[Promise]) -> bool:
    for one in promises:
        bounds = "" if (one.low, one.high) == (0.0, 1.0) else f"  must be {one.low:.0%} to {one.high:.0%}"
        print(
            f"{one.what:<62} {one.share:>8.2%} of {one.trials:>6,}{bounds}{'' if one.kept else '  BROKEN'}", flush=True
        )
    return all(one.kept for one in promises)


if __name__ == "__main__":
    sys.exit(main())
