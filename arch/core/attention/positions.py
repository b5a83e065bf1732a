"""Position encodings: rotary factors, sinusoids and ALiBi slopes."""

# Shape suffixes: T time, D model width, K head width, J = K/2 pairs, N heads

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from arch.core.backend import context_obstacle

FREQUENCY_BASE = 10_000.0
"""Base of the geometric sequence of frequencies."""

BLOCK = 1024
"""Number of positions per cached block of rotary factors."""


def _angles(start: int, steps: int, pairs: int, device: torch.device) -> Tensor:
    """Return the angles (T, K/2) position · base^(-2j/K) in radians, as float64 (Vaswani et al. 2017, section 3.5).

    Args:
        start: First position, from 0.
        steps: Number of positions T.
        pairs: Number of pairs J = K/2, numbered j = 0 to J - 1.
        device: Device of the result.
    """
    position_T = torch.arange(start, start + steps, dtype=torch.float64, device=device)
    return torch.outer(position_T, frequencies(pairs, device))


def frequencies(pairs: int, device: torch.device) -> Tensor:
    """Return the frequencies base^(-2j/K) of pairs j = 0 to K/2 - 1 in radians per step, as float64 (K/2,)."""
    return torch.pow(FREQUENCY_BASE, -torch.arange(pairs, dtype=torch.float64, device=device) / pairs)


def rotary_factors(start: int, steps: int, pairs: int, like: Tensor) -> Tensor:
    """Return the rotary factors cos + i sin (T, K/2) of `steps` positions from `start` on (Su et al. 2021).

    Factors within one block of `BLOCK` positions are cached. The process keeps at most 8 blocks of them.

    Args:
        start: First position, from 0.
        steps: Number of positions T.
        pairs: Number of pairs K/2.
        like: A tensor with the device to use. The result is complex128 if it is float64, else complex64.
    """
    dtype = torch.complex128 if like.dtype == torch.float64 else torch.complex64
    block, first = divmod(start, BLOCK)
    if first + steps > BLOCK or context_obstacle() is not None:
        return _rotary_factors(start, steps, pairs, dtype, like.device)
    return _rotary_block(block, pairs, dtype, like.device)[first : first + steps]


def _rotary_factors(start: int, steps: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    angle_TJ = _angles(start, steps, pairs, device)
    return torch.polar(torch.ones_like(angle_TJ), angle_TJ).to(dtype)


@lru_cache(maxsize=8)
def _rotary_block(block: int, pairs: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # training may use a block that was made in inference mode
        return _rotary_factors(block * BLOCK, BLOCK, pairs, dtype, device)


def apply_rotary(x: Tensor, rotary_TJ: Tensor) -> Tensor:
    """Rotate pairs of adjacent numbers in x (..., T, K) by rotary factors (T, K/2) (Su et al. 2021, eq. 15).

    Numbers of 16 bits are rotated as float32, because torch has no complex numbers of that size.
    """
    numbers = x if x.dtype.itemsize > 2 else x.float()
    pairs = torch.view_as_complex(numbers.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotary_TJ).flatten(-2).to(x.dtype)


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
