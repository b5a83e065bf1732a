"""Products of a packed matrix with few vectors, for weights that are read at each of many steps.

A matrix is packed in the order in which its product reads it. Up to MAX_BLOCKS blocks of LANES rows form a panel:

    panel of rows r:  matrix[r, 0] of all its rows, matrix[r, 1] of all its rows, …

A product then reads memory in one piece, multiplies each vector by one broadcast number, and needs no sums across
lanes. It keeps EIGHT sums in flight, because a multiply-add takes about four cycles and two of them start per cycle.
The rows of a last block that has fewer than LANES rows are followed by rows of zeros.

The rows of a plain matrix (depth, k · LANES) are a panel of k blocks, too. So attention sums its values in this way.
"""

from __future__ import annotations

from numba import njit
from numba.extending import register_jitable

from arch.kernels.simd.matvec import bits, floats, load_if
from arch.kernels.simd.vector import LANES, fma, load, splat, store_first

MAX_BLOCKS = 4
"""Maximum number of blocks of LANES rows in a panel. Other panels have 2 blocks or 1."""


@njit(forceinline=True)
def blocks_of(rows):  # type: ignore[no-untyped-def]
    """Return the number of blocks of the next panel, if so many rows are left."""
    if rows > (MAX_BLOCKS - 1) * LANES:
        return MAX_BLOCKS
    return 2 if rows > LANES else 1


@njit(forceinline=True)
def panel_sums_1(a, matrix, at, stride, numbers, numbers_at, depth):  # type: ignore[no-untyped-def]
    """Return `a` plus the product of a panel of one block with a vector.

    Args:
        a: Vector to start from.
        matrix: Array of the panel, float32 numbers.
        at: Offset of the panel.
        stride: Distance between the numbers of successive columns.
        numbers, numbers_at: Array of the vector (depth,), float32 numbers, and its offset.
        depth: Number of products per sum.
    """
    b = c = d = e = f = g = h = splat(0.0)
    whole = depth & -8
    for k in range(numbers_at, numbers_at + whole, 8):
        a = fma(load(matrix, at), splat(numbers[k]), a)
        b = fma(load(matrix, at + stride), splat(numbers[k + 1]), b)
        c = fma(load(matrix, at + 2 * stride), splat(numbers[k + 2]), c)
        d = fma(load(matrix, at + 3 * stride), splat(numbers[k + 3]), d)
        e = fma(load(matrix, at + 4 * stride), splat(numbers[k + 4]), e)
        f = fma(load(matrix, at + 5 * stride), splat(numbers[k + 5]), f)
        g = fma(load(matrix, at + 6 * stride), splat(numbers[k + 6]), g)
        h = fma(load(matrix, at + 7 * stride), splat(numbers[k + 7]), h)
        at += 8 * stride
    for k in range(numbers_at + whole, numbers_at + depth):
        a = fma(load(matrix, at), splat(numbers[k]), a)
        at += stride
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@njit(forceinline=True)
def panel_sums_2(a, b, matrix, at, stride, numbers, numbers_at, depth):  # type: ignore[no-untyped-def]
    """Return `a` and `b` plus the product of a panel of two blocks with a vector.

    Args:
        a, b: Vectors to start from, one per block.
        matrix, at, stride, numbers, numbers_at, depth: As for `panel_sums_1`.
    """
    c = d = e = f = g = h = splat(0.0)
    whole = depth & -4
    for k in range(numbers_at, numbers_at + whole, 4):
        x = splat(numbers[k])
        a, b = fma(load(matrix, at), x, a), fma(load(matrix, at + LANES), x, b)
        at += stride
        x = splat(numbers[k + 1])
        c, d = fma(load(matrix, at), x, c), fma(load(matrix, at + LANES), x, d)
        at += stride
        x = splat(numbers[k + 2])
        e, f = fma(load(matrix, at), x, e), fma(load(matrix, at + LANES), x, f)
        at += stride
        x = splat(numbers[k + 3])
        g, h = fma(load(matrix, at), x, g), fma(load(matrix, at + LANES), x, h)
        at += stride
    for k in range(numbers_at + whole, numbers_at + depth):
        x = splat(numbers[k])
        a, b = fma(load(matrix, at), x, a), fma(load(matrix, at + LANES), x, b)
        at += stride
    return (a + c) + (e + g), (b + d) + (f + h)


