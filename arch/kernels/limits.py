"""Work that reaches the machine's limits: reads of memory, matrix products, and multiply-adds in registers.

All work is repeated inside a kernel, so a call from Python costs nothing beside it. Reads go over the same memory again
and again in the same order, as the steps of a stream read their weights. Therefore, the memory stays in the smallest
cache that holds it. Which order of addresses is the fastest depends on the processor, so there are several.
"""

# Shape suffixes: M rows, K products per sum, N columns, W whole vectors of a row

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import float32, int64, njit, void
from numba.core import types

from arch.kernels.runtime.jit import kernel
from arch.kernels.runtime.threads import split_rows
from arch.kernels.simd.matmul import ROWS, multiply
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.vector import FLOAT, LANES, VECTOR, fma, instruction, read, splat, vector

ORDERS = ((1, 8), (1, 16), (2, 8), (4, 4), (16, 1))
"""Orders of reading: into how many parts the memory is cut, and how many vectors of each part are read in turn.

The product of a matrix with a vector reads 16 rows at once, as the last order does."""
GROUP = 16
"""Vectors of a share of the memory: a multiple of parts times vectors of every order."""
HUGE_PAGE_BYTES = 2 << 20
MIN_FLOPS = 1 << 24
"""Smallest number of FLOPs of one call, so that the overhead of the call (below 1 µs) is negligible."""
ACCUMULATORS = 12
"""Independent sums of the multiply-adds: latency times operations per cycle is at most 10 on current processors.

Together with two operands they fit the 16 registers of AVX2."""
INDEX = ir.IntType(64)
START, GROWTH, ADDED = 0.0, 0.5, 0.5
"""Sums of the multiply-adds before the first round, and the factor and summand of each round."""


class Work(NamedTuple):
    """A call, and how much work it does."""

    amount: int
    """Bytes that the call reads, or FLOPs."""

    call: Callable[[], object]


def _sum_of_passes(parts: int, several: int) -> Any:
    @instruction
    def sum_of_passes(typing: Any, start: types.Integer, vectors: types.Integer, passes: types.Integer) -> Any:
        """Return the sum of all vectors, over all passes. `_sum_of_passes` has the parameters `parts` and `several`.

        Args:
            typing: Numba's typing context.
            start: Address of the first vector.
            vectors: Number of vectors per part, a positive multiple of `several`.
            passes: Number of passes, at least 1.
        """

        def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
            start, vectors, passes = values
            first = builder.inttoptr(start, FLOAT.as_pointer())
            pointers = [
                builder.gep(first, [builder.mul(vectors, ir.Constant(INDEX, part * LANES))]) for part in range(parts)
            ]
            zero, zeros = ir.Constant(INDEX, 0), ir.Constant(VECTOR, [0.0] * LANES)
            before = builder.block
            outer, inner, ending, after = (builder.append_basic_block(f"reads.{name}") for name in "abcd")
            builder.branch(outer)
            builder.position_at_end(outer)
            done = builder.phi(INDEX)
            done.add_incoming(zero, before)
            totals = [builder.phi(VECTOR) for _ in range(parts * several)]
            builder.branch(inner)
            builder.position_at_end(inner)
            at = builder.phi(INDEX)
            at.add_incoming(zero, outer)
            sums = [builder.phi(VECTOR) for _ in totals]
            longer = []
            for index, (total, sum_) in enumerate(zip(totals, sums, strict=True)):
                turn, part = divmod(index, parts)
                place = builder.mul(builder.add(at, ir.Constant(INDEX, turn)), ir.Constant(INDEX, LANES))
                longer.append(builder.fadd(sum_, read(builder, builder.gep(pointers[part], [place]))))
                sum_.add_incoming(total, outer)
                sum_.add_incoming(longer[-1], inner)
                total.add_incoming(zeros, before)
                total.add_incoming(longer[-1], ending)
            following = builder.add(at, ir.Constant(INDEX, several))
            at.add_incoming(following, inner)
            builder.cbranch(builder.icmp_signed("<", following, vectors), inner, ending)
            builder.position_at_end(ending)
            more = builder.add(done, ir.Constant(INDEX, 1))
            done.add_incoming(more, ending)
            builder.cbranch(builder.icmp_signed("<", more, passes), outer, after)
            builder.position_at_end(after)
            result = longer[0]
            for other in longer[1:]:
                result = builder.fadd(result, other)
            return result

        return vector(types.intp, types.intp, types.intp), lower

    return sum_of_passes


