"""Between tensors and kernels: flat arrays of the same memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arch.kernels.runtime.threads import over_rows
from arch.kernels.simd.matmul import ROWS

CONTIGUOUS = torch.contiguous_format

Reference = Callable[..., tuple[Tensor, ...]]
"""The same scan by the readable equations."""

Floats = np.ndarray[tuple[int], np.dtype[np.float32]]


def flat(tensor: Tensor) -> Floats:
    """A tensor's numbers, row after row; its own memory where they lie so."""
    array: Floats = tensor.detach().contiguous().view(-1).numpy()
    return array


def of_blocks(sums: Tensor, blocks: int, H: int) -> Tensor:
    """The gradient (blocks · H, D) of weights in (D, blocks · padded) sums."""
    return sums.view(len(sums), blocks, -1)[..., :H].reshape(len(sums), blocks * H).T.clone(memory_format=CONTIGUOUS)


def run_rows(
    kernel: Callable[..., None], tensors: Sequence[Tensor | None], sizes: Sequence[int], work: int, multiple: int = 1
) -> None:
    """A kernel that reads and writes at addresses, 0 for None, over all rows: the last of its `sizes`, see `over_rows`.

    Inputs may lie in any layout; what is written must lie row after row.
    """
    held = [None if tensor is None else tensor.contiguous() for tensor in tensors]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in held]
    *others, rows = sizes
    over_rows(rows, work, partial(kernel, *addresses, *others), multiple)


def sum_rows(
    kernel: Callable[..., None],
    tensors: Sequence[Tensor | None],
    sizes: Sequence[int],
    work: int,
    sums: tuple[int, ...],
) -> Tensor:
    """As `run_rows`, for a kernel that also adds to sums of this shape: those of all rows.

    Each share of the rows has sums of its own, which are added in the order of the rows.
    """
    parts: dict[int, Tensor] = {}
    held = [None if tensor is None else tensor.contiguous() for tensor in tensors]
    addresses = [0 if tensor is None else tensor.data_ptr() for tensor in held]
    *others, rows = sizes

    def share(first: int, last: int) -> None:
        parts[first] = torch.zeros(sums, dtype=torch.float32)
        kernel(*addresses, parts[first].data_ptr(), *others, first, last)

    over_rows(rows, work, share, ROWS)
    return reduce(Tensor.add_, (parts[first] for first in sorted(parts)))


def gradients_wanted(*tensors: Tensor) -> bool:
    """Whether a backward pass may follow. A function's own forward pass cannot tell: it runs without gradients."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


class Cut(torch.autograd.Function):
    """A tensor itself, which passes no gradient on while `closed` holds anything."""

    @staticmethod
    def forward(ctx: Any, closed: list[bool], tensor: Tensor) -> Tensor:
        ctx.closed = closed
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None]:
        return None, None if ctx.closed else gradient


def through_reference(
    reference: Reference, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor | None]:
    """The inputs' gradients as differentiable tensors: what a kernel's own backward pass cannot give.

    An input may be made from another one, as a state is from the weights; that way is not the kernel's, and is
    closed until the gradients themselves are differentiated.
    """
    closed: list[bool] = []
    with torch.enable_grad():
        own = [tensor if tensor.is_leaf else Cut.apply(closed, tensor) for tensor in inputs]  # type: ignore[no-untyped-call]
        outputs = reference(*own)
        needed = [tensor for tensor in own if tensor.requires_grad]
        closed.append(True)
        found: Any = iter(torch.autograd.grad(outputs, needed, gradients, create_graph=True))
        closed.clear()
    return [next(found) if tensor.requires_grad else None for tensor in inputs]


def weight_gradient(d_sums_TBG: Tensor, h_BH: Tensor, outputs_TBH: Tensor) -> Tensor:
    """Σ_t d_sums_t h_t^T, where h_0 is the state at the start and h_t the output before step t.

    Its transpose is computed, which is up to 1.4 times as fast at small widths.
    """
    d_U_HG = h_BH.T @ d_sums_TBG[0]
    if len(d_sums_TBG) > 1:
        d_U_HG.addmm_(outputs_TBH[:-1].flatten(0, 1).T, d_sums_TBG[1:].flatten(0, 1))
    return d_U_HG.T
