"""What the instrument promises, as rows of a table: what was asked, what was found, whether the promise was kept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from results import interval_of_mean, interval_of_median, interval_of_quantile
from tests.trust._processes import Process
from tests.trust._runs import compared, ratio

SPLITS = 250
ALARMS_ALLOWED = 0.01
"""Of comparisons of a thing with itself."""
UNCHANGED_AT_LEAST = 0.90
"""Of the same: an instrument that decides nothing raises no alarm either."""
RECOVERY_LEVEL = 0.999
"""Of the interval in which a planted effect must lie. Twelve effects are looked for, and a sound instrument may not
break a promise by chance more than once in a hundred times."""
SEEN_FROM = 0.10
"""A planted effect of this size must not only be covered: no change at all must lie outside the interval of 95% that
`compare` shows."""
REGRESSED_FROM = 0.20
"""One of this size, twice the least that counts, must be called a regression; one below `SEEN_FROM` must not."""
NOISY_AT_MOST = 0.10
"""Of blocks on a machine that is called quiet."""
CLOCK_SHARE = 0.01
"""Of the shortest step that was timed, 20 times over, divided by 20."""
SIMULATIONS, COVERED_AT_LEAST = 1000, 0.93
"""An interval of 95% covers less than 93% of 1,000 times by chance once in 500."""
ALARMS = ("regressed", "improved")


@dataclass(frozen=True, slots=True)
class Row:
    """One promise."""

    promise: str
    asked: str
    found: str
    kept: bool


def same_against_same(plain: Sequence[Process], generator: random.Random) -> Row:
    """Split the same processes into halves at random, again and again, and count what is said of them."""
    said: Counter[str] = Counter()
    half = len(plain) // 2
    for _ in range(SPLITS):
        shuffled = generator.sample(plain, len(plain))
        said.update(row.verdict for row in compared(shuffled[:half], shuffled[half:]).values())
    total = said.total()
    alarms, unchanged = sum(said[verdict] for verdict in ALARMS) / total, said["unchanged"] / total
    return Row(
        "the same twice is unchanged",
        f"≥ {UNCHANGED_AT_LEAST:.0%} of {total:,} comparisons, ≤ {ALARMS_ALLOWED:.0%} alarms",
        f"{unchanged:.1%} unchanged, {alarms:.2%} alarms",
        alarms <= ALARMS_ALLOWED and unchanged >= UNCHANGED_AT_LEAST,
    )


def planted(plain: Sequence[Process], slowed: Sequence[Process], effect: float) -> list[Row]:
    """A known share of extra work, at every metric and place."""
    rows = []
    for place, row in compared(plain, slowed).items():
        before, after = ([process.timings()[place] for process in side] for side in (plain, slowed))
        low, middle, high = ratio(before, after, RECOVERY_LEVEL)
        asked, kept = f"{1 + effect:.2f} within {RECOVERY_LEVEL:.1%}", low <= 1 + effect <= high
        if effect >= SEEN_FROM:
            asked, kept = f"{asked}, 1 without 95%", kept and (row.low or 0.0) > 0
        else:
            asked, kept = f"{asked}, no alarm", kept and row.verdict not in ALARMS
        if effect >= REGRESSED_FROM:
            asked, kept = f"{asked}, regressed", kept and row.verdict == "regressed"
        shown = "" if row.low is None or row.high is None else f"{1 + row.low:.3f}–{1 + row.high:.3f}, "
        found = f"{middle:.3f} ({shown}{RECOVERY_LEVEL:.1%}: {low:.3f}–{high:.3f}), {row.verdict}"
        rows.append(Row(f"{effect:.0%} more work: {place}", asked, found, kept))
    return rows


def beside_neighbours(name: str, busy: Sequence[Process], plain: Sequence[Process], pulse: float) -> Row:
    """Work beside a timing is noise and never a regression."""
    reasons = [reason for process in busy for reason in process.reasons(pulse)]
    share = sum(reason is not None for reason in reasons) / len(reasons)
    rows = compared(plain, busy).values()
    said = Counter(row.reason.partition(":")[0] or row.verdict for row in rows)
    longer = [1 + (row.effect or 0.0) for row in rows]
    return Row(
        f"{name} is noise, not a regression",
        "noisy, or not longer",
        f"{', '.join(f'{count} {word}' for word, count in said.items())}; {share:.0%} of blocks flagged; "
        f"times {min(longer):.2f} to {max(longer):.2f} as long",
        all(row.verdict == "unchanged" or row.reason.startswith("noisy") for row in rows),
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
        "a ratio of 6 and 6 processes": lambda: (ratio(wide(6, 1.0), wide(6, 1.2)), 1.2),
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
                f"≥ {COVERED_AT_LEAST:.0%} of {SIMULATIONS:,}",
                f"{share:.1%}",
                share >= COVERED_AT_LEAST,
            )
        )
    return rows
