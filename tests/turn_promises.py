"""Simulate the promises of a comparison whose two versions were measured in turns. `tests.promises` prints them.

Without a change, at most 1% of comparisons and 5% of reports raise a false alarm, also if the machine slows down
steadily or at once, or if successive processes resemble each other. A slow-down of 20% is found in at least 99% of
reports at 5% noise, and one of 5% in at least 90% at 2% noise. Intervals contain the true ratio in 93 to 98% of
simulations.

A simulation draws the timings of single processes in the order in which they run. Processes alternate as in a run: for
every second pair, a coin decides which version comes first, and the next pair has the other order.
"""

# Shape suffixes: U processes of both versions in the order of time, P pairs, C comparisons

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from results.comparison.turns import LOOKS, Judged, decide_in_turns, evidence_in_turns
from results.comparison.units import Units
from results.comparison.verdict import Thresholds
from tests import promises
from tests.promises import MAX_ALONE, MAX_REPORTS, MIN_COVERAGE, QUICK, Draw, Floats, Promise

PAIRS = 20
"""Number of pairs after which a simulated run ends."""
NOISE_OF_QUIET_MACHINE = 0.02
MIN_POWER_OF_SMALL = 0.9
MAX_COVERAGE = 0.98
"""The interval of one look has 97%, of which the choice of the look costs about 1%."""


