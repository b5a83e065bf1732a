"""The short convolution of blocks and layers: causal, depthwise, over four steps. SiLU and a norm of 1 may follow.

    c_t = b + Σ_k w_k ⊙ u_(t-3+k)          (1)  one filter per channel, over steps t - 3 to t
    s_t = silu(c_t) = c_t σ(c_t)           (2)  if the convolution activates, else s = c
    n   = s / √(Σ s² + 1e-6)               (3)  per head of K channels, for the first channels only; else n = s

u is the input, which is zero before the first step. The last three inputs are state. With its activation, the
convolution is that of Mamba (Gu & Dao 2023). Keys and queries of norm 1 are those of the delta rule (Yang et al. 2024).
"""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, L taps, C channels, K head width

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from arch.core.backend import Backend, is_fused
from arch.kernels.runtime.tensors import CONV_STEPS, UNIT_EPSILON


def convolve(
    u_XYC: Tensor,
    before_BLC: Tensor,
    w_LC: Tensor,
    b_C: Tensor | None = None,
    *,
    time: int = 1,
    activates: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Return s of equation (2), or c of (1), in the layout of u, and the last three inputs, (B, 3, C).

    Args:
        u_XYC: Inputs, (B, T, C), or (T, B, C) if `time` is 0.
        before_BLC: The three inputs before them, oldest first.
        w_LC: Filters (4, C), that of the current input last.
        b_C: Bias, or None.
        time: The dimension of `u_XYC` that is the time, 0 or 1.
        activates: Whether SiLU (2) follows.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    inputs = (u_XYC, before_BLC, w_LC) if b_C is None else (u_XYC, before_BLC, w_LC, b_C)
    (n_XYC,) = _results(inputs, (u_XYC.shape[2],), time=time, activates=activates, backend=backend)
    return n_XYC, last_inputs(u_XYC, before_BLC, time)


def convolve_heads(
    u_BTC: Tensor,
    before_BLC: Tensor,
    w_LC: Tensor,
    b_C: Tensor | None = None,
    *,
    widths: Sequence[int],
    unit_channels: int,
    head_width: int,
    backend: Backend = "auto",
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return n of equation (3) in parts, each (B, T, width), and the last three inputs, (B, 3, C).

    Each part has memory of its own, so that nothing is copied to split heads.

    Args:
        u_BTC: Inputs.
        before_BLC, w_LC, b_C: As for `convolve`.
        widths: Channels of one to three parts, in order. Each is a multiple of `head_width`, and their sum is C.
        unit_channels: Number of first channels that are scaled to norm 1 per head, a multiple of `head_width`.
        head_width: Channels per head, K.
        backend: As for `convolve`.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    inputs = (u_BTC, before_BLC, w_LC) if b_C is None else (u_BTC, before_BLC, w_LC, b_C)
    parts = _results(inputs, widths, unit_channels=unit_channels, head_width=head_width, backend=backend)
    return parts, last_inputs(u_BTC, before_BLC)


def _results(
    inputs: Sequence[Tensor],
    widths: Sequence[int],
    *,
    time: int = 1,
    activates: bool = True,
    unit_channels: int = 0,
    head_width: int = 1,
    backend: Backend,
) -> tuple[Tensor, ...]:
    """Return the parts of n in the layout of u. The arguments are those of `convolve` and `convolve_heads`."""

    def reference(*given: Tensor) -> tuple[Tensor, ...]:
        u_XYC, before_BLC, w_LC, *bias = given
        c_XYC = filtered(u_XYC, before_BLC, w_LC, bias[0] if bias else None, time)  # (1)
        n_XYC = activated(c_XYC, unit_channels, head_width) if activates else c_XYC
        parts: tuple[Tensor, ...] = n_XYC.split(list(widths), 2)
        return parts

    u_XYC = inputs[0]
    B, T, C = u_XYC.shape[1 - time], u_XYC.shape[time], u_XYC.shape[2]
    shapes = (tuple(u_XYC.shape), (B, CONV_STEPS - 1, C), (CONV_STEPS, C), (C,))
    if not is_fused(backend, zip(inputs, shapes, strict=False), T):
        return reference(*inputs)
    from arch.kernels.training import short_convolution as kernel

    form = kernel.Form(time, activates, unit_channels, head_width, tuple(widths))
    return kernel.convolve(reference, form, *inputs)


def filtered(u_XYC: Tensor, before_BLC: Tensor, w_LC: Tensor, b_C: Tensor | None, time: int) -> Tensor:
    """Return c of equation (1) in the layout of u. The arguments are those of `convolve`."""
    T, seen = u_XYC.shape[time], torch.cat([before_BLC.transpose(1, time), u_XYC], time)
    first = seen.narrow(time, 0, T)
    c_XYC = w_LC[0] * first if b_C is None else torch.addcmul(b_C, w_LC[0], first)
    for k in range(1, CONV_STEPS):
        c_XYC = torch.addcmul(c_XYC, w_LC[k], seen.narrow(time, k, T))  # (1)
    return c_XYC


def activated(c_XYC: Tensor, unit_channels: int, head_width: int) -> Tensor:
    """Return (2) of convolved inputs (…, C), and (3) for the first `unit_channels` channels."""
    s_XYC = functional.silu(c_XYC)  # (2)
    if not unit_channels:
        return s_XYC
    first_XYC, rest_XYC = s_XYC.split([unit_channels, s_XYC.shape[2] - unit_channels], 2)
    return torch.cat([unit(first_XYC.unflatten(2, (-1, head_width))).flatten(2), rest_XYC], 2)


def unit(x: Tensor) -> Tensor:
    """Return vectors (…, K) scaled to norm 1 by (3)."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + UNIT_EPSILON)


def last_inputs(u_XYC: Tensor, before_BLC: Tensor, time: int = 1) -> Tensor:
    """Return the last three of the inputs `before_BLC` and `u_XYC`, (B, 3, C), in memory of their own."""
    T, kept = u_XYC.shape[time], CONV_STEPS - 1
    parts = before_BLC[:, T:], u_XYC.narrow(time, max(T - kept, 0), min(T, kept)).transpose(1, time)
    return torch.cat(parts, 1).contiguous()
