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

from typing import Any, NamedTuple

from numba import njit

from arch.kernels.simd.matmul import ROWS, multiply, one_row_more, panels_at_once, panels_of, tile_rows_more
from arch.kernels.simd.scratch import empty, zeros
from arch.kernels.simd.vector import LANES, load, load_first, splat, store, store_first, store_nontemporal

MAX_ROWS = 128
"""Maximum number of rows of a chunk of several steps: steps times rows of the batch.

Larger chunks read and write the sums of (3) less often. With 1,024 numbers per row, a chunk of this size still fits
into half of a core's L2 cache.
"""

L2_FLOATS = 1 << 19
"""Maximum number of saved float32 numbers that stay in a core's L2 cache until the backward pass reads them."""


class Chunk(NamedTuple):
    """Some steps of some rows of the batch.

    Args:
        begin, end: First step, and the step after the last one.
        B: Batch size.
        first, last: First row of the batch, and the row after the last one.
    """

    begin: int
    end: int
    B: int
    first: int
    last: int


class Columns(NamedTuple):
    """Some columns of dp in scratch memory, one row per step and row of a chunk, in this order.

    Args:
        numbers: Array of float32 numbers.
        at: Offset of the first column of the first row, in array elements.
        stride: Distance between rows, in array elements.
        panels: Number of vectors of each row.
    """

    numbers: Any
    at: int
    stride: int
    panels: int


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
def rows_in(chunk):  # type: ignore[no-untyped-def]
    """Return the number of rows of a chunk: steps times rows of the batch."""
    return (chunk.end - chunk.begin) * (chunk.last - chunk.first)


