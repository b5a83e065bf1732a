"""Launch kernels on tensors: addresses, sums over rows, second derivatives."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arch.kernels.runtime.tensors import tensor_obstacle
from arch.kernels.runtime.threads import split_rows
from arch.kernels.simd.matmul import ROWS

CONTIGUOUS = torch.contiguous_format

Reference = Callable[..., tuple[Tensor, ...]]
"""A function in plain torch that computes the same results as a kernel."""


def of_blocks(sums: Tensor, blocks: int, H: int) -> Tensor:
    """Return transposed sums (D, blocks · padded) as a contiguous weight gradient (blocks · H, D).

    In each block of `padded` columns, the first H columns contain sums. The other columns are padding and are dropped.
    """
    return sums.view(len(sums), blocks, -1)[..., :H].reshape(len(sums), blocks * H).T.clone(memory_format=CONTIGUOUS)


def recorded(arguments: NamedTuple) -> tuple[array[int], list[Tensor]]:
    """Return the arguments of a kernel as integers, as compiled code reads them, and the tensors that it reads.

    A tensor becomes its address, and None becomes address 0. A tensor that is not contiguous is copied. The caller
    keeps the tensors until the kernel is done.
    """
    tensors, numbers = [], array("q")
    for value in arguments:
        if value is None:
            numbers.append(0)
        elif isinstance(value, Tensor):
            tensor = value if value.is_contiguous() else value.contiguous()
            tensors.append(tensor)
            numbers.append(tensor.data_ptr())
        else:
            numbers.append(value)
    return numbers, tensors


def run_rows(kernel: Callable[..., None], arguments: NamedTuple, rows: int, work: int, multiple: int = 1) -> None:
    """Run a kernel with its rows split into one share per thread.

    Args:
        kernel: Called with the address of the arguments as int64 numbers, a share's first row, and the row after its
            last one.
        arguments: float32 inputs in any layout, contiguous float32 outputs, and sizes. None is passed as address 0.
        rows: Number of rows.
        work: Total work, in products or elementwise results (see `MIN_WORK` and `TILED`). It limits the number of
            threads.
        multiple: The number of rows of each share, except for the last share, is a multiple of this number.
    """
    numbers, _tensors = recorded(arguments)
    split_rows(rows, work, partial(kernel, numbers.buffer_info()[0]), multiple)


def sum_rows(
    kernel: Callable[..., None], arguments: NamedTuple, rows: int, work: int, shape: tuple[int, ...]
) -> Tensor:
    """Run a kernel that accumulates sums over rows, and return the sums over all rows.

    Each share of the rows has its own sums, which start at 0. The sums of the shares are added in the order of the
    shares. Therefore, the result does not depend on which thread finishes first.

    Args:
        kernel: Called as in `run_rows`. Its argument `sums` is the address of the share's sums.
        arguments: As in `run_rows`, with None for `sums`.
        rows: Number of rows.
        work: Total work, in products or elementwise results (see `MIN_WORK` and `TILED`). It limits the number of
            threads.
        shape: Shape of the float32 result.
    """
    parts: dict[int, Tensor] = {}
    numbers, _tensors = recorded(arguments)
    place = arguments._fields.index("sums")

    def share(first: int, last: int) -> None:
        parts[first] = torch.zeros(shape, dtype=torch.float32, device="cpu")  # whatever the defaults are
        own = numbers[:]
        own[place] = parts[first].data_ptr()
        kernel(own.buffer_info()[0], first, last)

    split_rows(rows, work, share, ROWS)
    return reduce(Tensor.add_, (parts[first] for first in sorted(parts)))


def needs_gradients(*tensors: Tensor) -> bool:
    """Return whether a backward pass through `tensors` may follow.

    Call this function outside `torch.autograd.Function.forward`, because gradients are disabled there.
    """
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def needs_reference(*gradients: Tensor) -> bool:
    """Return whether the backward pass must run by the equations.

    This is so if it must be differentiable itself, or if a kernel cannot read a gradient, as within `vmap`.
    """
    return (
        torch.is_grad_enabled()
        or torch._C._functorch.maybe_current_level() is not None
        or any(tensor_obstacle(gradient, tuple(gradient.shape)) is not None for gradient in gradients)
    )


def without_autocast(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward pass so that autocast does not change the types of its products.

    The forward pass ran in float32, and the kernels read float32. Autocast may be on in the backward pass alone.
    """

    @functools.wraps(backward)
    def decorated(*given: Any) -> Any:
        if not torch.is_autocast_enabled("cpu"):
            return backward(*given)
        with torch.autocast("cpu", enabled=False):
            return backward(*given)

    return decorated


class GradientGate(torch.autograd.Function):
    """An identity function that passes gradients back only while the list `blocked` is empty."""

    @staticmethod
    def forward(ctx: Any, blocked: list[bool], tensor: Tensor) -> Tensor:
        ctx.blocked = blocked
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None]:
        return None, None if ctx.blocked else gradient


def reference_gradients(
    reference: Reference, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return gradients of the inputs, computed with `reference`.

    Each item is the gradient of one input, or None if the input needs no gradient. Unlike the gradients that a kernel
    computes, these gradients can be differentiated again.

    One input may depend on another, as an initial state may depend on weights. Each gradient excludes the part that
    passes through such a dependency, because autograd adds that part itself. Second derivatives include the dependency.

    Args:
        reference: Function of `inputs` that computes the kernel's outputs in plain torch.
        inputs: Inputs of the kernel.
        gradients: Gradients of the kernel's outputs, with the shapes of the outputs.
    """
    blocked: list[bool] = []
    with torch.enable_grad():
        own = [tensor if tensor.is_leaf else GradientGate.apply(blocked, tensor) for tensor in inputs]  # type: ignore[no-untyped-call]
        outputs = reference(*own)
        needed = [tensor for tensor in own if tensor.requires_grad]
        blocked.append(True)
        found: Any = iter(torch.autograd.grad(outputs, needed, gradients, create_graph=True))
        blocked.clear()
    return [next(found) if tensor.requires_grad else None for tensor in inputs]


def weight_gradient(d_sums_TBG: Tensor, h_BH: Tensor, outputs_TBH: Tensor) -> Tensor:
    """Return the gradient of the recurrent weights (G, H): Σ_t d_sums_t h_t^T.

    The code computes the transpose, because the transposed products are up to 1.4 times as fast at small widths.

    Args:
        d_sums_TBG: Gradients of the pre-activations, (T, B, G).
        h_BH: Initial state h_0, (B, H).
        outputs_TBH: Outputs, (T, B, H). The output of step t - 1 is h_t, for t ≥ 1.
    """
    d_U_HG = h_BH.T @ d_sums_TBG[0]
    if len(d_sums_TBG) > 1:
        d_U_HG.addmm_(outputs_TBH[:-1].flatten(0, 1).T, d_sums_TBG[1:].flatten(0, 1))
    return d_U_HG.T
