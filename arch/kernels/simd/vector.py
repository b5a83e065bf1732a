"""Vectors of LANES float32 numbers as a Numba type, so that kernels choose their instructions explicitly.

A compiler that vectorises scalar loops often uses only half of the available width. It may give up on nested loops and
calls. Here `load`, `store`, the arithmetic operators and `fma` each become one LLVM operation on whole vectors. None
reorders additions.

Memory is addressed by a flat float32 array, or a pointer to one, and an offset in array elements. Offsets are not
checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic, lower_builtin, models, register_model
from numba.core.registry import cpu_target
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.np import arrayobj

_, TARGET, _features = cpu_target.target_context.codegen().magic_tuple()
"""Name of the processor for which Numba compiles: this machine's, unless NUMBA_CPU_NAME names another one."""

NEEDED_BY_AVX512 = ("avx", "avx2", "fma", "f16c")
"""Features without which LLVM compiles no AVX-512 instruction."""

LANES = 16 if {f"+{name}" for name in ("avx512f", *NEEDED_BY_AVX512)} <= set(_features.split(",")) else 8
"""float32 numbers per vector: 16 (512 bits) if Numba compiles for AVX-512, else 8 (256 bits, or two of 128 bits)."""

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
BITS = ir.VectorType(ir.IntType(32), LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)
MANTISSA_BITS, ONE = 23, 0x3F800000


class VectorType(types.Type):
    """The Numba type of one vector register, passed by value."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, data_model_manager: Any, numba_type: VectorType) -> None:
        super().__init__(data_model_manager, numba_type, VECTOR)  # type: ignore[no-untyped-call]


def _arithmetic(sign: Callable[..., Any], instruction: str, operands: int) -> None:
    class Template(ConcreteTemplate):
        cases = (signature(vector, *[vector] * operands),)

    infer_global(sign)(Template)

    @lower_builtin(sign, *[vector] * operands)  # type: ignore[untyped-decorator]
    def lower(context: Any, builder: ir.IRBuilder, _: Any, values: list[ir.Value]) -> ir.Value:
        return getattr(builder, instruction)(*values)


_arithmetic(operator.add, "fadd", 2)
_arithmetic(operator.iadd, "fadd", 2)
_arithmetic(operator.sub, "fsub", 2)
_arithmetic(operator.mul, "fmul", 2)
_arithmetic(operator.truediv, "fdiv", 2)
_arithmetic(operator.neg, "fneg", 1)


def instruction(function: Callable[..., Any]) -> Any:
    """Apply Numba's `intrinsic`, but with the return type `Any`.

    Callers omit the first parameter, Numba's typing context. `Any` stops type checkers from reporting this
    parameter as missing.
    """
    return intrinsic(function)


def address(context: Any, builder: ir.IRBuilder, array: types.Array, value: ir.Value, at: ir.Value) -> ir.Value:
    """Return the pointer to element `at` of a flat array.

    Args:
        context, builder: Numba's target context and the LLVM builder.
        array, value: Numba type and LLVM value of the array, or of a pointer to its first element.
        at: Offset in array elements.
    """
    first = value if isinstance(array, types.CPointer) else arrayobj.make_array(array)(context, builder, value).data
    return builder.gep(first, [at])


def read(builder: ir.IRBuilder, pointer: ir.Value) -> ir.Value:
    """Build the load of a vector from `pointer`, which needs no more than the alignment of a float32 number."""
    return builder.load(builder.bitcast(pointer, VECTOR.as_pointer()), align=4)


def write(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value) -> None:
    """Build the store of a vector to `pointer`, which needs no more than the alignment of a float32 number."""
    builder.store(value, builder.bitcast(pointer, VECTOR.as_pointer()), align=4)


def spread(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """Build a vector with the number `value` in all lanes."""
    lanes = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(lanes, ir.Undefined), ir.Constant(BITS, [0] * LANES))


def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """Build a·b + c, rounded once if the machine has fused multiply-add.

    Args:
        builder: The LLVM builder.
        a, b, c: Vectors of LANES float32 numbers.
    """
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [a, b, c])


def _mask(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    lane = ir.Constant(BITS, list(range(LANES)))
    return builder.icmp_signed("<", lane, spread(builder, builder.trunc(count, ir.IntType(32))))


def _is_whole(builder: ir.IRBuilder, count: ir.Value) -> ir.Value:
    """Build whether `count` lanes are a whole vector.

    Without AVX-512, a mask takes several instructions, and a masked store a dozen cycles or more. A branch on the count
    is predicted, because its outcomes repeat in each row. With AVX-512, masks are cheap.
    """
    return builder.icmp_signed(">=", count, ir.Constant(count.type, LANES))


def _read_first(builder: ir.IRBuilder, pointer: ir.Value, count: ir.Value) -> ir.Value:
    """Build the masked load of a vector: `count` numbers, followed by zeros."""
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(VECTOR, [VECTOR.as_pointer(), ir.IntType(32), MASK, VECTOR]),
        f"llvm.masked.load.v{LANES}f32.p0",
    )
    align, zeros = ir.Constant(ir.IntType(32), 4), ir.Constant(VECTOR, [0.0] * LANES)
    return builder.call(function, [builder.bitcast(pointer, VECTOR.as_pointer()), align, _mask(builder, count), zeros])


def _write_first(builder: ir.IRBuilder, value: ir.Value, pointer: ir.Value, count: ir.Value) -> None:
    """Build the masked store of the first `count` lanes of a vector."""
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VoidType(), [VECTOR, VECTOR.as_pointer(), ir.IntType(32), MASK]),
        f"llvm.masked.store.v{LANES}f32.p0",
    )
    align = ir.Constant(ir.IntType(32), 4)
    builder.call(function, [value, builder.bitcast(pointer, VECTOR.as_pointer()), align, _mask(builder, count)])


@instruction
def load(typing: Any, array: types.Array, at: types.Integer) -> Any:
    """Return array[at : at + LANES] of a flat float32 array as a vector."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return read(builder, address(context, builder, kind.args[0], *values))

    return vector(array, types.intp), lower


