"""Matrix products over a chunk of time steps, while their operands are still in the cache.

    p  = W x                  (1)  before the loop over the chunk's steps; the loop reads p
    dx = W^T dp               (2)  after the loop over the chunk's steps; the loop writes dp
    dW = Σ dp x^T,  db = Σ dp (3)  after the loop, like (2); dU like dW, with h in place of x

Sequences are in time order, (T, B, ·). Each thread processes some rows of the batch. These rows are contiguous within
a step. Rows of several steps are contiguous only if one thread processes the whole batch. dp is in scratch memory.
Each block of H numbers of dp is padded with zeros to whole vectors. Weight gradients are accumulated transposed, so
that dp need not be transposed. All arrays are float32.
"""

# Shape suffixes: T time, B batch, D input width

from __future__ import annotations

import numpy as np
from numba import njit

from arch.kernels.simd.matmul import ROWS, eight_rows_more, multiply, one_row_more, panels_at_once, panels_of
from arch.kernels.simd.vector import LANES, load, load_first, splat, store, store_first, store_nontemporal

MAX_ROWS = 128
"""Maximum number of rows of a chunk of several steps: steps times rows of the batch.

Larger chunks read and write the sums of (3) less often. With 1,024 numbers per row, a chunk of this size still fits
into half of a core's L2 cache.
"""

L2_FLOATS = 1 << 19
"""Maximum number of saved float32 numbers that stay in a core's L2 cache until the backward pass reads them."""


@njit(forceinline=True)
def bypasses_cache(address, T, B, numbers, H):  # type: ignore[no-untyped-def]
    """Return whether stores to `address` should bypass the caches.

    Bypassing needs whole vectors and an aligned address. It pays off if the saved numbers do not fit into the L2 cache.
    Storing so many numbers in the cache would evict weights.

    Args:
        address: Address of the saved float32 numbers.
        T, B: Steps and batch size.
        numbers: Saved numbers per step and row of the batch.
        H: Hidden width.
    """
    return T * B * numbers > L2_FLOATS and H % LANES == 0 and address % (4 * LANES) == 0


@njit(forceinline=True)
def save(saved, at, count, value, bypass):  # type: ignore[no-untyped-def]
    """Set saved[at : at + count] to the first lanes of `value`.

    Args:
        saved: Flat array of float32 numbers.
        at, count: Offset and number of elements to write. Values of `count` above LANES act as LANES.
        value: Vector to store.
        bypass: Whether the store bypasses the caches. A store that bypasses the caches writes all LANES lanes.
    """
    if bypass:
        store_nontemporal(saved, at, value)
    else:
        store_first(saved, at, count, value)


