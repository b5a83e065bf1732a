"""Sample nested expressions for `listops` level by level, and compute the exact distribution of their values."""

# Shape suffixes: O operators and C arguments of one level of all trees; K kinds of operators, V values, N sizes,
# F frequencies

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
Symbols = tuple[tuple[Ints, Ints], Ints]
"""Symbols with their positions: three arrays of equal length, ((tree indices, positions in the tree), symbols)."""

OPERATORS = ("MIN", "MAX", "MED", "SM")
VALUES = 10
OPERATOR_SHARE = 0.25
"""The probability that an argument at less than the maximum depth is an operator (Tay et al. 2020)."""
CLOSE = VALUES + len(OPERATORS)
MIN_TABLE_SIZE = 64
OVERSAMPLING, ALIASING = 4, 1e-14
"""Number of points of the Fourier transform per size in the table, and the factor that damps aliased sizes."""
BAND = 2048
"""Number of frequencies that are processed together. It limits the memory for their powers."""


@dataclass(frozen=True, slots=True)
class Level:
    """The operators at one depth of all trees, and their arguments.

    Arguments are in the order of their operators. The arguments that are operators make up the next level.
    """

    tree_O: Ints
    """The tree of each operator."""
    count_O: Ints
    """The number of arguments of each operator."""
    nests_C: Bools
    """Whether each argument is an operator."""

    def select(self, is_selected: Bools, number: Ints) -> Level:
        """Return the part of the level that belongs to the selected trees.

        `is_selected` and `number` have one entry per tree. Tree i gets the new index `number[i]`.
        """
        keep_O = is_selected[self.tree_O]
        keep_C = np.repeat(keep_O, self.count_O)
        return Level(number[self.tree_O[keep_O]], self.count_O[keep_O], self.nests_C[keep_C])


