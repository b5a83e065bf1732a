"""Models on the meta device, to count parameters without allocating memory.

A tensor on the meta device has a shape but no data, so filling it has no effect. Yet torch runs each fill through a
Python implementation, and the first fill imports torch's compiler. This import takes a second per process.
`meta_device` skips the fills.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

FILLS = frozenset({"__setitem__", "add_", "copy_", "fill_", "mul_", "normal_", "uniform_", "zero_"})
"""Tensor methods that write data without changing the shape."""


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Create new tensors on the meta device within this context, and skip all fills.

    A constructor may set the default device. If it was the CPU before, it is the CPU afterwards.
    """
    was_cpu = torch.get_default_device().type == "cpu"
    with torch.device("meta"), _SkipFills():
        try:
            yield
        finally:
            if was_cpu:  # torch requires this inside the context, which otherwise leaves its own device behind
                torch.set_default_device(None)


class _SkipFills(TorchFunctionMode):
    """A mode in which fills and initialisers return their tensor unchanged."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        initialises = getattr(function, "__module__", None) == nn.init.__name__
        if not initialises and getattr(function, "__name__", "") not in FILLS:
            return function(*args, **keywords)
        return args[0] if args else keywords["tensor"]
