"""Where a step stands in its sequence: angles that turn or are added, and slopes by distance."""

# Shape suffixes: T time, K head width, J = K/2 pairs, N heads

from __future__ import annotations

import torch
from torch import Tensor

ROTARY_BASE = 10_000.0


def _angles(start: int, steps: int, pairs: int, device: torch.device) -> Tensor:
    """Angles (T, K/2) of Vaswani et al. section 3.5: position · base^(-2j/K), in float64."""
    position_T = torch.arange(start, start + steps, dtype=torch.float64, device=device)
    frequency_J = ROTARY_BASE ** (-torch.arange(pairs, dtype=torch.float64, device=device) / pairs)
    return torch.outer(position_T, frequency_J)


def rotation(steps: int, pairs: int, device: torch.device) -> Tensor:
    """The rotary turns (T, K/2) of Su et al. 2021, as unit complex numbers in float64."""
    angle_TJ = _angles(0, steps, pairs, device)
    return torch.polar(torch.ones_like(angle_TJ), angle_TJ)


def rotate(x: Tensor, turns_TJ: Tensor) -> Tensor:
    """Neighbouring pairs of (..., T, K) numbers, read as complex numbers and turned (Su et al. 2021, eq. 15)."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns_TJ).flatten(-2)


def sinusoids(start: int, steps: int, like: Tensor) -> Tensor:
    """Sines in the first half of the width, cosines in the second (Vaswani et al. 2017)."""
    angle_TJ = _angles(start, steps, (like.shape[-1] + 1) // 2, like.device)
    return torch.cat([angle_TJ.sin(), angle_TJ.cos()], 1)[:, : like.shape[-1]].to(like.dtype)


def alibi_slopes(heads: int, like: Tensor) -> Tensor:
    """2^(-8j/N) for head j = 1..N (Press et al. 2022)."""
    head_N = torch.arange(1, heads + 1, dtype=like.dtype, device=like.device)
    return 2.0 ** (-8 * head_N / heads)
