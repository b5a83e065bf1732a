"""Matrix products of small float32 matrices, held in registers tile by tile.

A tile is `rows` rows by `panels` vectors of the result; each step of its loop reads one number a
row and one vector a panel, and adds their products. The right-hand matrix is packed beforehand: a
panel is LANES of its columns, stored row after row, padded with zeros. The sums run in one order
whatever the tile, so a row's result does not depend on the batch that it is in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types

from arch.kernels._vector import (
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

ROWS = 8
"""Rows of a full tile: with 3 panels, 24 sums, 3 vectors and a spare fill the 32 registers of AVX-512."""


def _tile(rows: int, panels: int) -> Any:
    @instruction
    def tile(
        typing: Any,
        result: types.Array,
        result_at: types.Integer,
        result_stride: types.Integer,
        left: types.Array,
        left_at: types.Integer,
        left_stride: types.Integer,
        packed: types.Array,
        packed_at: types.Integer,
        depth: types.Integer,
    ) -> Any:
        """result[row, panel] = Σ_k left[row, k] · packed[panel, k], for k below `depth`."""

        def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
            index = values[1].type
            result_at, stride, left_at, left_stride, packed_at, depth = (values[i] for i in (1, 2, 4, 5, 7, 8))

            def times(factor: int, value: ir.Value) -> ir.Value:
                return builder.mul(value, ir.Constant(index, factor))

            left_rows = [
                address(context, builder, kind.args[3], values[3], builder.add(left_at, times(row, left_stride)))
                for row in range(rows)
            ]
            columns = [
                address(context, builder, kind.args[6], values[6], builder.add(packed_at, times(panel * LANES, depth)))
                for panel in range(panels)
            ]
            zeros = ir.Constant(VECTOR, [0.0] * LANES)
            before = builder.block
            loop, after = builder.append_basic_block("tile"), builder.append_basic_block("tile.end")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(index)
            k.add_incoming(ir.Constant(index, 0), before)
            sums = [[builder.phi(VECTOR) for _ in columns] for _ in left_rows]
            vectors = [read(builder, builder.gep(column, [times(LANES, k)])) for column in columns]
            for row, pointer in enumerate(left_rows):
                number = spread(builder, builder.load(builder.gep(pointer, [k])))
                for panel, vector in enumerate(vectors):
                    total = sums[row][panel]
                    total.add_incoming(zeros, before)
                    total.add_incoming(multiply_add(builder, number, vector, total), loop)
            following = builder.add(k, ir.Constant(index, 1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
            builder.position_at_end(after)
            for row in range(rows):
                at = builder.add(result_at, times(row, stride))
                pointer = address(context, builder, kind.args[0], values[0], at)
                for panel in range(panels):
                    place = builder.gep(pointer, [ir.Constant(index, panel * LANES)])
                    write(builder, sums[row][panel].incomings[1][0], place)
            return context.get_dummy_value()

        return types.void(result, *[types.intp] * 2, left, *[types.intp] * 2, packed, *[types.intp] * 2), lower

    return tile


_tile_8x3, _tile_8x2, _tile_8x1 = (_tile(ROWS, panels) for panels in (3, 2, 1))
_tile_1x3, _tile_1x2, _tile_1x1 = (_tile(1, panels) for panels in (3, 2, 1))


@njit
def multiply(result, left, left_at, left_stride, packed, depth, rows, panels):  # type: ignore[no-untyped-def]
    """result (rows, panels · LANES) = left[left_at:] (rows, depth; `left_stride` apart) times the packed matrix."""
    width = panels * LANES
    panel = 0
    while panel < panels:
        left_over = panels - panel
        several = 2 if left_over == 4 else min(3, left_over)  # 2 and 2: a single panel takes as long as two
        column, packed_at = panel * LANES, panel * LANES * depth
        row = 0
        while row < rows:
            result_at, row_at = row * width + column, left_at + row * left_stride
            if rows - row >= ROWS:
                if several == 3:
                    _tile_8x3(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                elif several == 2:
                    _tile_8x2(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                else:
                    _tile_8x1(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                row += ROWS
            else:
                if several == 3:
                    _tile_1x3(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                elif several == 2:
                    _tile_1x2(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                else:
                    _tile_1x1(result, result_at, width, left, row_at, left_stride, packed, packed_at, depth)
                row += 1
        panel += several


@njit
def panels_of(width):  # type: ignore[no-untyped-def]
    """How many vectors hold `width` numbers."""
    return (width + LANES - 1) // LANES


@njit
def pack(matrix, first, last, columns):  # type: ignore[no-untyped-def]
    """The panels of rows `first` to `last` of a flat (., columns) matrix."""
    depth = last - first
    panels = panels_of(columns)
    packed = np.empty(panels * depth * LANES, np.float32)
    for panel in range(panels):
        column = panel * LANES
        for k in range(depth):
            vector = load_first(matrix, (first + k) * columns + column, columns - column)
            store(packed, (panel * depth + k) * LANES, vector)
    return packed


@njit
def pack_transposed(matrix, first, last, width):  # type: ignore[no-untyped-def]
    """The panels of the transpose of rows `first` to `last` of a flat (., width) matrix.

    Each block of `width` rows starts a panel of its own, so that a unit has one lane in all gates.
    """
    groups = panels_of(width)
    blocks = (last - first) // width
    packed = np.zeros(blocks * groups * width * LANES, np.float32)
    for block in range(blocks):
        for unit in range(width):
            at = (block * groups + unit // LANES) * width * LANES + unit % LANES
            row_at = (first + block * width + unit) * width
            for k in range(width):
                packed[at + k * LANES] = matrix[row_at + k]
    return packed
