"""Oracles for layers with a delta rule, for `mlstm` and for `rwkv7`: other forms of the same functions.

A layer with a delta rule is written as explicit products of its transition matrices. mLSTM is written in its parallel
form: a quadratic sum over pairs of steps. RWKV-7 is written as a loop over single sequences, steps and heads, with
memories of values times keys, as in its paper. Outputs, states and gradients must agree, from a random initial state.
"""

# Shape suffixes: B batch, T tokens, S = n T steps, D input width, H width, C channels, N heads, K head width

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.validation import scan_chunks
from tests.arch.oracles import CHUNKS, STEPS, close, gradients, reals
from tests.arch.subjects import BATCH, model

Written = Callable[[Any, Tensor, tuple[Tensor, ...]], tuple[Tensor, tuple[Tensor, ...]]]
"""Another form of a layer: a function of the layer, inputs (B, T, D) and the parts of the state to outputs and last
parts."""


def layer_equals(form: Written, spec: str) -> None:
    """Check outputs, the last state and all gradients of a layer against another form of it."""
    block = model(spec, depth=1).layers[0]
    layer = getattr(block, "layer", block)
    D = layer.inputs
    empty = layer.init_state(BATCH)
    parts = [None if part is None else reals(*part.shape, seed=4 + i) for i, part in enumerate(empty)]
    x_BTD = reals(BATCH, STEPS, D, seed=3).requires_grad_()
    present = [part.requires_grad_() for part in parts if part is not None]
    learned = [x_BTD, *present, *layer.parameters()]
    outputs, after = scan_chunks(layer, x_BTD, CHUNKS, type(empty)(*parts))
    actual = [outputs, *(part for part in after if part is not None)]
    expected_outputs, expected_after = form(layer, x_BTD, tuple(parts))  # type: ignore[arg-type]
    expected = [expected_outputs, *expected_after]
    close(actual, expected)
    close(gradients(actual, learned), gradients(expected, learned))


def delta_rules_equal_products_of_transitions(spec: str) -> None:
    """Check layers with a delta rule. The memory is a sum of writes, each carried on by all later transitions."""
    layer_equals(_by_transitions, spec)


def mlstm_equals_its_parallel_form(spec: str) -> None:
    """Check `mlstm` against its quadratic form, stabilised by the largest weight of each row."""
    layer_equals(_by_pairs, spec)


def rwkv7_equals_the_equations_of_its_paper(spec: str) -> None:
    """Check `rwkv7` against a loop over sequences, steps and heads."""
    layer_equals(_by_steps, spec)


