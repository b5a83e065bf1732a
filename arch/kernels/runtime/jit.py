"""Kernels are compiled once a machine, and again when any file of this folder changes.

Numba keeps compiled functions beside this file, or in the user's cache where this folder is not
writable. By itself it notices a change in a function's own file alone, so each kernel carries
a digest of the whole folder, which Numba makes part of the key.
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

from arch.kernels.simd.vector import LANES

SOURCES_DIGEST = reduce(
    lambda digest, path: zlib.crc32(path.read_bytes(), digest), sorted(Path(__file__).parents[1].rglob("*.py")), LANES
)


compiling_seconds: list[float] = []
"""What each kernel cost that was compiled in this process, and not loaded."""


def kernel(signature: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a function for one signature, or load it from the cache; it runs without the interpreter's lock."""

    def compiled(function: Callable[..., None]) -> Callable[..., None]:
        begun = time.perf_counter()
        cached: Any = numba.njit(signature, cache=True, nogil=True)(_stamped(function))
        if cached.stats.cache_misses:
            compiling_seconds.append(time.perf_counter() - begun)
        return cached  # type: ignore[no-any-return]

    return compiled


def _stamped(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the digest as a captured variable that it does not use: these count in the cache's key."""
    assert isinstance(function, types.FunctionType)
    code = function.__code__.replace(co_freevars=("sources_digest",))
    captured = (types.CellType(SOURCES_DIGEST),)
    stamped = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, captured)
    stamped.__qualname__, stamped.__module__ = function.__qualname__, function.__module__
    return stamped
