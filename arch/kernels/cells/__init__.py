"""The element-wise arithmetic of recurrent cells, shared by training and streaming.

The functions below work on vectors of units. A plugin writes its own cell with them, see `arch.CompiledCell`. Vectors
also have the operators +, -, * and /.

    sigmoid(x), tanh(x), exp(x)      exp needs |x| ≤ 87
    fma(a, b, c)                     a * b + c
    larger(a, b), smaller(a, b)      the larger or smaller number of each unit
    splat(number)                    the same number for all units
"""

from __future__ import annotations

from typing import Any

from arch.kernels.runtime.compiler import obstacle

__all__ = ["exp", "fma", "larger", "sigmoid", "smaller", "splat", "tanh"]

exp: Any
fma: Any
larger: Any
sigmoid: Any
smaller: Any
splat: Any
tanh: Any

if obstacle() is None:
    from arch.kernels.simd.activation import exp, sigmoid, tanh
    from arch.kernels.simd.vector import fma, larger, smaller, splat
else:  # no cell is compiled then
    exp = fma = larger = sigmoid = smaller = splat = tanh = None