@njit(forceinline=True)
def panel_sums_4(a, b, c, d, matrix, at, stride, numbers, numbers_at, depth):  # type: ignore[no-untyped-def]
    """Return `a` to `d` plus the product of a panel of four blocks with a vector.

    Args:
        a, b, c, d: Vectors to start from, one per block.
        matrix, at, stride, numbers, numbers_at, depth: As for `panel_sums_1`.
    """
    e = f = g = h = splat(0.0)
    for k in range(numbers_at, numbers_at + (depth & -2), 2):
        x = splat(numbers[k])
        a, b = fma(load(matrix, at), x, a), fma(load(matrix, at + LANES), x, b)
        c, d = fma(load(matrix, at + 2 * LANES), x, c), fma(load(matrix, at + 3 * LANES), x, d)
        at += stride
        x = splat(numbers[k + 1])
        e, f = fma(load(matrix, at), x, e), fma(load(matrix, at + LANES), x, f)
        g, h = fma(load(matrix, at + 2 * LANES), x, g), fma(load(matrix, at + 3 * LANES), x, h)
        at += stride
    if depth & 1:
        x = splat(numbers[numbers_at + depth - 1])
        a, b = fma(load(matrix, at), x, a), fma(load(matrix, at + LANES), x, b)
        c, d = fma(load(matrix, at + 2 * LANES), x, c), fma(load(matrix, at + 3 * LANES), x, d)
    return a + e, b + f, c + g, d + h


@njit(forceinline=True)
def _start(biases, has_bias, row, rows, result, at, adds):  # type: ignore[no-untyped-def]
    """Return what a block of rows starts from: its bias, if there is one, plus its result so far, if `adds` is true."""
    start = load_if(has_bias, biases, row, rows - row)
    return start + load_if(adds, result, at + row, rows - row)


@njit
def apply_packed(packed, bias, rows, depth, numbers, batch, result, stride, adds):  # type: ignore[no-untyped-def]
    """Write bias + matrix · numbers[b] to result[b], for each b below `batch`, as `matvec.apply` does.

    Args:
        packed: Address of the packed matrix, `packed_bytes(rows, depth)` bytes.
        bias: Address of the bias (rows,), float32 numbers, or 0 for none.
        rows, depth: Shape of the matrix.
        numbers: Address of the vectors, float32 numbers, (batch, depth).
        batch: Number of vectors.
        result: Address of the results, float32 numbers, (batch, rows).
        stride: Row stride of `result`, in numbers.
        adds: Whether to add to `result` instead of overwriting it.
    """
    matrix, biases, vectors, results, has_bias = (
        floats(packed),
        floats(bias),
        floats(numbers),
        floats(result),
        bias != 0,
    )
    row = at = 0
    while row < rows:
        blocks = blocks_of(rows - row)
        for b in range(batch):
            to = b * stride
            one = _start(biases, has_bias, row, rows, results, to, adds)
            if blocks == 1:
                one = panel_sums_1(one, matrix, at, LANES, vectors, b * depth, depth)
            else:
                two_at = row + LANES
                two = _start(biases, has_bias, two_at, rows, results, to, adds)
                if blocks == 2:
                    one, two = panel_sums_2(one, two, matrix, at, 2 * LANES, vectors, b * depth, depth)
                else:
                    three_at, four_at = row + 2 * LANES, row + 3 * LANES
                    three = _start(biases, has_bias, three_at, rows, results, to, adds)
                    four = _start(biases, has_bias, four_at, rows, results, to, adds)
                    one, two, three, four = panel_sums_4(
                        one, two, three, four, matrix, at, 4 * LANES, vectors, b * depth, depth
                    )
                    store_first(results, to + three_at, rows - three_at, three)
                    store_first(results, to + four_at, rows - four_at, four)
                store_first(results, to + two_at, rows - two_at, two)
            store_first(results, to + row, rows - row, one)
        row += blocks * LANES
        at += blocks * LANES * depth


@register_jitable
def packed_bytes(rows: int, depth: int) -> int:
    """Return how many bytes a packed matrix of this shape takes."""
    return 4 * (-(-rows // LANES) * LANES * depth)


@njit
def is_equal(one, other, count):  # type: ignore[no-untyped-def]
    """Return whether `count` float32 numbers at two addresses have the same bits."""
    left, right, differences = bits(one), bits(other), 0
    for at in range(count):
        differences |= left[at] ^ right[at]
    return differences == 0


@njit
def _pack_rows(matrix, rows, depth, packed):  # type: ignore[no-untyped-def]
    """Pack the matrix (rows, depth) of the array `matrix` to the array `packed`."""
    row = at = 0
    while row < rows:
        lanes = blocks_of(rows - row) * LANES
        for k in range(depth):
            for lane in range(lanes):
                packed[at] = matrix[(row + lane) * depth + k] if row + lane < rows else 0
                at += 1
        row += lanes


@njit
def pack_changed(matrix, rows, depth, copied, packed):  # type: ignore[no-untyped-def]
    """Pack a matrix, unless it equals the one that was packed last.

    Args:
        matrix: Address of the matrix, float32 numbers, (rows, depth).
        rows, depth: Shape of the matrix.
        copied: Address of the matrix that was packed last, float32 numbers, (rows, depth).
        packed: Address of the packed matrix, `packed_bytes(rows, depth)` bytes.
    """
    if is_equal(matrix, copied, rows * depth):
        return
    source, last = floats(matrix), floats(copied)
    for at in range(rows * depth):
        last[at] = source[at]
    _pack_rows(source, rows, depth, floats(packed))
