"""Convert all real and complex numbers of a module to single or double precision."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def to_float64(module: M) -> M:
    """Convert a module to float64 and complex128 in place, and return it. `Module.double` skips complex numbers."""
    return _convert_complex(module.double(), torch.complex128)


def to_float32(module: M) -> M:
    """Convert a module to float32 and complex64 in place, and return it."""
    return _convert_complex(module.float(), torch.complex64)


def _convert_complex(module: M, dtype: torch.dtype) -> M:
    for part in module.modules():
        for parameter in part.parameters(recurse=False):
            if parameter.is_complex():
                parameter.data = parameter.data.to(dtype)
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_complex():
                setattr(part, name, buffer.to(dtype))
    return module