@instruction
def store(typing: Any, array: types.Array, at: types.Integer, value: VectorType) -> Any:
    """Set array[at : at + LANES] = value.

    Args:
        typing: Numba's typing context.
        array: Flat array of float32 numbers.
        at: Offset in array elements.
        value: Vector to store.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        write(builder, values[2], address(context, builder, kind.args[0], *values[:2]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), lower


@instruction
def load_first(typing: Any, array: types.Array, at: types.Integer, count: types.Integer) -> Any:
    """Return a vector of array[at : at + count], followed by zeros.

    Args:
        typing: Numba's typing context.
        array: Flat array of float32 numbers.
        at: Offset in array elements.
        count: Number of elements to read. Values above LANES act as LANES, and values below 0 act as 0.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        pointer = address(context, builder, kind.args[0], *values[:2])
        if LANES == 16:
            return _read_first(builder, pointer, values[2])
        with builder.if_else(_is_whole(builder, values[2])) as (whole, part):
            with whole:
                every, of_whole = read(builder, pointer), builder.block
            with part:
                first, of_part = _read_first(builder, pointer, values[2]), builder.block
        numbers = builder.phi(VECTOR)
        numbers.add_incoming(every, of_whole)
        numbers.add_incoming(first, of_part)
        return numbers

    return vector(array, types.intp, types.intp), lower


@instruction
def store_first(typing: Any, array: types.Array, at: types.Integer, count: types.Integer, value: VectorType) -> Any:
    """Set array[at : at + count] to the first lanes of `value`.

    Args:
        typing: Numba's typing context.
        array: Flat array of float32 numbers.
        at: Offset in array elements.
        count: Number of elements to write. Values above LANES act as LANES, and values below 0 act as 0.
        value: Vector to store.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        pointer, (count, value) = address(context, builder, kind.args[0], *values[:2]), values[2:]
        if LANES == 16:
            _write_first(builder, value, pointer, count)
            return context.get_dummy_value()
        with builder.if_else(_is_whole(builder, count)) as (whole, part):
            with whole:
                write(builder, value, pointer)
            with part:
                _write_first(builder, value, pointer, count)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, vector), lower


@instruction
def store_nontemporal(typing: Any, array: types.Array, at: types.Integer, value: VectorType) -> Any:
    """Set array[at : at + LANES] = value with a non-temporal store, which bypasses the caches.

    Args:
        typing: Numba's typing context.
        array: Flat array of float32 numbers.
        at: Offset in array elements. The address of this element must be a multiple of 4 · LANES bytes.
        value: Vector to store.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        pointer = address(context, builder, kind.args[0], *values[:2])
        stored = builder.store(values[2], builder.bitcast(pointer, VECTOR.as_pointer()), align=4 * LANES)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), lower


