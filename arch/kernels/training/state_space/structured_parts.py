"""Parts of the scan of `s4d`, for LANES channels: the layout of complex numbers, and one step in both directions.

Equation numbers refer to `arch/kernels/training/state_space/structured_scan.py`.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells.state_space import rotated
from arch.kernels.simd.vector import LANES, fma
from arch.kernels.training.state_space.states import copy_states


@njit(forceinline=True)
def pack(real, at, imag, imag_at, H, count, N, target, to):  # type: ignore[no-untyped-def]
    """Copy numbers of up to LANES channels to `target`: for each state, the real part and then the imaginary part.

    Args:
        real, at, imag, imag_at: Arrays (N, H) of both parts, and the offsets of the first channel in them.
        H: Number of channels.
        count: Number of channels to copy. Values above LANES act as LANES.
        N: Number of states.
        target, to: Array and offset of the result, (N, 2, LANES).
    """
    copy_states(real, at, H, count, N, target, to, 2 * LANES)
    copy_states(imag, imag_at, H, count, N, target, to + LANES, 2 * LANES)


@njit(forceinline=True)
def unpack(source, at, count, N, real, imag, to, H):  # type: ignore[no-untyped-def]
    """Copy what `pack` copies, in the other direction."""
    copy_states(source, at, 2 * LANES, count, N, real, to, H)
    copy_states(source, at + LANES, 2 * LANES, count, N, imag, to, H)


@njit(forceinline=True)
def advance(a, h, x):  # type: ignore[no-untyped-def]
    """Return two states after a step by (1), for four vectors of a and of h."""
    real, imag = rotated(a[0], a[1], h[0], h[1], x)
    other, other_imag = rotated(a[2], a[3], h[2], h[3], x)
    return real, imag, other, other_imag


@njit(forceinline=True)
def go_back(a, C, ds, later, before, after, d_a, d_C):  # type: ignore[no-untyped-def]
    """Return dh by (4), the dh of the step before by (8), and the sums (5) and (6), for one state.

    Args:
        a, C: Both parts of a and of C.
        ds: ds.
        later: Both parts of dh from later steps.
        before, after: Both parts of h before and after the step.
        d_a, d_C: Both parts of the sums over later steps.
    """
    dh, dh_i = fma(ds, C[0], later[0]), fma(-ds, C[1], later[1])  # (4)
    of_C = fma(ds, after[0], d_C[0]), fma(-ds, after[1], d_C[1])  # (5)
    of_a = (
        fma(dh, before[0], fma(dh_i, before[1], d_a[0])),
        fma(dh_i, before[0], fma(-dh, before[1], d_a[1])),
    )  # (6)
    return dh, (fma(a[0], dh, a[1] * dh_i), fma(a[0], dh_i, -a[1] * dh)), of_a, of_C  # (8)
