"""The inputs of a matrix memory: a short convolution with SiLU, whose first channels may be scaled to norm 1 per head.

    c_t = b + Σ_k w_k ⊙ x_(t-3+k)          (1)  one filter per channel, over steps t - 3 to t
    s_t = silu(c_t) = c_t σ(c_t)           (2)
    n   = s / √(Σ s² + 1e-6)               (3)  over the K channels of each head, for the first channels only

The last three inputs are part of the state. Before the first step, they are zero. The convolution is that of Mamba
(Gu & Dao 2023). Keys and queries of norm 1 are those of the delta rule (Yang et al. 2024).
"""

# Shape suffixes: B batch, T time, L taps, C channels, K head width

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from arch.core.backend import Backend, is_fused
from arch.core.heads import short_convolution
from arch.core.layer import CONV_STEPS
from arch.kernels.runtime.tensors import UNIT_EPSILON


def scan(
    x_BTC: Tensor,
    before_BLC: Tensor,
    w_LC: Tensor,
    b_C: Tensor | None = None,
    *,
    unit_channels: int = 0,
    head_width: int = 1,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Return the results of T steps, (B, T, C), and the last three inputs, (B, 3, C).

    Args:
        x_BTC: Inputs.
        before_BLC: The last three inputs before them, oldest first.
        w_LC: Filters.
        b_C: Bias, or None.
        unit_channels: Number of first channels that are scaled to norm 1 per head, a multiple of `head_width`.
        head_width: Channels per head, K. C is a multiple of it.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    inputs = (x_BTC, before_BLC, w_LC) if b_C is None else (x_BTC, before_BLC, w_LC, b_C)

    def reference(*given: Tensor) -> tuple[Tensor]:
        x_BTC, before_BLC, w_LC, *bias = given
        c_BTC, _ = short_convolution(x_BTC, before_BLC, w_LC, bias[0] if bias else None)  # (1)
        return (activated(c_BTC, unit_channels, head_width),)

    B, T, C = x_BTC.shape
    shapes = ((B, T, C), (B, CONV_STEPS - 1, C), (CONV_STEPS, C), (C,))
    if not is_fused(backend, zip(inputs, shapes, strict=False), T):
        (n_BTC,) = reference(*inputs)
    else:
        from arch.kernels.training import short_convolution as kernel

        n_BTC = kernel.scan(reference, unit_channels, head_width, *inputs)
    return n_BTC, last_inputs(x_BTC, before_BLC)


def activated(c_BTC: Tensor, unit_channels: int, head_width: int) -> Tensor:
    """Return (2) of convolved inputs (B, T, C), and (3) for the first `unit_channels` channels."""
    s_BTC = functional.silu(c_BTC)  # (2)
    if not unit_channels:
        return s_BTC
    first_BTC, rest_BTC = s_BTC.split([unit_channels, s_BTC.shape[2] - unit_channels], 2)
    return torch.cat([unit(first_BTC.unflatten(2, (-1, head_width))).flatten(2), rest_BTC], 2)


def unit(x_BTNK: Tensor) -> Tensor:
    """Return vectors (…, K) scaled to norm 1 by (3)."""
    return x_BTNK * torch.rsqrt(x_BTNK.square().sum(-1, keepdim=True) + UNIT_EPSILON)


def last_inputs(x_BTC: Tensor, before_BLC: Tensor) -> Tensor:
    """Return the last three of the inputs `before_BLC` and `x_BTC`, (B, 3, C), in memory of their own."""
    kept = CONV_STEPS - 1
    if x_BTC.shape[1] < kept:
        x_BTC = torch.cat([before_BLC, x_BTC], 1)
    return x_BTC[:, -kept:].clone(memory_format=torch.contiguous_format)
