"""The promises of the measuring instrument. Each check returns one or more rows of a table."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np

from results import interval_of_mean, interval_of_median, interval_of_quantile
from tests.trust.processes import Process
from tests.trust.runs import compare_processes, ratio_interval
from tests.trust.table import Row

SPLITS = 250
MAX_ALARM_SHARE = 0.01
"""Largest share of false alarms when a model is compared with itself."""
MIN_UNCHANGED_SHARE = 0.90
"""Smallest share of `unchanged` when a model is compared with itself. An instrument that never gives a
verdict raises no false alarms, but breaks this promise."""
RECOVERY_LEVEL = 0.999
"""Level of the interval in which a planted effect must lie. Each of three effects is tested on four timings. A correct
instrument therefore breaks a promise by chance in about one of a hundred executions."""
MIN_DETECTED_EFFECT = 0.10
"""Smallest effect that must be detected: the 95% interval that `compare` shows must exclude zero."""
MIN_REGRESSION = 0.20
"""Smallest effect that must be reported as a regression. It is twice the smallest relevant effect of `compare`. Effects
below `MIN_DETECTED_EFFECT` must raise no alarm."""
MAX_NOISY_SHARE = 0.10
"""Largest share of disturbed blocks on a machine that counts as quiet."""
MAX_CLOCK_SHARE = 0.01
"""Largest duration of a clock reading, relative to one repetition in the shortest timed step."""
SIMULATIONS, MIN_COVERAGE = 1000, 0.93
"""Number of simulations, and smallest share of them in which the interval must cover the truth. Chance alone brings the
share of a correct 95% interval below 93% about once in 430 executions."""
ALARMS = ("regressed", "improved")


def same_model_is_unchanged(plain: Sequence[Process], generator: random.Random) -> Row:
    """Check the verdicts of `SPLITS` comparisons between random halves of the plain processes."""
    verdicts: Counter[str] = Counter()
    half = len(plain) // 2
    for _ in range(SPLITS):
        shuffled = generator.sample(plain, len(plain))
        verdicts.update(row.verdict for row in compare_processes(shuffled[:half], shuffled[half:]).values())
    total = verdicts.total()
    alarms, unchanged = sum(verdicts[verdict] for verdict in ALARMS) / total, verdicts["unchanged"] / total
    return Row(
        "the same model is unchanged",
        f"≥ {MIN_UNCHANGED_SHARE:.0%} of {total:,} comparisons, ≤ {MAX_ALARM_SHARE:.0%} alarms",
        f"{unchanged:.1%} unchanged, {alarms:.2%} alarms",
        alarms <= MAX_ALARM_SHARE and unchanged >= MIN_UNCHANGED_SHARE,
    )


def planted_effect_is_recovered(plain: Sequence[Process], slowed: Sequence[Process], effect: float) -> list[Row]:
    """Check that a comparison recovers a planted effect, and return one row per timing.

    Args:
        plain: processes that do the plain work.
        slowed: processes that do more work.
        effect: the additional work, as a share of the plain work.
    """
    rows = []
    for name, row in compare_processes(plain, slowed).items():
        before, after = ([process.timings()[name] for process in side] for side in (plain, slowed))
        low, middle, high = ratio_interval(before, after, RECOVERY_LEVEL)
        required, passed = f"{1 + effect:.2f} inside {RECOVERY_LEVEL:.1%}", low <= 1 + effect <= high
        if effect >= MIN_DETECTED_EFFECT:
            required, passed = f"{required}, 1 outside 95%", passed and (row.low or 0.0) > 0
        else:
            required, passed = f"{required}, no alarm", passed and row.verdict not in ALARMS
        if effect >= MIN_REGRESSION:
            required, passed = f"{required}, regressed", passed and row.verdict == "regressed"
        shown = "" if row.low is None or row.high is None else f"{1 + row.low:.3f}–{1 + row.high:.3f}, "
        measured = f"{middle:.3f} ({shown}{RECOVERY_LEVEL:.1%}: {low:.3f}–{high:.3f}), {row.verdict}"
        rows.append(Row(f"{effect:.0%} more work: {name}", required, measured, passed))
    return rows


def neighbours_are_noise(
    name: str, busy: Sequence[Process], plain: Sequence[Process], median_calibration: float
) -> Row:
    """Check that a slowdown caused by busy neighbours is reported as noise, not as a regression.

    The verdict `unchanged` passes too.

    Args:
        name: description of the neighbours.
        busy: processes that were timed next to the neighbours.
        plain: processes that were timed without neighbours.
        median_calibration: median seconds of all calibrations without neighbours.
    """
    reasons = [reason for process in busy for reason in process.disturbances(median_calibration)]
    share = sum(reason is not None for reason in reasons) / len(reasons)
    rows = compare_processes(plain, busy).values()
    verdicts = Counter(row.reason.partition(":")[0] or row.verdict for row in rows)
    ratios = [1 + (row.effect or 0.0) for row in rows]
    return Row(
        f"{name} is noise, not a regression",
        "noisy or unchanged",
        f"{', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}; {share:.0%} of blocks disturbed; "
        f"times {min(ratios):.2f} to {max(ratios):.2f} as long",
        all(row.verdict == "unchanged" or row.reason.startswith("noisy") for row in rows),
    )


def machine_is_quiet(processes: Sequence[Process], median_calibration: float) -> Row:
    """Check that few blocks were disturbed. All other promises depend on this.

    `median_calibration` is the median calibration time in seconds.
    """
    reasons = [reason for process in processes for reason in process.disturbances(median_calibration)]
    share = sum(reason is not None for reason in reasons) / len(reasons)
    return Row(
        "the machine is quiet",
        f"≤ {MAX_NOISY_SHARE:.0%} of blocks disturbed",
        f"{share:.1%} of {len(reasons):,}",
        share <= MAX_NOISY_SHARE,
    )


def clock_is_fast(processes: Sequence[Process], repetitions: int) -> Row:
    """Check that a clock reading is short compared with one repetition of the shortest timed step.

    Every timed step runs its work `repetitions` times.
    """
    overhead = median(m.samples[0] for p in processes for m in p.measurements if m.metric == "loop_clock_seconds")
    shortest = min(min(m.samples) for p in processes for m in p.measurements if m.metric == "step_seconds")
    step_seconds = shortest / repetitions
    return Row(
        "reading the clock is fast",
        f"≤ {MAX_CLOCK_SHARE:.0%} of a step",
        f"{overhead * 1e9:.0f} ns, {overhead / step_seconds:.2%} of {step_seconds * 1e6:.0f} µs",
        overhead <= MAX_CLOCK_SHARE * step_seconds,
    )


def intervals_cover(generator: np.random.Generator) -> list[Row]:
    """Check that 95% intervals cover the true value often enough, on samples of known distributions."""

    def normal(size: int) -> list[float]:
        return generator.normal(10, 1, size).tolist()

    def skewed(size: int) -> list[float]:
        return generator.lognormal(0, 0.5, size).tolist()

    def timings(size: int, scale: float) -> list[float]:
        return (scale * generator.lognormal(0, 0.05, size)).tolist()

    ninetieth = float(np.exp(0.5 * 1.2815515655446004))
    cases = {
        "a mean of 5": lambda: (interval_of_mean(normal(5)), 10.0),
        "a median of 30, skewed": lambda: (interval_of_median(skewed(30)), 1.0),
        "a 90th percentile of 1,000": lambda: (interval_of_quantile(skewed(1000), 0.9), ninetieth),
        "a ratio of 6 and 6 processes": lambda: (ratio_interval(timings(6, 1.0), timings(6, 1.2)), 1.2),
    }
    rows = []
    for name, simulate in cases.items():
        covered = 0
        for _ in range(SIMULATIONS):
            (low, _, high), truth = simulate()
            covered += low <= truth <= high
        share = covered / SIMULATIONS
        rows.append(
            Row(
                f"intervals cover: {name}",
                f"≥ {MIN_COVERAGE:.0%} of {SIMULATIONS:,}",
                f"{share:.1%}",
                share >= MIN_COVERAGE,
            )
        )
    return rows
