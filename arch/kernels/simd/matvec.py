"""Products of a matrix with few vectors. The matrix is read in place, LANES rows at a time.

Streaming reads every weight of the matrix once per step. The time depends mainly on memory bandwidth, which packing
does not change. Because there is no packed copy, the weights are always current.

LANES rows are accumulated in parallel, each in its own register. After the loop, a tree of shuffles and additions sums
each register.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, njit  # type: ignore[attr-defined]
from numba.core import cgutils, types

from arch.kernels.simd.vector import (
    BITS,
    FLOAT,
    LANES,
    MASK,
    VECTOR,
    address,
    instruction,
    load_first,
    multiply_add,
    read,
    spread,
    store_first,
    vector,
)

INDEX = ir.IntType(64)


@instruction
def _pointer_to_floats(typing: Any, number: types.Integer) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.inttoptr(values[0], FLOAT.as_pointer())

    return types.CPointer(types.float32)(types.intp), lower


@instruction
def _pointer_to_integers(typing: Any, number: types.Integer) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.inttoptr(values[0], INDEX.as_pointer())

    return types.CPointer(types.int64)(types.intp), lower


@instruction
def _pointer_to_doubles(typing: Any, number: types.Integer) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.inttoptr(values[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.intp), lower


@njit(forceinline=True)
def floats(number):  # type: ignore[no-untyped-def]
    """Return a flat array that views the float32 numbers at the address `number`.

    The nominal length of the array is 0, but Numba does not check indices.
    """
    return carray(_pointer_to_floats(number), 0)


@njit(forceinline=True)
def doubles(number):  # type: ignore[no-untyped-def]
    """View the memory at an address as float64 numbers. Accesses are not checked."""
    return carray(_pointer_to_doubles(number), 0)


@njit(forceinline=True)
def integers(number, count):  # type: ignore[no-untyped-def]
    """Return a flat array that views `count` int64 numbers at the address `number`."""
    return carray(_pointer_to_integers(number), count)


def _halved(builder: ir.IRBuilder, sums: list[ir.Value], width: int) -> list[ir.Value]:
    """Merge each vector in the first half of `sums` with its counterpart in the second half.

    Within each vector, neighbouring blocks of `width` lanes are added. In a merged vector, sums of the first vector and
    sums of the second alternate in blocks of `width` lanes. Returns half as many vectors as `sums` has.
    """
    lanes = range(LANES)
    low = [lane if lane & width == 0 else LANES + lane - width for lane in lanes]
    high = [lane + width if lane & width == 0 else LANES + lane for lane in lanes]
    apart = len(sums) // 2
    return [
        builder.fadd(*(builder.shuffle_vector(one, other, ir.Constant(BITS, places)) for places in (low, high)))
        for one, other in zip(sums[:apart], sums[apart:], strict=True)
    ]


@instruction
def row_sums(
    typing: Any,
    matrix: types.Array,
    matrix_at: types.Integer,
    rows: types.Integer,
    numbers: types.Array,
    numbers_at: types.Integer,
    depth: types.Integer,
) -> Any:
    """Return Σ_k matrix[matrix_at + row · depth + k] · numbers[numbers_at + k] for k < `depth`, one lane per row.

    If `rows` is less than LANES, the remaining lanes repeat the sum of the last row. Offsets count array elements.

    Args:
        typing: Numba's typing context.
        matrix: Array of the matrix, float32 numbers, (rows, depth).
        matrix_at: Offset of the first row.
        rows: Number of rows, at least 1. Only the first LANES rows are summed.
        numbers: Array of the vector, float32 numbers, (depth,).
        numbers_at: Offset of the vector.
        depth: Number of products per sum.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        matrix_at, rows, numbers_at, depth = (values[i] for i in (1, 2, 4, 5))
        pointers = _row_pointers(context, builder, kind.args[0], values[0], matrix_at, rows, depth)
        numbers = address(context, builder, kind.args[3], values[3], numbers_at)
        return _tree(builder, _products(builder, _no_sums(), pointers, numbers, depth))

    return vector(matrix, *[types.intp] * 2, numbers, *[types.intp] * 2), lower


