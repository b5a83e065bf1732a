"""Aggregate memory shares over tasks, lengths and seeds.

The definitions are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", whose library is rliable. A *run* is one seed of an architecture in one setting: a task at a trained length.
The scores are memory shares, in the settings that all architectures of the table share.

- The *interquartile mean* (IQM) is the mean of the middle half of all runs. Unlike the median, it uses half of the
  runs. Unlike the mean, it does not depend on a few outliers.
- The *performance profile* is the share of runs with more than τ, for several τ.
- The *probability of improvement* of X over Y is P(x > y) + P(x = y) / 2 for a run of each in the same setting,
  averaged over settings.

Intervals are 95% percentile intervals of a stratified bootstrap: in each setting, the seeds are drawn with replacement.
With few seeds they are too narrow, so the letters of the leaderboard remain the judgement of differences.
"""

# Shape suffixes: N resamples, R runs

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from reports.analysis.groups import Group
from reports.analysis.memory_share import Setting, memory_share, shared_settings
from results import Interval

RESAMPLES = 2_000
"""The number of bootstrap samples, as in rliable."""
TRIMMED = 0.25
"""The share of runs that the interquartile mean leaves out on each side."""
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""The memory shares τ of the performance profile."""
TAILS = (2.5, 97.5)

Floats = NDArray[np.float64]
Shares = Mapping[Setting, Floats]
"""The memory shares of an architecture's seeds, by setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """What one architecture reaches over all shared settings."""

    arch: str
    runs: int
    iqm: Interval
    """The interquartile mean of the memory shares."""
    mean: Interval
    profile: tuple[Interval, ...]
    """The share of runs above each level of `LEVELS`."""
    improvement: tuple[tuple[str, Interval], ...]
    """The probability of improvement over each other architecture, in the order of the table."""


def aggregates(groups: Sequence[Group], *, seed: int = 0) -> list[Aggregate]:
    """Return the aggregates of the architectures with shared settings, the highest IQM first.

    The list is empty if no setting has two architectures, or one architecture with two scored seeds. `seed` seeds the
    bootstrap, so the same records always give the same intervals.
    """
    shared = shared_settings(groups)
    shares: dict[str, dict[Setting, Floats]] = {}
    for group in groups:
        setting = (group.task, group.length)
        if group.arch in shared.get(setting, {}):
            shares.setdefault(group.arch, {})[setting] = np.array(memory_share(group))
    generator = np.random.default_rng(seed)
    resampled = {arch: _resampled(of_arch, generator) for arch, of_arch in shares.items()}

    def interval(arch: str, statistic: Callable[[Floats], Floats]) -> Interval:
        plain = np.concatenate([*shares[arch].values()])[None]
        return _interval(float(statistic(plain)[0]), statistic(np.concatenate([*resampled[arch].values()], axis=1)))

    iqms = {arch: interval(arch, _iqm) for arch in shares}
    order = sorted(shares, key=lambda arch: -iqms[arch].middle)
    return [
        Aggregate(
            arch=arch,
            runs=sum(map(len, shares[arch].values())),
            iqm=iqms[arch],
            mean=interval(arch, lambda x_NR: x_NR.mean(axis=1)),
            profile=tuple(interval(arch, partial(_share_above, level)) for level in LEVELS),
            improvement=tuple(
                (
                    other,
                    _interval(
                        float(improvement(_single(shares[arch]), _single(shares[other]))[0]),
                        improvement(resampled[arch], resampled[other]),
                    ),
                )
                for other in order
                if other != arch
            ),
        )
        for arch in order
    ]


def improvement(better: Mapping[Setting, Floats], worse: Mapping[Setting, Floats]) -> Floats:
    """Return the probability of improvement of `better` over `worse` in each resample.

    Both have the same settings, and an array (N, R) for each.
    """
    wins = []
    for setting, x_NR in better.items():
        apart = x_NR[:, :, None] - worse[setting][:, None, :]
        wins.append(((apart > 0) + 0.5 * (apart == 0)).mean(axis=(1, 2)))
    return np.asarray(np.mean(wins, axis=0))


def _share_above(level: float, x_NR: Floats) -> Floats:
    return np.asarray((x_NR > level).mean(axis=1))


def _single(shares: Shares) -> dict[Setting, Floats]:
    return {setting: x_R[None] for setting, x_R in shares.items()}


def _iqm(x_NR: Floats) -> Floats:
    from scipy.stats import trim_mean  # takes half a second to import

    return np.asarray(trim_mean(x_NR, TRIMMED, axis=1))


def _resampled(shares: Shares, generator: np.random.Generator) -> dict[Setting, Floats]:
    """Draw the seeds of each setting with replacement, `RESAMPLES` times."""
    return {setting: x_R[generator.integers(len(x_R), size=(RESAMPLES, len(x_R)))] for setting, x_R in shares.items()}


def _interval(value: float, resamples: Floats) -> Interval:
    low, high = np.percentile(resamples, TAILS)
    return Interval(float(low), value, float(high))
