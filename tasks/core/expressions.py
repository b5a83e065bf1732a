"""Random nested expressions for `listops`, drawn level by level in bulk, and the exact law of their answers."""

# Shape suffixes: O operators and C arguments of one level of all trees; V values, N sizes, F frequencies

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]
Placed = tuple[tuple[Ints, Ints], Ints]

OPERATORS = ("MIN", "MAX", "MED", "SM")
VALUES = 10
OPERATOR_SHARE = 0.25
"""How often an argument is an operator (Tay et al. 2020)."""
CLOSE = VALUES + len(OPERATORS)
SMALLEST_TABLE = 64
OVERSAMPLING, WRAPPED_ROUND = 4, 1e-14
"""Points of the Fourier transform for each size in the table, and what is left of sizes that wrap round."""
BAND = 2048
"""Frequencies worked on at a time, so that their powers stay in the cache."""


@dataclass(frozen=True, slots=True)
class Level:
    """The operators of one depth in all trees, and which of their arguments are operators in turn.

    Arguments stand in the order of their operators; those that are operators make up the next level.
    """

    tree_O: Ints
    count_O: Ints
    nests_C: Bools

    def kept(self, is_kept: Bools, number: Ints) -> Level:
        """The level without the trees that are not kept, which get new numbers."""
        keep_O = is_kept[self.tree_O]
        keep_C = np.repeat(keep_O, self.count_O)
        return Level(number[self.tree_O[keep_O]], self.count_O[keep_O], self.nests_C[keep_C])


def draw_expressions(
    seed: int, count: int, depth: int, arguments: int, fewest: int, most: int
) -> tuple[list[Placed], Ints]:
    """`count` expressions of `fewest` to `most` tokens: symbols with their trees and places, and the values."""
    random = np.random.Generator(np.random.PCG64(seed))
    share = acceptance(depth, arguments, fewest, most)
    placed, values, drawn = [], np.empty(count, dtype=np.int64), 0
    while drawn < count:
        trees = math.ceil(1.1 * (count - drawn) / share) + 8
        levels, sizes = _grow(random, trees, depth, arguments, most)
        fits = (sizes >= fewest) & (sizes <= most)
        fits &= np.cumsum(fits) <= count - drawn
        numbers = drawn + np.cumsum(fits) - 1
        kept = [level.kept(fits, numbers) for level in levels]
        symbols, results = _fill(random, [level for level in kept if len(level.tree_O)])
        placed += symbols
        values[drawn : drawn + len(results)] = results
        drawn += len(results)
    return placed, values


def _grow(random: np.random.Generator, trees: int, depth: int, arguments: int, most: int) -> tuple[list[Level], Ints]:
    """The shapes of random trees, and their tokens. One that passes `most` tokens grows no further."""
    levels, tree_O = [], np.arange(trees)
    tokens = np.full(trees, 2)
    for below in range(depth - 1, 0, -1):
        count_O = 2 + (random.random(len(tree_O)) * (arguments - 1)).astype(np.int64)
        tree_C = np.repeat(tree_O, count_O)
        nests_C = random.random(len(tree_C)) < (OPERATOR_SHARE if below > 1 else 0)
        tokens += np.bincount(tree_C, minlength=trees) + np.bincount(tree_C[nests_C], minlength=trees)
        nests_C &= (tokens <= most)[tree_C]
        levels.append(Level(tree_O, count_O, nests_C))
        tree_O = tree_C[nests_C]
        if not len(tree_O):
            break
    return levels, tokens


def _fill(random: np.random.Generator, levels: list[Level]) -> tuple[list[Placed], Ints]:
    """Digits and operators for the shapes, each symbol's place, and each tree's value."""
    sizes, values = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    filled = []
    for level in reversed(levels):
        size_C, value_C = np.ones(len(level.nests_C), dtype=np.int64), np.empty(len(level.nests_C), dtype=np.int64)
        value_C[:] = random.random(len(value_C)) * VALUES
        size_C[level.nests_C], value_C[level.nests_C] = sizes, values
        operator_O = (random.random(len(level.count_O)) * len(OPERATORS)).astype(np.int64)
        first_O = np.cumsum(level.count_O) - level.count_O
        sizes = 2 + np.add.reduceat(size_C, first_O)
        values = _apply(operator_O, value_C, first_O, level.count_O)
        filled.append((level, operator_O, size_C, value_C, first_O, sizes))
    place_O, placed = np.zeros(len(values), dtype=np.int64), []
    for level, operator_O, size_C, value_C, first_O, size_O in reversed(filled):
        before_C = np.cumsum(size_C) - size_C
        place_C = before_C + np.repeat(place_O + 1 - before_C[first_O], level.count_O)
        is_digit_C = ~level.nests_C
        tree_C = np.repeat(level.tree_O, level.count_O)
        placed.append(((level.tree_O, place_O), VALUES + operator_O))
        placed.append(((level.tree_O, place_O + size_O - 1), np.full_like(place_O, CLOSE)))
        placed.append(((tree_C[is_digit_C], place_C[is_digit_C]), value_C[is_digit_C]))
        place_O = place_C[level.nests_C]
    return placed, values


