"""Whole sequences in one call: the recurrences compiled for this machine, with their derivatives.

The readable equations in `arch/*.py` are the definition; the tests hold each kernel to them.
A kernel is compiled when its file is first imported, and kept on disk from then on.
"""

from __future__ import annotations

import importlib
import pkgutil


def warm() -> None:
    """Compile every kernel, or load what was compiled before, so that no later call pays for it."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
