"""One step of an LSTM without a learned forget gate or with peepholes, for a small batch.

Equation numbers refer to `arch/lstm.py`. All arrays are float32.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.gated import lstm_variant
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import floats, row_sums_of_both
from arch.kernels.simd.vector import LANES, load_first, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import bias_of, copy


@njit(forceinline=True)
def _sum(gate, weights, D, H, unit, x, x_at, h, h_at):  # type: ignore[no-untyped-def]
    """Return W x + U h + b of LANES units of a gate."""
    row, count = gate * H + unit, H - unit
    W, U = floats(weights[0]), floats(weights[2])
    return row_sums_of_both(W, row * D, x, x_at, D, U, row * H, h, h_at, H, count) + bias_of(weights[1], row, count)


@kernel(LAYER_SIGNATURE)
def variant_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Write the outputs (B, H) and update the state. `LAYER_SIGNATURE` describes the arguments.

    The record has the sizes D, H and the position of `forget` in its list of values; the weights W (G, D), b (G,),
    U (G, H) and p (P, H); and the state h and c, each (B, H).
    """
    sizes, weights, state = parts_of(record)
    D, H, forget = sizes[0], sizes[1], sizes[2]
    x, y, h, c = floats(x_at), floats(y_at), floats(state[0]), floats(state[1])
    is_learned = 1 if forget == 0 else 0  # then f has rows of its own
    for unit in range(0, H, LANES):
        count = H - unit
        p_i = bias_of(weights[3], unit, count)
        p_f = bias_of(weights[3], is_learned * H + unit, count)
        p_o = bias_of(weights[3], (1 + is_learned) * H + unit, count)
        for row in range(B):
            at, of_x, of_h = row * H + unit, row * D, row * H
            i = _sum(0, weights, D, H, unit, x, of_x, h, of_h)
            f = _sum(1, weights, D, H, unit, x, of_x, h, of_h) if is_learned == 1 else splat(0.0)
            g = _sum(1 + is_learned, weights, D, H, unit, x, of_x, h, of_h)
            o = _sum(2 + is_learned, weights, D, H, unit, x, of_x, h, of_h)
            cell, output = lstm_variant(i, f, g, o, load_first(c, at, count), p_i, p_f, p_o, forget)
            store_first(c, at, count, cell)
            store_first(y, at, count, output)
    copy(y, B * H, h)
