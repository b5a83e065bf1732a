"""Products of a matrix with few vectors. The matrix is read in place, LANES rows at a time.

Streaming reads every weight of the matrix once per step. The time depends mainly on memory bandwidth, which packing
does not change. Because there is no packed copy, the weights are always current.

LANES rows are accumulated in parallel, each in its own register. After the loop, a tree of shuffles and additions sums
each register.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import carray, njit  # type: ignore[attr-defined]
from numba.core import cgutils, types
from numba.np import arrayobj

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
    splat,
    spread,
    store_first,
    vector,
)

INDEX = ir.IntType(64)
BYTES = ir.IntType(8).as_pointer()


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


@instruction
def _pointer_to_bits(typing: Any, number: types.Integer) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.inttoptr(values[0], ir.IntType(32).as_pointer())

    return types.CPointer(types.int32)(types.intp), lower


@njit(forceinline=True)
def bits(number):  # type: ignore[no-untyped-def]
    """View float32 numbers at an address as int32 numbers with the same bits. Accesses are not checked."""
    return carray(_pointer_to_bits(number), 0)


@njit(forceinline=True)
def floats(number):  # type: ignore[no-untyped-def]
    """Return a flat array that views the float32 numbers at the address `number`.

    The nominal length of the array is 0, but Numba does not check indices.
    """
    return carray(_pointer_to_floats(number), 0)


@instruction
def memory_of(typing: Any, array: types.Array) -> Any:
    """View the numbers of a flat float32 array without counting references. `keep` the array after the last access.

    Numba counts the references to an array around each call of an inlined function. In a loop over steps this took half
    of the time.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return arrayobj.make_array(kind.args[0])(context, builder, values[0]).data

    return types.CPointer(types.float32)(array), lower


@instruction
def keep(typing: Any, arrays: types.Type) -> Any:
    """Keep an array, or a tuple of arrays, alive up to here. Numba frees an array after its last use."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return context.get_dummy_value()

    return types.void(arrays), lower


@njit(forceinline=True)
def load_if(present, array, at, count):  # type: ignore[no-untyped-def]
    """Return `load_first`, or zeros if the array is not present.

    An array that is not present has the address 0. A masked load from there reads no lane, but takes 60 ns: processors
    treat masked accesses to unmapped memory as exceptions.

    Args:
        present: Whether there is an array.
        array, at, count: Arguments of `load_first`.
    """
    return load_first(array, at, count) if present else splat(0.0)


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

    One of the two summands takes each lane from the same lane of a vector. A processor can do this without its
    shuffle unit, which has the most work here.
    """
    in_place = [lane if lane & width == 0 else LANES + lane for lane in range(LANES)]
    moved = [lane + width if lane & width == 0 else LANES + lane - width for lane in range(LANES)]
    apart = len(sums) // 2
    return [
        builder.fadd(*(builder.shuffle_vector(one, other, ir.Constant(BITS, places)) for places in (in_place, moved)))
        for one, other in zip(sums[:apart], sums[apart:], strict=True)
    ]


