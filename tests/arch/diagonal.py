"""Oracles for the diagonal recurrences: other forms of the same equations, which share no code with them.

`min_gru` and `min_lstm` are computed in log space, as their source does. A recurrence h' = a ⊙ h + b with any a is
written out as the sum over all earlier steps, each with the product of the decays since then. That of `lru` is a
convolution with powers of a complex number. `ind_rnn` is a loop over numbers.
"""

# Shape suffixes: B batch, T time, S earlier step, D input width, H hidden width, N complex states, G gate rows

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.validation import scan_chunks
from tests.arch import subjects
from tests.arch.oracles import close, gradients, name_and_options, reals
from tests.arch.subjects import BATCH, model

STEPS, CHUNKS = 9, (3, 1, 5)


def layer_of(spec: str) -> Any:
    """Return the layer of a spec with random weights in float64, without the block around it."""
    layer = model(spec, depth=1).layers[0]
    return getattr(layer, "layer", layer)


def compare(layer: Any, state: Any, expected: Callable[[Tensor, Any], Tensor]) -> None:
    """Check outputs and all gradients of `scan` in chunks against a function of the inputs and the initial state."""
    x_BTD = reals(BATCH, STEPS, layer.inputs, seed=3).requires_grad_()
    learned = [x_BTD, *(part.requires_grad_() for part in state if part is not None), *layer.parameters()]
    outputs, _ = scan_chunks(layer, x_BTD, CHUNKS, state)
    by_oracle = expected(x_BTD, state)
    close(outputs, by_oracle)
    close(gradients([outputs], learned), gradients([by_oracle], learned))


def minimal_recurrences_equal_their_log_space_form(spec: str) -> None:
    """Check `min_gru` and `min_lstm` against appendix B.3 of Feng et al. 2024: a scan of logarithms (Heinsen 2023)."""
    layer, H = layer_of(spec), layer_of(spec).width

    def expected(x_BTD: Tensor, state: Any) -> Tensor:
        bias_G = getattr(layer, "offset_G", None) if layer.b_G is None else layer.b_G
        sums_BTG = x_BTD @ layer.W_GD.T + (0 if bias_G is None else bias_G)
        k_BTH, n_BTH = sums_BTG[..., :H], sums_BTG[..., -H:]
        log_n_BTH = torch.where(n_BTH >= 0, (functional.relu(n_BTH) + 0.5).log(), -functional.softplus(-n_BTH))
        if name_and_options(spec)[0] == "min_lstm":
            i_BTH = sums_BTG[..., H : 2 * H]
            k_BTH = functional.softplus(-k_BTH) - functional.softplus(-i_BTH)
        log_a_BTH, log_b_BTH = -functional.softplus(k_BTH), -functional.softplus(-k_BTH) + log_n_BTH
        kept_BSH = functional.pad(log_a_BTH.cumsum(1), (0, 0, 1, 0))
        written_BSH = torch.cat([state.h_BH.log()[:, None], log_b_BTH], 1)
        return (kept_BSH + torch.logcumsumexp(written_BSH - kept_BSH, 1)).exp()[:, 1:]

    compare(layer, type(layer.init_state(1))(0.1 + reals(BATCH, H, seed=4).abs()), expected)


def summed_over_earlier_steps(a_BTH: Tensor, b_BTH: Tensor, h_BH: Tensor) -> Tensor:
    """Return h_t = (Π_(r ≤ t) a_r) h_0 + Σ_(s ≤ t) (Π_(s < r ≤ t) a_r) b_s for all t, (B, T, H)."""
    rows = []
    for t in range(a_BTH.shape[1]):
        row_BH = a_BTH[:, : t + 1].prod(1) * h_BH
        for s in range(t + 1):
            row_BH = row_BH + a_BTH[:, s + 1 : t + 1].prod(1) * b_BTH[:, s]
        rows.append(row_BH)
    return torch.stack(rows, 1)


