"""Notice that a model has changed since its program was built. These checks run before every compiled step."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from arch.core.backend import (
    GLOBAL_HOOKS,
    changes_of_layers,
    context_obstacle,
    hooks_of,
)

_private: Any = getattr(torch._C._dynamo, "guards", None)
"""Functions that are private to torch, so other versions may lack them."""
_TensorGuards: Any = getattr(_private, "TensorGuards", None)
"""A class that compares many tensors in one call."""
_memory_function: int = getattr(_private, "_torchinductor_pyobject_tensor_data_ptr", 0)
"""Address of a C function from a tensor object to the address of its memory, or 0."""

MODULE_OPTIONS: dict[type, tuple[str, ...]] = {
    nn.Dropout: ("training", "p"),
    nn.Embedding: ("max_norm",),
    nn.LayerNorm: ("eps", "normalized_shape"),
}
"""Attributes of torch's modules that change what a kernel would have to compute in evaluation."""


class TensorGuard:
    """The types, shapes, strides and devices of some tensors, and the torch context in which they were recorded.

    The stride of a dimension of size 1 has no meaning, so it is not compared. In a batch of one stream it depends on
    the tensor from which the input was taken.

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
            sizes, strides = [list(t.shape) for t in tensors], list(map(_strides, tensors))
            self._fast = _TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides)
            self.holds = self._fast.check

    def _holds(self, *tensors: Tensor) -> bool:
        return context_obstacle() is None and [_described(tensor) for tensor in tensors] == self._described


def _described(tensor: Tensor) -> tuple[Any, ...]:
    layout = tensor.layout, tensor.is_neg(), tensor._is_zerotensor()
    return type(tensor), tensor.dtype, tensor.device, layout, tensor.shape, _strides(tensor), tensor.requires_grad


def _strides(tensor: Tensor) -> list[int | None]:
    """Return the strides of a tensor, with None for each dimension of size 1."""
    return [None if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]


class MemoryRecord:
    """Where the memory of some tensors starts.

    Args:
        tensors: The tensors.

    Attributes:
        address: Address of the record, as `native.are_at_recorded_addresses` reads it. The record names no tensors if
            compiled code cannot read their addresses.
        is_compiled: Whether compiled code compares the addresses. It may do so only for tensors for which `TensorGuard`
            holds.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors, self._addresses = tensors, list(map(Tensor.data_ptr, tensors))
        self.is_compiled = bool(_memory_function) and _TensorGuards is not None
        pairs = zip(map(id, tensors), self._addresses, strict=True) if self.is_compiled else ()
        words = [word for pair in pairs for word in pair]
        self._words = array("q", [len(words) // 2, _memory_function, *words])
        self.address, _ = self._words.buffer_info()

    def holds(self) -> bool:
        """Return whether the memory of all tensors starts where it did."""
        return list(map(Tensor.data_ptr, self._tensors)) == self._addresses


def module_guard(model: dict[str, Any], layers: list[Any], modules: list[nn.Module]) -> Callable[[], bool]:
    """Return a function that returns whether the modules of a model are as they are now.

    Dictionaries of modules, parameters, buffers and hooks are compared by one comparison of lists, which runs in C.
    Changes of layers are counted by `LayerType` and `Layer`. For other modules, the class and `forward` are compared,
    because an instance or a class may replace it. An attribute that hides a parameter makes a dictionary longer.
    Addresses and shapes of tensors are not compared.

    Args:
        model: The model's dictionary of modules.
        layers: The layers.
        modules: The other modules that the program replaces.
    """
    containers = [model, model["layers"]._modules, *(layer._modules for layer in layers)]
    tensors = [owner for module in (*layers, *modules) for owner in (module._parameters, module._buffers)]
    hooks = [hooks for module in modules for hooks in hooks_of(module)[:2]]  # without gradients, no others run
    watched = [*containers, *tensors, *hooks, *GLOBAL_HOOKS[:2]]
    empty, live = [one for one in watched if not one], [one for one in watched if one]
    saved = [dict(one) for one in live]
    single = [  # torch compares tensors of one number by value
        (owner, name, tensor)
        for owner in tensors
        for name, tensor in owner.items()
        if tensor is not None and tensor.numel() == 1
    ]
    attributes = [(vars(layer), len(vars(layer))) for layer in layers]
    described = [(module, type(module), vars(module), len(vars(module))) for module in modules]
    forwards: list[tuple[Any, Any]] = [(cls, cls.forward) for cls in {type(module) for module in modules}]
    options = [
        (vars(module), name, vars(module)[name]) for module in modules for name in MODULE_OPTIONS.get(type(module), ())
    ]
    changes = changes_of_layers[0]

    def holds() -> bool:
        if changes_of_layers[0] != changes or any(empty):
            return False
        try:
            if live != saved:  # identical values count as equal without a comparison
                return False
        except (RuntimeError, TypeError):  # torch cannot compare the elements of two tensors as one truth value
            return False
        # Loops over a few tuples are faster here than `all` with a generator, or `map` with C functions.
        for owner, name, tensor in single:
            if owner[name] is not tensor:
                return False
        for own, length in attributes:
            if len(own) != length:
                return False
        for module, cls, own, length in described:
            if type(module) is not cls or len(own) != length or "forward" in own:
                return False
        for cls, forward in forwards:
            if cls.forward is not forward:
                return False
        for own, name, value in options:  # noqa: SIM110
            if own.get(name) != value:
                return False
        return True

    return holds
