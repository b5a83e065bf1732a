"""The short convolution of blocks and layers: causal, depthwise, over four steps.

    c_t = b + Σ_k w_k ⊙ u_(t-3+k)     (1)  one filter per channel

Inputs before the first step are zero. The last three inputs are state.
"""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, K taps, D channels

from __future__ import annotations

import torch
from torch import Tensor

from arch.core.layer import CONV_STEPS


def convolve(
    u_XYD: Tensor, before_BKD: Tensor, w_KD: Tensor, b_D: Tensor, *, time: int = 1, is_fused: bool = False
) -> tuple[Tensor, Tensor]:
    """Return c of equation (1) in the layout of u, and the last three inputs (B, 3, D).

    Args:
        u_XYD: Inputs, (B, T, D), or (T, B, D) if `time` is 0.
        before_BKD: The three inputs before them, oldest first.
        w_KD: Filters (4, D), that of the current input last.
        b_D: Bias.
        time: The dimension of `u_XYD` that is the time.
        is_fused: Whether the kernel runs. It needs plain float32 tensors on the CPU.
    """
    T = u_XYD.shape[time]
    kept = before_BKD[:, T:].transpose(1, time), u_XYD.narrow(time, max(T - CONV_STEPS + 1, 0), min(T, CONV_STEPS - 1))
    last_BKD = torch.cat(kept, time).transpose(1, time)
    if time == 0:
        last_BKD = last_BKD.contiguous()

    def reference(u_XYD: Tensor, before_BKD: Tensor, w_KD: Tensor, b_D: Tensor) -> tuple[Tensor, ...]:
        seen = torch.cat([before_BKD.transpose(1, time), u_XYD], time)
        c_XYD = torch.addcmul(b_D, w_KD[0], seen.narrow(time, 0, T))
        for k in range(1, CONV_STEPS):
            c_XYD = torch.addcmul(c_XYD, w_KD[k], seen.narrow(time, k, T))  # (1)
        return (c_XYD,)

    inputs = (u_XYD, before_BKD, w_KD, b_D)
    if not is_fused:
        return reference(*inputs)[0], last_BKD
    from arch.kernels.training import convolution

    return convolution.convolve(reference, time, *inputs), last_BKD
