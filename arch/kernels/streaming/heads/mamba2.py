"""One step of `mamba2` for a small batch. Equation numbers refer to `arch/mamba2.py`."""

from __future__ import annotations

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import SIGMOID_SATURATES, exp, silu, softplus
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, larger, load_first, smaller, splat, store_first
from arch.kernels.streaming.heads.parts import gate, remember, rms_norm
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.short_convolution_step import convolve


@kernel(LAYER_SIGNATURE)
def step(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Write the output of one step, and update the memory and the last inputs in place."""
    sizes, weights, state = parts_of(record)
    D, H, N, K, E, S = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], floats(state[0])
    C, V = E + 2 * K, E // N
    P = E + C + N
    projected, steps, decays = floats(workspace), floats(workspace + 4 * B * P), floats(workspace + 4 * (B * P + N))
    values, reads = floats(workspace + 4 * (B * P + 2 * N)), floats(workspace + 4 * (B * P + 2 * N + E))
    rates, biases, skips = floats(weights[3]), floats(weights[4]), floats(weights[5])
    apply(floats(weights[0]), 0, 0, P, D, floats(x), 0, D, B, projected, 0, P, False)  # (1)
    if weights[6] != 0:
        convolve(floats(workspace + 4 * E), P, C, weights[6], weights[7], state[1], B, True)  # (2)
    else:
        for b in range(B):
            for c in range(0, C, LANES):
                at, count = b * P + E + c, C - c
                store_first(projected, at, count, silu(load_first(projected, at, count)))  # (2)
    for b in range(B):
        of_u, of_d = b * P + E, b * P + E + C
        for n in range(0, N, LANES):
            count = N - n
            size = softplus(load_first(projected, of_d + n, count) + load_first(biases, n, count))  # (3)
            rate = exp(smaller(load_first(rates, n, count), splat(SIGMOID_SATURATES)))
            store_first(steps, n, count, size)
            store_first(decays, n, count, exp(larger(-size * rate, splat(-SIGMOID_SATURATES))))
        for n in range(N):
            at = of_u + n * V
            for value in range(0, V, LANES):
                u = load_first(projected, at + value, V - value)
                store_first(values, n * V + value, V - value, splat(steps[n]) * u)
            memory = (b * N + n) * K * V
            remember(
                S,
                memory,
                K,
                V,
                decays,
                n,
                1,
                projected,
                of_u + E,
                values,
                n * V,
                projected,
                of_u + E + K,
                reads,
                b * E + n * V,
            )  # (4)
            for value in range(0, V, LANES):
                place, count = b * E + n * V + value, V - value
                read = load_first(reads, place, count)
                store_first(
                    reads, place, count, fma(splat(skips[n]), load_first(projected, at + value, count), read)
                )  # (5)
        gate(reads, b * E, projected, b * P, E)
        rms_norm(reads, b * E, E, weights[2])
    apply(floats(weights[1]), 0, 0, H, E, reads, 0, E, B, floats(y), 0, H, False)  # (6)
