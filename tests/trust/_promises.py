"""What the instrument promises, as rows of a table: what was asked, what was found, whether the promise was kept."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from results import interval_of_mean, interval_of_median, interval_of_quantile
from tests.trust._judging import Verdict, judge, ratio_of
from tests.trust._processes import Process

SPLITS = 1000
ALARMS_ALLOWED = 0.01
"""Of comparisons of a thing with itself."""
RECOVERY_LEVEL = 0.999
"""Of the interval in which a planted effect must lie. Twelve effects are looked for, and a sound instrument may not
break a promise by chance more than once in a hundred times."""
SEEN_FROM = 0.10
"""A planted effect of this size must not only be covered: no change at all must lie outside the interval."""
FLAGGED_AT_LEAST = 0.90
"""Of blocks beside neighbours that make timings longer. One of many cores may be busy and do no harm."""
NOISY_AT_MOST = 0.10
"""Of blocks on a machine that is called quiet."""
CLOCK_SHARE = 0.01
"""Of the shortest step that was timed, 20 times over, divided by 20."""
SIMULATIONS, COVERED_AT_LEAST = 1000, 0.93
"""An interval of 95% covers less than 93% of 1,000 times by chance once in 500."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise."""

    promise: str
    asked: str
    found: str
    kept: bool


Sides = Mapping[str, Sequence[float]]


def sides(processes: Sequence[Process]) -> dict[str, list[float]]:
    """One number a process, by metric and place."""
    return {place: [process.timings()[place] for process in processes] for place in processes[0].timings()}


def same_against_same(plain: Sides, generator: random.Random) -> Row:
    """Split the same processes into halves at random, again and again, and count the alarms."""
    counts: dict[Verdict, int] = {"regressed": 0, "improved": 0, "unchanged": 0, "inconclusive": 0}
    for values in plain.values():
        for _ in range(SPLITS):
            shuffled = generator.sample(list(values), len(values))
            half = len(values) // 2
            counts[judge(shuffled[:half], shuffled[half:])] += 1
    total = SPLITS * len(plain)
    alarms = (counts["regressed"] + counts["improved"]) / total
    return Row(
        "the same twice raises no alarm",
        f"≤ {ALARMS_ALLOWED:.0%} of {total:,} splits",
        f"{alarms:.2%}; {counts['unchanged'] / total:.0%} unchanged, {counts['inconclusive'] / total:.0%} inconclusive",
        alarms <= ALARMS_ALLOWED,
    )


def planted(plain: Sides, slowed: Sides, effect: float) -> list[Row]:
    """A known share of extra work, at every metric and place."""
    rows = []
    for place, values in plain.items():
        low, middle, high = ratio_of(values, slowed[place], level=RECOVERY_LEVEL)
        kept = low <= 1 + effect <= high and (effect < SEEN_FROM or low > 1)
        rows.append(
            Row(
                f"{effect:.0%} more work: {place}",
                f"{1 + effect:.2f} within" + (", 1 without" if effect >= SEEN_FROM else ""),
                f"{middle:.3f} ({low:.3f}–{high:.3f})",
                kept,
            )
        )
    return rows


def beside_neighbours(name: str, busy: Sequence[Process], plain: Sides, pulse: float) -> Row:
    """Work beside a timing is noise and never a regression: where times are longer for it, blocks are flagged."""
    reasons = [reason for process in busy for reason in process.reasons(pulse)]
    share = sum(reason is not None for reason in reasons) / len(reasons)
    beside = sides(busy)
    slower = [median(values) / median(plain[place]) for place, values in beside.items()]
    harmless = all(judge(plain[place], values) != "regressed" for place, values in beside.items())
    return Row(
        f"{name} is noise, not a regression",
        f"≥ {FLAGGED_AT_LEAST:.0%} of blocks flagged, or none regressed",
        f"{share:.0%} flagged; times {min(slower):.2f} to {max(slower):.2f} as long",
        share >= FLAGGED_AT_LEAST or harmless,
    )


def quiet(processes: Sequence[Process], pulse: float) -> Row:
    """Whether the machine was fit for all the rest."""
    reasons = [reason for process in processes for reason in process.reasons(pulse)]
    share = sum(reason is not None for reason in reasons) / len(reasons)
    return Row(
        "the machine itself is quiet",
        f"≤ {NOISY_AT_MOST:.0%} of blocks flagged",
        f"{share:.1%} of {len(reasons):,}",
        share <= NOISY_AT_MOST,
    )


def clock(processes: Sequence[Process], times: int) -> Row:
    """What reading the clock adds to a step."""
    overhead = median(m.samples[0] for p in processes for m in p.measurements if m.metric == "clock_seconds")
    shortest = min(min(m.samples) for p in processes for m in p.measurements if m.metric == "step_seconds") / times
    return Row(
        "the clock costs next to nothing",
        f"≤ {CLOCK_SHARE:.0%} of a step",
        f"{overhead * 1e9:.0f} ns, {overhead / shortest:.2%} of {shortest * 1e6:.0f} µs",
        overhead <= CLOCK_SHARE * shortest,
    )


def coverage(generator: np.random.Generator) -> list[Row]:
    """How often each interval of 95% holds the truth, over samples that are drawn from a known one."""

    def normal(size: int) -> list[float]:
        return generator.normal(10, 1, size).tolist()

    def skewed(size: int) -> list[float]:
        return generator.lognormal(0, 0.5, size).tolist()

    def wide(size: int, scale: float) -> list[float]:
        return (scale * generator.lognormal(0, 0.05, size)).tolist()

    ninetieth = float(np.exp(0.5 * 1.2815515655446004))
    cases = {
        "a mean of 5": lambda: (interval_of_mean(normal(5)), 10.0),
        "a median of 30, skewed": lambda: (interval_of_median(skewed(30)), 1.0),
        "a 90th percentile of 1,000": lambda: (interval_of_quantile(skewed(1000), 0.9), ninetieth),
        "a ratio of 6 and 6 processes": lambda: (ratio_of(wide(6, 1.0), wide(6, 1.2)), 1.2),
    }
    rows = []
    for name, draw in cases.items():
        covered = 0
        for _ in range(SIMULATIONS):
            (low, _, high), truth = draw()
            covered += low <= truth <= high
        share = covered / SIMULATIONS
        rows.append(
            Row(
                f"intervals cover: {name}",
                f"≥ {COVERED_AT_LEAST:.0%} of 1,000",
                f"{share:.1%}",
                share >= COVERED_AT_LEAST,
            )
        )
    return rows
