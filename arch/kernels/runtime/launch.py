"""Launch kernels on tensors: addresses, flat arrays, sums over rows, second derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arch.kernels.runtime.threads import split_rows
from arch.kernels.simd.matmul import ROWS

CONTIGUOUS = torch.contiguous_format

Reference = Callable[..., tuple[Tensor, ...]]
"""A function that computes the same results as a kernel in plain torch."""

Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


def flat(tensor: Tensor) -> Floats:
    """Return a tensor as a flat array. The array shares the tensor's memory if the tensor is contiguous."""
    array: Floats = tensor.detach().contiguous().view(-1).numpy()
    return array


def of_blocks(sums: Tensor, blocks: int, H: int) -> Tensor:
    """Convert padded transposed sums (D, blocks · padded) to a weight gradient (blocks · H, D)."""
    return sums.view(len(sums), blocks, -1)[..., :H].reshape(len(sums), blocks * H).T.clone(memory_format=CONTIGUOUS)


def run_rows(
    kernel: Callable[..., None], tensors: Sequence[Tensor | None], sizes: Sequence[int], work: int, multiple: int = 1
) -> None:
    """Run a kernel on the addresses of tensors, with its rows split over threads.

    Args:
        kernel: Called with the addresses, all sizes but the last, and the first and last row.
        tensors: Inputs, in any layout, and outputs, which are contiguous. None is passed as address 0.
        sizes: Integers for the kernel. The last one is the number of rows.
        work: Total number of products or elementwise results. It decides how many threads are worthwhile.
        multiple: The number of rows per thread is a multiple of this number, except for the last thread.
    """
    contiguous = [None if tensor is None else tensor.contiguous() for tensor in tensors]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in contiguous]
    *others, rows = sizes
    split_rows(rows, work, partial(kernel, *addresses, *others), multiple)


def sum_rows(
    kernel: Callable[..., None],
    tensors: Sequence[Tensor | None],
    sizes: Sequence[int],
    work: int,
    sums: tuple[int, ...],
) -> Tensor:
    """Run a kernel that accumulates sums over rows, and return the sums over all rows.

    Each thread has its own sums. They are added in the order of the rows, so the result does not depend on timing.

    Args:
        kernel: Called as by `run_rows`, with the address of its sums after the addresses of the tensors.
        tensors: Inputs, in any layout, and outputs, which are contiguous. None is passed as address 0.
        sizes: Integers for the kernel. The last one is the number of rows.
        work: Total number of products or elementwise results. It decides how many threads are worthwhile.
        sums: Shape of the result.
    """
    parts: dict[int, Tensor] = {}
    contiguous = [None if tensor is None else tensor.contiguous() for tensor in tensors]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in contiguous]
    *others, rows = sizes

    def share(first: int, last: int) -> None:
        parts[first] = torch.zeros(sums, dtype=torch.float32)
        kernel(*addresses, parts[first].data_ptr(), *others, first, last)

    split_rows(rows, work, share, ROWS)
    return reduce(Tensor.add_, (parts[first] for first in sorted(parts)))


def needs_gradients(*tensors: Tensor) -> bool:
    """Return whether a backward pass through `tensors` may follow.

    Call this outside `Function.forward`, which disables gradients.
    """
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


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
    """Compute gradients of the inputs with `reference`, because a kernel's own backward pass is not differentiable.

    The result can be differentiated again. `gradients` are the gradients of the outputs. Returns None for an input that
    needs no gradient. One input may depend on another, as a state depends on weights. Each result excludes the gradient
    through such a dependency, because autograd adds that part itself. Second derivatives include the dependency.
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

    h_0 is the initial state `h_BH`. Each later h_t is the output of step t - 1. The code computes the transpose,
    because the transposed products are up to 1.4 times as fast at small widths.
    """
    d_U_HG = h_BH.T @ d_sums_TBG[0]
    if len(d_sums_TBG) > 1:
        d_U_HG.addmm_(outputs_TBH[:-1].flatten(0, 1).T, d_sums_TBG[1:].flatten(0, 1))
    return d_U_HG.T
