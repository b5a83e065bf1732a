"""The states of some channels in memory, as the scans of state-space models keep them.

A panel is the part of all states that belongs to LANES channels: N vectors, one after the other, rounded up to a
multiple of what the scans follow at a time. The coefficients of missing channels and missing states are zeros, so they
add nothing to any sum. Each sequence begins with zeros in their place, because 0 · NaN is NaN. The scans follow a few
states of a panel through some steps before they take the next ones, so that the states, their coefficients and the sums
over the steps stay in registers.
"""

# Shape suffixes: H channels, N states

from __future__ import annotations

from numba import njit
from numba.extending import register_jitable

from arch.kernels.simd.vector import LANES, load, load_first, splat, store, store_first


@register_jitable
def rounded(number: int, multiple: int) -> int:
    """Return a number, rounded up to a multiple."""
    return (number + multiple - 1) // multiple * multiple


@njit(forceinline=True)
def copy_states(source, source_at, source_stride, count, N, target, target_at, target_stride):  # type: ignore[no-untyped-def]
    """Copy the states of up to LANES channels.

    Args:
        source, source_at, source_stride: Array, offset of the first state, and distance between states.
        count: Number of channels. Values above LANES act as LANES.
        N: Number of states.
        target, target_at, target_stride: As for the source.
    """
    for n in range(N):
        store_first(
            target, target_at + n * target_stride, count, load_first(source, source_at + n * source_stride, count)
        )


@njit(forceinline=True)
def copy_vectors(source, source_at, count, target, target_at):  # type: ignore[no-untyped-def]
    """Copy `count` numbers, a multiple of LANES, from one offset to another."""
    for place in range(0, count, LANES):
        store(target, target_at + place, load(source, source_at + place))


@njit(forceinline=True)
def clear(array, count):  # type: ignore[no-untyped-def]
    """Set the first `count` numbers, a multiple of LANES, to 0."""
    for place in range(0, count, LANES):
        store(array, place, splat(0.0))


@njit(forceinline=True)
def copy_maps(source, at, apart, steps, N, maps, padded):  # type: ignore[no-untyped-def]
    """Copy B and C of some steps to `maps` (steps, 2, padded). Numbers after the N of each stay as they are.

    Args:
        source, at, apart: Array, offset of B of the first step, after which its C follows, and distance between steps.
        steps, N: Number of steps, and of states.
        maps, padded: Array of the result, and the distance from B to C in it.
    """
    for k in range(steps):
        for n in range(0, N, LANES):
            here, to = at + k * apart + n, 2 * k * padded + n
            store_first(maps, to, N - n, load_first(source, here, N - n))
            store_first(maps, to + padded, N - n, load_first(source, here + N, N - n))


@njit(forceinline=True)
def load_four(array, at):  # type: ignore[no-untyped-def]
    """Return four vectors that follow each other."""
    return load(array, at), load(array, at + LANES), load(array, at + 2 * LANES), load(array, at + 3 * LANES)


@njit(forceinline=True)
def store_four(array, at, vectors):  # type: ignore[no-untyped-def]
    """Store four vectors one after the other."""
    store(array, at, vectors[0])
    store(array, at + LANES, vectors[1])
    store(array, at + 2 * LANES, vectors[2])
    store(array, at + 3 * LANES, vectors[3])
