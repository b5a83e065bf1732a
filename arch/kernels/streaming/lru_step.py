"""One step of `lru`. Equation numbers refer to `arch/lru.py`. All arrays are float32.

a is computed at each step, so that it always follows from the current parameters. Its phase needs sine and cosine:

    cos x = 1 - 2 sin²(r/2),  sin x = 2 sin(r/2) cos(r/2)     (a)  x = 2π n + r, n an integer, |r| ≤ π

Both functions of r/2 are Taylor polynomials, whose first missing terms are below 1e-8.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.activation import ROUNDING, exp, gelu, sigmoid
from arch.kernels.simd.matvec import apply, floats
from arch.kernels.simd.vector import LANES, fma, larger, load_first, smaller, splat, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of

EXPONENT = 80.0
"""Limit to which arguments of exponentials are clipped."""
TURNS, PI_HIGH, PI_LOW = 0.15915494309189535, 3.140625, 9.676535897932795e-4
"""1 / 2π, and π in two parts. The first part has so few bits that its product with 2n is exact (Cody & Waite 1980)."""


@njit(forceinline=True)
def cosine_and_sine(x):  # type: ignore[no-untyped-def]
    """Return cos x and sin x of a vector x, by (a). The error is below 1e-6 for |x| ≤ 100."""
    n = fma(x, splat(TURNS), splat(ROUNDING)) - splat(ROUNDING)
    half = fma(n, splat(-PI_LOW), fma(n, splat(-PI_HIGH), x * splat(0.5)))
    w = half * half
    s = fma(w, splat(1.6059043836821613e-10), splat(-2.505210838544172e-08))
    s = fma(w, s, splat(2.7557319223985893e-06))
    s = fma(w, s, splat(-1.984126984126984e-4))
    s = fma(w, s, splat(8.333333333333333e-3))
    s = fma(w, s, splat(-1 / 6))
    s = fma(w * half, s, half)
    c = fma(w, splat(-1.1470745597729725e-11), splat(2.08767569878681e-09))
    c = fma(w, c, splat(-2.755731922398589e-07))
    c = fma(w, c, splat(2.48015873015873e-05))
    c = fma(w, c, splat(-1.388888888888889e-3))
    c = fma(w, c, splat(1 / 24))
    c = fma(w, c, splat(-0.5))
    c = fma(w, c, splat(1.0))
    return fma(splat(-2.0) * s, s, splat(1.0)), splat(2.0) * s * c


@njit(forceinline=True)
def _bounded_exp(x):  # type: ignore[no-untyped-def]
    return exp(larger(smaller(x, splat(EXPONENT)), splat(-EXPONENT)))


@kernel(LAYER_SIGNATURE)
def lru(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step an LRU.

    Its weights are ν, θ and c (N,), B (2N, H), C (H, 2N), D (H,), and W (2H, H) and b (2H,) of (4a), if any. The
    workspace is the state (B, 2N), then u (B, H) and the sums of (4a), (B, 2H).
    """
    sizes, weights, state = parts_of(record)
    H, N = sizes[1], sizes[2]
    nu, theta, gamma_log, D = floats(weights[0]), floats(weights[1]), floats(weights[2]), floats(weights[5])
    joined, inputs, outputs = floats(workspace), floats(x), floats(y)
    re, im, u_at = floats(state[0]), floats(state[1]), 2 * B * N
    apply(floats(weights[3]), 0, 0, 2 * N, H, inputs, 0, H, B, joined, 0, 2 * N, False)
    for unit in range(0, N, LANES):
        count = N - unit
        size = _bounded_exp(-_bounded_exp(load_first(nu, unit, count)))
        cosine, sine = cosine_and_sine(_bounded_exp(load_first(theta, unit, count)))
        a_re, a_im, gamma = size * cosine, size * sine, _bounded_exp(load_first(gamma_log, unit, count))  # (1)
        for b in range(B):
            at, place = b * N + unit, 2 * b * N + unit
            h_re, h_im = load_first(re, at, count), load_first(im, at, count)
            after_re = fma(a_re, h_re, fma(-a_im, h_im, gamma * load_first(joined, place, count)))  # (2)
            after_im = fma(a_re, h_im, fma(a_im, h_re, gamma * load_first(joined, place + N, count)))
            store_first(re, at, count, after_re)
            store_first(im, at, count, after_im)
            store_first(joined, place, count, after_re)
            store_first(joined, place + N, count, after_im)
    apply(floats(weights[4]), 0, 0, H, 2 * N, joined, 0, 2 * N, B, outputs, 0, H, False)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, count = b * H + unit, H - unit
            v = fma(load_first(D, unit, count), load_first(inputs, at, count), load_first(outputs, at, count))  # (3)
            store_first(outputs, at, count, v)  # (4b)
            store_first(joined, u_at + at, count, gelu(v))
    if weights[6] == 0:
        return
    sums_at = u_at + B * H
    apply(floats(weights[6]), 0, weights[7], 2 * H, H, joined, u_at, H, B, joined, sums_at, 2 * H, False)
    for b in range(B):
        for unit in range(0, H, LANES):
            at, count = sums_at + 2 * b * H + unit, H - unit
            gate = sigmoid(load_first(joined, at + H, count))
            store_first(outputs, b * H + unit, count, load_first(joined, at, count) * gate)  # (4a)
