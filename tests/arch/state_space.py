"""Oracles for the state-space models: forms that need no recurrence, and the initial values of the papers.

`mamba` is compared with its attention-like form: each output is a weighted sum of all earlier inputs. `s4d` is compared
with the convolution whose kernel its states define. An oracle raises an error if outputs or gradients differ.
"""

# Shape suffixes: B batch, T time, S time that is read, D input width, H width, E channels, N states, K taps

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.validation import CHANNELS, scan_chunks
from tests.arch import subjects
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.subjects import BATCH, WIDTH, model

STEPS = 9
CHUNKS = (3, 1, 5)


def mamba_equals_its_attention_form(spec: str) -> None:
    """Check outputs, last states and gradients of a layer from a random initial state."""
    layer = layer_of(spec)
    x_BTD = reals(BATCH, STEPS, CHANNELS, seed=3).requires_grad_()
    begin = random_state(layer)
    outputs, state = scan_chunks(layer, x_BTD, CHUNKS, begin)
    expected, expected_h = attention_form(layer, x_BTD, begin)
    close(outputs, expected)
    close(state.h_BNE, expected_h)
    learned = [x_BTD, *(part for part in begin if part is not None), *layer.parameters()]
    close(gradients([outputs, state.h_BNE], learned), gradients([expected, expected_h], learned))


def mamba_decay_is_the_share_that_is_kept(spec: str) -> None:
    """Check the gate `decay`: how much a change of each state before a step changes this state after it."""
    layer = layer_of(spec)
    x_BD, begin = reals(BATCH, CHANNELS, seed=3), random_state(layer)
    decay_BEN = layer.gates(x_BD, begin)["decay"]
    _, after = layer.step(x_BD, begin)
    _, moved = layer.step(x_BD, begin._replace(h_BNE=begin.h_BNE + 1))
    close((moved.h_BNE - after.h_BNE).mT, decay_BEN)
    assert -1 < decay_BEN.min() < 0 if layer.negative else decay_BEN.min() > 0
    assert decay_BEN.max() < 1


def s4d_equals_its_convolution(spec: str) -> None:
    """Check outputs and gradients of a layer from a random initial state."""
    layer = layer_of(spec)
    x_BTH = reals(BATCH, STEPS, WIDTH, seed=3).requires_grad_()
    begin = random_state(layer)
    outputs, _ = scan_chunks(layer, x_BTH, CHUNKS, begin)
    expected = convolution_form(layer, x_BTH, begin)
    close(outputs, expected)
    learned = [x_BTH, *begin, *layer.parameters()]
    close(gradients([outputs], learned), gradients([expected], learned))


def initial_time_steps_match_the_paper(spec: str) -> None:
    """Check the distribution of Δ and the values of A in a new model, after everything that builds it."""
    layer = subjects.arch.build(spec, channels=1, outputs=1, width=256, depth=1, seed=0).layers[0].layer
    if spec.startswith("mamba"):
        step, A_EN = functional.softplus(layer.b_p_E), -layer.A_log_NE.exp().T
        torch.testing.assert_close(A_EN[0], -torch.arange(1.0, layer.states + 1))
        assert (layer.D_E == 1).all()
    else:
        step = layer.step_log_H.exp()
        expected_N = -0.5 + 1j * math.pi * torch.arange(layer.pairs)
        torch.testing.assert_close(torch.complex(-layer.A_log_NH.exp(), layer.A_imag_NH)[:, 0], expected_N)
    exponents = step.log10()
    assert (exponents >= -3.0001).all() and (exponents <= -0.9999).all()
    shares = torch.histc(exponents, 4, -3, -1) / len(exponents)
    assert ((shares > 0.15) & (shares < 0.35)).all(), "not log-uniform"


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    mamba_equals_its_attention_form: lambda name, options: name == "mamba",
    mamba_decay_is_the_share_that_is_kept: lambda name, options: name == "mamba",
    s4d_equals_its_convolution: lambda name, options: name == "s4d",
    initial_time_steps_match_the_paper: lambda name, options: name in ("mamba", "s4d"),
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""


def layer_of(spec: str) -> Any:
    """Return the layer itself, without the block around it, with random weights in float64."""
    name, options = name_and_options(spec)
    bare = subjects.arch.get(spec).with_options({"block": "bare"})
    assert bare.name == name and options["block"] == "residual"
    return model(str(bare), depth=1).layers[0]


def random_state(layer: Any) -> Any:
    empty = layer.init_state(BATCH)
    return type(empty)(
        *(None if part is None else reals(*part.shape, seed=i).requires_grad_() for i, part in enumerate(empty))
    )


