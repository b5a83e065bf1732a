"""Compile kernels, and cache them on disk until a Python file of `arch/kernels` changes.

By itself, Numba notices only changes in the function's own file. So each kernel captures a digest of all Python files
of `arch/kernels`. This digest becomes part of Numba's cache key, and so does the processor that the kernel is compiled
for. The module `cache` describes where compiled kernels are kept.
"""

from __future__ import annotations

import time
import types
import zlib
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import types as numba_types

from arch.kernels.runtime.cache import open_cache
from arch.kernels.simd.vector import LANES, instruction

SOURCES_DIGEST = reduce(
    lambda digest, path: zlib.crc32(path.read_bytes(), digest), sorted(Path(__file__).parents[1].rglob("*.py")), LANES
)


compiling_seconds: list[float] = []
"""Compile time in seconds of each kernel that this process did not find in the cache."""


ROWS_SIGNATURE = numba.void(numba.int64, numba.int64, numba.int64)
"""Signature of a kernel for `run_rows`: address of the arguments, first row, and the row after the last one."""


@instruction
def arguments_at(typing: Any, record: numba_types.Integer, names: Any) -> Any:
    """Return the named tuple of class `names` whose int64 fields are at the address `record`."""
    named = numba_types.NamedUniTuple(numba_types.int64, len(names.instance_class._fields), names.instance_class)

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(values[0], ir.IntType(64).as_pointer())
        fields = [builder.load(builder.gep(pointer, [ir.IntType(64)(place)])) for place in range(named.count)]
        return context.make_tuple(builder, named, fields)

    return named(numba_types.int64, names), lower


def kernel(signature: Any, *, nogil: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a function for a Numba signature, or loads it from the cache.

    The compiled function releases the GIL, unless `nogil` is false. The seconds of each compilation are appended to
    `compiling_seconds`.
    """

    def compile_or_load(function: Callable[..., Any]) -> Callable[..., Any]:
        started = time.perf_counter()
        stamped = with_digest(function)
        compiled: Any = numba.njit(nogil=nogil)(stamped)
        cache = open_cache(stamped)
        if cache is not None:
            compiled._cache = cache
        compiled.compile(signature)
        compiled.disable_compile()
        if compiled.stats.cache_misses:
            compiling_seconds.append(time.perf_counter() - started)
        return compiled  # type: ignore[no-any-return]

    return compile_or_load


def entry_point(compiled: Any) -> Callable[..., Any]:
    """Return the function of a kernel without Numba's choice among signatures, which takes 0.3 µs per call.

    The arguments must have exactly the types of the kernel's signature.
    """
    (overload,) = compiled.overloads.values()
    return overload.entry_point  # type: ignore[no-any-return]


def with_digest(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a copy of `function` that captures `SOURCES_DIGEST`.

    Numba includes captured variables in its cache key. `function` must be a Python function that captures no variables.
    """
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_freevars=("sources_digest",))
    captured = (types.CellType(SOURCES_DIGEST),)
    stamped = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, captured)
    stamped.__qualname__, stamped.__module__ = function.__qualname__, function.__module__
    return stamped
