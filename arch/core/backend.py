"""The choice between compiled kernels and the reference implementation.

`reference`  run the equations as written, with torch operations.
`fused`      run the compiled kernel. `scan` raises `ValueError` if the kernel does not support the inputs. `step` and
             `stream` of a model do not raise: they run the equations, and `step_backend_for` says which of them runs.
`auto`       run the kernel if it supports the inputs, else the reference implementation. Except for `transformer`,
             `scan` also uses the reference implementation for a single step.

A kernel reads memory by address and computes fixed equations. It may run only if it computes what the layer's own
methods would compute, and only if each tensor has the size, type and memory layout that the kernel expects. Otherwise
the equations run, and raise their own errors. `scan`, `step` and the streaming program all ask the functions below.
A function named `..._obstacle` returns None if the kernel may run, and otherwise the reason why not.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as module_globals
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

from arch.kernels.runtime import compiler
from arch.kernels.runtime.tensors import NORM_EPSILON, tensor_obstacle

Backend = Literal["auto", "reference", "fused"]
"""Implementation of a layer's `scan` and of a model's `step`."""

count_dispatch_modes, count_function_modes = torch._C._len_torch_dispatch_stack, torch._C._len_torch_function_stack
"""Functions that return how many modes of torch are on, of the two kinds that see operations."""

GLOBAL_HOOKS: tuple[Mapping[int, Any], ...] = (
    module_globals._global_forward_hooks,
    module_globals._global_forward_pre_hooks,
    module_globals._global_backward_hooks,
    module_globals._global_backward_pre_hooks,
)
"""The hooks that torch runs at every call of every module."""

_FORWARDS = (nn.Linear.forward, nn.LayerNorm.forward, nn.Embedding.forward, nn.Identity.forward, nn.Dropout.forward)
"""The `forward` of each class of module that kernels can replace."""

changes_of_layers = [0]
"""How often an attribute of a layer, or a method of a layer class, was set or deleted in this process."""


class Weight(NamedTuple):
    """A parameter or buffer that a kernel reads."""

    module: nn.Module
    name: str
    shape: tuple[int, ...]
    """The shape that the kernel expects."""
    dtype: torch.dtype = torch.float32
    """The type that the kernel expects."""
    below: int | None = None
    """If the kernel reads numbers at these places: how many numbers there are. None if the values are no places."""

    @property
    def tensor(self) -> Tensor | None:
        """The tensor as it is now, or None if the module has none of this name."""
        parameters = self.module._parameters
        return parameters[self.name] if self.name in parameters else self.module._buffers.get(self.name)


def norm_weights(norm: nn.Module, width: int) -> tuple[Weight, Weight]:
    """Return gain and offset of a layer norm over `width` numbers."""
    return Weight(norm, "weight", (width,)), Weight(norm, "bias", (width,))


def linear_weights(linear: nn.Module, rows: int, columns: int) -> tuple[Weight, Weight]:
    """Return W and b of a linear map with a bias."""
    return Weight(linear, "weight", (rows, columns)), Weight(linear, "bias", (rows,))


def tensors_of(weights: Iterable[Weight]) -> list[Tensor]:
    """Return the tensors of weights that have passed `weights_obstacle`."""
    return [tensor for weight in weights if (tensor := weight.tensor) is not None]


def context_obstacle() -> str | None:
    """Return why no kernel may run in the current context, such as under `torch.compile` or without a compiler."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "torch.compile and torch.jit trace the reference implementation"
    if torch.is_autocast_enabled("cpu"):
        return "the kernel computes in float32, but autocast is on"
    if torch._C._functorch.maybe_current_level() is not None or forward_ad._current_level >= 0:
        return "the kernel does not support functorch transforms or forward-mode AD"
    if observing_modes():
        return "a torch mode is on that must see each operation"
    return compiler.obstacle()


def observing_modes() -> bool:
    """Return whether a mode is on that must see each operation, as `FlopCounterMode` must. A kernel hides them."""
    if count_dispatch_modes():
        return True
    return bool(count_function_modes()) and any(
        type(mode) is not DeviceContext for mode in _get_current_function_mode_stack()
    )


