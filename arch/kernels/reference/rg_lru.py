"""RG-LRU over a whole sequence and its gradients, by whole tensors. The derivatives of a step come from autograd.

Equation numbers refer to `arch/rg_lru.py` and `arch/kernels/training/linear_units/rg_lru.py`.
"""

# Shape suffixes: T time, B rows of the batch, D input width, H hidden width, G = 2H rows, K taps, L = K - 1, S = L + T

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.training.linear_units.rg_lru_parts import parts_of_sums

if TYPE_CHECKING:
    from arch.kernels.training.linear_units import rg_lru


def next_state(r: Tensor, i: Tensor, u: Tensor, c_H: Tensor, h: Tensor) -> Tensor:
    """Return h of equation (6) for the gates r and i, u, c = -8 softplus(Λ), and the state before the step."""
    a = (c_H * r).exp()  # (5)
    return a * h + (1 - a**2).sqrt() * i * u  # (6)


def convolved(v_TBH: Tensor, before_BLH: Tensor, w_KH: Tensor, b_H: Tensor) -> tuple[Tensor, Tensor]:
    """Return u of equation (2), and the last inputs of the convolution."""
    seen_SBH, T = torch.cat([before_BLH.transpose(0, 1), v_TBH]), len(v_TBH)
    u_TBH = b_H + sum(w_KH[k] * seen_SBH[k : k + T] for k in range(CONV_STEPS))  # (2)
    return u_TBH, seen_SBH[T:].transpose(0, 1)


def forward(args: rg_lru.Forward, first: int, last: int) -> None:
    """Write what `rg_lru.forward_rows` writes."""
    rows = slice(first, last)
    v_TBH, g_TBH = functional.linear(args.x[:, rows], args.W_vg, args.b_vg).chunk(2, 2)  # (1)
    u_TBH = v_TBH
    if args.before is not None and args.w is not None and args.b_c is not None and args.last is not None:
        u_TBH, args.last[rows] = convolved(v_TBH, args.before[rows], args.w, args.b_c)
    r_TBH, i_TBH = functional.linear(u_TBH, args.W_ri, args.b_ri).sigmoid().chunk(2, 2)  # (3), (4)
    h_BH, states = args.h_0[rows], []
    for t in range(args.T):
        h_BH = next_state(r_TBH[t], i_TBH[t], u_TBH[t], args.c, h_BH)
        states.append(h_BH)
    h_TBH = torch.stack(states)
    args.y[:, rows] = functional.linear(h_TBH * functional.gelu(g_TBH), args.W_y, args.b_y)  # (7)
    args.h[rows] = h_BH
    if args.kept is not None:
        args.kept[:, rows] = torch.cat([v_TBH, g_TBH, h_TBH], 2)


def backward(args: rg_lru.Backward, first: int, last: int) -> None:
    """Write what `rg_lru.backward_rows` writes."""
    assert args.sums is not None
    H, rows = args.H, slice(first, last)
    x_TBD, d_y_TBH, before_TBH = args.x[:, rows], args.d_y[:, rows], torch.cat([args.h_0[None], args.kept[:-1, :, -H:]])
    v_TBH, g_TBH, h_TBH = (part.clone().requires_grad_() for part in args.kept[:, rows].chunk(3, 2))
    with torch.enable_grad():
        opened_TBH, convolution = functional.gelu(g_TBH), [v_TBH]
        if args.before is not None and args.w is not None and args.b_c is not None:
            given = (args.before[rows], args.w, args.b_c)
            convolution += [tensor.clone().requires_grad_() for tensor in given]
        found = convolved(*convolution) if args.w is not None else (v_TBH,)
        q_TBH, c_H = h_TBH.detach() * opened_TBH, args.c.clone().requires_grad_()
        u_TBH = found[0].detach().requires_grad_()
        gates_TBG = functional.linear(u_TBH.detach(), args.W_ri, args.b_ri).sigmoid()
        r_TBH, i_TBH = (gate.requires_grad_() for gate in gates_TBG.chunk(2, 2))
    d_q_TBH, d_h_BH = d_y_TBH @ args.W_y, args.d_h[rows]
    (d_g_TBH,) = torch.autograd.grad(q_TBH, g_TBH, d_q_TBH, retain_graph=True)  # (8)
    d_r_TBH, d_i_TBH, d_u_TBH = (torch.empty_like(part) for part in (r_TBH, i_TBH, u_TBH))
    of_both, of_one = parts_of_sums(args.sums, args.D, H)
    for t in reversed(range(args.T)):
        with torch.enable_grad():
            state = [r_TBH[t], i_TBH[t], u_TBH[t], c_H, before_TBH[t, rows].clone().requires_grad_()]
            after_BH = next_state(*state)
        d_h_BH = d_h_BH + d_q_TBH[t] * opened_TBH[t].detach()
        d_r_TBH[t], d_i_TBH[t], d_u_TBH[t], d_c_H, d_h_BH = torch.autograd.grad(after_BH, state, d_h_BH)
        of_one[H + 1] += d_c_H
    args.d_h[rows] = d_h_BH
    slopes = [gate.detach() * (1 - gate.detach()) for gate in (r_TBH, i_TBH)]
    d_gates_TBG = torch.cat([d_r_TBH * slopes[0], d_i_TBH * slopes[1]], 2)
    d_u_TBH = d_u_TBH + d_gates_TBG @ args.W_ri  # (9)
    d_v_TBH = d_u_TBH
    if args.d_before is not None and args.d_last is not None:
        gradients = (d_u_TBH, args.d_last[rows])
        d_v_TBH, args.d_before[rows], d_w_KH, d_b_H = torch.autograd.grad(found, convolution, gradients)  # (10)
        of_one[H + 2 : H + 2 + CONV_STEPS] += d_w_KH
        of_one[H + 2 + CONV_STEPS] += d_b_H
    d_vg_TBG = torch.cat([d_v_TBH, d_g_TBH], 2)
    if args.d_x is not None:
        args.d_x[:, rows] = d_vg_TBG @ args.W_vg  # (12)
    for sums, left, right in (  # (11)
        (of_both[: args.D + 1], x_TBD, d_vg_TBG),
        (of_both[args.D + 1 :], u_TBH.detach(), d_gates_TBG),
    ):
        sums[:-1] += left.flatten(0, 1).T @ right.flatten(0, 1)
        sums[-1] += right.sum((0, 1))
    of_one[:H] += d_y_TBH.flatten(0, 1).T @ q_TBH.detach().flatten(0, 1)
    of_one[H] += d_y_TBH.sum((0, 1))
