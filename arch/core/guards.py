"""Notice that a model has changed since its program was built. These checks run before every compiled step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import Tensor, nn

from arch.core.backend import (
    GLOBAL_HOOKS,
    changes_of_layers,
    context_obstacle,
    hooks_of,
)

_TensorGuards: Any = getattr(getattr(torch._C._dynamo, "guards", None), "TensorGuards", None)
"""A class that compares many tensors in one call. It is private to torch, so other versions may lack it."""

MODULE_OPTIONS: dict[type, tuple[str, ...]] = {
    nn.Dropout: ("training", "p"),
    nn.Embedding: ("max_norm",),
    nn.LayerNorm: ("eps", "normalized_shape"),
}
"""Attributes of torch's modules that change what a kernel would have to compute in evaluation."""


_forward = attrgetter("forward")

_EMPTY: dict[Any, Any] = {}
"""Stands for every empty dictionary: fewer objects to read make a check faster."""


class TensorGuard:
    """The types, shapes, strides and devices of some tensors, and the torch context in which they were recorded.

    Args:
        tensors: The tensors, which a kernel may read in the current context.

    Attributes:
        holds: A function of as many tensors that returns whether they and the current context are as recorded.
            Addresses are not compared.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._described = [_described(tensor) for tensor in tensors]
        self.holds: Callable[..., bool] = self._holds
        if _TensorGuards is not None:
            sizes, strides = [list(t.shape) for t in tensors], [list(t.stride()) for t in tensors]
            self._fast = _TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
            self.holds = self._fast.check

    def _holds(self, *tensors: Tensor) -> bool:
        return context_obstacle() is None and [_described(tensor) for tensor in tensors] == self._described


def _described(tensor: Tensor) -> tuple[Any, ...]:
    layout = tensor.layout, tensor.is_neg(), tensor._is_zerotensor()
    return type(tensor), tensor.dtype, tensor.device, layout, tensor.shape, tensor.stride(), tensor.requires_grad


class Snapshot:
    """What a compiled program assumes about the modules of a model, to notice a change.

    Dictionaries of modules, parameters, buffers and hooks are compared by one comparison of lists, which runs in C.
    Changes of layers are counted by `LayerType` and `Layer`. For other modules, the class and `forward` are compared,
    because an instance or a class may replace it. An attribute that hides a parameter makes a dictionary longer.

    Args:
        model: The model's dictionary of modules.
        layers: The layers.
        modules: The other modules that the program replaces.
    """

    def __init__(self, model: dict[str, Any], layers: list[Any], modules: list[nn.Module]) -> None:
        containers = [model, model["layers"]._modules, *(layer._modules for layer in layers)]
        tensors = [owner for module in (*layers, *modules) for owner in (module._parameters, module._buffers)]
        hooks = [hooks for module in modules for hooks in hooks_of(module)[:2]]  # without gradients, no others run
        self._live = [*containers, *tensors, *hooks, *GLOBAL_HOOKS[:2]]
        self._saved = [dict(live) or _EMPTY for live in self._live]
        self._single = [
            (owner, name, tensor)
            for owner in tensors
            for name, tensor in owner.items()
            if tensor is not None and tensor.numel() == 1  # torch compares such tensors by value
        ]
        self._modules, self._classes = modules, list(map(type, modules))
        self._attributes = list(map(vars, (*layers, *modules)))
        self._lengths = list(map(len, self._attributes))
        self._forwards = list(map(_forward, modules))
        named = [(MODULE_OPTIONS[type(module)], vars(module)) for module in modules if type(module) in MODULE_OPTIONS]
        self._options = [(itemgetter(*names), attributes) for names, attributes in named]
        self._values = [read(attributes) for read, attributes in self._options]
        self._changes = changes_of_layers[0]

    def holds(self) -> bool:
        """Return whether the modules are unchanged. Addresses and shapes of tensors are not compared."""
        try:
            return (
                changes_of_layers[0] == self._changes
                and self._live == self._saved  # identical values count as equal without a comparison
                and (not self._single or all(owner[name] is tensor for owner, name, tensor in self._single))
                and list(map(type, self._modules)) == self._classes
                and list(map(len, self._attributes)) == self._lengths
                and list(map(_forward, self._modules)) == self._forwards
                and [read(attributes) for read, attributes in self._options] == self._values
            )
        except (RuntimeError, TypeError):  # torch cannot compare the elements of two tensors as one truth value
            return False
