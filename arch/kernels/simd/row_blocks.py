"""Products of LANES rows at a time, for rows of a fixed number of whole vectors: with a vector, and with weights.

The length of a row is known when an instruction is compiled. So each address is that of the first row plus a constant,
and all sums stay in registers. Attention reads its keys and values in this way. Arrays are float32, and offsets count
array elements.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from arch.kernels.simd.matvec import sum_each
from arch.kernels.simd.vector import (
    LANES,
    VECTOR,
    VectorType,
    address,
    instruction,
    multiply_add,
    read,
    spread,
    vector,
    write,
)

MIN_SUMS = 4
"""Smallest number of sums in flight in `weighted_rows`."""
INDEX = ir.IntType(64)


def fixed_row_sums(vectors: int) -> Any:
    """Return an instruction like `matvec.row_sums`, for LANES rows of `vectors` whole vectors each."""

    @instruction
    def sums_of_rows(
        typing: Any, matrix: types.Array, matrix_at: types.Integer, numbers: types.Array, numbers_at: types.Integer
    ) -> Any:
        """Return Σ_k matrix[matrix_at + row · depth + k] · numbers[numbers_at + k], one lane per row.

        Args:
            typing: Numba's typing context.
            matrix: Array of the matrix, (LANES, depth).
            matrix_at: Offset of the first row.
            numbers: Array of the vector, (depth,).
            numbers_at: Offset of the vector.
        """

        def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
            first = address(context, builder, kind.args[0], *values[:2])
            numbers = address(context, builder, kind.args[2], *values[2:])
            factors = [_read(builder, numbers, part) for part in range(vectors)]
            totals = []
            for row in range(LANES):
                total = ir.Constant(VECTOR, [0.0] * LANES)
                for part, factor in enumerate(factors):
                    total = multiply_add(builder, _read(builder, first, row * vectors + part), factor, total)
                totals.append(total)
            return sum_each(builder, totals)

        return vector(matrix, types.intp, numbers, types.intp), lower

    return sums_of_rows


def _sums_of(vectors: int) -> types.UniTuple:
    """Return the type of the sums of rows of `vectors` vectors: at least MIN_SUMS vectors, so that some overlap."""
    return types.UniTuple(vector, max(MIN_SUMS, vectors))


def no_sums(vectors: int) -> Any:
    """Return an instruction without arguments that returns sums of zero, for `add_weighted_rows`."""
    kind = _sums_of(vectors)

    @instruction
    def zeros(typing: Any) -> Any:
        def lower(context: Any, builder: ir.IRBuilder, _: Any, values: list[ir.Value]) -> ir.Value:
            return context.make_tuple(builder, kind, [ir.Constant(VECTOR, [0.0] * LANES)] * kind.count)

        return kind(), lower

    return zeros


def add_weighted_rows(vectors: int) -> Any:
    """Return an instruction that adds LANES rows of `vectors` vectors each, times a weight per row, to some sums."""
    kind = _sums_of(vectors)

    @instruction
    def add_rows(
        typing: Any,
        sums: types.UniTuple,
        weights: types.Array,
        weights_at: types.Integer,
        matrix: types.Array,
        at: types.Integer,
    ) -> Any:
        """Return the longer sums.

        Args:
            typing: Numba's typing context.
            sums: Sums so far, from `no_sums` or `add_weighted_rows`.
            weights, weights_at: Array of the weights of the rows, (LANES,), and the offset of the first one.
            matrix: Array of the rows, (LANES, depth).
            at: Offset of the first row.
        """

        def lower(context: Any, builder: ir.IRBuilder, form: Any, values: list[ir.Value]) -> ir.Value:
            totals = cgutils.unpack_tuple(builder, values[0], kind.count)
            numbers = address(context, builder, form.args[1], *values[1:3])
            first = address(context, builder, form.args[3], *values[3:])
            for row in range(LANES):
                weight = spread(builder, builder.load(builder.gep(numbers, [INDEX(row)])))
                for part in range(vectors):
                    index = row * vectors + part
                    total = index % kind.count
                    totals[total] = multiply_add(builder, _read(builder, first, index), weight, totals[total])
            return context.make_tuple(builder, kind, totals)

        return kind(kind, weights, types.intp, matrix, types.intp), lower

    return add_rows


def scale_sums(vectors: int) -> Any:
    """Return an instruction that returns the sums of `add_weighted_rows`, times a vector."""
    kind = _sums_of(vectors)

    @instruction
    def scale(typing: Any, sums: types.UniTuple, factor: VectorType) -> Any:
        def lower(context: Any, builder: ir.IRBuilder, form: Any, values: list[ir.Value]) -> ir.Value:
            totals = cgutils.unpack_tuple(builder, values[0], kind.count)
            return context.make_tuple(builder, kind, [builder.fmul(total, values[1]) for total in totals])

        return kind(kind, vector), lower

    return scale


def store_sums(vectors: int) -> Any:
    """Return an instruction that stores the sums of `add_weighted_rows`."""
    kind = _sums_of(vectors)

    @instruction
    def store(typing: Any, result: types.Array, at: types.Integer, sums: types.UniTuple) -> Any:
        """Set result[at : at + depth] to the sums.

        Args:
            typing: Numba's typing context.
            result: Array of the result.
            at: Offset in the result.
            sums: The sums.
        """

        def lower(context: Any, builder: ir.IRBuilder, form: Any, values: list[ir.Value]) -> ir.Value:
            first = address(context, builder, form.args[0], *values[:2])
            totals = cgutils.unpack_tuple(builder, values[2], kind.count)
            for part in range(vectors):
                total = totals[part]
                for other in totals[part + vectors :: vectors]:
                    total = builder.fadd(total, other)
                write(builder, total, builder.gep(first, [INDEX(part * LANES)]))
            return context.get_dummy_value()

        return types.void(result, types.intp, kind), lower

    return store


def _read(builder: ir.IRBuilder, first: ir.Value, number: int) -> ir.Value:
    """Build the load of a vector, counted from the pointer `first` on."""
    return read(builder, builder.gep(first, [INDEX(number * LANES)]))