@instruction
def row_sums_of_both(
    typing: Any,
    matrix: types.Array,
    matrix_at: types.Integer,
    numbers: types.Array,
    numbers_at: types.Integer,
    depth: types.Integer,
    other: types.Array,
    other_at: types.Integer,
    other_numbers: types.Array,
    other_numbers_at: types.Integer,
    other_depth: types.Integer,
    rows: types.Integer,
) -> Any:
    """Return the sum of two `row_sums`, one lane per row. It costs one tree of additions instead of two.

    Args:
        typing: Numba's typing context.
        matrix, matrix_at, numbers, numbers_at, depth: Arguments of the first `row_sums`.
        other, other_at, other_numbers, other_numbers_at, other_depth: Arguments of the second `row_sums`.
        rows: Number of rows of both matrices, at least 1.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        sums, rows = _no_sums(), values[10]
        for first in (0, 5):
            matrix, matrix_at, numbers, numbers_at, depth = values[first : first + 5]
            pointers = _row_pointers(context, builder, kind.args[first], matrix, matrix_at, rows, depth)
            vector_at = address(context, builder, kind.args[first + 2], numbers, numbers_at)
            sums = _products(builder, sums, pointers, vector_at, depth)
        return _tree(builder, sums)

    product = (types.intp, numbers, types.intp, types.intp)
    other_product = (types.intp, other_numbers, types.intp, types.intp)
    return vector(matrix, *product, other, *other_product, types.intp), lower


def _no_sums() -> list[ir.Value]:
    return [ir.Constant(VECTOR, [0.0] * LANES)] * LANES


def _row_pointers(
    context: Any,
    builder: ir.IRBuilder,
    array: types.Array,
    matrix: ir.Value,
    at: ir.Value,
    rows: ir.Value,
    depth: ir.Value,
) -> list[ir.Value]:
    """Return pointers to LANES rows of a matrix from offset `at` on. Those beyond `rows` point to the last row."""
    last = builder.sub(rows, ir.Constant(INDEX, 1))
    pointers = []
    for lane in range(LANES):
        inside = builder.icmp_signed("<", ir.Constant(INDEX, lane), rows)
        row = builder.select(inside, ir.Constant(INDEX, lane), last)
        place = builder.add(at, builder.mul(row, depth))
        pointers.append(address(context, builder, array, matrix, place))
    return pointers


def _products(
    builder: ir.IRBuilder, before: list[ir.Value], pointers: list[ir.Value], numbers: ir.Value, depth: ir.Value
) -> list[ir.Value]:
    """Add the products of each row with a vector of `depth` numbers to one register per row, and return them."""
    whole = builder.and_(depth, ir.Constant(INDEX, -LANES))
    entry = builder.block
    head, body, tail, rest, after = (builder.append_basic_block(f"rows.{name}") for name in "abcde")
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(INDEX)
    k.add_incoming(ir.Constant(INDEX, 0), entry)
    sums = [builder.phi(VECTOR) for _ in pointers]
    for total, start in zip(sums, before, strict=True):
        total.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", k, whole), body, tail)
    builder.position_at_end(body)
    factor = read(builder, builder.gep(numbers, [k]))
    for total, pointer in zip(sums, pointers, strict=True):
        more = multiply_add(builder, read(builder, builder.gep(pointer, [k])), factor, total)
        total.add_incoming(more, body)
    k.add_incoming(builder.add(k, ir.Constant(INDEX, LANES)), body)
    builder.branch(head)
    builder.position_at_end(tail)
    builder.cbranch(builder.icmp_signed("<", whole, depth), rest, after)
    builder.position_at_end(rest)
    mask = _first(builder, builder.sub(depth, whole))
    factor = _masked_read(builder, builder.gep(numbers, [whole]), mask)
    longer = [
        multiply_add(builder, _masked_read(builder, builder.gep(pointer, [whole]), mask), factor, total)
        for total, pointer in zip(sums, pointers, strict=True)
    ]
    builder.branch(after)
    builder.position_at_end(after)
    totals = []
    for short, long in zip(sums, longer, strict=True):
        total = builder.phi(VECTOR)
        total.add_incoming(short, tail)
        total.add_incoming(long, rest)
        totals.append(total)
    return totals


def _tree(builder: ir.IRBuilder, sums: list[ir.Value]) -> ir.Value:
    """Return the sum of the lanes of each vector, one lane per vector."""
    while len(sums) > 1:
        sums = _halved(builder, sums, len(sums) // 2)
    return sums[0]


def _first(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    lanes = ir.Constant(BITS, list(range(LANES)))
    return builder.icmp_signed("<", lanes, spread(builder, builder.trunc(count, ir.IntType(32))))


def _masked_read(builder: ir.IRBuilder, pointer: ir.Value, mask: ir.Value) -> ir.Value:
    kind = ir.FunctionType(VECTOR, [VECTOR.as_pointer(), ir.IntType(32), MASK, VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    place = builder.bitcast(pointer, VECTOR.as_pointer())
    return builder.call(function, [place, ir.Constant(ir.IntType(32), 4), mask, ir.Constant(VECTOR, [0.0] * LANES)])


@njit
def apply(matrix, matrix_at, bias, rows, depth, numbers, numbers_at, apart, batch, result, result_at, stride, adds):  # type: ignore[no-untyped-def]
    """Write bias + matrix · numbers[b] to result[b], for each b below `batch`.

    If `adds` is true, add the values to `result` instead of overwriting it. Each block of LANES rows is applied to the
    whole batch while the block is in the cache. Arrays are float32. Offsets and strides count array elements.

    Args:
        matrix: Array of the matrix, (rows, depth).
        matrix_at: Offset of the matrix.
        bias: Address of the bias (rows,), float32 numbers, or 0 for none.
        rows, depth: Shape of the matrix.
        numbers: Array of the vectors, (batch, depth).
        numbers_at, apart: Offset and row stride of `numbers`.
        batch: Number of vectors.
        result: Array of the results, (batch, rows).
        result_at, stride: Offset and row stride of `result`.
        adds: Whether to add to `result`.
    """
    biases = floats(bias)
    for row in range(0, rows, LANES):
        count = rows - row
        for b in range(batch):
            at = result_at + b * stride + row
            total = row_sums(matrix, matrix_at + row * depth, count, numbers, numbers_at + b * apart, depth)
            if bias != 0:
                total += load_first(biases, row, count)
            if adds:
                total += load_first(result, at, count)
            store_first(result, at, count, total)