_in_eights, _in_sixteens, _in_two_parts, _in_four_parts, _in_sixteen_parts = (
    _sum_of_passes(parts, several) for parts, several in ORDERS
)


@kernel(float32(*[int64] * 4))
def read_passes(start, vectors, passes, order):  # type: ignore[no-untyped-def]
    """Return the sum of all numbers, over all passes.

    Args:
        start: Address of the first number, float32.
        vectors: Number of vectors, a positive multiple of GROUP.
        passes: Number of passes over the memory, at least 1.
        order: Index of the order of reading, in `ORDERS`.
    """
    if order == 0:
        return lane_sum(_in_eights(start, vectors, passes))
    if order == 1:
        return lane_sum(_in_sixteens(start, vectors, passes))
    if order == 2:
        return lane_sum(_in_two_parts(start, vectors // 2, passes))
    if order == 3:
        return lane_sum(_in_four_parts(start, vectors // 4, passes))
    return lane_sum(_in_sixteen_parts(start, vectors // 16, passes))


@njit(forceinline=True)
def _next(total):  # type: ignore[no-untyped-def]
    return fma(total, splat(GROWTH), splat(ADDED))


@kernel(float32(int64))
def multiply_add_rounds(rounds):  # type: ignore[no-untyped-def]
    """Multiply and add ACCUMULATORS vectors in registers, `rounds` times, and return the sum of their lanes."""
    a = b = c = d = e = f = g = h = i = j = k = m = splat(START)
    for _ in range(rounds):
        a, b, c, d, e, f = _next(a), _next(b), _next(c), _next(d), _next(e), _next(f)
        g, h, i, j, k, m = _next(g), _next(h), _next(i), _next(j), _next(k), _next(m)
    return lane_sum(a + b + c + d + e + f + g + h + i + j + k + m)


@kernel(void(*[int64] * 8))
def multiply_tiles(left, packed, result, K, W, repeats, first, last):  # type: ignore[no-untyped-def]
    """Write rows `first` to `last` of the product of two matrices, `repeats` times.

    Args:
        left: Address of the left-hand matrix, float32 numbers, (M, K).
        packed: Address of the right-hand matrix in panels, float32 numbers, (W, K, LANES).
        result: Address of the result, float32 numbers, (M, W · LANES).
        K: Products per sum.
        W: Vectors per row of the result.
        repeats: Number of repetitions.
        first, last: First row, and the row after the last one.
    """
    for _ in range(repeats):
        multiply(
            floats(result), first * W * LANES, W * LANES, floats(left), first * K, K, floats(packed), K, last - first, W
        )


@kernel(void(*[int64] * 6))
def multiply_vector(matrix, numbers, result, N, K, repeats):  # type: ignore[no-untyped-def]
    """Write the product of a matrix and a vector, `repeats` times.

    Args:
        matrix: Address of the matrix, float32 numbers, (N, K).
        numbers: Address of the vector, float32 numbers, (K,).
        result: Address of the result, float32 numbers, (N,).
        N, K: Shape of the matrix.
        repeats: Number of repetitions.
    """
    for _ in range(repeats):
        apply(floats(matrix), 0, 0, N, K, floats(numbers), 0, K, 1, floats(result), 0, N, False)


def reads(memory_bytes: int, min_bytes: int) -> list[Work]:
    """Return one call per order of reading. Each call returns the sums of the numbers that its threads read, all ones.

    Each thread reads its own share of the memory. There are as many threads as torch uses.

    Args:
        memory_bytes: Size of the memory, rounded down to whole groups of vectors, but at least one group.
        min_bytes: Minimum number of bytes that a call reads, in whole passes over the memory.
    """
    group_bytes = 4 * LANES * GROUP
    groups = max(1, memory_bytes // group_bytes)
    numbers = _ones(groups * group_bytes)
    passes = -(-min_bytes // (groups * group_bytes))

    def call(order: int) -> list[float]:
        sums: list[float] = []

        def share(first: int, last: int) -> None:
            start = numbers.ctypes.data + first * group_bytes
            sums.append(float(read_passes(start, (last - first) * GROUP, passes, order)))

        split_rows(groups, groups * GROUP * LANES * passes, share, 1)
        return sums

    return [Work(groups * group_bytes * passes, partial(call, order)) for order in range(len(ORDERS))]


def products(M: int, K: int, N: int) -> list[Work]:
    """Return calls that multiply (M, K) by (K, N) matrices of 0.5, repeated. Each call returns the last product.

    The tiles run on as many threads as torch uses. The product of a single row runs on one thread.

    Args:
        M: Rows of the left-hand matrix and of the result.
        K: Products per sum.
        N: Columns of the right-hand matrix and of the result.
    """
    flops = 2 * M * K * N
    repeats = -(-MIN_FLOPS // flops)
    left_MK, right_KN = np.full((M, K), 0.5, np.float32), np.full((K, N), 0.5, np.float32)
    W = -(-N // LANES)
    padded_KN, result_MN = np.zeros((K, W * LANES), np.float32), np.zeros((M, W * LANES), np.float32)
    padded_KN[:, :N] = right_KN
    packed = np.ascontiguousarray(padded_KN.reshape(K, W, LANES).transpose(1, 0, 2))  # panels, as `pack` returns them

    def tiles() -> np.ndarray[Any, Any]:
        addresses = left_MK.ctypes.data, packed.ctypes.data, result_MN.ctypes.data
        split_rows(M, flops // 2 * repeats, partial(multiply_tiles, *addresses, K, W, repeats), ROWS)
        return result_MN[:, :N]

    found = [Work(flops * repeats, tiles)]
    if M == 1:
        matrix_NK, result_N = right_KN.T.copy(), np.zeros(N, np.float32)

        def one_row() -> np.ndarray[Any, Any]:
            addresses = matrix_NK.ctypes.data, left_MK.ctypes.data, result_N.ctypes.data
            multiply_vector(*addresses, N, K, repeats)
            return result_N[None]

        found.append(Work(flops * repeats, one_row))
    return found


def multiply_adds() -> Work:
    """Return a call that multiplies and adds in registers. Each thread returns the sum of its numbers."""
    threads = torch.get_num_threads()
    rounds = -(-MIN_FLOPS // (2 * ACCUMULATORS * LANES))

    def call() -> list[float]:
        sums: list[float] = []
        split_rows(threads, threads * MIN_FLOPS, lambda *_: sums.append(multiply_add_rounds(rounds)), 1)
        return sums

    return Work(2 * ACCUMULATORS * LANES * rounds * threads, call)


def _ones(byte_count: int) -> np.ndarray[Any, Any]:
    """Return float32 ones in memory of their own, in huge pages if the system has them.

    In small pages, a buffer as large as a cache may not fit it, because the places of the pages are chosen by chance.
    """
    memory = mmap.mmap(-1, byte_count + HUGE_PAGE_BYTES)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # raised if the system was built without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    numbers = np.frombuffer(memory, np.float32)
    skipped = -numbers.ctypes.data % HUGE_PAGE_BYTES // 4
    aligned = numbers[skipped : skipped + byte_count // 4]
    aligned[:] = 1
    return aligned
