"""Effective lengths in words."""

from __future__ import annotations

from collections.abc import Sequence

from reports.format.numbers import MISSING
from results import PASSING_SHARE, EffectiveLength

DEFINITION = (
    "The effective length is the longest tested length at which the whole interval of the mean score lies above "
    f"{PASSING_SHARE:.0%} of the span from the best score without memory to a perfect score. At all shorter lengths, "
    "from the trained one on, it must do so too. ≥ means that the longest tested length still passes, and none that "
    "the trained length fails. With few seeds, the interval of the mean is wide, so it can fail at a length at which "
    "every seed passes. Then both are given: none by the mean, 32 by every seed."
)


def length_text(length: int, longest: int) -> str:
    """Return an effective length: `≥ 128` if it is the longest tested length, `none` if it is 0, and else `64`."""
    if length == 0:
        return "none"
    return f"≥ {length:,}" if length == longest else f"{length:,}"


def effective_text(effective: EffectiveLength | None) -> str:
    """Return an effective length as text, or a dash if it is unknown. A single seed has no interval to judge by."""
    if effective is None or effective.length is None:
        return MISSING
    return length_text(effective.length, effective.longest)


def effective_estimate(effective: EffectiveLength | None) -> str:
    """Return an effective length with its interval over seeds: `64 (32 to ≥ 128)`.

    If all seeds have this effective length, the text says so. If the interval of the mean gives another one than the
    seeds, the text names both: `none by the mean, 32 by every seed`. For a single seed, it is `single seed: 64`.
    """
    if effective is None:
        return MISSING
    if effective.length is None or effective.low is None or effective.high is None:
        return f"single seed: {length_text(effective.seeds[0], effective.longest)}"
    if set(effective.seeds) == {effective.length}:
        return f"{effective_text(effective)} (every seed)"
    low, high = (length_text(end, effective.longest) for end in (effective.low, effective.high))
    between = low if low == high else f"{low} to {high}"
    if not effective.low <= effective.length <= effective.high:
        seeds = "every seed" if len(set(effective.seeds)) == 1 else "the seeds"
        return f"{effective_text(effective)} by the mean, {between} by {seeds}"
    return f"{effective_text(effective)} ({between})"


def interval_sentence(lengths: Sequence[EffectiveLength]) -> str:
    """Return what the intervals in `effective_estimate` are, and how often they contain the median of all seeds."""
    shares = sorted({each.coverage for each in lengths if each.coverage is not None})
    if not shares:
        return "A single seed has no interval."
    coverage = f"{shares[0]:.0%}" if len(shares) == 1 else f"{shares[0]:.0%} to {shares[-1]:.0%}"
    return (
        f"The interval in brackets contains the median effective length of all possible seeds with a probability of at "
        f"least {coverage}. With fewer than six seeds it is the range of the seeds."
    )
