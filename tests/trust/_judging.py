"""The ratio of two sides with its interval, and what it says. The only place that decides; all else here measures.

A side is one number a fresh process, its median, as blocks within a process are not independent. Logarithms of such
medians are compared by Welch's interval: with six processes a side a bootstrap would cover far less than it says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import stats

from results import Interval

Verdict = Literal["regressed", "improved", "unchanged", "inconclusive"]

LEAST_EFFECT = 0.10
"""A ratio nearer to 1 than this is no regression, however certain it is."""
ALARM_LEVEL = 0.99
"""So that without a change at most one comparison in a hundred raises an alarm."""


def ratio_of(base: Sequence[float], new: Sequence[float], *, level: float = 0.95) -> Interval:
    """How many times as long the new side takes, geometric means, with Welch's interval."""
    logs = [np.log(side) for side in (base, new)]
    difference = float(logs[1].mean() - logs[0].mean())
    shares = [float(side.var(ddof=1)) / len(side) for side in logs]
    error = math.sqrt(sum(shares))
    if error == 0:
        return Interval(*[math.exp(difference)] * 3)
    freedom = error**4 / sum(share**2 / (len(side) - 1) for share, side in zip(shares, logs, strict=True))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(*(math.exp(difference + shift) for shift in (-half, 0, half)))


def judge(base: Sequence[float], new: Sequence[float]) -> Verdict:
    """One verdict on two sides; `inconclusive` where the interval reaches to a change that would count."""
    low, middle, high = ratio_of(base, new, level=ALARM_LEVEL)
    if low > 1 and middle >= 1 + LEAST_EFFECT:
        return "regressed"
    if high < 1 and middle <= 1 / (1 + LEAST_EFFECT):
        return "improved"
    if high < 1 + LEAST_EFFECT and low > 1 / (1 + LEAST_EFFECT):
        return "unchanged"
    return "inconclusive"