def sample_expressions(
    seed: int, count: int, depth: int, arguments: int, min_tokens: int, max_tokens: int
) -> tuple[list[Symbols], Ints]:
    """Sample expressions by rejection, and return their symbols and their values (count,).

    Args:
        seed: Seed of the random numbers.
        count: Number of expressions.
        depth: Maximum depth, counting the level of the digits.
        arguments: Maximum number of arguments of an operator.
        min_tokens: Minimum number of tokens of an expression.
        max_tokens: Maximum number of tokens of an expression, inclusive.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    share = acceptance(depth, arguments, min_tokens, max_tokens)
    symbols, values, done = [], np.empty(count, dtype=np.int64), 0
    while done < count:
        trees = math.ceil(1.1 * (count - done) / share) + 8
        levels, sizes = _grow(random, trees, depth, arguments, max_tokens)
        fits = (sizes >= min_tokens) & (sizes <= max_tokens)
        fits &= np.cumsum(fits) <= count - done
        numbers = done + np.cumsum(fits) - 1
        selected = [level.select(fits, numbers) for level in levels]
        new_symbols, new_values = _fill(random, [level for level in selected if len(level.tree_O)])
        symbols += new_symbols
        values[done : done + len(new_values)] = new_values
        done += len(new_values)
    return symbols, values


def _grow(
    random: np.random.Generator, trees: int, depth: int, arguments: int, max_tokens: int
) -> tuple[list[Level], Ints]:
    """Sample the shapes of `trees` trees, and return their levels and token counts (trees,).

    A tree with more than `max_tokens` tokens stops growing, because `sample_expressions` rejects it.

    Args:
        random: The source of randomness.
        trees: Number of trees.
        depth: Maximum depth, counting the level of the digits.
        arguments: Maximum number of arguments of an operator.
        max_tokens: Maximum number of tokens of an accepted expression.
    """
    levels, tree_O = [], np.arange(trees)
    tokens = np.full(trees, 2)
    for below in range(depth - 1, 0, -1):
        count_O = 2 + (random.random(len(tree_O)) * (arguments - 1)).astype(np.int64)
        tree_C = np.repeat(tree_O, count_O)
        nests_C = random.random(len(tree_C)) < (OPERATOR_SHARE if below > 1 else 0)
        tokens += np.bincount(tree_C, minlength=trees) + np.bincount(tree_C[nests_C], minlength=trees)
        nests_C &= (tokens <= max_tokens)[tree_C]
        levels.append(Level(tree_O, count_O, nests_C))
        tree_O = tree_C[nests_C]
        if not len(tree_O):
            break
    return levels, tokens


def _fill(random: np.random.Generator, levels: list[Level]) -> tuple[list[Symbols], Ints]:
    """Sample the digits and operators of the trees, and return their symbols and values (trees,)."""
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
    position_O, symbols = np.zeros(len(values), dtype=np.int64), []
    for level, operator_O, size_C, value_C, first_O, size_O in reversed(filled):
        before_C = np.cumsum(size_C) - size_C
        position_C = before_C + np.repeat(position_O + 1 - before_C[first_O], level.count_O)
        is_digit_C = ~level.nests_C
        tree_C = np.repeat(level.tree_O, level.count_O)
        symbols.append(((level.tree_O, position_O), VALUES + operator_O))
        symbols.append(((level.tree_O, position_O + size_O - 1), np.full_like(position_O, CLOSE)))
        symbols.append(((tree_C[is_digit_C], position_C[is_digit_C]), value_C[is_digit_C]))
        position_O = position_C[level.nests_C]
    return symbols, values


def _apply(operator_O: Ints, value_C: Ints, first_O: Ints, count_O: Ints) -> Ints:
    """Return the value of each operator, (O,).

    A single sort puts the arguments of every operator in order. The sort keys encode the operator and the value.

    Args:
        operator_O: Index of each operator in `OPERATORS`.
        value_C: Values of all arguments, in the order of their operators.
        first_O: Position of each operator's first argument in `value_C`.
        count_O: Number of arguments of each operator.
    """
    owner_C = np.repeat(np.arange(len(count_O)) * VALUES, count_O)
    sorted_C = np.sort(owner_C + value_C) - owner_C
    median_O = (sorted_C[first_O + (count_O - 1) // 2] + sorted_C[first_O + count_O // 2]) // 2
    sum_O = np.add.reduceat(value_C, first_O) % VALUES
    choices = (sorted_C[first_O], sorted_C[first_O + count_O - 1], median_O, sum_O)
    return np.choose(operator_O, choices)


def acceptance(depth: int, arguments: int, min_tokens: int, max_tokens: int) -> float:
    """Return the probability that a random expression has `min_tokens` to `max_tokens` tokens.

    Args:
        depth: Maximum depth, counting the level of the digits.
        arguments: Maximum number of arguments of an operator.
        min_tokens: Minimum number of tokens of an expression.
        max_tokens: Maximum number of tokens of an expression.
    """
    table_KVN = _expression_distribution(depth, arguments, _table_size(max_tokens))
    return float(table_KVN[:, :, min_tokens : max_tokens + 1].sum())


def answer_shares(depth: int, arguments: int, min_tokens: int, max_tokens: int) -> Floats:
    """Return the share of each value, (V,), among random expressions with `min_tokens` to `max_tokens` tokens.

    Args:
        depth: Maximum depth, counting the level of the digits.
        arguments: Maximum number of arguments of an operator.
        min_tokens: Minimum number of tokens of an expression.
        max_tokens: Maximum number of tokens of an expression.
    """
    shares_V: Floats = answer_shares_by_operator(depth, arguments, min_tokens, max_tokens).sum(0)
    return shares_V


def answer_shares_by_operator(depth: int, arguments: int, min_tokens: int, max_tokens: int) -> Floats:
    """Return the joint shares (K, V) of the outermost operator and the value among the same expressions.

    The arguments are those of `answer_shares`.
    """
    table_KVN = _expression_distribution(depth, arguments, _table_size(max_tokens))
    mass_KV = table_KVN[:, :, min_tokens : max_tokens + 1].sum(2)
    shares_KV: Floats = mass_KV / mass_KV.sum()
    return shares_KV


def _table_size(max_tokens: int) -> int:
    return max(MIN_TABLE_SIZE, 1 << max_tokens.bit_length())


@lru_cache
def _expression_distribution(depth: int, arguments: int, largest: int) -> Floats:
    """Return the joint distribution (K, V, N) of an expression's operator, value and number of tokens.

    The table ends at `largest` tokens.
    """
    digit_VN = np.zeros((VALUES, largest + 1))
    digit_VN[:, 1] = 1 / VALUES
    argument_VN = digit_VN
    for _ in range(depth - 2):
        nested_VN = _operator_distribution(argument_VN, arguments).sum(0)
        argument_VN = (1 - OPERATOR_SHARE) * digit_VN + OPERATOR_SHARE * nested_VN
    return _operator_distribution(argument_VN, arguments)


def _operator_distribution(argument_VN: Floats, arguments: int) -> Floats:
    """Return the joint distribution (K, V, N) of an operator, its value and its number of tokens.

    `argument_VN` is the joint distribution of an argument's value and number of tokens.

    Equations (1) to (4) of `listops` are applied at every frequency of the sizes. The Fourier transform folds
    sizes beyond its number of points back into the table. A damping factor per token makes the share of those sizes
    negligible.
    """
    largest = argument_VN.shape[1] - 1
    points = OVERSAMPLING * (largest + 1)
    damping_N = ALIASING ** (np.arange(largest + 1) / points)
    p_VF = np.fft.rfft(argument_VN * damping_N, points)
    result_KVF = np.empty((len(OPERATORS), *p_VF.shape), dtype=p_VF.dtype)
    for start in range(0, p_VF.shape[1], BAND):
        band = slice(start, start + BAND)
        result_KVF[:, :, band] = _generating_function(p_VF[:, band], arguments)
    result_KVN = np.zeros((len(OPERATORS), *argument_VN.shape))
    result_KVN[:, :, 2:] = np.fft.irfft(result_KVF, points)[:, :, : largest - 1] / damping_N[: largest - 1]
    return result_KVN


def _generating_function(p_VF: Complexes, arguments: int) -> Complexes:
    """Return the generating functions (K, V, F) of the total size of a random operator's arguments.

    There is one function per kind and value of the operator. `p_VF` holds those of one argument's size, one per value
    of the argument. The operator has 2 to `arguments` arguments.
    """
    at_most, at_least = (_powers(x, arguments) for x in (np.cumsum(p_VF, 0), np.cumsum(p_VF[::-1], 0)[::-1]))
    above = _powers(at_most[1][-1] - at_most[1], arguments)
    modulo = _powers(np.fft.fft(p_VF, axis=0), arguments)
    result_KVF: Complexes = np.zeros((len(OPERATORS), *p_VF.shape), dtype=np.complex128)
    smallest_VF, largest_VF, median_VF, sum_VF = result_KVF
    for k in range(2, arguments + 1):
        largest_VF += np.diff(at_most[k], axis=0, prepend=0)  # (1)
        smallest_VF -= np.diff(at_least[k], axis=0, append=0)  # (2)
        sum_VF += np.fft.ifft(modulo[k], axis=0)  # (3)
        rank = (k + 1) // 2
        enough_VF = sum(math.comb(k, j) * at_most[j] * above[k - j] for j in range(rank, k + 1))
        median_VF += np.diff(enough_VF, axis=0, prepend=0)  # (4), the lower middle argument
        if k % 2 == 0:
            median_VF += _median_correction(math.comb(k, rank) * at_most[rank], at_least[rank])
    result_KVF /= len(OPERATORS) * (arguments - 1)
    return result_KVF


def _powers(x_VF: Complexes, highest: int) -> list[Complexes]:
    """Return the elementwise powers of `x_VF` from 0 to `highest`."""
    return list(itertools.accumulate(range(highest), lambda power_VF, _: power_VF * x_VF, initial=np.ones_like(x_VF)))


def _median_correction(lower_half_VF: Complexes, upper_half_VF: Complexes) -> Complexes:
    """Return the correction (V, F) that turns the lower middle argument's distribution into the median's.

    If the number of arguments is even, the median is the mean of the two middle arguments, rounded down.
    Half of the arguments are at most the lower middle argument. The other half are at least the upper one.

    Args:
        lower_half_VF: Generating functions for half of the arguments being at most v.
        upper_half_VF: Generating functions for the other half being at least v.
    """
    ends_at_VF = np.diff(lower_half_VF, axis=0, prepend=0)
    begins_at_VF = -np.diff(upper_half_VF, axis=0, append=0)
    moved_VF = np.zeros_like(lower_half_VF)
    for low, high in itertools.combinations(range(VALUES), 2):
        both_F = ends_at_VF[low] * begins_at_VF[high]
        moved_VF[low] -= both_F
        moved_VF[(low + high) // 2] += both_F
    return moved_VF
