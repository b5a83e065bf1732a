"""Calls of native functions from compiled code: the system's clock, torch, the GIL, and the cells of plugins."""

from __future__ import annotations

import ctypes
import time
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.vector import instruction

WORD, INT = ir.IntType(64), ir.IntType(32)
SECOND = 1_000_000_000
"""Nanoseconds per second."""


@cache
def clock_address() -> int:
    """Return the address of the C library's `clock_gettime`, or 0 if there is none that compiled code can call."""
    if not hasattr(time, "CLOCK_MONOTONIC"):
        return 0
    try:
        function = ctypes.CDLL(None).clock_gettime
    except (AttributeError, OSError, TypeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)
"""The clock that `time.monotonic_ns` reads."""


@instruction
def _read_clock(typing: Any, clock: types.Integer, which: types.Integer, result: types.Integer) -> Any:
    """Call `clock_gettime(which, result)` at the address `clock`."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        form = ir.FunctionType(INT, [INT, WORD])
        function = builder.inttoptr(values[0], form.as_pointer())
        return builder.sext(builder.call(function, [builder.trunc(values[1], INT), values[2]]), WORD)

    return types.int64(types.int64, types.int64, types.int64), lower


@instruction
def _two_words(typing: Any) -> Any:
    """Return the address of two 64-bit words on the stack of the calling function."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        place = cgutils.alloca_once(builder, ir.ArrayType(WORD, 2))
        return builder.ptrtoint(place, WORD)

    return types.int64(), lower


@instruction
def _word_at(typing: Any, place: types.Integer) -> Any:
    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.load(builder.inttoptr(values[0], WORD.as_pointer()))

    return types.int64(types.int64), lower


@njit(forceinline=True)
def nanoseconds(clock):  # type: ignore[no-untyped-def]
    """Read the monotonic clock. `clock` is the address that `clock_address` returns."""
    place = _two_words()
    _read_clock(clock, CLOCK, place)
    return _word_at(place) * SECOND + _word_at(place + 8)


@instruction
def address_of(typing: Any, array: types.Array) -> Any:
    """Return the address of the first element of an array."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        data = context.make_array(kind.args[0])(context, builder, values[0]).data
        return builder.ptrtoint(data, WORD)

    return types.int64(array), lower


@instruction
def call_layer(
    typing: Any,
    function: types.Integer,
    record: types.Integer,
    x: types.Integer,
    y: types.Integer,
    workspace: types.Integer,
    B: types.Integer,
) -> Any:
    """Call a layer's step, a C function of five 64-bit integers, at the address `function`.

    Args:
        typing: Numba's typing context.
        function: Address of the function.
        record: Address of the layer's record in a program of `arch.kernels.streaming.model_step`.
        x: Address of the input (B, D), float32 numbers.
        y: Address of the output (B, H), float32 numbers.
        workspace: Address of the layer's workspace.
        B: Batch size.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        form = ir.FunctionType(ir.VoidType(), [WORD] * 5)
        builder.call(builder.inttoptr(values[0], form.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), lower


@instruction
def _call_with_object(typing: Any, function: types.Integer, thing: types.Integer) -> Any:
    """Call a C function from a Python object to a pointer. The arguments are the addresses of both."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        form = ir.FunctionType(WORD, [WORD])
        return builder.call(builder.inttoptr(values[0], form.as_pointer()), values[1:])

    return types.int64(types.int64, types.int64), lower


@njit
def are_at_recorded_addresses(record):  # type: ignore[no-untyped-def]
    """Return whether the memory of some tensors starts where it started when the record was made.

    The calling thread holds the GIL. All tensors are plain: torch's function raises a C++ exception for a tensor
    without memory, and compiled code cannot catch it.

    Args:
        record: Address of int64 numbers: number of tensors N; the address of torch's function from a tensor to the
            address of its memory; for each tensor the address of the object, and the recorded address of its memory.
    """
    function = _word_at(record + 8)
    for pair in range(record + 16, record + 16 + 16 * _word_at(record), 16):
        if _call_with_object(function, _word_at(pair)) != _word_at(pair + 8):
            return False
    return True


@instruction
def release_gil(typing: Any) -> Any:
    """Release the GIL, which the calling thread holds. Returns the argument of `acquire_gil`."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        return builder.ptrtoint(context.get_python_api(builder).save_thread(), WORD)

    return types.int64(), lower


@instruction
def acquire_gil(typing: Any, thread: types.Integer) -> Any:
    """Acquire the GIL again. `thread` is what `release_gil` returned."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        api = context.get_python_api(builder)
        api.restore_thread(builder.inttoptr(values[0], api.voidptr))
        return context.get_dummy_value()

    return types.void(types.int64), lower


@kernel(types.void(types.int64, types.int64, types.int64[::1]))
def clock_readings(clock, count, times):  # type: ignore[no-untyped-def]
    """Write `count` successive readings of the clock to `times`, an array of int64 numbers."""
    for index in range(count):
        times[index] = nanoseconds(clock)


def clock_seconds(count: int = 10_000) -> float:
    """Return the median duration of a clock reading in compiled code, in seconds."""
    times = np.zeros(count, np.int64)
    clock_readings(clock_address(), count, times)
    return float(np.median(np.diff(times))) / SECOND
