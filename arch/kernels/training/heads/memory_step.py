"""Parts of the scan of a matrix memory, for one head and one step, with the keys along the lanes.

The equations are those of `arch/kernels/training/matrix_memory.py`. S and dS are transposed: V rows of K numbers, each
followed by zeros up to whole vectors.
"""

from __future__ import annotations

from numba import njit
from numba.extending import register_jitable

from arch.kernels.simd.matvec import load_if
from arch.kernels.simd.prefetch import prefetch_all
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store


@register_jitable
def whole_vectors(width: int) -> int:
    """Return a number of columns, rounded up to whole vectors."""
    return (width + LANES - 1) // LANES * LANES


@njit(forceinline=True)
def prefetch_steps(arrays, at, decays, corrects, has_p, heads, K, V):  # type: ignore[no-untyped-def]
    """Prefetch the numbers of a few steps.

    Args:
        arrays: q, w, v, y, a, r, p and u, or their gradients.
        at, heads: Number of the first head, and number of heads in all these steps.
        decays, corrects, has_p: Length of the decay, and whether there are r and u, and p.
        K, V: Key width and value width.
    """
    q, w, v, y, a, r, p, u = arrays
    prefetch_all(q, at * K, heads * K)
    prefetch_all(w, at * K, heads * K)
    prefetch_all(v, at * V, heads * V)
    prefetch_all(y, at * V, heads * V)
    if decays > 1:
        prefetch_all(a, at * K, heads * K)
    if corrects:
        prefetch_all(r, at * K, heads * K)
        prefetch_all(u, at * V, heads * V)
    if has_p:
        prefetch_all(p, at * K, heads * K)


@njit(forceinline=True)
def decay_of(a, at, decays, key, count):  # type: ignore[no-untyped-def]
    """Return the decay of LANES keys from `key` on: ones if `decays` is 0, the same number if it is 1."""
    if decays == 0:
        return splat(1.0)
    return splat(a[at]) if decays == 1 else load_first(a, at + key, count)


@njit(forceinline=True)
def written_values(v, u, at, V, replaces, strength, written):  # type: ignore[no-untyped-def]
    """Write s v, or s (v - u) if p = -s w, of one head and step to `written`, which has room for whole vectors."""
    for value in range(0, V, LANES):
        numbers, count = load_first(v, at + value, V - value), V - value
        store(written, value, strength * (numbers - load_if(replaces, u, at + value, count)))


@njit(forceinline=True)
def copy_padded(numbers, at, K, padded, copy):  # type: ignore[no-untyped-def]
    """Copy K numbers from offset `at` on, followed by zeros up to `padded` numbers."""
    for k in range(0, padded, LANES):
        store(copy, k, load_first(numbers, at + k, K - k))


@njit(forceinline=True)
def write_step(S, at, to, a, a_at, decays, w, w_at, written, p, p_at, has_p, u, u_at, K, V, padded):  # type: ignore[no-untyped-def]
    """Write the memory (V, padded) after one step by (2), from the memory before it.

    Args:
        S, at, to: Array of both memories, and their offsets, which may be equal.
        a, a_at, decays: Array, offset and length of the decay.
        w, w_at: Array and offset of the key.
        written: The values, or their differences from what was read if p = -s w.
        p, p_at, has_p: Array and offset of p, and whether it is given.
        u, u_at: Array and offset of what the correction read.
        K, V, padded: Key width, value width, and K rounded up to whole vectors.
    """
    for k in range(0, K, LANES):
        count = K - k
        kept_share, of_w = decay_of(a, a_at, decays, k, count), load_first(w, w_at + k, count)
        of_p = load_if(has_p, p, p_at + k, count)
        for value in range(V):
            place = value * padded + k
            after = fma(kept_share, load(S, at + place), of_w * splat(written[value]))
            if has_p:
                after = fma(of_p, splat(u[u_at + value]), after)
            store(S, to + place, after)  # (2)


@njit(forceinline=True)
def step_back(dS, later, q, d_y, y_at, S, before, after, written, u, u_at, V, k, padded, has_p, decays):  # type: ignore[no-untyped-def]
    """Add q dyᵀ to LANES columns of dS by (4), and return dq, dw, dp and da of (4) to (7).

    `has_p` and `decays` are constants where this function is called, so that the loop has no branches.

    Args:
        dS, later: Array of dS (V, padded), and the decay of the next step that dS has yet to be multiplied by.
        q: Query, or zeros if the step is not read.
        d_y, y_at: Array and offset of dy.
        S, before, after: Array of the memories (V, padded), and their offsets before and after the step.
        written: Array of the values, or of their differences from what was read if p = -s w.
        u, u_at: Array and offset of what the correction read.
        V, k, padded: Value width, first column, and number of columns.
        has_p, decays: Whether dp and da are needed.
    """
    dq, dw, dp, da = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for value in range(V):
        place, dy = value * padded + k, splat(d_y[y_at + value])
        d = fma(q, dy, later * load(dS, place))  # (4), after (8) of the next step if there is no correction
        store(dS, place, d)
        dq = fma(load(S, after + place), dy, dq)
        dw = fma(d, splat(written[value]), dw)  # (5)
        if has_p:
            dp = fma(d, splat(u[u_at + value]), dp)  # (6)
        if decays:
            da = fma(d, load(S, before + place), da)  # (7)
    return dq, dw, dp, da
