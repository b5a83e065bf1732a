"""Scans of state-space models and their gradients, step by step.

Equation numbers refer to the modules of the same name in `arch/kernels/training/state_space`. `sums` are added to, as
there.
"""

# Shape suffixes: B rows of the batch, T time, K taps, E or H channels, N states, P real and imaginary part

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from arch.kernels.simd.vector import LANES

if TYPE_CHECKING:
    from arch.kernels.training.state_space import discretisation, selective_scan, structured_scan


def selective_forward(args: selective_scan.Forward, first: int, last: int, steps: int) -> None:
    """Write what `selective_scan.forward_rows` writes. A chunk has `steps` steps."""
    rows, h_BNE = slice(first, last), args.h[first:last].clone()
    for t in range(args.T):
        B_BN1, C_BN1 = args.BC[rows, t].unsqueeze(2).chunk(2, 1)
        step_BE, c_BE = functional.softplus(args.low[rows, t] @ args.W + args.bias), args.c[rows, t]  # (1)
        a_BNE = _decay(step_BE.unsqueeze(1) * args.A, args.negative)
        h_BNE = a_BNE * h_BNE + (step_BE * c_BE).unsqueeze(1) * B_BN1  # (2)
        s_BE = (C_BN1 * h_BNE).sum(1) + args.D * c_BE  # (3)
        args.y[rows, t] = s_BE * functional.silu(args.z[rows, t])  # (4)
        if args.stored is not None and (t + 1) % steps == 0 and t + 1 < args.T:
            args.stored[rows, t // steps] = _panels(h_BNE, *args.stored.shape[2:4])
    args.h[rows] = h_BNE


def selective_backward(args: selective_scan.Backward, first: int, last: int) -> None:
    """Write what `selective_scan.backward_rows` writes. All states are computed again from the initial one."""
    assert args.sums is not None
    rows, N = slice(first, last), args.N
    p_BTE, c_BTE, z_BTE = args.low[rows] @ args.W + args.bias, args.c[rows], args.z[rows]
    step_BTE = functional.softplus(p_BTE)
    B_BTN1, C_BTN1 = args.BC[rows].unsqueeze(3).chunk(2, 2)
    exponent_BTNE = step_BTE.unsqueeze(2) * args.A
    a_BTNE = _decay(exponent_BTNE, args.negative)
    slope_BTNE = (2 if args.negative else 1) * exponent_BTNE.exp()
    states = [args.h_0[rows]]
    for t in range(args.T):
        states.append(a_BTNE[:, t] * states[-1] + (step_BTE[:, t] * c_BTE[:, t]).unsqueeze(1) * B_BTN1[:, t])
    dh_BNE = args.d_h[rows]
    for t in reversed(range(args.T)):
        before_BNE, after_BNE, c_BE, step_BE = states[t], states[t + 1], c_BTE[:, t], step_BTE[:, t]
        s_BE = (C_BTN1[:, t] * after_BNE).sum(1) + args.D * c_BE
        ds_BE = args.d_y[rows, t] * functional.silu(z_BTE[:, t])  # (5)
        args.d_z[rows, t] = args.d_y[rows, t] * s_BE * _silu_slope(z_BTE[:, t])
        args.sums[N] += (ds_BE * c_BE).sum(0)
        dh_BNE = dh_BNE + ds_BE.unsqueeze(1) * C_BTN1[:, t]  # (6)
        dC_BN = (ds_BE.unsqueeze(1) * after_BNE).sum(2)
        dw_BE = (dh_BNE * B_BTN1[:, t]).sum(1)  # (7)
        dB_BN = (dh_BNE * (step_BE * c_BE).unsqueeze(1)).sum(2)
        de_BNE = dh_BNE * before_BNE * slope_BTNE[:, t]  # (8)
        args.sums[:N] += (de_BNE * step_BE.unsqueeze(1)).sum(0)
        d_step_BE = (de_BNE * args.A).sum(1) + dw_BE * c_BE  # (9)
        args.d_c[rows, t] = dw_BE * step_BE + ds_BE * args.D
        dp_BE = d_step_BE * p_BTE[:, t].sigmoid()
        args.sums[N + 1 : -1] += args.low[rows, t].T @ dp_BE  # (11)
        args.sums[-1] += dp_BE.sum(0)
        args.d_low[rows, t] = dp_BE @ args.W.T
        args.d_BC[rows, t] = torch.cat([dB_BN, dC_BN], 1)
        dh_BNE = dh_BNE * a_BTNE[:, t]  # (10)
    args.d_h[rows] = dh_BNE


def structured_forward(args: structured_scan.Forward, first: int, last: int, steps: int) -> None:
    """Write what `structured_scan.forward_rows` writes. A chunk has `steps` steps."""
    rows, a_NH = slice(first, last), torch.complex(*args.a)
    h_BNH = torch.complex(args.real[rows], args.imag[rows])
    for t in range(args.T):
        h_BNH = a_NH * h_BNH + args.x[rows, t].unsqueeze(1)  # (1)
        s_BH = (torch.complex(*args.C) * h_BNH).sum(1).real + args.D * args.x[rows, t]  # (2)
        args.y[rows, t] = functional.gelu(s_BH)
        if args.s is not None:
            args.s[rows, t] = s_BH
        if args.stored is not None and (t + 1) % steps == 0 and t + 1 < args.T:
            x_B1H, h_BNPH = args.x[rows, t].unsqueeze(1), torch.stack([h_BNH.real, h_BNH.imag], 2)
            of_x_B1PH = torch.stack([x_B1H, torch.zeros_like(x_B1H)], 2)  # a missing state, whose a is 0
            panels, padded = args.stored.shape[2:4]
            args.stored[rows, t // steps] = _panels(torch.cat([h_BNPH, of_x_B1PH], 1)[:, :padded], panels, padded)
    args.real[rows], args.imag[rows] = h_BNH.real, h_BNH.imag


def structured_backward(args: structured_scan.Backward, first: int, last: int) -> None:
    """Write what `structured_scan.backward_rows` writes. All states are computed again from the initial one."""
    assert args.sums is not None
    rows, N = slice(first, last), args.N
    a_NH, C_NH = torch.complex(*args.a), torch.complex(*args.C)
    states = [torch.complex(args.real[rows], args.imag[rows])]
    for t in range(args.T):
        states.append(a_NH * states[-1] + args.x[rows, t].unsqueeze(1))
    d_a_NH, d_C_NH = torch.zeros_like(a_NH), torch.zeros_like(C_NH)
    dh_BNH = torch.complex(args.d_real[rows], args.d_imag[rows])
    for t in reversed(range(args.T)):
        x_BH, after_BNH = args.x[rows, t], states[t + 1]
        s_BH = (C_NH * after_BNH).sum(1).real + args.D * x_BH
        below_BH = (1 + (s_BH / 2**0.5).erf()) / 2
        slope_BH = below_BH + s_BH * (-(s_BH**2) / 2).exp() / (2 * torch.pi) ** 0.5
        ds_BH = args.d_y[rows, t] * slope_BH  # (3)
        args.sums[4 * N] += (ds_BH * x_BH).sum(0)
        dh_BNH = dh_BNH + ds_BH.unsqueeze(1) * C_NH.conj()  # (4)
        d_C_NH += (ds_BH.unsqueeze(1) * after_BNH.conj()).sum(0)  # (5)
        d_a_NH += (dh_BNH * states[t].conj()).sum(0)  # (6)
        args.d_x[rows, t] = dh_BNH.real.sum(1) + ds_BH * args.D  # (7)
        dh_BNH = a_NH.conj() * dh_BNH  # (8)
    args.d_real[rows], args.d_imag[rows] = dh_BNH.real, dh_BNH.imag
    args.sums[: 4 * N] += torch.cat([d_a_NH.real, d_a_NH.imag, d_C_NH.real, d_C_NH.imag])


def discretisation_forward(args: discretisation.Forward, first: int, last: int) -> None:
    """Write what `discretisation.forward_rows` writes."""
    own = slice(first, last)
    _, _, a_NH, b_NH = _discrete(args, own)
    c_NH = 2 * torch.complex(*args.C[..., own]) * b_NH  # (1)
    args.a[..., own], args.c[..., own] = _both(a_NH), _both(c_NH)


def discretisation_backward(args: discretisation.Backward, first: int, last: int) -> None:
    """Write what `discretisation.backward_rows` writes."""
    own = slice(first, last)
    step_H, A_NH, a_NH, b_NH = _discrete(args, own)
    d_a_NH, d_c_NH = torch.complex(*args.d_a[..., own]), torch.complex(*args.d_c[..., own])
    args.d_C[..., own] = _both(2 * b_NH.conj() * d_c_NH)  # (2)
    d_b_NH = 2 * torch.complex(*args.C[..., own]).conj() * d_c_NH
    d_v_NH = a_NH.conj() * (d_a_NH + d_b_NH / A_NH.conj())  # (3)
    d_A_NH = step_H * d_v_NH - d_b_NH * (b_NH / A_NH).conj()  # (4)
    args.d_step_log[own] = step_H * (A_NH.conj() * d_v_NH).real.sum(0)  # (5)
    args.d_A_log[:, own], args.d_A_imag[:, own] = A_NH.real * d_A_NH.real, d_A_NH.imag


def _discrete(args: Any, own: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return Δ (H,), and A, a and b (N, H) of (1) of `discretisation`, for some channels."""
    step_H, A_NH = args.step_log[own].exp(), torch.complex(-args.A_log[:, own].exp(), args.A_imag[:, own])
    grown_NH = (step_H * A_NH).expm1()
    return step_H, A_NH, grown_NH + 1, grown_NH / A_NH


def _both(x_NH: Tensor) -> Tensor:
    """Return real and imaginary part (2, N, H)."""
    return torch.stack([x_NH.real, x_NH.imag])


def _panels(states: Tensor, panels: int, padded: int) -> Tensor:
    """Return states (B, N, …, H) as vectors of channels, (B, panels, padded, …, LANES), with zeros for missing ones."""
    split = functional.pad(states, (0, panels * LANES - states.shape[-1])).unflatten(-1, (panels, LANES))
    ordered = split.movedim(-2, 1)
    missing = ordered.new_zeros(*ordered.shape[:2], padded - ordered.shape[2], *ordered.shape[3:])
    return torch.cat([ordered, missing], 2)


def _decay(exponent: Tensor, negative: bool) -> Tensor:
    """Return a of `selective_scan` (2) from the exponents Δ A, of any shape."""
    return 2 * exponent.exp() - 1 if negative else exponent.exp()


def _silu_slope(x: Tensor) -> Tensor:
    """Return the derivative of SiLU at x, of any shape."""
    gate = x.sigmoid()
    return gate * (1 + x * (1 - gate))
