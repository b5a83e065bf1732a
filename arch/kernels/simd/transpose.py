"""Transpose matrices block by block, in registers.

A block has LANES rows of LANES numbers. It takes log2(LANES) rounds. In each round, pairs of vectors exchange half of
their lanes, at distances of 1, 2, 4, … A scalar loop takes ten times as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types

from arch.kernels.simd.vector import BITS, LANES, address, instruction, load_first, read, store, write


@instruction
def transpose_block(typing: Any, numbers: types.Array, at: types.Integer, stride: types.Integer) -> Any:
    """Transpose LANES by LANES numbers in place.

    Args:
        typing: Numba's typing context.
        numbers: Flat array of float32 numbers.
        at: Offset of the first row.
        stride: Distance between rows.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        array, at, stride = values
        places = [
            address(context, builder, kind.args[0], array, builder.add(at, builder.mul(stride, stride.type(row))))
            for row in range(LANES)
        ]
        rows = [read(builder, place) for place in places]
        apart = 1
        while apart < LANES:
            kept = [lane if lane & apart == 0 else LANES + lane - apart for lane in range(LANES)]
            moved = [lane + apart if lane & apart == 0 else LANES + lane for lane in range(LANES)]
            for row in range(LANES):
                if row & apart == 0:
                    pair = rows[row], rows[row + apart]
                    rows[row], rows[row + apart] = (
                        builder.shuffle_vector(*pair, ir.Constant(BITS, lanes)) for lanes in (kept, moved)
                    )
            apart *= 2
        for row, place in zip(rows, places, strict=True):
            write(builder, row, place)
        return context.get_dummy_value()

    return types.void(numbers, types.intp, types.intp), lower


@njit
def transpose(source, at, rows, columns, target, to, padded):  # type: ignore[no-untyped-def]
    """Write the transpose of a matrix to `target`, as `columns` rows of `padded` numbers.

    The numbers that follow the `rows` numbers of a target row become 0. The call also overwrites what follows the last
    target row, up to LANES - 1 rows.

    Args:
        source, at: Array of the matrix (rows, columns), and its offset.
        rows, columns: Sizes of the matrix.
        target, to: Array and offset of the result.
        padded: `rows`, rounded up to whole vectors.
    """
    for column in range(0, columns, LANES):
        for row in range(0, padded, LANES):
            block = to + column * padded + row
            for k in range(LANES):
                count = columns - column if row + k < rows else 0
                store(target, block + k * padded, load_first(source, at + (row + k) * columns + column, count))
            transpose_block(target, block, padded)
