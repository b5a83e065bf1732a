"""The stabilised gates of `mlstm` and their gradients, step by step.

Equation numbers refer to `arch/kernels/training/heads/stabilised_gates.py`.
"""

# Shape suffixes: H heads of all streams, B batch, T time, N heads

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from arch.kernels.runtime.tensors import MIN_STABILISER

if TYPE_CHECKING:
    from arch.kernels.training.heads import stabilised_gates


def forward(args: stabilised_gates.Forward, first: int, last: int) -> None:
    """Write what `stabilised_gates.forward_rows` writes."""
    i, f, e = (_steps(tensor) for tensor in (args.i, args.f, args.e))
    for t, (m_H, z_H, _, input_H) in enumerate(_stabilisers(args)):
        i[t, first:last], f[t, first:last] = (input_H - m_H).exp()[first:last], (z_H - m_H).exp()[first:last]
        e[t, first:last] = (-m_H.clamp(min=MIN_STABILISER)).exp()[first:last]  # (4)
    args.m_T.view(-1)[first:last] = m_H[first:last]
    for written, steps in ((args.i, i), (args.f, f), (args.e, e)):
        written.copy_(steps.unflatten(1, (-1, args.N)).transpose(0, 1))


def backward(args: stabilised_gates.Backward, first: int, last: int) -> None:
    """Write what `stabilised_gates.backward_rows` writes."""
    d_i, d_f, d_e = (_steps(tensor) for tensor in (args.d_i, args.d_f, args.d_e))
    d_input, d_forget = (_steps(part) for part in args.d_p.chunk(2, 2))
    d_m_H = args.d_m_T.flatten()
    for t, (m_H, z_H, forget_H, input_H) in reversed(list(enumerate(_stabilisers(args)))):
        of_f_H, of_i_H = (z_H - m_H).exp() * d_f[t], (input_H - m_H).exp() * d_i[t]
        of_e_H = (m_H > MIN_STABILISER) * (-m_H).exp() * d_e[t]
        d_m_H = d_m_H - of_f_H - of_i_H - of_e_H  # (a)
        d_input[t, first:last] = (of_i_H + (z_H < input_H) * d_m_H)[first:last]
        d_m_H = of_f_H + (z_H >= input_H) * d_m_H  # (b)
        d_forget[t, first:last] = (d_m_H * (-forget_H).sigmoid())[first:last]  # (c)
    args.d_m.view(-1)[first:last] = d_m_H[first:last]
    args.d_p.copy_(torch.cat([d_input, d_forget], 1).unflatten(1, (2, -1, args.N)).permute(2, 0, 1, 3).flatten(2))


def _steps(x_BTN: Tensor) -> Tensor:
    """Return a copy of x as (T, H), with the heads of all streams side by side."""
    return x_BTN.transpose(0, 1).reshape(x_BTN.shape[1], -1).clone()


def _stabilisers(args: Any) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Return m', z, f̃ and ĩ of each step, each (H,)."""
    found, m_H = [], args.m.flatten()
    input_TH, forget_TH = (_steps(part) for part in args.p.chunk(2, 2))
    for input_H, forget_H in zip(input_TH, forget_TH, strict=True):
        z_H = functional.logsigmoid(forget_H) + m_H
        m_H = torch.maximum(z_H, input_H)  # (3)
        found.append((m_H, z_H, forget_H, input_H))
    return found