@njit
def steps_at_once(rows, T):  # type: ignore[no-untyped-def]
    """Return the number of steps per chunk, from 1 to T, for `rows` rows of the batch.

    A chunk of several steps has at most MAX_ROWS rows. Thus the operands of a matrix product stay in the cache.
    """
    return min(T, max(1, MAX_ROWS // rows))


@njit
def stride_of(panels):  # type: ignore[no-untyped-def]
    """Return the row stride of dp in array elements, if a row fills `panels` vectors.

    The stride has one vector more than dp needs, because columns at power-of-two strides share few cache sets.
    """
    return (panels + 1) * LANES


@njit
def _rows_of(x, begin, end, B, D, first, last):  # type: ignore[no-untyped-def]
    """Return an array with contiguous rows `first` to `last` of steps `begin` to `end`, and the offset of these rows.

    The array is `x` itself if the rows are the whole batch, else a copy. The offset counts array elements.

    Args:
        x: Array of the inputs, float32 numbers, (T, B, D).
        begin, end: First step, and the step after the last one.
        B, D: Batch size and width of `x`.
        first, last: First row of the batch, and the row after the last one.
    """
    rows = (last - first) * D
    if last - first == B:
        return x, begin * B * D
    gathered = np.empty((end - begin) * rows, np.float32)
    for t in range(begin, end):
        for at in range(0, rows, LANES):
            numbers = load_first(x, (t * B + first) * D + at, rows - at)
            store_first(gathered, (t - begin) * rows + at, rows - at, numbers)
    return gathered, 0


@njit
def project(result, x, packed, begin, end, B, D, first, last, panels):  # type: ignore[no-untyped-def]
    """Write W x (1) contiguously to `result`, for steps `begin` to `end` and rows `first` to `last`.

    Args:
        result: Array of the result, (end - begin, last - first, panels · LANES), from offset 0 on.
        x: Array of the inputs, (T, B, D).
        packed: Array of the transpose of W in panels, (panels, D, LANES).
        begin, end: First step, and the step after the last one.
        B, D: Batch size and input width.
        first, last: First row of the batch, and the row after the last one.
        panels: Number of panels of `packed`.
    """
    left, left_at = _rows_of(x, begin, end, B, D, first, last)
    multiply(result, 0, panels * LANES, left, left_at, D, packed, D, (end - begin) * (last - first), panels)


@njit
def project_back(d_x, d_sums, stride, packed, depth, begin, end, B, D, first, last):  # type: ignore[no-untyped-def]
    """Write dx (2) to `d_x`, for steps `begin` to `end` and rows `first` to `last`.

    Args:
        d_x: Array of the result, (T, B, D).
        d_sums: Array of dp, (end - begin, last - first, depth), from offset 0 on.
        stride: Row stride of `d_sums`, in array elements.
        packed: Array of W in panels of LANES columns, (⌈D / LANES⌉, depth, LANES).
        depth: Numbers of dp per row, with padding.
        begin, end: First step, and the step after the last one.
        B, D: Batch size and input width.
        first, last: First row of the batch, and the row after the last one.
    """
    rows, panels = last - first, panels_of(D)
    padded = panels * LANES
    fits = padded == D and rows == B
    product, to = d_x, begin * B * D
    if not fits:
        product, to = np.empty((end - begin) * rows * padded, np.float32), 0
    multiply(product, to, padded, d_sums, 0, stride, packed, depth, (end - begin) * rows, panels)
    if fits:
        return
    for t in range(begin, end):
        for row in range(rows):
            at, here = (t * B + first + row) * D, ((t - begin) * rows + row) * padded
            for d in range(0, D, LANES):
                store_first(d_x, at + d, D - d, load(product, here + d))


@njit
def _add_product(sums, at, x, x_at, D, d_sums, sums_at, stride, depth, panels):  # type: ignore[no-untyped-def]
    width, whole = panels * LANES, D - D % ROWS
    panel = 0
    while panel < panels:  # a few panels of d_sums stay in the L1 cache for all of D
        several = panels_at_once(panels - panel)
        to, right_at = at + panel * LANES, sums_at + panel * LANES
        for d in range(0, whole, ROWS):
            eight_rows_more(sums, to + d * width, width, x, x_at + d, D, d_sums, right_at, stride, depth, several)
        for d in range(whole, D):
            one_row_more(sums, to + d * width, x, x_at + d, D, d_sums, right_at, stride, depth, several)
        panel += several


@njit
def add_weights(sums, at, x, begin, end, B, D, d_sums, sums_at, stride, first, last, panels):  # type: ignore[no-untyped-def]
    """Add dW (3) to `sums`, for steps `begin` to `end` and rows `first` to `last`.

    Offsets and strides count array elements.

    Args:
        sums: Array of the transposed sums, (D, panels · LANES).
        at: Offset in `sums`.
        x: Array of the inputs, (T, B, D).
        begin, end: First step, and the step after the last one.
        B, D: Batch size and input width.
        d_sums: Array of dp, (end - begin, last - first, panels · LANES).
        sums_at, stride: Offset and row stride in `d_sums`.
        first, last: First row of the batch, and the row after the last one.
        panels: Number of vectors of dp per row.
    """
    if end > begin:
        left, left_at = _rows_of(x, begin, end, B, D, first, last)
        _add_product(sums, at, left, left_at, D, d_sums, sums_at, stride, (end - begin) * (last - first), panels)


@njit
def add_recurrent(sums, at, h_0, outputs, begin, end, B, H, d_sums, sums_at, stride, first, last, panels):  # type: ignore[no-untyped-def]
    """Add dU (3) to `sums`, for steps `begin` to `end` and rows `first` to `last`.

    The state before step t is the output of step t - 1, or h_0 if t is 0. Offsets and strides count array elements.

    Args:
        sums: Array of the transposed sums, (H, panels · LANES).
        at: Offset in `sums`.
        h_0: Array of the initial state, (B, H).
        outputs: Array of the outputs, (T, B, H).
        begin, end: First step, and the step after the last one.
        B, H: Batch size and hidden width.
        d_sums: Array of dp, (end - begin, last - first, panels · LANES).
        sums_at, stride: Offset and row stride in `d_sums`.
        first, last: First row of the batch, and the row after the last one.
        panels: Number of vectors of dp per row.
    """
    if begin == 0:
        add_weights(sums, at, h_0, 0, 1, B, H, d_sums, sums_at, stride, first, last, panels)
        begin, sums_at = 1, sums_at + (last - first) * stride
    add_weights(sums, at, outputs, begin - 1, end - 1, B, H, d_sums, sums_at, stride, first, last, panels)


@njit
def add_biases(sums, at, d_sums, sums_at, stride, count, panels):  # type: ignore[no-untyped-def]
    """Add db (3) to `panels` vectors of `sums`.

    Offsets and strides count array elements.

    Args:
        sums: Array of the sums, (panels · LANES,).
        at: Offset in `sums`.
        d_sums: Array of dp, (count, panels · LANES).
        sums_at, stride: Offset and row stride in `d_sums`.
        count: Number of rows of `d_sums` to add.
        panels: Number of vectors of dp per row.
    """
    for unit in range(0, panels * LANES, LANES):
        total = splat(0.0)
        for row in range(count):
            total += load(d_sums, sums_at + row * stride + unit)
        store(sums, at + unit, load(sums, at + unit) + total)