def abrupt(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of a machine that becomes 20% slower at once, at any moment."""
    values_UC = promises.normal(generator, units, comparisons)
    values_UC[generator.integers(units) :] += math.log(1.2)
    return values_UC


def resembling(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
    """Draw noise (U, C) of processes that are one AR(1) series with coefficient 0.5 in the order of time."""
    return promises.ar1(generator, units, comparisons)


DRAWS: tuple[Draw, ...] = (*promises.STEADY, resembling, promises.drift, abrupt)


def ratios(generator: np.random.Generator, draw: Draw, comparisons: int, slower_C: Floats | float = 0.0) -> Floats:
    """Return the logarithms of the ratios of all pairs, (pairs, comparisons).

    Args:
        generator: Source of the noise and of the order.
        draw: Kind of noise.
        comparisons: Number of comparisons.
        slower_C: Logarithm of the slow-down of the new version.
    """
    values_P2C = draw(generator, 2 * PAIRS, comparisons).reshape(PAIRS, 2, comparisons)
    coins = generator.random(PAIRS // 2) < 0.5
    new_first_P = np.column_stack([coins, ~coins]).reshape(PAIRS)
    second_minus_first_PC = values_P2C[:, 1] - values_P2C[:, 0]
    return np.where(new_first_P, -1.0, 1.0)[:, None] * second_minus_first_PC + slower_C


def judge(ratios_PC: Floats) -> list[Judged]:
    """Judge the comparisons of one report as a run does, which measures until each is settled or hopeless."""
    comparisons = ratios_PC.shape[1]
    judged: dict[int, Judged] = {}
    pairs = [0] * comparisons
    for look in (look for look in LOOKS if look <= PAIRS):
        due = [index for index in range(comparisons) if not judged or judged[index].needs_more(PAIRS)]
        if not due:
            break
        for index in due:
            pairs[index] = look
        units = [_units(index, ratios_PC[:count, index].tolist()) for index, count in enumerate(pairs)]
        known = evidence_in_turns(units, Thresholds().for_turns(), 1, 0.0)
        for index in due:
            decision = decide_in_turns(known[index], is_last=False)
            settled = decision.verdict != "inconclusive"
            judged[index] = Judged(units=units[index], evidence=known[index], decision=decision, settled=settled)
    return [
        each if each.settled else replace(each, decision=decide_in_turns(each.evidence, is_last=True))
        for _, each in sorted(judged.items())
    ]


def false_alarms(draw: Draw, trials: int, reports: int, seed: int = 1) -> list[Promise]:
    """Simulate single comparisons and whole reports without a change, and return promises about their verdicts.

    Args:
        draw: Kind of noise.
        trials: Number of single comparisons.
        reports: Number of reports of `QUICK` comparisons.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng((seed, 11, DRAWS.index(draw)))
    alone = [judge(ratios(generator, draw, 1))[0] for _ in range(trials)]
    whole = [judge(ratios(generator, draw, QUICK)) for _ in range(reports)]
    covered = _share([each.evidence.low <= 0 <= each.evidence.high for each in alone])
    alarms = [_share([each.decision.verdict == "regressed" for each in judged]) for judged in whole]
    name = f"in turns, {draw.__name__.replace('_', ' ')}"
    return [
        Promise(
            title=f"{name}: false alarms, one comparison",
            share=_share([each.decision.verdict == "regressed" for each in alone]),
            trials=trials,
            high=MAX_ALONE,
        ),
        promises.by_report(
            f"{name}: false alarms, comparisons in a report",
            [round(share * QUICK) for share in alarms],
            QUICK,
            high=MAX_ALONE,
        ),
        Promise(
            title=f"{name}: reports with a false alarm",
            share=_share([share > 0 for share in alarms]),
            trials=reports,
            high=MAX_REPORTS,
        ),
        Promise(title=f"{name}: coverage", share=covered, trials=trials, low=MIN_COVERAGE, high=MAX_COVERAGE),
        Promise(title=f"{name}: pairs used, of {PAIRS}", share=_used(alone), trials=trials),
    ]


def small_reports(draw: Draw, reports: int, seed: int = 1) -> Promise:
    """Simulate reports of a single case, and return a promise about the share with a false alarm."""
    generator = np.random.default_rng((seed, 12, DRAWS.index(draw)))
    alarmed = [
        any(each.decision.verdict == "regressed" for each in judge(ratios(generator, draw, promises.FEW)))
        for _ in range(reports)
    ]
    title = f"in turns, {draw.__name__.replace('_', ' ')}: reports of {promises.FEW} with a false alarm"
    return Promise(title=title, share=_share(alarmed), trials=reports, high=MAX_REPORTS)


def power(slower: float, noise: float, reports: int, *, size: int = 1, low: float = 0.0, seed: int = 1) -> Promise:
    """Simulate a slow-down of one comparison of a report, and return a promise about the share that is found.

    Args:
        slower: Relative slow-down.
        noise: Standard deviation of the logarithm of a process's median.
        reports: Number of reports.
        size: Number of comparisons per report.
        low: Smallest share that keeps the promise.
        seed: Seed of the noise.
    """

    def draw(generator: np.random.Generator, units: int, comparisons: int) -> Floats:
        return noise * generator.standard_normal((units, comparisons))

    generator = np.random.default_rng((seed, 13))
    slower_C = np.zeros(size)
    slower_C[0] = math.log1p(slower)
    found = [judge(ratios(generator, draw, size, slower_C))[0].decision.verdict == "regressed" for _ in range(reports)]
    title = f"in turns, detected, {slower:.0%} slower at {noise:.0%} noise, in 1 of {size}"
    return Promise(title=title, share=_share(found), trials=reports, low=low)


def all_promises(trials: int, reports: int, seed: int) -> list[list[Promise]]:
    """Return all promises in groups, as `tests.promises` prints them."""
    return [
        *([*false_alarms(draw, trials, reports, seed), small_reports(draw, reports, seed)] for draw in DRAWS),
        [
            power(0.05, NOISE_OF_QUIET_MACHINE, trials, low=MIN_POWER_OF_SMALL, seed=seed),
            power(0.05, NOISE_OF_QUIET_MACHINE, reports, size=QUICK, low=MIN_POWER_OF_SMALL, seed=seed),
            power(0.1, NOISE_OF_QUIET_MACHINE, reports, size=QUICK, low=promises.MIN_POWER, seed=seed),
            power(0.2, promises.NOISE, trials, low=promises.MIN_POWER, seed=seed),
            power(0.2, promises.NOISE, reports, size=QUICK, low=promises.MIN_POWER, seed=seed),
        ],
    ]


def _units(index: int, ratios_P: Sequence[float]) -> Units:
    base = (0.0,) * len(ratios_P)
    return Units(pair=index, metric="step_seconds", at=(), kind="timing", base=base, new=tuple(ratios_P), noisy=0.0)


def _used(judged: Sequence[Judged]) -> float:
    return sum(each.evidence.units[0] for each in judged) / (PAIRS * len(judged))


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
