"""The choice between compiled kernels and the reference implementation.

`reference`  run the equations as written, with torch operations.
`fused`      run the compiled kernel. `scan` raises `ValueError` if the kernel does not support the inputs.
`auto`       run the kernel if it supports the inputs, else the reference implementation. `scan` of a recurrent layer
             also uses the reference implementation for a single step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import forward_ad

from arch.kernels.runtime import compiler

Backend = Literal["auto", "reference", "fused"]
"""Implementation of a layer's `scan` and of a model's `step`."""


def obstacle_to_kernels(tensors: Iterable[Any]) -> str | None:
    """Return the reason why kernels cannot process `tensors`, or None if they can.

    Values that are not tensors are ignored.
    """
    if torch.compiler.is_compiling():
        return "torch.compile traces the reference implementation"
    if torch.is_autocast_enabled("cpu"):
        return "the kernel computes in float32, but autocast is on"
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tensor.layout != torch.strided:
            return f"the kernel needs dense float32 tensors on the CPU, not {tensor.dtype} on {tensor.device}"
        if not _is_plain(tensor):
            return "the kernel does not support functorch transforms or forward-mode AD"
    return compiler.obstacle()


def _is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor has accessible memory, no functorch wrapper and no forward-mode tangent."""
    if forward_ad.unpack_dual(tensor).tangent is not None:
        return False
    try:
        tensor.data_ptr()
    except RuntimeError:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
