"""Load numbers into the cache before they are needed.

A processor predicts what a loop reads next, but only within a page of 4 kB. A kernel that takes some steps of a
sequence at a time, or several arrays row by row, reaches the next page soon, and then waits for memory. The numbers of
a training step, 15 MB and more, do not fit into the caches near a core.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types

from arch.kernels.simd.vector import address, instruction

LINE = 16
"""Numbers in a line of the cache, which has 64 bytes."""
AHEAD = 1024
"""How many numbers ahead a kernel prefetches that takes rows in their order: one page."""
READ, EVERY_CACHE, DATA = 0, 3, 1
"""Arguments of LLVM's prefetch: for reading, into all caches, of data."""


@instruction
def prefetch(typing: Any, array: types.Array, at: types.Integer) -> Any:
    """Ask the processor to load the cache line of array[at]. An offset outside the array does no harm.

    Args:
        typing: Numba's typing context.
        array: Flat array of float32 numbers.
        at: Offset in array elements.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        form = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, form, "llvm.prefetch.p0")
        pointer = builder.bitcast(address(context, builder, kind.args[0], *values), byte)
        builder.call(function, [pointer, *(ir.Constant(number, value) for value in (READ, EVERY_CACHE, DATA))])
        return context.get_dummy_value()

    return types.void(array, types.intp), lower


@njit(forceinline=True)
def prefetch_all(array, at, count):  # type: ignore[no-untyped-def]
    """Ask the processor to load array[at : at + count] of a flat float32 array, but perhaps not its last line."""
    for number in range(at, at + count, LINE):
        prefetch(array, number)
