"""Simulate the promises of a comparison: rates of false alarms, power, and coverage of intervals.

    python -m tests.promises [--seed 1] [--pairs 2000] [--reports 300]

Without a change and with independent processes, at most 1% of comparisons and 5% of reports raise a false alarm.
If successive processes resemble each other, only reports of many comparisons keep these limits. A single comparison
has six units per side, too few to detect a drift that calibration does not show. For processes that resemble each
other, the table shows false alarms of single comparisons and small reports without a limit.

With 5% noise, reports detect at least 99% of 20% slowdowns of a kernel with six processes per side, and 90% with five.
Except for small reports, a report has `QUICK` comparisons. Intervals contain the true ratio in 93 to 97% of
simulations, if the processes are independent. Each interval is simulated separately, because intervals with shared
noise are right or wrong together.

If the two versions are measured in turns, the limits also hold if the machine changes meanwhile: see
`tests/turn_promises.py`.

Noise is the standard deviation of the logarithm of a process's median. The exit code is 1 if a promise is broken.
"""

# Shape suffixes: U units of both sides, C comparisons, T steps of a series

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.comparison.evidence import evidence
from results.comparison.units import Units
from results.comparison.verdict import Change, Decision, Thresholds, decide
from results.statistics import permutation

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
SIDE = 6
"""Units per side."""
QUICK = 168
"""Number of comparisons of timings in plan `quick`: 4 architectures, 3 tasks, 2 lengths, 7 timings each.

The Transformer with a window is not counted.
"""
NOISE = 0.05
"""Standard deviation of the logarithm of a process's median."""
MAX_ALONE, MAX_REPORTS, MIN_POWER = 0.01, 0.05, 0.99
FEWEST, MIN_POWER_OF_FEWEST = 5, 0.9
"""The smallest number of units per side with which a comparison can be decided, and what it must detect."""
MIN_COVERAGE, MAX_COVERAGE = 0.93, 0.97
TOLERANCE = 3.0
"""Tolerance of a simulated share, in standard errors. A correct promise fails in at most about 1 of 700 simulations."""
SIMULATIONS = 4000
REPORTS_PER_REPORT_IN_TURNS = 3
"""Reports per simulated report of versions that are measured in turns, whose simulation takes longer."""
FEW = 7
"""Number of timings of one case. A small report compares these timings only."""


def normal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    return NOISE * generator.standard_normal((units, comparisons))


def coarse(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    return 0.2 * generator.standard_normal((units, comparisons))


def log_normal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) that is skewed even on the logarithmic scale."""
    skewed, variance = np.exp(0.8 * generator.standard_normal((units, comparisons))), 0.8**2
    mean = math.exp(variance / 2)
    return NOISE * (skewed - mean) / (mean * math.sqrt(math.expm1(variance)))


def bimodal(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) in which 30% of the timings are about 13% slower, as with an unfavourable memory layout."""
    slow = generator.random((units, comparisons)) < 0.3
    return np.where(slow, 0.12, 0.0) + 0.02 * generator.standard_normal((units, comparisons))


def outliers(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) in which 5% of the timings are twice as long."""
    doubled = generator.random((units, comparisons)) < 0.05
    return normal(generator, units, comparisons) + np.where(doubled, math.log(2), 0.0)


def uneven(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of 2, 5 or 10%, depending on the comparison."""
    return generator.choice([0.02, 0.05, 0.1], comparisons) * generator.standard_normal((units, comparisons))


def shared(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) in which half of the variance is common to all comparisons of a process."""
    own, common = generator.standard_normal((units, comparisons)), generator.standard_normal((units, 1))
    return NOISE * (own + common) / math.sqrt(2)


def autocorrelated_blocks(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of processes whose blocks form one AR(1) series with coefficient 0.5.

    The value of a process is the median of its five blocks.
    """
    return np.median(ar1(generator, 5 * units, comparisons).reshape(units, 5, comparisons), axis=1)