def class_obstacle(layer: Any, kernel_method: str) -> str | None:
    """Return why the kernel does not compute the equations of this layer.

    A class vouches for a kernel by defining `kernel_method` (`fuse` or `streaming_spec`) in its own body. A subclass
    may change the equations, so it does not inherit the kernel. A parametrization creates such a subclass.

    Args:
        layer: The layer.
        kernel_method: Name of the method that runs or describes the kernel.
    """
    cls = type(layer)
    if kernel_method not in vars(cls):
        return f"{cls.__name__} has no kernel"
    if cls.replaced_methods:
        return f"methods of a layer class were replaced: {', '.join(sorted(cls.replaced_methods))}"
    overridden = vars(layer).keys() & (cls.methods | layer._parameters.keys() | layer._buffers.keys())
    if overridden:
        return f"this {cls.__name__} has its own {', '.join(sorted(overridden))}"
    return None


def module_obstacle(module: nn.Module, *classes: type[nn.Module]) -> str | None:
    """Return why a kernel cannot replace a module whose class must be one of `classes`."""
    cls = type(module)
    if cls not in classes:
        return f"the kernel does not know {cls.__name__}"
    attributes = vars(module)
    if not has_original_forwards() or not attributes.keys().isdisjoint(("forward", "_call_impl", *module._parameters)):
        return f"the `forward` or a parameter of a {cls.__name__} was replaced"
    if has_hooks(module):
        return f"a {cls.__name__} has hooks"
    if isinstance(module, nn.Embedding) and module.max_norm is not None:
        return "the kernel does not change embeddings, as `max_norm` does"
    if isinstance(module, nn.LayerNorm) and (
        module.eps != NORM_EPSILON or module.weight is None or tuple(module.normalized_shape) != module.weight.shape
    ):
        return f"the kernel needs a LayerNorm over the last dimension with weights and eps={NORM_EPSILON}"
    return None


def has_original_forwards() -> bool:
    """Return whether the `forward` of no class of torch that kernels can replace was replaced."""
    return (
        nn.Linear.forward is _FORWARDS[0]
        and nn.LayerNorm.forward is _FORWARDS[1]
        and nn.Embedding.forward is _FORWARDS[2]
        and nn.Identity.forward is _FORWARDS[3]
        and nn.Dropout.forward is _FORWARDS[4]
    )


def has_hooks(module: nn.Module) -> bool:
    """Return whether torch would run a hook when the module is called, or in its backward pass."""
    return any((*hooks_of(module), *GLOBAL_HOOKS))


def hooks_of(module: nn.Module) -> tuple[Mapping[int, Any], ...]:
    """Return the module's own dictionaries of hooks."""
    return (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )


def weights_obstacle(weights: Iterable[Weight], *, in_place: bool = False) -> str | None:
    """Return why a kernel cannot read these weights.

    If `in_place` is true, the kernel reads them where they are, so they must be contiguous.
    """
    for weight in weights:
        tensor = weight.tensor
        if tensor is None:
            return f"{type(weight.module).__name__} has no parameter or buffer {weight.name}"
        obstacle = tensor_obstacle(tensor, weight.shape, weight.dtype)
        if obstacle is not None:
            return f"{weight.name}: {obstacle}"
        if in_place and not tensor.is_contiguous():
            return f"{weight.name}: the kernel needs a contiguous tensor"
        if weight.below is not None and (place := outside(tensor, weight.below)) is not None:
            return f"{weight.name}: {place} is not from 0 to {weight.below - 1}"
    return None


def outside(places: Tensor, count: int) -> int | None:
    """Return one of the whole numbers that is not from 0 to `count` - 1, or None if all are."""
    low, high = places.aminmax()
    return next((value for value in (int(low), int(high)) if not 0 <= value < count), None)


def tensors_obstacle(tensors: Iterable[tuple[Any, tuple[int | None, ...]]]) -> str | None:
    """Return why a kernel cannot read these tensors, each given with the shape that it must have."""
    for tensor, shape in tensors:
        obstacle = tensor_obstacle(tensor, shape)
        if obstacle is not None:
            return obstacle
    return None


def is_fused(backend: Backend, tensors: Iterable[tuple[Any, tuple[int | None, ...]]], steps: int) -> bool:
    """Return whether the kernel of a function of tensors runs.

    Args:
        backend: The choice. `auto` runs the equations for a single step.
        tensors: The tensors that the kernel reads, each with the shape that it must have.
        steps: Number of steps.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    if backend == "reference" or (backend == "auto" and steps == 1):
        return False
    obstacle = context_obstacle() or tensors_obstacle(tensors)
    if obstacle is not None and backend == "fused":
        raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
    return obstacle is None
