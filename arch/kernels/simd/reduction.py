"""Reductions of a vector of LANES float32 numbers to one number.

`lane_sum` may reorder its additions. Their order is fixed when a kernel is compiled, so results are the same on every
call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from arch.kernels.simd.vector import BITS, FLOAT, LANES, VECTOR, VectorType, instruction, vector


@instruction
def lane_sum(typing: Any, a: VectorType) -> Any:
    """Return the sum of all lanes. The compiler chooses the order of the additions."""

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        form = ir.FunctionType(FLOAT, [FLOAT, VECTOR])
        function = cgutils.get_or_insert_function(builder.module, form, f"llvm.vector.reduce.fadd.v{LANES}f32")
        return builder.call(function, [ir.Constant(FLOAT, -0.0), *values], fastmath=("reassoc",))

    return types.float32(vector), lower


@instruction
def lane_max(typing: Any, a: VectorType) -> Any:
    """Return the largest lane. If a lane is NaN, the result may be NaN or any other lane.

    LLVM's own reduction compares one lane after the other, because it ignores NaN in each comparison.
    """

    def lower(context: Any, builder: ir.IRBuilder, kind: Any, values: list[ir.Value]) -> ir.Value:
        (largest,), apart = values, LANES // 2
        while apart:
            moved = builder.shuffle_vector(largest, largest, ir.Constant(BITS, [lane ^ apart for lane in range(LANES)]))
            largest = builder.select(builder.fcmp_ordered(">", moved, largest), moved, largest)
            apart //= 2
        return builder.extract_element(largest, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), lower
