"""Models on the meta device, to count parameters without allocating memory.

A tensor on the meta device has a shape but no data, so filling it has no effect. Yet torch runs each fill and each
calculation through a Python implementation, and the first of them imports torch's compiler. This import takes a second
per process. `meta_device` skips the fills, and returns empty results of elementwise calculations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLS = frozenset({"__setitem__", "add_", "clamp_", "copy_", "fill_", "log_", "mul_", "normal_", "uniform_", "zero_"})
"""Tensor methods that write data without changing the shape."""
CALCULATIONS = ("add", "sub", "__rsub__", "mul", "div", "neg", "abs", "pow", "remainder", "clamp", "square", "sqrt")
FUNCTIONS = ("exp", "exp2", "expm1", "log", "log1p", "sin", "cos")
ELEMENTWISE = frozenset((*CALCULATIONS, *FUNCTIONS))
"""Functions whose result has the common shape of their tensors."""
RANGES = frozenset({"arange", "linspace"})
"""Functions that create a tensor whose shape depends on the values of their arguments."""


@contextlib.contextmanager
def meta_device() -> Iterator[None]:
    """Create new tensors on the meta device within this context, and skip fills and elementwise calculations.

    A constructor may set the default device. If it was the CPU before, it is the CPU afterwards.
    """
    was_cpu = torch.get_default_device().type == "cpu"
    with torch.device("meta"), _SkipValues():
        try:
            yield
        finally:
            if was_cpu:  # torch requires this inside the context, which otherwise leaves its own device behind
                torch.set_default_device(None)


class _SkipValues(TorchFunctionMode):
    """A mode in which fills and initialisers return their tensor unchanged, and no elementwise function computes."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        name = getattr(function, "__name__", "")
        if name in RANGES and torch.device(keywords.get("device") or "meta").type == "meta":
            made = function(*args, **{**keywords, "device": "cpu"})
            return torch.empty(made.shape, dtype=made.dtype)
        tensors = [each for each in (*args, *keywords.values()) if isinstance(each, Tensor)]
        if not tensors or not tensors[0].is_meta:
            return function(*args, **keywords)
        if name in FILLS or getattr(function, "__module__", None) == nn.init.__name__:
            return tensors[0]
        if name in ELEMENTWISE and all(each.is_meta for each in tensors):
            shape = torch.broadcast_shapes(*(each.shape for each in tensors))
            return torch.empty(shape, dtype=function(*map(_of_one_number, args), **keywords).dtype)
        return function(*args, **keywords)


def _of_one_number(operand: Any) -> Any:
    """Return a tensor of the CPU with one number, which has the dtype of a tensor; any other operand as it is."""
    if not isinstance(operand, Tensor):
        return operand
    return torch.ones((1,) * min(operand.dim(), 1), dtype=operand.dtype, device="cpu")
