"""Compiled kernels for training and streaming on a CPU, written in Python and compiled by Numba.

    simd/       vectors, matrix products and activations, from which all kernels are built
    runtime/    compiling, caching, launching, threads
    training/   forward and backward passes over whole sequences
    streaming/  one step of a stream

The equations in `arch/*.py` define the results. The tests compare each kernel with these equations.
Importing a kernel's module compiles the kernel, or loads it from the cache on disk.
"""

from __future__ import annotations

import importlib
import pkgutil


def compile_all() -> float:
    """Compile every kernel, or load it from the cache, so that later kernel calls include no compilation.

    Returns the total seconds that this process has spent compiling kernels: 0 if all were cached.
    """
    for module in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
    from arch.kernels.runtime.jit import compiling_seconds

    return float(sum(compiling_seconds))
