"""What the counts of symbols tell: the expected share of the most frequent symbol, and the expected entropy.

n symbols are drawn independently and uniformly from a symbols. The symbol at a place is asked for, but only the
counts n_1 … n_a of the symbols are known, not their order. All orders are equally likely, so the symbol is s with
probability n_s / n. The best answer is the most frequent symbol. Its score and the loss of the shares n_s / n are

    score   E[max_s n_s] / n                                                    (1)
    loss    E[-Σ_s (n_s / n) ln(n_s / n)]                                       (2)

With the exponential series cut off at x^m, the probability that no count exceeds m is

    P(max ≤ m) = n! / aⁿ · [xⁿ] (1 + x + … + x^m / m!)^a                        (3)
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

CERTAIN = 1e-12
"""A sum over probabilities ends when less than this probability is left."""


@lru_cache(maxsize=4096)
def most_frequent_share(draws: int, symbols: int) -> float:
    """Return equation (1), the expected share of the most frequent of `symbols` symbols among `draws` draws.

    >>> most_frequent_share(2, 2)
    0.75
    """
    expected, most = 0.0, 0
    while (above := 1 - _no_count_exceeds(most, draws, symbols)) > CERTAIN:
        expected += above
        most += 1
    return expected / draws


@lru_cache(maxsize=4096)
def entropy_of_counts(draws: int, symbols: int) -> float:
    """Return equation (2) in nats, the expected entropy of the shares of `symbols` symbols among `draws` draws.

    >>> entropy_of_counts(1, 8)
    0.0
    """
    expected = 0.0
    for count in range(1, draws):
        share = count / draws
        log_probability = (
            math.lgamma(draws + 1)
            - math.lgamma(count + 1)
            - math.lgamma(draws - count + 1)
            + (draws - count) * math.log1p(-1 / symbols)
            - count * math.log(symbols)
        )
        expected -= symbols * math.exp(log_probability) * share * math.log(share)
    return expected


def _no_count_exceeds(most: int, draws: int, symbols: int) -> float:
    """Return equation (3). Powers are taken by repeated squaring of polynomials in the probabilities of counts.

    The counts of one symbol have a Poisson distribution with mean n / a, which keeps all coefficients in range. Given
    their sum n, the counts of independent Poisson variables are those of n draws.
    """
    if most * symbols < draws:
        return 0.0
    counts = np.arange(min(most, draws) + 1)
    log_factorials = np.array([math.lgamma(count + 1) for count in counts])
    mean = draws / symbols
    power = _power(np.exp(counts * math.log(mean) - mean - log_factorials), symbols, draws)
    sum_is_n = math.exp(draws * math.log(draws) - draws - math.lgamma(draws + 1))
    return float(power[draws]) / sum_is_n if len(power) > draws else 0.0


def _power(polynomial: npt.NDArray[np.float64], exponent: int, degree: int) -> npt.NDArray[np.float64]:
    """Return a polynomial raised to a power, cut off after the term of the given degree."""
    result = np.ones(1)
    while exponent:
        if exponent % 2:
            result = np.convolve(result, polynomial)[: degree + 1]
        polynomial = np.convolve(polynomial, polynomial)[: degree + 1]
        exponent //= 2
    return result