@instruction
def first_or(typing: Any, a: VectorType, count: types.Integer, b: VectorType) -> Any:
    """Return a vector with the first `count` lanes of `a` and the remaining lanes of `b`.

    Args:
        typing: Numba's typing context.
        a, b: Vectors.
        count: Number of lanes to take from `a`. Values above LANES act as LANES, and values below 0 act as 0.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.select(_mask(builder, values[1]), values[0], values[2])

    return vector(vector, types.intp, vector), lower


@instruction
def swap_pairs(typing: Any, a: VectorType) -> Any:
    """Return `a` with the lanes 2j and 2j + 1 exchanged, for all j."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.shuffle_vector(*values * 2, ir.Constant(BITS, [lane ^ 1 for lane in range(LANES)]))

    return vector(vector), lower


@instruction
def splat(typing: Any, number: types.Float) -> Any:
    """Return a vector with the float32 number `number` in all lanes."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return spread(builder, values[0])

    return vector(types.float32), lower


@instruction
def reciprocal(typing: Any, a: VectorType) -> Any:
    """Return 1 / a within 2 units in the last place, for 1e-37 ≤ |a| ≤ 8e37. NaN stays NaN.

    With AVX-512, an approximation of 14 bits is refined by one Newton step, at a fifth of a division's cost. Without
    AVX-512, the code divides.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        one = ir.Constant(VECTOR, [1.0] * LANES)
        if LANES < 16:
            return builder.fdiv(one, values[0])
        bits = ir.IntType(16)
        form = ir.FunctionType(VECTOR, [VECTOR, VECTOR, bits])
        function = cgutils.get_or_insert_function(builder.module, form, "llvm.x86.avx512.rcp14.ps.512")
        guess = builder.call(function, [values[0], ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(bits, -1)])
        rest = multiply_add(builder, builder.fneg(values[0]), guess, one)
        return multiply_add(builder, guess, rest, guess)

    return vector(vector), lower


@instruction
def ramp(typing: Any) -> Any:
    """Return the vector 0, 1, …, LANES - 1."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return ir.Constant(VECTOR, [float(lane) for lane in range(LANES)])

    return vector(), lower


@instruction
def fma(typing: Any, a: VectorType, b: VectorType, c: VectorType) -> Any:
    """Return a·b + c, rounded once if the machine has fused multiply-add.

    Args:
        typing: Numba's typing context.
        a, b, c: Vectors.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return multiply_add(builder, *values)

    return vector(vector, vector, vector), lower


@instruction
def smaller(typing: Any, a: VectorType, b: VectorType) -> Any:
    """Return the smaller of `a` and `b` in each lane, or `a` if `a` or `b` is NaN."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        a, b = values
        return builder.select(builder.fcmp_ordered("<", b, a), b, a)

    return vector(vector, vector), lower


@instruction
def larger(typing: Any, a: VectorType, b: VectorType) -> Any:
    """Return the larger of `a` and `b` in each lane, or `a` if `a` or `b` is NaN."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        a, b = values
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    return vector(vector, vector), lower


@instruction
def any_above(typing: Any, a: VectorType, number: types.Float) -> Any:
    """Return whether any lane of `a` is above a float32 number. NaN is not."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        above = builder.fcmp_ordered(">", values[0], spread(builder, values[1]))
        return builder.icmp_unsigned("!=", builder.bitcast(above, ir.IntType(LANES)), ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(vector, types.float32), lower


@instruction
def positive(typing: Any, a: VectorType, b: VectorType) -> Any:
    """Return `b` in lanes in which `a` is positive or NaN, and 0 elsewhere."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        zeros = ir.Constant(VECTOR, [0.0] * LANES)
        return builder.select(builder.fcmp_unordered(">", values[0], zeros), values[1], zeros)

    return vector(vector, vector), lower


@instruction
def power_of_two(typing: Any, shifted: VectorType) -> Any:
    """Return 2^n in each lane, for the integer n in the low mantissa bits of `shifted`, -126 ≤ n ≤ 127."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        bits = builder.bitcast(values[0], BITS)
        shift, one = (ir.Constant(BITS, [number] * LANES) for number in (MANTISSA_BITS, ONE))
        return builder.bitcast(builder.add(builder.shl(bits, shift), one), VECTOR)

    return vector(vector), lower
