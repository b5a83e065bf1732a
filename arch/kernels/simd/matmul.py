"""Products of small float32 matrices, accumulated in registers tile by tile.

A tile is `rows` rows by `panels` vectors of the result. Each step of its loop reads one number per row and one vector
per panel, and adds their products. A right-hand matrix that is used often is packed beforehand into panels. A panel
holds LANES columns of the matrix, row after row. Missing columns are zeros. The order of summation does not depend on
the tile. Therefore, the result of a row does not depend on other rows.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import register_jitable

from arch.kernels.simd.scratch import zeros
from arch.kernels.simd.vector import (
    LANES,
    VECTOR,
    address,
    instruction,
    load_first,
    multiply_add,
    read,
    spread,
    store,
    write,
)

ROWS = 8 if LANES == 16 else 4
"""Rows of a full tile. With 3 panels, 24 sums, 3 vectors and temporaries fit the 32 registers of AVX-512, and 12 sums,
3 vectors and a number fit the 16 registers of AVX2."""


def _tile(rows: int, panels: int, adds: bool = False) -> Any:
    @instruction
    def tile(
        typing: Any,
        result: types.Array,
        result_at: types.Integer,
        result_stride: types.Integer,
        left: types.Array,
        left_at: types.Integer,
        left_stride: types.Integer,
        left_step: types.Integer,
        right: types.Array,
        right_at: types.Integer,
        right_apart: types.Integer,
        right_step: types.Integer,
        depth: types.Integer,
    ) -> Any:
        """Compute result[row, panel] = Σ_k left[row, k] · right[panel, k].

        `rows`, `panels` and `adds` are arguments of `_tile`. If `adds` is true, add the sum to `result` instead of
        overwriting it. Arrays are float32. Offsets and strides count array elements.

        Args:
            typing: Numba's typing context.
            result: Array of the result, `rows` rows of `panels` vectors.
            result_at: Offset of the result.
            result_stride: Distance between rows of the result.
            left: Array of the left-hand numbers, `rows` rows of `depth` numbers.
            left_at: Offset of the left-hand numbers.
            left_stride: Distance between rows of `left`.
            left_step: Distance between values of k in `left`.
            right: Array of the right-hand vectors, `panels` panels of `depth` vectors.
            right_at: Offset of the right-hand vectors.
            right_apart: Distance between panels of `right`.
            right_step: Distance between values of k in `right`.
            depth: Number of values of k, at least 1.
        """

        def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
            index = values[1].type
            result_at, stride, left_at, left_stride, left_step = (values[i] for i in (1, 2, 4, 5, 6))
            right_at, right_apart, right_step, depth = values[8:]

            def times(factor: int, value: ir.Value) -> ir.Value:
                return builder.mul(value, ir.Constant(index, factor))

            left_rows = [
                address(context, builder, kind.args[3], values[3], builder.add(left_at, times(row, left_stride)))
                for row in range(rows)
            ]
            columns = [
                address(context, builder, kind.args[7], values[7], builder.add(right_at, times(panel, right_apart)))
                for panel in range(panels)
            ]
            places = []
            for row in range(rows):
                at = builder.add(result_at, times(row, stride))
                pointer = address(context, builder, kind.args[0], values[0], at)
                places.append([builder.gep(pointer, [ir.Constant(index, panel * LANES)]) for panel in range(panels)])
            zeros = ir.Constant(VECTOR, [0.0] * LANES)
            before = builder.block
            loop, after = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(ir.Constant(index, 0), before)
            sums = [[builder.phi(VECTOR) for _ in columns] for _ in left_rows]
            vectors = [read(builder, builder.gep(column, [builder.mul(k, right_step)])) for column in columns]
            for row, pointer in enumerate(left_rows):
                number = spread(builder, builder.load(builder.gep(pointer, [builder.mul(k, left_step)])))
                for panel, vector in enumerate(vectors):
                    total = sums[row][panel]
                    total.add_incoming(zeros, before)
                    total.add_incoming(multiply_add(builder, number, vector, total), loop)
            following = builder.add(k, ir.Constant(index, 1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            builder.position_at_end(after)
            for row in range(rows):
                for panel in range(panels):
                    total, place = sums[row][panel].incomings[1][0], places[row][panel]
                    write(builder, builder.fadd(read(builder, place), total) if adds else total, place)
            return context.get_dummy_value()

        place, strides = types.intp, [types.intp] * 2
        return types.void(result, *strides, left, place, *strides, right, place, *strides, types.intp), lower

    return tile


_tile_3, _tile_2, _tile_1 = (_tile(ROWS, panels) for panels in (3, 2, 1))
_row_3, _row_2, _row_1 = (_tile(1, panels) for panels in (3, 2, 1))
_tile_more_3, _tile_more_2, _tile_more_1 = (_tile(ROWS, panels, adds=True) for panels in (3, 2, 1))
_row_more = _tile(1, 1, adds=True)


@njit(forceinline=True)
def panels_at_once(left_over):  # type: ignore[no-untyped-def]
    """Return the number of panels of the next tile, if `left_over` panels remain.

    The last 4 panels are split into 2 and 2, not 3 and 1. A tile of 1 panel takes as long as a tile of 2 panels.
    """
    return 2 if left_over == 4 else min(3, left_over)


@njit
def multiply(result, result_at, width, left, left_at, left_stride, packed, depth, rows, panels):  # type: ignore[no-untyped-def]
    """Write the product of the matrices `left` and `packed` to `result`.

    Arrays are float32. Offsets and strides count array elements.

    Args:
        result: Array of the result, (rows, panels · LANES).
        result_at, width: Offset and row stride of the result.
        left: Array of the left-hand matrix, (rows, depth).
        left_at, left_stride: Offset and row stride of `left`.
        packed: Array of the right-hand matrix in panels, (panels, depth, LANES), from offset 0 on.
        depth: Number of products per sum.
        rows: Number of rows of the result.
        panels: Number of vectors per row of the result.
    """
    apart = LANES * depth
    panel = 0
    while panel < panels:
        several = panels_at_once(panels - panel)
        column, at = panel * LANES, panel * apart
        row = 0
        while row < rows:
            to, row_at = result_at + row * width + column, left_at + row * left_stride
            if rows - row >= ROWS:
                if several == 3:
                    _tile_3(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                elif several == 2:
                    _tile_2(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                else:
                    _tile_1(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                row += ROWS
            else:
                if several == 3:
                    _row_3(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                elif several == 2:
                    _row_2(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                else:
                    _row_1(result, to, width, left, row_at, left_stride, 1, packed, at, apart, LANES, depth)
                row += 1
        panel += several


@njit
def tile_rows(result, to, width, left, left_at, stride, right, at, apart, step, depth, panels):  # type: ignore[no-untyped-def]
    """Write ROWS rows of the product of `left` and `right` to `result`.

    The right-hand matrix may be packed or unpacked. Arrays are float32. Offsets and strides count array elements.

    Args:
        result: Array of the result, (ROWS, panels · LANES).
        to, width: Offset and row stride of the result.
        left: Array of the left-hand rows, (ROWS, depth).
        left_at, stride: Offset and row stride of `left`.
        right: Array of the right-hand matrix, (depth, panels · LANES).
        at: Offset of the right-hand matrix.
        apart: Distance between panels of `right`.
        step: Distance between rows of `right`, within one panel.
        depth: Number of products per sum.
        panels: Number of vectors per row of the result.
    """
    panel = 0
    while panel < panels:
        several = panels_at_once(panels - panel)
        here, there = to + panel * LANES, at + panel * apart
        if several == 3:
            _tile_3(result, here, width, left, left_at, stride, 1, right, there, apart, step, depth)
        elif several == 2:
            _tile_2(result, here, width, left, left_at, stride, 1, right, there, apart, step, depth)
        else:
            _tile_1(result, here, width, left, left_at, stride, 1, right, there, apart, step, depth)
        panel += several


@njit
def tile_rows_more(result, to, width, left, left_at, stride, right, at, step, depth, panels):  # type: ignore[no-untyped-def]
    """Add left^T · right to `result`, for ROWS columns of `left` and the unpacked matrix `right`.

    Arrays are float32. Offsets and strides count array elements.

    Args:
        result: Array of the result, (ROWS, panels · LANES).
        to, width: Offset and row stride of the result.
        left: Array of the left-hand matrix, (depth, ROWS).
        left_at, stride: Offset of the first column, and row stride of `left`.
        right: Array of the right-hand matrix, (depth, panels · LANES).
        at, step: Offset and row stride of `right`.
        depth: Number of rows of `left` and of `right`.
        panels: Number of vectors per row of the result.
    """
    panel = 0
    while panel < panels:
        several = panels_at_once(panels - panel)
        here, there = to + panel * LANES, at + panel * LANES
        if several == 3:
            _tile_more_3(result, here, width, left, left_at, 1, stride, right, there, LANES, step, depth)
        elif several == 2:
            _tile_more_2(result, here, width, left, left_at, 1, stride, right, there, LANES, step, depth)
        else:
            _tile_more_1(result, here, width, left, left_at, 1, stride, right, there, LANES, step, depth)
        panel += several


@njit
def one_row_more(result, to, left, left_at, stride, right, at, step, depth, panels):  # type: ignore[no-untyped-def]
    """Add left^T · right to one row of `result`, for one column of `left` and the unpacked matrix `right`.

    Arrays are float32. Offsets and strides count array elements.

    Args:
        result: Array of the result, (panels · LANES,).
        to: Offset of the result.
        left: Array of the left-hand column, (depth,).
        left_at, stride: Offset of the column, and distance between its numbers.
        right: Array of the right-hand matrix, (depth, panels · LANES).
        at, step: Offset and row stride of `right`.
        depth: Number of rows of `left` and of `right`.
        panels: Number of vectors of the result.
    """
    for column in range(0, panels * LANES, LANES):
        _row_more(result, to + column, 0, left, left_at, 0, stride, right, at + column, 0, step, depth)


@register_jitable
def panels_of(width: int) -> int:
    """Return the number of vectors that `width` numbers fill, rounded up."""
    return (width + LANES - 1) // LANES


@njit
def pack(matrix, first, last, columns, height, padded_height):  # type: ignore[no-untyped-def]
    """Pack rows `first` to `last` of a matrix into panels.

    Each block of `height` rows is padded with zeros to `padded_height` rows. Returns the panels as a flat float32
    array, (panels, blocks · padded_height, LANES).

    Args:
        matrix: Flat float32 array of the matrix, with `columns` numbers per row.
        first, last: First row, and the row after the last one. Their distance is a multiple of `height`.
        columns: Number of columns of the matrix.
        height, padded_height: Rows per block, before and after padding.
    """
    blocks = (last - first) // height
    depth = blocks * padded_height
    panels = panels_of(columns)
    packed = zeros(panels * depth * LANES)
    for panel in range(panels):
        column = panel * LANES
        for block in range(blocks):
            for k in range(height):
                row = first + block * height + k
                vector = load_first(matrix, row * columns + column, columns - column)
                store(packed, (panel * depth + block * padded_height + k) * LANES, vector)
    return packed


@njit
def pack_transposed(matrix, first, last, width, depth):  # type: ignore[no-untyped-def]
    """Pack the transpose of rows `first` to `last` of a matrix into panels.

    Each block of `width` rows, one per unit of a gate, starts a new panel. Therefore, a unit has the same lane in all
    gates. Returns the panels as a flat float32 array, (panels, depth, LANES).

    Args:
        matrix: Flat float32 array of the matrix, with `depth` numbers per row.
        first, last: First row, and the row after the last one. Their distance is a multiple of `width`.
        width: Rows per block.
        depth: Number of columns of the matrix.
    """
    groups = panels_of(width)
    blocks = (last - first) // width
    packed = zeros(blocks * groups * depth * LANES)
    for block in range(blocks):
        for unit in range(width):
            at = (block * groups + unit // LANES) * depth * LANES + unit % LANES
            row_at = (first + block * width + unit) * depth
            for k in range(depth):
                packed[at + k * LANES] = matrix[row_at + k]
    return packed