def _apply(operator_O: Ints, value_C: Ints, first_O: Ints, count_O: Ints) -> Ints:
    """The value of each operator; siblings are sorted together by sorting (operator, value) pairs as numbers."""
    owner_C = np.repeat(np.arange(len(count_O)) * VALUES, count_O)
    sorted_C = np.sort(owner_C + value_C) - owner_C
    median_O = (sorted_C[first_O + (count_O - 1) // 2] + sorted_C[first_O + count_O // 2]) // 2
    sum_O = np.add.reduceat(value_C, first_O) % VALUES
    choices = (sorted_C[first_O], sorted_C[first_O + count_O - 1], median_O, sum_O)
    return np.choose(operator_O, choices)


def acceptance(depth: int, arguments: int, fewest: int, most: int) -> float:
    """How likely a random expression has `fewest` to `most` tokens."""
    return float(_law(depth, arguments, _table_size(most))[:, fewest : most + 1].sum())


def answer_shares(depth: int, arguments: int, fewest: int, most: int) -> Floats:
    """The distribution (V,) of the value of such an expression."""
    mass_V = _law(depth, arguments, _table_size(most))[:, fewest : most + 1].sum(1)
    shares_V: Floats = mass_V / mass_V.sum()
    return shares_V


def _table_size(most: int) -> int:
    return max(SMALLEST_TABLE, 1 << most.bit_length())


@lru_cache
def _law(depth: int, arguments: int, largest: int) -> Floats:
    """The probability of each value and number of tokens, up to `largest`, of an expression: (V, N)."""
    digit_VN = np.zeros((VALUES, largest + 1))
    digit_VN[:, 1] = 1 / VALUES
    argument_VN = digit_VN
    for _ in range(depth - 2):
        nested_VN = _operator_law(argument_VN, arguments)
        argument_VN = (1 - OPERATOR_SHARE) * digit_VN + OPERATOR_SHARE * nested_VN
    return _operator_law(argument_VN, arguments)


def _operator_law(argument_VN: Floats, arguments: int) -> Floats:
    """One operator over arguments of that law: equations (1) to (4) of `listops` at every frequency of the sizes.

    Sizes beyond the table would wrap round into it, so they are damped by a factor for each token.
    """
    largest = argument_VN.shape[1] - 1
    points = OVERSAMPLING * (largest + 1)
    damping_N = WRAPPED_ROUND ** (np.arange(largest + 1) / points)
    p_VF = np.fft.rfft(argument_VN * damping_N, points)
    law_VF = np.empty_like(p_VF)
    for start in range(0, p_VF.shape[1], BAND):
        band = slice(start, start + BAND)
        law_VF[:, band] = _generating_function(p_VF[:, band], arguments)
    law_VN = np.zeros_like(argument_VN)
    law_VN[:, 2:] = np.fft.irfft(law_VF, points)[:, : largest - 1] / damping_N[: largest - 1]
    return law_VN


def _generating_function(p_VF: Complexes, arguments: int) -> Complexes:
    """The value of a random operator with a random number of arguments, each of law p."""
    at_most, at_least = (_powers(x, arguments) for x in (np.cumsum(p_VF, 0), np.cumsum(p_VF[::-1], 0)[::-1]))
    above = _powers(at_most[1][-1] - at_most[1], arguments)
    modulo = _powers(np.fft.fft(p_VF, axis=0), arguments)
    law_VF = np.zeros_like(p_VF)
    for k in range(2, arguments + 1):
        law_VF += np.diff(at_most[k], axis=0, prepend=0)  # (1)
        law_VF -= np.diff(at_least[k], axis=0, append=0)  # (2)
        law_VF += np.fft.ifft(modulo[k], axis=0)  # (3)
        rank = (k + 1) // 2
        enough_VF = sum(math.comb(k, j) * at_most[j] * above[k - j] for j in range(rank, k + 1))
        law_VF += np.diff(enough_VF, axis=0, prepend=0)  # (4), the lower of the middle two
        if k % 2 == 0:
            law_VF += _upward(math.comb(k, rank) * at_most[rank], at_least[rank])
    return law_VF / (len(OPERATORS) * (arguments - 1))


def _powers(x_VF: Complexes, highest: int) -> list[Complexes]:
    return list(itertools.accumulate(range(highest), lambda power_VF, _: power_VF * x_VF, initial=np.ones_like(x_VF)))


def _upward(ends_VF: Complexes, begins_VF: Complexes) -> Complexes:
    """What moves from the lower of the middle two to their mean: half the arguments end at the one, half begin
    at the other."""
    ends_at_VF = np.diff(ends_VF, axis=0, prepend=0)
    begins_at_VF = -np.diff(begins_VF, axis=0, append=0)
    moved_VF = np.zeros_like(ends_VF)
    for low, high in itertools.combinations(range(VALUES), 2):
        both_F = ends_at_VF[low] * begins_at_VF[high]
        moved_VF[low] -= both_F
        moved_VF[(low + high) // 2] += both_F
    return moved_VF