def signed_recurrence_equals_the_products_of_its_decays(spec: str) -> None:
    """Check `min_gru:signed=True`, whose decays have no logarithm."""
    layer, H = layer_of(spec), layer_of(spec).width

    def expected(x_BTD: Tensor, state: Any) -> Tensor:
        sums_BTG = functional.linear(x_BTD, layer.W_GD, layer.b_G)
        z_BTH, n_BTH, s_BTH = (sums_BTG[..., first : first + H] for first in (0, H, 2 * H))
        kept_BTH, sign_BTH = 1 / (1 + z_BTH.exp()), 2 / (1 + (-2 * s_BTH).exp()) - 1
        return summed_over_earlier_steps(kept_BTH * sign_BTH, n_BTH / (1 + (-z_BTH).exp()), state.h_BH)

    compare(layer, type(layer.init_state(1))(reals(BATCH, H, seed=4)), expected)


def rg_lru_equals_the_products_of_its_decays(spec: str) -> None:
    """Check `rg_lru` with a = σ(-Λ)^8r as the source writes it, the convolution of torch and products of decays."""
    layer, H = layer_of(spec), layer_of(spec).width
    state = type(layer.init_state(1))(reals(BATCH, H, seed=4))
    convolves = name_and_options(spec)[1]["conv"] > 0
    if convolves:
        state = type(state)(state.h_BH, reals(BATCH, 3, H, seed=5))

    def expected(x_BTD: Tensor, state: Any) -> Tensor:
        sums_BTG = x_BTD @ layer.W_vg_GD.T + layer.b_vg_G
        u_BTH, gate_BTH = sums_BTG[..., :H], sums_BTG[..., H:]
        if convolves:
            seen_BHT = torch.cat([state.inputs_BKH, u_BTH], 1).mT
            u_BTH = functional.conv1d(seen_BHT, layer.conv_KH.T[:, None], layer.conv_H, groups=H).mT
        r_BTH, i_BTH = torch.sigmoid(u_BTH @ layer.W_ri_GH.T + layer.b_ri_G).split(H, -1)
        a_BTH = torch.sigmoid(-layer.decay_H) ** (8 * r_BTH)
        h_BTH = summed_over_earlier_steps(a_BTH, (1 - a_BTH**2) ** 0.5 * i_BTH * u_BTH, state.h_BH)
        below_BTH = (1 + torch.erf(gate_BTH / math.sqrt(2))) / 2
        return (h_BTH * gate_BTH * below_BTH) @ layer.W_y_HH.T + layer.b_y_H

    compare(layer, state, expected)


def lru_equals_its_convolution(spec: str) -> None:
    """Check `lru` against y_t = Re C (a^(t+1) h_0 + Σ_s a^(t-s) γ B x_s) + D x_t, with complex numbers of torch."""
    layer = layer_of(spec)
    N, T = layer.states, STEPS
    state = type(layer.init_state(1))(reals(BATCH, N, seed=4), reals(BATCH, N, seed=5))

    def expected(x_BTD: Tensor, state: Any) -> Tensor:
        log_a_N = torch.complex(-layer.nu_N.exp(), layer.theta_N.exp())
        B_ND = torch.complex(*layer.B_MD.split(N))
        C_HN = torch.complex(layer.C_HM[:, :N], -layer.C_HM[:, N:])
        ages_TS = torch.arange(T)[:, None] - torch.arange(T)
        powers_TSN = torch.where(ages_TS[..., None] >= 0, (log_a_N * ages_TS.clamp(min=0)[..., None]).exp(), 0)
        written_BSN = (x_BTD.to(B_ND.dtype) @ B_ND.T) * layer.gamma_log_N.exp()
        h_BTN = torch.einsum("tsn,bsn->btn", powers_TSN, written_BSN)
        h_BTN = h_BTN + (log_a_N * torch.arange(1, T + 1)[:, None]).exp() * torch.complex(*state)[:, None]
        v_BTH = (h_BTN @ C_HN.T).real + x_BTD * layer.D_H
        if layer.W_GH is None:
            return v_BTH
        u_BTH = v_BTH * (1 + torch.erf(v_BTH / math.sqrt(2))) / 2
        one_BTH, two_BTH = (u_BTH @ W.T + b for W, b in zip(layer.W_GH.chunk(2), layer.b_G.chunk(2), strict=True))
        return one_BTH * torch.sigmoid(two_BTH)

    compare(layer, state, expected)