def attention_form(layer: Any, x_BTD: Tensor, begin: Any) -> tuple[Tensor, Tensor]:
    """Return the outputs (B, T, H) of a Mamba layer and its last states (B, N, E), without a recurrence.

    The state of step t is Σ_(s ≤ t) a(s, t) Δ_s c_s B_s, plus the decayed initial state. If decays are positive,
    a(s, t) = e^(A Σ_(s < r ≤ t) Δ_r). Otherwise it is the product of 2 e^(A Δ_r) - 1 over the same steps.
    """
    u_BTE, z_BTE = x_BTD @ layer.W_u_ED.T, x_BTD @ layer.W_z_ED.T
    c_BTE = u_BTE
    if begin.inputs_BKE is not None:
        seen_BET = torch.cat([begin.inputs_BKE, u_BTE], 1).mT
        filters_E1K = layer.conv_KE.T.unsqueeze(1)
        c_BTE = functional.conv1d(seen_BET, filters_E1K, layer.conv_E, groups=filters_E1K.shape[0]).mT
    c_BTE = c_BTE * torch.sigmoid(c_BTE)
    N = len(layer.A_log_NE)
    B_BTN, C_BTN = c_BTE @ layer.W_BC_ME[:N].T, c_BTE @ layer.W_BC_ME[N:].T
    step_BTE = torch.log1p(torch.exp(c_BTE @ layer.W_r_RE.T @ layer.W_p_RE + layer.b_p_E))
    exponents_BTEN = -step_BTE.unsqueeze(3) * layer.A_log_NE.exp().T
    decays_BTSEN = torch.stack([_decays_since(exponents_BTEN[:, : t + 1], layer.negative) for t in range(STEPS)], 1)
    h_BTEN = torch.einsum("btsen,bse,bsn->bten", decays_BTSEN[:, :, 1:], step_BTE * c_BTE, B_BTN)
    h_BTEN = h_BTEN + decays_BTSEN[:, :, 0] * begin.h_BNE.mT.unsqueeze(1)
    s_BTE = torch.einsum("bten,btn->bte", h_BTEN, C_BTN) + layer.D_E * c_BTE
    return (s_BTE * z_BTE * torch.sigmoid(z_BTE)) @ layer.W_y_HE.T, h_BTEN[:, -1].mT


def _decays_since(exponents_BTEN: Tensor, negative: bool) -> Tensor:
    """Return what remains of a state after these steps, (B, S, E, N): of the initial one, then of each step's write.

    What the steps that follow will write, up to `STEPS`, remains as 0.
    """
    T = exponents_BTEN.shape[1]
    if negative:
        factors = (2 * exponents_BTEN.exp() - 1).unbind(1)
        after = [math.prod(factors[s:], start=torch.ones_like(factors[0])) for s in range(T + 1)]
    else:
        after = [exponents_BTEN[:, s:].sum(1).exp() for s in range(T + 1)]
    return functional.pad(torch.stack(after, 1), (0, 0, 0, 0, 0, STEPS - T))


def convolution_form(layer: Any, x_BTH: Tensor, begin: Any) -> Tensor:
    """Return the outputs (B, T, H) of an S4D layer by a convolution in complex numbers."""
    A_NH = torch.complex(-layer.A_log_NH.exp(), layer.A_imag_NH)
    exponent_NH = A_NH * layer.step_log_H.exp()
    weight_NH = torch.complex(*layer.C_PNH) * (exponent_NH.exp() - 1) / A_NH
    powers_TNH = (exponent_NH * torch.arange(STEPS + 1).view(-1, 1, 1)).exp()  # the Vandermonde matrix
    kernel_TH = 2 * (weight_NH * powers_TNH[:-1]).sum(1).real
    padded_BHT = functional.pad(x_BTH.mT, (STEPS - 1, 0))
    s_BTH = functional.conv1d(padded_BHT, kernel_TH.flip(0).T.unsqueeze(1), groups=x_BTH.shape[2]).mT
    initial_BNH = torch.complex(begin.real_BNH, begin.imag_BNH)
    s_BTH = s_BTH + 2 * torch.einsum("tnh,nh,bnh->bth", powers_TNH[1:], weight_NH, initial_BNH).real
    s_BTH = s_BTH + layer.D_H * x_BTH
    activated_BTH = s_BTH * (1 + torch.erf(s_BTH / math.sqrt(2))) / 2
    value_BTH, gate_BTH = (activated_BTH @ layer.W_GH.T + layer.b_G).chunk(2, 2)
    return value_BTH * torch.sigmoid(gate_BTH)
