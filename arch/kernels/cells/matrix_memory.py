"""Cell of matrix memories: equations (1) to (3) of `arch/core/matrix_memory.py`, for LANES values of one head.

A block is the part of the memory with these values: K rows of LANES numbers.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.vector import fma, load, load_first, splat, store, store_first


@njit(forceinline=True)
def read(S, at, apart, count, numbers, numbers_at, K):  # type: ignore[no-untyped-def]
    """Return Σ_k numbers[k] S[k], a vector of values: u of (1) for the numbers r, and y of (3) for q.

    Args:
        S, at, apart: Array of the memory, offset of the block, and distance of its rows.
        count: Number of values of the block. Those above LANES are not read.
        numbers, numbers_at: Array and offset of the K numbers.
        K: Key width.
    """
    even, odd, paired = splat(0.0), splat(0.0), K & -2
    for k in range(0, paired, 2):
        even = fma(splat(numbers[numbers_at + k]), load_first(S, at + k * apart, count), even)
        odd = fma(splat(numbers[numbers_at + k + 1]), load_first(S, at + (k + 1) * apart, count), odd)
    if paired < K:
        even = fma(splat(numbers[numbers_at + paired]), load_first(S, at + paired * apart, count), even)
    return even + odd


@njit(forceinline=True)
def write(S, at, apart, count, a, a_at, decays, w, w_at, v, K):  # type: ignore[no-untyped-def]
    """Set S = diag(a) S + w vᵀ: equation (2) without a correction.

    Args:
        S, at, apart, count, K: As for `read`.
        a, a_at, decays: Array and offset of the decay, and its length: K, 1 if all rows decay equally, or 0 for none.
        w, w_at: Array and offset of the key.
        v: Vector of the values.
    """
    for k in range(K):
        row = load_first(S, at + k * apart, count)
        if decays > 0:
            row = row * splat(a[a_at + (k if decays > 1 else 0)])
        store_first(S, at + k * apart, count, fma(splat(w[w_at + k]), v, row))  # (2)


@njit(forceinline=True)
def write_and_read(S, at, apart, a, a_at, decays, w, w_at, v, q, q_at, K):  # type: ignore[no-untyped-def]
    """Write as `write` does, and return what `read` returns for q, in one pass over a block of LANES values.

    Args:
        S, at, apart, a, a_at, decays, w, w_at, v, K: As for `write`. `decays` is a constant where this is called.
        q, q_at: Array and offset of the query.
    """
    even, odd, paired = splat(0.0), splat(0.0), K & -2
    shared = splat(a[a_at]) if decays == 1 else splat(1.0)
    for k in range(0, paired, 2):
        one, other = load(S, at + k * apart), load(S, at + (k + 1) * apart)
        if decays == 1:
            one, other = one * shared, other * shared
        elif decays > 1:
            one, other = one * splat(a[a_at + k]), other * splat(a[a_at + k + 1])
        one = fma(splat(w[w_at + k]), v, one)
        other = fma(splat(w[w_at + k + 1]), v, other)
        store(S, at + k * apart, one)
        store(S, at + (k + 1) * apart, other)
        even = fma(splat(q[q_at + k]), one, even)
        odd = fma(splat(q[q_at + k + 1]), other, odd)
    if paired < K:
        one = load(S, at + paired * apart)
        if decays > 0:
            one = one * splat(a[a_at + (paired if decays > 1 else 0)])
        one = fma(splat(w[w_at + paired]), v, one)
        store(S, at + paired * apart, one)
        even = fma(splat(q[q_at + paired]), one, even)
    return even + odd


@njit(forceinline=True)
def write_corrected(S, at, apart, count, a, a_at, decays, p, p_at, u, w, w_at, v, K):  # type: ignore[no-untyped-def]
    """Set S = diag(a) S + p uᵀ + w vᵀ: equation (2) with a correction.

    Args:
        S, at, apart, count, a, a_at, decays, w, w_at, v, K: As for `write`.
        p, p_at: Array and offset of p.
        u: Vector of the values that the correction read.
    """
    for k in range(K):
        row = load_first(S, at + k * apart, count)
        if decays > 0:
            row = row * splat(a[a_at + (k if decays > 1 else 0)])
        row = fma(splat(p[p_at + k]), u, row)
        store_first(S, at + k * apart, count, fma(splat(w[w_at + k]), v, row))  # (2)


@njit(forceinline=True)
def write_corrected_and_read(S, at, apart, a, a_at, decays, p, p_at, u, w, w_at, v, q, q_at, K):  # type: ignore[no-untyped-def]
    """Write as `write_corrected` does, and return what `read` returns for q, in one pass over a block of LANES values.

    Args:
        S, at, apart, a, a_at, decays, p, p_at, u, w, w_at, v, K: As for `write_corrected`.
        q, q_at: Array and offset of the query.
    """
    even, odd = splat(0.0), splat(0.0)
    for k in range(K):
        row = load(S, at + k * apart)
        if decays > 0:
            row = row * splat(a[a_at + (k if decays > 1 else 0)])
        row = fma(splat(w[w_at + k]), v, fma(splat(p[p_at + k]), u, row))  # (2)
        store(S, at + k * apart, row)
        even, odd = odd, fma(splat(q[q_at + k]), row, even)
    return even + odd


@njit(forceinline=True)
def write_rotated(S, at, apart, count, gamma, rotation, w, w_at, v, K):  # type: ignore[no-untyped-def]
    """Set S = γ R⁻¹ S + w vᵀ: equation (2) of `arch/ret_net.py`.

    Args:
        S, at, apart, count, w, w_at, v, K: As for `write`.
        gamma: The factor γ.
        rotation: Array of the cosines, then the sines, of K / 2 angles.
    """
    pairs = K // 2
    for j in range(pairs):
        cosine, sine = splat(gamma * rotation[j]), splat(gamma * rotation[pairs + j])
        even, odd = at + 2 * j * apart, at + (2 * j + 1) * apart
        x, y = load_first(S, even, count), load_first(S, odd, count)
        store_first(S, even, count, fma(splat(w[w_at + 2 * j]), v, cosine * x + sine * y))
        store_first(S, odd, count, fma(splat(w[w_at + 2 * j + 1]), v, cosine * y - sine * x))
