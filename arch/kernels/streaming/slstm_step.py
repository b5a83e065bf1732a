"""One step of an sLSTM for a small batch. Equation numbers refer to `arch/slstm.py`. All arrays are float32."""

from __future__ import annotations

from arch.kernels.cells.exponential import slstm
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of


@kernel(LAYER_SIGNATURE)
def slstm_step(record, x_at, y_at, workspace, B):  # type: ignore[no-untyped-def]
    """Write the outputs (B, H) and update the state. `LAYER_SIGNATURE` describes the arguments.

    The record has the sizes D, H and the number of heads N; the weights W (4 H, D), b (4 H,) and U (4 H, H / N); and
    the state h, c, n and m, each (B, H). The workspace has room for B · 4 H numbers.
    """
    sizes, weights, state = parts_of(record)
    D, H, N = sizes[0], sizes[1], sizes[2]
    G, K = 4 * H, H // N
    x, y, sums, U = floats(x_at), floats(y_at), floats(workspace), floats(weights[2])
    h, c, n, m = floats(state[0]), floats(state[1]), floats(state[2]), floats(state[3])
    apply(floats(weights[0]), 0, weights[1], G, D, x, 0, D, B, sums, 0, G, False)
    for row in range(0, G, K):  # each block of K rows reads the outputs of its own head
        apply(U, row * K, 0, K, K, h, row % H, H, B, sums, row, G, True)  # (1) to (4)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, of_sum, count = b * H + unit, b * G + unit, H - unit
            _, _, _, _, _, cell, norm, stabiliser, output = slstm(
                load_first(sums, of_sum, count),
                load_first(sums, of_sum + H, count),
                load_first(sums, of_sum + 2 * H, count),
                load_first(sums, of_sum + 3 * H, count),
                load_first(c, at, count),
                load_first(n, at, count),
                load_first(m, at, count),
            )
            store_first(c, at, count, cell)
            store_first(n, at, count, norm)
            store_first(m, at, count, stabiliser)
            store_first(h, at, count, output)
            store_first(y, at, count, output)