@njit(forceinline=True)
def place_of(chunk, number):  # type: ignore[no-untyped-def]
    """Return the row of (T, B, ·) that belongs to a row of a chunk."""
    rows = chunk.last - chunk.first
    if rows == chunk.B:
        return chunk.begin * rows + number
    return (chunk.begin + number // rows) * chunk.B + chunk.first + number % rows


@njit
def in_whole_vectors(numbers, at, count):  # type: ignore[no-untyped-def]
    """Return a copy of `count` numbers from offset `at` on, followed by zeros up to a whole vector."""
    copy = zeros(panels_of(count) * LANES)
    for unit in range(0, count, LANES):
        store(copy, unit, load_first(numbers, at + unit, count - unit))
    return copy


@njit
def _rows_of(x, D, chunk):  # type: ignore[no-untyped-def]
    """Return an array with contiguous rows of a chunk, and the offset of these rows.

    The array is `x` itself if the rows are the whole batch, else a copy. The offset counts array elements.

    Args:
        x: Array of the inputs, float32 numbers, (T, B, D).
        D: Width of `x`.
        chunk: The `Chunk`.
    """
    rows = (chunk.last - chunk.first) * D
    if chunk.last - chunk.first == chunk.B:
        return x, chunk.begin * chunk.B * D
    gathered = empty((chunk.end - chunk.begin) * rows)
    for t in range(chunk.begin, chunk.end):
        for at in range(0, rows, LANES):
            numbers = load_first(x, (t * chunk.B + chunk.first) * D + at, rows - at)
            store_first(gathered, (t - chunk.begin) * rows + at, rows - at, numbers)
    return gathered, 0


@njit
def project(result, x, D, packed, panels, chunk):  # type: ignore[no-untyped-def]
    """Write W x (1) of a chunk contiguously to `result`.

    Args:
        result: Array of the result, (steps, rows, panels · LANES), from offset 0 on.
        x: Array of the inputs, (T, B, D).
        D: Input width.
        packed: Array of the transpose of W in panels, (panels, D, LANES).
        panels: Number of panels of `packed`.
        chunk: The `Chunk`, of `steps` steps and `rows` rows.
    """
    left, left_at = _rows_of(x, D, chunk)
    multiply(result, 0, panels * LANES, left, left_at, D, packed, D, rows_in(chunk), panels)


@njit
def project_back(d_x, D, columns, packed, chunk):  # type: ignore[no-untyped-def]
    """Write dx (2) of a chunk to `d_x`.

    Args:
        d_x: Array of the result, (T, B, D).
        D: Input width.
        columns: The `Columns` of dp.
        packed: Array of W in panels of LANES columns, (⌈D / LANES⌉, depth, LANES). `depth` is the number of columns.
        chunk: The `Chunk`.
    """
    rows, panels = chunk.last - chunk.first, panels_of(D)
    padded = panels * LANES
    fits = padded == D and rows == chunk.B
    product, to = d_x, chunk.begin * chunk.B * D
    if not fits:
        product, to = empty(rows_in(chunk) * padded), 0
    dp, at, stride, depth = columns.numbers, columns.at, columns.stride, columns.panels * LANES
    multiply(product, to, padded, dp, at, stride, packed, depth, rows_in(chunk), panels)
    if fits:
        return
    for t in range(chunk.begin, chunk.end):
        for row in range(rows):
            at, here = (t * chunk.B + chunk.first + row) * D, ((t - chunk.begin) * rows + row) * padded
            for d in range(0, D, LANES):
                store_first(d_x, at + d, D - d, load(product, here + d))


@njit
def _add_product(sums, at, x, x_at, D, columns, depth):  # type: ignore[no-untyped-def]
    dp, stride, panels = columns.numbers, columns.stride, columns.panels
    width, whole = panels * LANES, D - D % ROWS
    panel = 0
    while panel < panels:  # a few panels of dp stay in the L1 cache for all of D
        several = panels_at_once(panels - panel)
        to, right_at = at + panel * LANES, columns.at + panel * LANES
        for d in range(0, whole, ROWS):
            tile_rows_more(sums, to + d * width, width, x, x_at + d, D, dp, right_at, stride, depth, several)
        for d in range(whole, D):
            one_row_more(sums, to + d * width, x, x_at + d, D, dp, right_at, stride, depth, several)
        panel += several


@njit
def add_weights(sums, at, x, D, columns, chunk):  # type: ignore[no-untyped-def]
    """Add dW (3) of a chunk to `sums`.

    Args:
        sums: Array of the transposed sums, (D, panels · LANES).
        at: Offset in `sums`, in array elements.
        x: Array of the inputs, (T, B, D).
        D: Input width.
        columns: The `Columns` of dp.
        chunk: The `Chunk`.
    """
    if chunk.end > chunk.begin:
        left, left_at = _rows_of(x, D, chunk)
        _add_product(sums, at, left, left_at, D, columns, rows_in(chunk))


@njit
def add_recurrent(sums, at, h_0, outputs, H, columns, chunk):  # type: ignore[no-untyped-def]
    """Add dU (3) of a chunk to `sums`.

    The state before step t is the output of step t - 1, or h_0 if t is 0.

    Args:
        sums: Array of the transposed sums, (H, panels · LANES).
        at: Offset in `sums`, in array elements.
        h_0: Array of the initial state, (B, H).
        outputs: Array of the outputs, (T, B, H).
        H: Hidden width.
        columns: The `Columns` of dp.
        chunk: The `Chunk`.
    """
    begin, end, B, first, last = chunk
    if begin == 0:
        add_weights(sums, at, h_0, H, columns, Chunk(0, 1, B, first, last))
        rest = columns.at + (last - first) * columns.stride
        columns = Columns(columns.numbers, rest, columns.stride, columns.panels)
        begin = 1
    add_weights(sums, at, outputs, H, columns, Chunk(begin - 1, end - 1, B, first, last))


@njit
def add_biases(sums, at, columns, chunk):  # type: ignore[no-untyped-def]
    """Add db (3) of a chunk to `sums`.

    Args:
        sums: Array of the sums, (panels · LANES,).
        at: Offset in `sums`, in array elements.
        columns: The `Columns` of dp.
        chunk: The `Chunk`.
    """
    for unit in range(0, columns.panels * LANES, LANES):
        total = splat(0.0)
        for row in range(rows_in(chunk)):
            total += load(columns.numbers, columns.at + row * columns.stride + unit)
        store(sums, at + unit, load(sums, at + unit) + total)