def autocorrelated(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of processes that are an AR(1) series with coefficient 0.5, separately for each side."""
    return np.concatenate([ar1(generator, units // 2, comparisons) for _ in range(2)])


def drift(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of a machine that slows down by 20% from the first process to the last.

    The second side is therefore about 10% slower than the first.
    """
    return normal(generator, units, comparisons) + np.linspace(0.0, math.log(1.2), units)[:, None]


def ar1(generator: np.random.Generator, steps: int, comparisons: int) -> Floats:
    """Draw noise (T, C) that is an AR(1) series with coefficient 0.5."""
    noise_TC = NOISE * generator.standard_normal((steps, comparisons))
    for t in range(1, steps):
        noise_TC[t] = 0.5 * noise_TC[t - 1] + math.sqrt(0.75) * noise_TC[t]
    return noise_TC


STEADY: tuple[Draw, ...] = (normal, coarse, log_normal, bimodal, outliers, uneven, shared, autocorrelated_blocks)
AUTOCORRELATED: tuple[Draw, ...] = (autocorrelated, drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A simulated share with its required range."""

    title: str
    share: float
    trials: int
    low: float = 0.0
    high: float = 1.0
    error: float | None = None
    """Standard error of the share, or None if the trials are independent."""

    @property
    def kept(self) -> bool:
        """Whether the share is within its range, allowing for simulation error."""
        bound = self.high if self.share > self.high else self.low
        error = math.sqrt(bound * (1 - bound) / self.trials) if self.error is None else self.error
        return self.low - TOLERANCE * error <= self.share <= self.high + TOLERANCE * error


def report(promises: Sequence[Promise], *, broken_only: bool) -> int:
    """Print promises, or only the broken ones, then whether all are kept. Return the exit code: 0 or 1."""
    _print([promise for promise in promises if not (broken_only and promise.kept)])
    kept = all(promise.kept for promise in promises)
    print("all promises are kept" if kept else "a promise is broken")
    return 0 if kept else 1


def by_report(title: str, counts: Sequence[int], size: int, low: float = 0.0, high: float = 1.0) -> Promise:
    """Return a promise about the share of comparisons with the counted verdict.

    Its standard error is that of a mean over reports, because comparisons of one report are not independent.

    Args:
        title: Description of the share.
        counts: Number of comparisons with the counted verdict, per report.
        size: Number of comparisons per report.
        low: Smallest share that keeps the promise.
        high: Largest share that keeps the promise.
    """
    shares = np.array(counts) / size
    error = float(shares.std(ddof=1)) / math.sqrt(len(shares)) if len(shares) > 1 else 1.0
    return Promise(title=title, share=float(shares.mean()), trials=size * len(shares), low=low, high=high, error=error)


def decisions_on(values_UC: Floats, base: int = SIDE, calibration_change: float = 0.0) -> list[Decision]:
    """Return the decision on each comparison of one report of streamed steps.

    `values_UC` holds logarithms of seconds. Its first `base` rows are the base side. `calibration_change` is the
    logarithm of the ratio of calibration seconds, new to base.
    """
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
    evidences, _ = evidence(units, [], Thresholds(), calibration_change)
    return [decide(each) for each in evidences]


def verdicts(values_UC: Floats, base: int = SIDE, calibration_change: float = 0.0) -> tuple[list[Change], bool]:
    """Return the verdicts of `decisions_on`, and whether any comparison is unstable."""
    decisions = decisions_on(values_UC, base, calibration_change)
    return [each.verdict for each in decisions], any("unstable" in each.reason for each in decisions)


def false_alarms(draw: Draw, pairs: int, reports: int, size: int = QUICK, seed: int = 1) -> list[Promise]:
    """Simulate single comparisons and whole reports without a change, and return promises about their verdicts.

    Args:
        draw: Kind of noise.
        pairs: Number of single comparisons.
        reports: Number of reports.
        size: Number of comparisons per report.
        seed: Seed of the noise.
    """
    generator = _generator(seed, 1, draw)
    alone = [verdicts(draw(generator, 2 * SIDE, 1))[0][0] for _ in range(pairs)]
    whole = [verdicts(draw(generator, 2 * SIDE, size)) for _ in range(reports)]
    alarms, unchanged = (
        [verdicts_of.count(verdict) for verdicts_of, _ in whole] for verdict in ("regressed", "unchanged")
    )
    name, most = _name(draw), MAX_ALONE if draw in STEADY else 1.0
    alarmed, unstable = _share([count > 0 for count in alarms]), _share([flag for _, flag in whole])
    return [
        Promise(
            title=f"{name}: false alarms, one comparison",
            share=alone.count("regressed") / pairs,
            trials=pairs,
            high=most,
        ),
        by_report(f"{name}: false alarms, comparisons in a report", alarms, size, high=MAX_ALONE),
        Promise(title=f"{name}: reports with a false alarm", share=alarmed, trials=reports, high=MAX_REPORTS),
        Promise(title=f"{name}: unstable reports", share=unstable, trials=reports),
        by_report(f"{name}: unchanged comparisons", unchanged, size),
    ]


def small_reports(draw: Draw, reports: int, seed: int = 1) -> Promise:
    """Simulate reports of a single case, and return a promise about the share with a false alarm."""
    generator = _generator(seed, 7, draw)
    alarmed = [_regressed(draw(generator, 2 * SIDE, FEW)) > 0 for _ in range(reports)]
    most = MAX_REPORTS if draw in STEADY else 1.0
    title = f"{_name(draw)}: reports of {FEW} with a false alarm"
    return Promise(title=title, share=_share(alarmed), trials=reports, high=most)


def calibrated_drift(pairs: int, seed: int = 1) -> Promise:
    """Simulate single comparisons during a drift that calibration shows, and return a promise about false alarms."""
    generator, calibration_change = np.random.default_rng((seed, 6)), math.log(1.2) * SIDE / (2 * SIDE - 1)
    alarmed = [_regressed(drift(generator, 2 * SIDE, 1), calibration_change) > 0 for _ in range(pairs)]
    title = "drift with calibration: false alarms, one comparison"
    return Promise(title=title, share=_share(alarmed), trials=pairs, high=MAX_ALONE)


def power(
    slower: float,
    reports: int,
    *,
    affected: int = 1,
    size: int = QUICK,
    side: int = SIDE,
    low: float = 0.0,
    seed: int = 1,
) -> Promise:
    """Simulate slowdowns at 5% noise, and return a promise about the share that is detected.

    Args:
        slower: Relative slowdown of the affected comparisons.
        reports: Number of reports.
        affected: Number of affected comparisons per report.
        size: Number of comparisons per report.
        side: Units per side.
        low: Smallest share that keeps the promise.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng((seed, 2))
    hits = []
    for _ in range(reports):
        values_UC = normal(generator, 2 * side, size)
        values_UC[side:, :affected] += math.log1p(slower)
        hits.append(verdicts(values_UC, side)[0][:affected].count("regressed"))
    title = f"detected, {slower:.0%} slower in {affected} of {size}, {side} per side"
    if affected == 1:
        return Promise(title=title, share=sum(hits) / reports, trials=reports, low=low)
    return by_report(title, hits, affected, low=low)


def coverage(draw: Draw, simulations: int, side: int = SIDE, seed: int = 1) -> Promise:
    """Simulate separate intervals, and return a promise about the share that contains the true ratio of 1.

    Args:
        draw: Kind of noise.
        simulations: Number of intervals.
        side: Units per side.
        seed: Seed of the noise.
    """
    generator = _generator(seed, 3, draw)
    values_UC = np.concatenate([draw(generator, 2 * side, 1) for _ in range(simulations)], axis=1)
    bounds = permutation.shift(values_UC, side)
    share = float(np.mean((bounds.low <= 0) & (bounds.high >= 0)))
    low, high = (MIN_COVERAGE, MAX_COVERAGE) if draw in STEADY else (0.0, 1.0)
    title = f"coverage, {_name(draw)}, {side} per side"
    return Promise(title=title, share=share, trials=simulations, low=low, high=high)


def noise_after_division(shared_variance: float, trials: int, seed: int = 1) -> float:
    """Return the noise of timings after division by calibration, relative to their noise before division.

    Division helps if the result is below 1. Timings and calibration have 5% noise each.

    Args:
        shared_variance: Share of the timings' variance that also affects calibration.
        trials: Number of simulated timings.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng((seed, 4))
    machine, own, calibration_own = NOISE * generator.standard_normal((3, trials))
    timing = math.sqrt(shared_variance) * machine + math.sqrt(1 - shared_variance) * own
    calibration = math.sqrt(0.5) * (machine + calibration_own)
    return float(np.std(timing - calibration) / np.std(timing))


def _regressed(values_UC: Floats, calibration_change: float = 0.0) -> int:
    return verdicts(values_UC, calibration_change=calibration_change)[0].count("regressed")


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def _generator(seed: int, purpose: int, draw: Draw) -> np.random.Generator:
    """Return a separate generator per kind of noise and purpose, so that an unlucky draw does not affect all kinds."""
    return np.random.default_rng((seed, purpose, (*STEADY, *AUTOCORRELATED).index(draw)))


def _name(draw: Draw) -> str:
    return draw.__name__.replace("_", " ")


def main() -> int:
    from tests import turn_promises  # it imports this file

    parser = argparse.ArgumentParser(description="Simulate the promises of a comparison.")
    parser.add_argument("--pairs", type=int, default=2000, help="number of single comparisons per kind of noise")
    parser.add_argument("--reports", type=int, default=300, help="number of reports per kind of noise")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated noise")
    given = parser.parse_args()
    pairs, reports, seed = given.pairs, given.reports, given.seed
    kept = True
    for draw in (*STEADY, *AUTOCORRELATED):
        kept &= _print([*false_alarms(draw, pairs, reports, seed=seed), small_reports(draw, reports, seed)])
    kept &= _print([calibrated_drift(pairs, seed)])
    kept &= _print([power(slower, reports, seed=seed) for slower in (0.05, 0.1)])
    kept &= _print(
        [
            power(0.2, reports, low=MIN_POWER, seed=seed),
            power(0.2, reports, affected=QUICK // 4, low=MIN_POWER, seed=seed),
            power(0.2, pairs, size=1, seed=seed),
            power(0.2, reports, side=FEWEST, low=MIN_POWER_OF_FEWEST, seed=seed),
            power(0.2, pairs, size=1, side=FEWEST, seed=seed),
        ]
    )
    kept &= _print([coverage(draw, SIMULATIONS, seed=seed) for draw in (*STEADY, *AUTOCORRELATED)])
    kept &= _print([coverage(normal, SIMULATIONS, side, seed) for side in (5, 8, 12)])
    for shared_variance in (0.0, 0.5, 1.0):
        title = f"noise after division by calibration, {shared_variance:.0%} shared"
        print(f"{title:<62} {noise_after_division(shared_variance, 100_000, seed):>8.2f} times")
    for group in turn_promises.all_promises(pairs, reports // REPORTS_PER_REPORT_IN_TURNS, seed):
        kept &= _print(group)
    print("all promises are kept" if kept else "a promise is broken")
    return 0 if kept else 1


def _print(promises: Sequence[Promise]) -> bool:
    for promise in promises:
        is_bounded = (promise.low, promise.high) != (0.0, 1.0)
        bounds = f"  must be {promise.low:.0%} to {promise.high:.0%}" if is_bounded else ""
        result = "" if promise.kept else "  BROKEN"
        print(f"{promise.title:<88} {promise.share:>8.2%} of {promise.trials:>6,}{bounds}{result}", flush=True)
    return all(promise.kept for promise in promises)


if __name__ == "__main__":
    sys.exit(main())
