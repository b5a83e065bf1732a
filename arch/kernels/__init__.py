"""Compiled kernels for training and streaming on a CPU, written in Python and compiled by Numba.

    simd/       vectors, matrix products and activations, from which all kernels are built
    runtime/    compiling, caching, launching, threads
    cells/      the element-wise part of recurrent layers, for training and for streams
    training/   forward and backward passes over whole sequences
    streaming/  one step of a stream
    reference/  the kernels of training/ in plain torch, with the same arguments
    limits.py   reads and products that show how fast the processor can be

The equations in `arch/*.py` define the results. The tests compare each kernel with these equations.
Importing a kernel's module compiles the kernel, or loads it from the cache on disk. The compiler is optional: ask
`obstacle` before importing a kernel's module. If it returns a reason, the equations run.
"""

from __future__ import annotations

import importlib
import pkgutil

from arch.kernels.runtime.compiler import describe, give_up, note, obstacle, target

__all__ = ["compile_all", "describe", "loop_clock_seconds", "note", "obstacle", "target"]


def compile_all() -> float:
    """Compile every kernel, or load it from the cache, so that later kernel calls include no compilation.

    Returns the total seconds that this process has spent compiling kernels: 0 if all were cached, or if there is no
    compiler. If a kernel cannot be compiled, the equations run from then on.
    """
    if obstacle() is not None:
        return 0.0
    try:
        for module in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
            importlib.import_module(module.name)
    except Exception as error:  # a kernel that this version of Numba cannot compile must not end a worker
        give_up(error)
    from arch.kernels.runtime.jit import compiling_seconds

    return float(sum(compiling_seconds))


def loop_clock_seconds() -> float | None:
    """Return the median duration of a clock reading in compiled code, in seconds.

    The result is None if compiled code cannot read the clock, or if there is no compiler.
    """
    if obstacle() is not None:
        return None
    from arch.kernels.runtime.native import clock_address, clock_seconds

    return clock_seconds() if clock_address() else None