def _by_transitions(layer: Any, x_BTD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    (B, T, _), H, N, n = x_BTD.shape, layer.width, layer.heads, layer.householders
    K = H // N
    memory_BNKK, before_BLC = state
    projected_BTC = torch.einsum("btd,cd->btc", x_BTD, layer.W_CD)
    after: tuple[Tensor, ...] = ()
    if layer.filter_LC is not None:
        seen_BTC = torch.cat([before_BLC, projected_BTC], 1)
        after = (seen_BTC[:, -3:],)
        projected_BTC = functional.conv1d(seen_BTC.mT, layer.filter_LC.T.unsqueeze(1), groups=seen_BTC.shape[2]).mT
    c_BTC = projected_BTC / (1 + torch.exp(-projected_BTC))
    q_BTNK = _unit(c_BTC[..., :H].reshape(B, T, N, K))
    k_BSNK = _unit(c_BTC[..., H : (1 + n) * H].reshape(B, T * n, N, K))
    v_BSNK = c_BTC[..., (1 + n) * H :].reshape(B, T * n, N, K)
    beta_BSN = 1 / (1 + torch.exp(-torch.einsum("btd,nd->btn", x_BTD, layer.strength_ND)))
    beta_BSN = (beta_BSN * (2 if layer.negative else 1)).reshape(B, T * n, N)

    eye_KK = torch.eye(K, dtype=x_BTD.dtype)
    write_BSNKK = torch.einsum("bsn,bsni,bsnj->bsnij", beta_BSN, k_BSNK, v_BSNK)
    step_BSNKK = eye_KK - torch.einsum("bsn,bsni,bsnj->bsnij", beta_BSN, k_BSNK, k_BSNK)
    W_g_HD = dict(layer.named_parameters()).get("W_g_HD")
    if W_g_HD is not None:
        decay_BTNKK = torch.diag_embed(_decays(layer, x_BTD))
        of_tokens = list(step_BSNKK.split(n, 1))
        for t, steps_BnNKK in enumerate(of_tokens):
            of_tokens[t] = torch.cat([steps_BnNKK[:, :1] @ decay_BTNKK[:, t : t + 1], steps_BnNKK[:, 1:]], 1)
        step_BSNKK = torch.cat(of_tokens, 1)
    reads = []
    for s in range(n - 1, n * T, n):
        total_BNKK, carried_BNKK = torch.zeros_like(memory_BNKK), eye_KK.expand(B, N, K, K)
        for earlier in range(s, -1, -1):
            total_BNKK = total_BNKK + carried_BNKK @ write_BSNKK[:, earlier]
            carried_BNKK = carried_BNKK @ step_BSNKK[:, earlier]
        total_BNKK = total_BNKK + carried_BNKK @ memory_BNKK
        read_BNK = torch.einsum("bnkv,bnk->bnv", total_BNKK, q_BTNK[:, s // n])
        reads.append(read_BNK / (read_BNK.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.gain_K)
    y_BTH = torch.stack(reads, 1).flatten(2)
    if W_g_HD is not None:
        pre_BTH = torch.einsum("btd,hd->bth", x_BTD, W_g_HD)
        open_BTH = 1 / (1 + torch.exp(-pre_BTH))
        y_BTH = y_BTH * (open_BTH if layer.decay == "channel" else pre_BTH * open_BTH)
    return torch.einsum("bth,oh->bto", y_BTH, layer.W_HH), (total_BNKK, *after)


def _decays(layer: Any, x_BTD: Tensor) -> Tensor:
    """Return α of each key of each head, (B, T, N, K)."""
    N, K = layer.heads, layer.width // layer.heads
    weight_AD = layer.decay_AK if layer.decay == "head" else layer.decay_AK @ layer.decay_KD
    rate_BTA = torch.log1p(torch.exp(torch.einsum("btd,ad->bta", x_BTD, weight_AD) + layer.rate_A))
    rate_BTNK = rate_BTA.reshape(*rate_BTA.shape[:2], N, -1).expand(-1, -1, -1, K)
    return torch.exp(-torch.exp(layer.log_A_N)[:, None] * rate_BTNK)


def _unit(x: Tensor) -> Tensor:
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def _by_pairs(layer: Any, x_BTD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    (B, T, _), H, N = x_BTD.shape, layer.width, layer.heads
    K = H // N
    memory_BNKU, m_BN = state
    qkvo = (torch.einsum("btd,pd->btp", x_BTD, layer.W_qkvo_4HD) + layer.b_qkvo_4H).reshape(B, T, 4, N, K)
    q_BNTK, k_BNTK, v_BNTK, o_BNTK = qkvo.permute(2, 0, 3, 1, 4)
    k_BNTK = k_BNTK / math.sqrt(K)
    gates_BTG = torch.einsum("btd,gd->btg", x_BTD, layer.W_if_2ND) + layer.b_if_2N
    i_BNT, f_BNT = gates_BTG.reshape(B, T, 2, N).permute(2, 0, 3, 1)
    log_f_BNT = -torch.log1p(torch.exp(-f_BNT))
    later_TT = torch.ones(T, T, dtype=x_BTD.dtype).tril()  # [t, s]: whether s ≤ t
    total_BNT = log_f_BNT @ later_TT.T
    weight_BNTS = total_BNT[..., :, None] - total_BNT[..., None, :] + i_BNT[..., None, :]
    weight_BNTS = weight_BNTS.masked_fill(later_TT == 0, -math.inf)
    start_BNT = total_BNT + m_BN[..., None]
    largest_BNT = torch.maximum(weight_BNTS.amax(-1), start_BNT)
    share_BNTS = torch.exp(weight_BNTS - largest_BNT[..., None])
    start_BNT1 = torch.exp(start_BNT - largest_BNT)[..., None]
    product_BNTS = share_BNTS * (q_BNTK @ k_BNTK.mT)
    number_BNTK = product_BNTS @ v_BNTK + start_BNT1 * (q_BNTK @ memory_BNKU[..., :-1])
    norm_BNT1 = product_BNTS.sum(-1, keepdim=True) + start_BNT1 * (q_BNTK @ memory_BNKU[..., -1:])
    h_BNTK = number_BNTK / torch.maximum(norm_BNT1.abs(), torch.exp(-largest_BNT)[..., None])

    ones_BNT1 = torch.ones_like(v_BNTK[..., :1])
    last_BNTK = share_BNTS[:, :, -1, :, None] * k_BNTK
    final_BNKU = last_BNTK.mT @ torch.cat([v_BNTK, ones_BNT1], -1) + start_BNT1[:, :, -1:] * memory_BNKU
    apart_BNTK = h_BNTK - h_BNTK.mean(-1, keepdim=True)
    normed_BNTK = apart_BNTK / (apart_BNTK.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    normed_BTH = normed_BNTK.transpose(1, 2).flatten(2) * layer.gain_H + layer.offset_H
    open_BTH = 1 / (1 + torch.exp(-o_BNTK.transpose(1, 2).flatten(2)))
    y_BTH = torch.einsum("bth,oh->bto", open_BTH * normed_BTH, layer.W_HH) + layer.b_H
    return y_BTH, (final_BNKU, largest_BNT[..., -1])


def _by_steps(layer: Any, x_BTD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    memory_BNKK, last_BD = state
    sequences = [_sequence(layer, *given) for given in zip(x_BTD, memory_BNKK, last_BD, strict=True)]
    outputs, memories = (torch.stack(part) for part in zip(*sequences, strict=True))
    return outputs, (memories, x_BTD[:, -1])


def _sequence(layer: Any, x_TD: Tensor, memory_NKK: Tensor, last_D: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs (T, H) and the last memory of one sequence."""
    N, K = layer.heads, layer.width // layer.heads
    S = [memory_KK.T for memory_KK in memory_NKK]  # values times keys
    heads = [slice(K * head, K * (head + 1)) for head in range(N)]
    outputs = []
    for x_D in x_TD:
        x_r, x_w, x_k, x_v, x_a, x_g = (x_D + mu_D * (last_D - x_D) for mu_D in layer.mu_6D)
        last_D = x_D
        r, k, v = layer.W_r_HD @ x_r, layer.W_k_HD @ x_k, layer.W_v_HD @ x_v
        d = layer.decay_H + layer.decay_HR @ torch.tanh(layer.decay_RD @ x_w)
        w = torch.exp(-1 / (math.sqrt(math.e) * (1 + torch.exp(-d))))
        a = 1 / (1 + torch.exp(-(layer.rate_H + layer.rate_HR @ (layer.rate_RD @ x_a))))
        g = layer.gate_HG @ (1 / (1 + torch.exp(-(layer.gate_GD @ x_g))))
        removal, replacement = k * layer.xi_H, k * (1 + layer.alpha_H * (a - 1))
        read = []
        for head, part in enumerate(heads):
            kappa = removal[part] / (removal[part].dot(removal[part]) + 1e-6).sqrt()
            transition = torch.diag(w[part]) - torch.outer(kappa, a[part] * kappa)
            S[head] = S[head] @ transition + torch.outer(v[part], replacement[part])
            y = S[head] @ r[part]
            centred = y - y.sum() / K
            normed = centred / (centred.dot(centred) / K + K * 1e-5).sqrt()
            bonus = (r[part] * replacement[part] * layer.rho_H[part]).sum()
            read.append(normed * layer.gain_H[part] + layer.offset_H[part] + bonus * v[part])
        outputs.append(layer.W_HH @ (g * torch.cat(read)))
    return torch.stack(outputs), torch.stack([memory.T for memory in S])


ORACLES: dict[Callable[[str], None], Callable[[str, dict[str, Any]], bool]] = {
    delta_rules_equal_products_of_transitions: lambda name, options: name in ("delta_net", "gated_delta_net"),
    mlstm_equals_its_parallel_form: lambda name, options: name == "mlstm",
    rwkv7_equals_the_equations_of_its_paper: lambda name, options: name == "rwkv7",
}
"""The oracles, each with a predicate: whether the oracle applies to an architecture's name and options."""