def sum_each(builder: ir.IRBuilder, totals: list[ir.Value]) -> ir.Value:
    """Return a vector with the sum of the lanes of each of LANES vectors."""
    while len(totals) > 1:
        totals = _halved(builder, totals, len(totals) // 2)
    return totals[0]


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
        matrix, matrix_at, rows, numbers, numbers_at, depth = values
        product = _Product(
            matrix=address(context, builder, kind.args[0], matrix, matrix_at),
            numbers=address(context, builder, kind.args[3], numbers, numbers_at),
            depth=depth,
        )
        return _row_sums(builder, [product], rows)

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
        products = []
        for first in (0, 5):
            matrix, matrix_at, numbers, numbers_at, depth = values[first : first + 5]
            products.append(
                _Product(
                    matrix=address(context, builder, kind.args[first], matrix, matrix_at),
                    numbers=address(context, builder, kind.args[first + 2], numbers, numbers_at),
                    depth=depth,
                )
            )
        return _row_sums(builder, products, values[10])

    product = (types.intp, numbers, types.intp, types.intp)
    other_product = (types.intp, other_numbers, types.intp, types.intp)
    return vector(matrix, *product, other, *other_product, types.intp), lower


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A product of a matrix with a vector: pointers to their first numbers, and the length of a row."""

    matrix: ir.Value
    numbers: ir.Value
    depth: ir.Value


Pointers = Callable[[ir.Value], list[ir.Value]]
"""A function of an offset in a row, in bytes. It returns a pointer into each of LANES rows."""


def _row_sums(builder: ir.IRBuilder, products: list[_Product], rows: ir.Value) -> ir.Value:
    """Return the sum of some products, one lane per row. If there are fewer rows than lanes, the last row repeats."""
    whole, part, after = (builder.append_basic_block(f"block.{name}") for name in ("whole", "part", "after"))
    builder.cbranch(builder.icmp_signed(">=", rows, _word(LANES)), whole, part)
    found = []
    for block, pointers_of in ((whole, _strided_pointers), (part, _clamped_pointers)):
        builder.position_at_end(block)
        sums = [ir.Constant(VECTOR, [0.0] * LANES)] * LANES
        for product in products:
            sums = _products(builder, sums, pointers_of(builder, product, rows), product)
        found.append((sums, builder.block))
        builder.branch(after)
    builder.position_at_end(after)
    totals = [builder.phi(VECTOR) for _ in range(LANES)]
    for sums, block in found:
        for total, one in zip(totals, sums, strict=True):
            total.add_incoming(one, block)
    return sum_each(builder, totals)


def _strided_pointers(builder: ir.IRBuilder, product: _Product, rows: ir.Value) -> Pointers:
    """Return pointers to LANES successive rows.

    A processor has fewer registers than rows. It adds 1, 2, 4 or 8 times a register to an address at no cost, so six
    registers suffice: two rows, eight rows apart, and 1, 3, 5 and 7 times the length of a row.
    """
    length = builder.shl(product.depth, _word(2))
    three, five, seven = (builder.mul(length, _word(factor)) for factor in (3, 5, 7))
    eight = builder.shl(length, _word(3))
    bases = [builder.bitcast(product.matrix, BYTES)]
    while len(bases) * 8 < LANES:
        bases.append(builder.gep(bases[-1], [eight]))

    def pointers(at: ir.Value) -> list[ir.Value]:
        found = []
        for base in bases:
            row = builder.gep(base, [at])
            double, quadruple = builder.shl(length, _word(1)), builder.shl(length, _word(2))
            distances = (length, double, three, quadruple, five, builder.shl(three, _word(1)), seven)
            found += [row, *(builder.gep(row, [distance]) for distance in distances)]
        return found

    return pointers


def _clamped_pointers(builder: ir.IRBuilder, product: _Product, rows: ir.Value) -> Pointers:
    """Return pointers to LANES successive rows. Those beyond the last row point to the last row."""
    length, last = builder.shl(product.depth, _word(2)), builder.sub(rows, _word(1))
    matrix, starts = builder.bitcast(product.matrix, BYTES), []
    for lane in range(LANES):
        inside = builder.icmp_signed("<", _word(lane), rows)
        row = builder.select(inside, _word(lane), last)
        starts.append(builder.gep(matrix, [builder.mul(row, length)]))
    return lambda at: [builder.gep(start, [at]) for start in starts]


def _products(builder: ir.IRBuilder, before: list[ir.Value], pointers: Pointers, product: _Product) -> list[ir.Value]:
    """Add the products of each row with the vector to one register per row, and return these registers."""
    depth, numbers = product.depth, builder.bitcast(product.numbers, BYTES)
    whole = builder.and_(depth, _word(-LANES))
    end = builder.shl(whole, _word(2))
    entry = builder.block
    head, body, tail, rest, after = (builder.append_basic_block(f"rows.{name}") for name in "abcde")
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(INDEX)
    at.add_incoming(_word(0), entry)
    sums = [builder.phi(VECTOR) for _ in before]
    for total, start in zip(sums, before, strict=True):
        total.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", at, end), body, tail)
    builder.position_at_end(body)
    factor = read(builder, builder.gep(numbers, [at]))
    for total, pointer in zip(sums, pointers(at), strict=True):
        total.add_incoming(multiply_add(builder, read(builder, pointer), factor, total), body)
    at.add_incoming(builder.add(at, _word(4 * LANES)), body)
    builder.branch(head)
    builder.position_at_end(tail)
    builder.cbranch(builder.icmp_signed("<", whole, depth), rest, after)
    builder.position_at_end(rest)
    mask = _first(builder, builder.sub(depth, whole))
    factor = _masked_read(builder, builder.gep(numbers, [end]), mask)
    longer = [
        multiply_add(builder, _masked_read(builder, pointer, mask), factor, total)
        for total, pointer in zip(sums, pointers(end), strict=True)
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


def _word(number: int) -> ir.Constant:
    return ir.Constant(INDEX, number)


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
