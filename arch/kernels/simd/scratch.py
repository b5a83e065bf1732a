"""Scratch memory of kernels: flat float32 arrays that begin where a cache line begins.

Numba aligns an array to half a line. A vector of a whole line that begins in the middle of one touches two. This made
the backward pass of a matrix memory take a fifth longer, whenever the allocator happened to return such an address.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.simd.prefetch import LINE


@njit(forceinline=True)
def empty(count):  # type: ignore[no-untyped-def]
    """Return `count` uninitialised float32 numbers."""
    return _aligned(np.empty(count + LINE, np.float32), count)


@njit(forceinline=True)
def zeros(count):  # type: ignore[no-untyped-def]
    """Return `count` float32 zeros."""
    return _aligned(np.zeros(count + LINE, np.float32), count)


@njit(forceinline=True)
def ones(count):  # type: ignore[no-untyped-def]
    """Return `count` float32 ones."""
    return _aligned(np.ones(count + LINE, np.float32), count)


@njit(forceinline=True)
def _aligned(array, count):  # type: ignore[no-untyped-def]
    """Return the `count` numbers of `array` from its first cache line boundary on. It has `count` + LINE numbers."""
    first = -(array.ctypes.data // 4) % LINE
    return array[first : first + count]
