"""Position encodings: rotary factors, sinusoids and ALiBi slopes."""

# Shape suffixes: T time, D model width, K head width, J = K/2 pairs, N heads

from __future__ import annotations

import torch
from torch import Tensor

FREQUENCY_BASE = 10_000.0
"""Base of the geometric sequence of frequencies."""


def _angles(start: int, steps: int, pairs: int, device: torch.device) -> Tensor:
    """Return the angles (T, K/2) position · base^(-2j/K) in radians, as float64 (Vaswani et al. 2017, section 3.5).

    Args:
        start: First position, from 0.
        steps: Number of positions T.
        pairs: Number of pairs J = K/2, numbered j = 0 to J - 1.
        device: Device of the result.
    """
    position_T = torch.arange(start, start + steps, dtype=torch.float64, device=device)
    frequency_J = FREQUENCY_BASE ** (-torch.arange(pairs, dtype=torch.float64, device=device) / pairs)
    return torch.outer(position_T, frequency_J)


def rotary_table(steps: int, pairs: int, device: torch.device) -> Tensor:
    """Return the rotary factors cos + i sin (T, K/2) of positions 0 to T - 1, as complex128 (Su et al. 2021)."""
    angle_TJ = _angles(0, steps, pairs, device)
    return torch.polar(torch.ones_like(angle_TJ), angle_TJ)


def apply_rotary(x: Tensor, rotary_TJ: Tensor) -> Tensor:
    """Rotate pairs of adjacent numbers in x (..., T, K) by rotary factors (T, K/2) (Su et al. 2021, eq. 15)."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotary_TJ).flatten(-2)


def sinusoids(start: int, steps: int, like: Tensor) -> Tensor:
    """Return the position encodings (T, D) of `steps` steps from `start` on (Vaswani et al. 2017).

    Each row contains all sines, then all cosines. `like` is a tensor with the width D, dtype and device to use.
    """
    angle_TJ = _angles(start, steps, (like.shape[-1] + 1) // 2, like.device)
    return torch.cat([angle_TJ.sin(), angle_TJ.cos()], 1)[:, : like.shape[-1]].to(like.dtype)


def alibi_slopes(heads: int, like: Tensor) -> Tensor:
    """Return the slopes 2^(-8j/N) (N,) of heads j = 1 to N, with dtype and device of `like` (Press et al. 2022)."""
    head_N = torch.arange(1, heads + 1, dtype=like.dtype, device=like.device)
    return 2.0 ** (-8 * head_N / heads)
