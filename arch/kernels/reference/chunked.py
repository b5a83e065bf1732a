"""Matrix products over a chunk of time steps: the functions of `arch/kernels/training/chunked.py` on numpy arrays.

Equation numbers and the arguments' meaning are those of that module. Arrays are flat, as there.
"""

# Shape suffixes: R rows of a chunk (steps times rows of the batch), D input width, P columns of dp, with padding

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from arch.kernels.simd.vector import LANES

if TYPE_CHECKING:
    from arch.kernels.training.chunked import Chunk, Columns

Array = np.ndarray[Any, np.dtype[Any]]


def project(result: Array, x: Array, D: int, packed: Array, panels: int, chunk: Chunk) -> None:
    """Write W x (1) of a chunk to `result`.

    Args:
        result: The result, (steps, rows, panels · LANES), from offset 0 on.
        x: Inputs, (T, B, D).
        D: Input width.
        packed: Transpose of W in panels, (panels, D, LANES).
        panels: Number of panels of `packed`.
        chunk: Steps and rows.
    """
    product_RP = _rows_of(x, D, chunk) @ _unpacked(packed, panels, D)
    result[: product_RP.size] = product_RP.ravel()


def project_back(d_x: Array, D: int, columns: Columns, packed: Array, chunk: Chunk) -> None:
    """Write dx (2) of a chunk to `d_x`.

    Args:
        d_x: The result, (T, B, D).
        D: Input width.
        columns: dp.
        packed: W in panels, (⌈D / LANES⌉, depth, LANES). `depth` is the number of columns.
        chunk: Steps and rows.
    """
    W_PD = _unpacked(packed, -(-D // LANES), columns.panels * LANES)[:, :D]
    rows = d_x.reshape(-1, chunk.B, D)[chunk.begin : chunk.end, chunk.first : chunk.last]
    rows[...] = (_columns_of(columns, chunk) @ W_PD).reshape(rows.shape)


def add_weights(sums: Array, at: int, x: Array, D: int, columns: Columns, chunk: Chunk) -> None:
    """Add dW (3) of a chunk to `sums`.

    Args:
        sums: Transposed sums, (D, panels · LANES).
        at: Offset in `sums`.
        x: Inputs, (T, B, D).
        D: Input width.
        columns: dp.
        chunk: Steps and rows.
    """
    _add(sums, at, _rows_of(x, D, chunk).T @ _columns_of(columns, chunk))


def add_recurrent(sums: Array, at: int, h_0: Array, outputs: Array, H: int, columns: Columns, chunk: Chunk) -> None:
    """Add dU (3) of a chunk to `sums`.

    Args:
        sums: Transposed sums, (H, panels · LANES).
        at: Offset in `sums`.
        h_0: Initial state, (B, H).
        outputs: Outputs, (T, B, H).
        H: Hidden width.
        columns: dp.
        chunk: Steps and rows.
    """
    before = np.concatenate([h_0, outputs])  # before[t] is the state before step t
    _add(sums, at, _rows_of(before, H, chunk).T @ _columns_of(columns, chunk))


def add_biases(sums: Array, at: int, columns: Columns, chunk: Chunk) -> None:
    """Add db (3) of a chunk to `sums`.

    Args:
        sums: The sums, (panels · LANES,).
        at: Offset in `sums`.
        columns: dp.
        chunk: Steps and rows.
    """
    _add(sums, at, _columns_of(columns, chunk).sum(0))


def _rows_of(x: Array, D: int, chunk: Chunk) -> Array:
    return x.reshape(-1, chunk.B, D)[chunk.begin : chunk.end, chunk.first : chunk.last].reshape(-1, D)


def _columns_of(columns: Columns, chunk: Chunk) -> Array:
    rows = (chunk.end - chunk.begin) * (chunk.last - chunk.first)
    starts = columns.at + columns.stride * np.arange(rows)
    numbers: Array = columns.numbers[starts[:, None] + np.arange(columns.panels * LANES)]
    return numbers


def _unpacked(packed: Array, panels: int, depth: int) -> Array:
    """Return panels of LANES columns side by side, (depth, panels · LANES)."""
    return np.concatenate(list(packed.reshape(panels, depth, LANES)), 1)


def _add(sums: Array, at: int, more: Array) -> None:
    sums[at : at + more.size] += more.ravel()
