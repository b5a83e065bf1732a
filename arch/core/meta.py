"""Models without numbers: their sizes are counted before anything is allocated.

On device `meta` a tensor is its shape alone, and to fill it changes nothing; but torch does even that with stand-ins
written in Python, which import its compiler. That takes a second, in each process that builds a model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

FILLS = frozenset({"__setitem__", "add_", "copy_", "fill_", "mul_", "normal_", "uniform_", "zero_"})
"""What writes numbers into a tensor, and leaves its shape."""


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Whatever is built in here has shapes and no memory."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        initialises = getattr(function, "__module__", None) == nn.init.__name__
        if not initialises and getattr(function, "__name__", "") not in FILLS:
            return function(*args, **named)
        return args[0] if args else named["tensor"]