def ind_rnn_equals_a_loop_over_its_units(spec: str) -> None:
    """Check `ind_rnn` with each unit and each step on its own."""
    layer, H = layer_of(spec), layer_of(spec).width
    state = type(layer.init_state(1))(reals(BATCH, H, seed=4))

    def expected(x_BTD: Tensor, state: Any) -> Tensor:
        units = []
        for unit in range(H):
            h_B, steps = state.h_BH[:, unit], []
            for x_BD in x_BTD.unbind(1):
                total_B = (x_BD * layer.W_HD[unit]).sum(1) + layer.u_H[unit] * h_B
                total_B = total_B if layer.b_H is None else total_B + layer.b_H[unit]
                is_tanh = name_and_options(spec)[1]["nonlinearity"] == "tanh"
                h_B = 1 - 2 / (1 + (2 * total_B).exp()) if is_tanh else total_B * (total_B > 0)
                steps.append(h_B)
            units.append(torch.stack(steps, 1))
        return torch.stack(units, 2)

    compare(layer, state, expected)


def new_layers_start_as_their_papers_say(spec: str) -> None:
    """Check the initialisations that the sources name, on a layer of many units."""
    name, options = name_and_options(spec)
    width, named = 512, ("r_min", "r_max", "max_phase", "signed", "bias", "forget_bias")
    own = {key: options[key] for key in named if key in options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        layer = subjects.arch.get(name).layer(width, width, **own)
        torch.manual_seed(7)
        other = subjects.arch.get(name).layer(width, width, **own | {"forget_bias": 0.0} if name == "min_lstm" else own)
    if name == "min_lstm":
        offset_G = torch.cat([torch.full((width,), options["forget_bias"]), torch.zeros(2 * width)])
        added_G = layer.offset_G if layer.b_G is None else layer.b_G - other.b_G
        torch.testing.assert_close(torch.zeros_like(offset_G) if added_G is None else added_G, offset_G)
    elif name == "lru":
        squared_N = torch.exp(-2 * layer.nu_N.exp())
        low, high = options["r_min"] ** 2, options["r_max"] ** 2
        assert low <= squared_N.min() and squared_N.max() <= high
        assert abs(squared_N.mean() - (low + high) / 2) < 0.05 * (high - low), "not uniform in the area of the ring"
        phase_N = layer.theta_N.exp() / options["max_phase"]
        assert phase_N.min() >= 0 and phase_N.max() <= 1.00001 and abs(phase_N.mean() - 0.5) < 0.05
        torch.testing.assert_close(layer.gamma_log_N.exp(), (1 - squared_N).sqrt(), rtol=1e-3, atol=1e-4)
    elif name == "rg_lru":
        a_H = torch.sigmoid(-layer.decay_H) ** 8
        assert 0.8999 < a_H.min() < 0.91 and 0.99 < a_H.max() < 0.99901
        assert abs(a_H.square().mean() - (0.9**2 + 0.999**2) / 2) < 0.01
    else:
        low = -1 if options["signed"] else 0
        assert low <= layer.u_H.min() < low + 0.05 and 0.95 < layer.u_H.max() <= 1


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    minimal_recurrences_equal_their_log_space_form: (
        lambda name, options: name == "min_lstm" or (name == "min_gru" and not options["signed"])
    ),
    signed_recurrence_equals_the_products_of_its_decays: lambda name, options: name == "min_gru" and options["signed"],
    rg_lru_equals_the_products_of_its_decays: lambda name, options: name == "rg_lru",
    lru_equals_its_convolution: lambda name, options: name == "lru",
    ind_rnn_equals_a_loop_over_its_units: lambda name, options: name == "ind_rnn",
    new_layers_start_as_their_papers_say: lambda name, options: name in ("min_lstm", "lru", "rg_lru", "ind_rnn"),
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""
