"""Find the points at which a series of values changes permanently.

Change points are found by binary segmentation (Vostrikova 1981) with permutation tests. The statistic (1) uses
the centred ranks of the n values in a series, so that one outlier has little influence:

    G(k) = (sum of the first k centred ranks)^2 / (k (n - k))        (1)  variance explained by a step after value k

The k with the largest G is a candidate. Its G is compared with the largest G of random orders of the same values. The
candidate is a change point if at most the share `FALSE_ALARMS` of random orders reach its G. A change point splits the
series, and each part is searched in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

FALSE_ALARMS = 0.01
"""Maximum share of unchanged series for which a change is reported."""
SHUFFLES = 1999
"""Number of random orders that determine the threshold of G."""
MIN_STRETCH = 2
"""Minimum number of values on each side of a change, so that a single outlier is not a change."""


def change_points(values: Sequence[float]) -> tuple[int, ...]:
    """Return the indices at which the values change permanently, in ascending order, by (1).

    Each index is that of the first value after a change.
    """
    return tuple(_changes(_ranks(values), 0))


def strongest_split(values: np.ndarray) -> tuple[int, float]:
    """Return the number of values before the split with the largest G of (1), and the G of this split.

    The result is (0, 0.0) if there are fewer than `2 * MIN_STRETCH` values.
    """
    count = len(values)
    if count < 2 * MIN_STRETCH:
        return 0, 0.0
    gains = _gains(values[None])[0]
    best = int(np.argmax(gains))
    return best + MIN_STRETCH, float(gains[best])


def _changes(ranks: np.ndarray, offset: int) -> Iterator[int]:
    split, gain = strongest_split(ranks)
    if not split or gain <= _threshold(tuple(sorted(_ranks(ranks).tolist()))):
        return
    yield from _changes(_ranks(ranks[:split]), offset)
    yield offset + split
    yield from _changes(_ranks(ranks[split:]), offset + split)


def _ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))


def _gains(values_SN: np.ndarray) -> np.ndarray:
    """Return G of (1), (shuffles, splits). `values_SN` contains S shuffles of N values."""
    count = values_SN.shape[1]
    k = np.arange(MIN_STRETCH, count - MIN_STRETCH + 1)
    sums = np.cumsum(values_SN - values_SN.mean(axis=1, keepdims=True), axis=1)[:, k - 1]
    return np.asarray(sums**2 / (k * (count - k)))


@lru_cache(maxsize=512)
def _threshold(values: tuple[float, ...]) -> float:
    """Return a threshold that the largest G exceeds in at most the share `FALSE_ALARMS` of random orders of values."""
    shuffled = np.random.default_rng(0).permuted(np.tile(values, (SHUFFLES, 1)), axis=1)
    largest = np.sort(_gains(shuffled).max(axis=1))
    allowed = math.floor(FALSE_ALARMS * (SHUFFLES + 1)) - 1
    return float(largest[SHUFFLES - 1 - allowed])
