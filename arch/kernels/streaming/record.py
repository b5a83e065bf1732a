"""The record of a layer in a program: 64-bit words that the compiled step of a layer reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import int64, njit, void

from arch.kernels.simd.matvec import integers

MAX_SIZES, MAX_WEIGHTS, MAX_STATE = 6, 26, 8
"""Maximum number of sizes, of weights, and of words of the state."""
SIZES = 1
"""Position of the first size. Word 0 is the kind of the layer."""
WEIGHTS = SIZES + MAX_SIZES
"""Position of the address of the first weight. A weight that the layer does not have has address 0."""
CONSTANTS = WEIGHTS + MAX_WEIGHTS
"""Position of the address of the constants, or of the compiled function."""
STATE = CONSTANTS + 1
"""Position of the first word of the state: addresses and counts."""
PACKED = STATE + MAX_STATE
"""Position of the address of the packed weights, for streams of many steps. 0 if the layer has no packed weights."""
COPIED = PACKED + 1
"""Position of the address of the weights that were packed last."""
RECORD = COPIED + 1
"""Length of a record."""

LAYER_SIGNATURE = void(*[int64] * 5)
"""Signature of the compiled step of a layer: addresses of the record, of the input (B, D), of the output (B, H) and of
the workspace, then B."""


@njit(forceinline=True)
def parts_of(record):  # type: ignore[no-untyped-def]
    """Return the sizes, the addresses of the weights and the words of the state of the record at an address."""
    words = integers(record, RECORD)
    return words[SIZES:WEIGHTS], words[WEIGHTS:CONSTANTS], words[STATE:PACKED]


class LayerStep:
    """The compiled step of a built-in layer. It is compiled, or loaded from the cache, when its address is needed.

    Args:
        load: Function that returns the step: a function with `LAYER_SIGNATURE`, compiled by `kernel`.
    """

    obstacle: str | None = None
    """Why the step cannot be compiled. Only plugins' cells have an obstacle."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    @property
    def address(self) -> int:
        """Address of the step as a C function."""
        (overload,) = self._load().overloads.values()
        return int(overload.library.get_pointer_to_function(overload.fndesc.llvm_cfunc_wrapper_name))
