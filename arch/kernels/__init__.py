"""Whole sequences in one call: the recurrences compiled for this machine, with their derivatives.

The readable equations in `arch/*.py` are the definition; the tests hold each kernel to them.
A kernel is compiled when its file is first imported, and kept on disk from then on.
"""

from __future__ import annotations

import importlib
import pkgutil


def warm() -> float:
    """Compile every kernel, or load what was compiled before, so that no later call pays for it.

    Returns the seconds that were spent compiling; 0 where all was loaded.
    """
    for module in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
    from arch.kernels.runtime.jit import compiling_seconds

    return float(sum(compiling_seconds))
