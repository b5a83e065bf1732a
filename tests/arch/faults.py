"""Faults to plant: one exact snippet of a source file, what stands there instead, and the check that must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.validation import arch_checks
from tests.arch import oracles, softmax

Check = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`arch` is the architecture to look at; where it is not given, the one whose file is changed."""

    name: str
    file: str
    there: str
    instead: str
    caught_by: Check
    arch: str = ""

    @property
    def subject(self) -> str:
        return self.arch or Path(self.file).stem

    def __str__(self) -> str:
        return f"{Path(self.file).stem}: {self.name}"


def _table(file: str, caught_by: Check, rows: dict[str, tuple[str, str]], arch: str = "") -> list[Fault]:
    return [Fault(name, file, there, instead, caught_by, arch) for name, (there, instead) in rows.items()]


FAULTS = [
    *_table(
        "lstm.py",
        oracles.recurrent_layers_equal_torch,
        {
            "input and forget gates swapped": ("i, f, g, o = torch.addmm", "f, i, g, o = torch.addmm"),
            "blocks in the wrong order": ("i, f, g, o = torch.addmm", "i, f, o, g = torch.addmm"),
            "forget offset on the input gate": ("offset_G[1] = forget_bias", "offset_G[0] = forget_bias"),
            "cell forgotten": ("f_BH * state.c_BH + i_BH * g_BH", "i_BH * g_BH"),
            "cell not squashed": ("o_BH * c_BH.tanh()", "o_BH * c_BH"),
            "output is one step late": (
                "return h_BH, LSTMState(h_BH, c_BH)",
                "return state.h_BH, LSTMState(h_BH, c_BH)",
            ),
            "parts of the state swapped": ("return h_BH, LSTMState(h_BH, c_BH)", "return h_BH, LSTMState(c_BH, h_BH)"),
        },
    ),
    *_table(
        "lstm.py",
        oracles.gates_are_what_the_update_reads,
        {
            "gate names swapped": ('("input", "forget", ', '("forget", "input", '),
        },
    ),
    *_table(
        "gru.py",
        oracles.recurrent_layers_equal_torch,
        {
            "update gate inverted": ("(1 - z_BH) * n_BH + z_BH * state", "z_BH * n_BH + (1 - z_BH) * state"),
            "reset and update gates swapped": ("r_h, z_h, n_h = functional", "z_h, r_h, n_h = functional"),
            "recurrent bias not reset": (
                "r_BH * (n_h if self.u_H is None else n_h + self.u_H)",
                "r_BH * n_h + (0 if self.u_H is None else self.u_H)",
            ),
        },
    ),
    *_table(
        "gru.py",
        oracles.reset_before_equals_single_numbers,
        {
            "reset left out": ("r_BH * h_BH, U_n.T", "h_BH, U_n.T"),
            "reset after the product": ("torch.addmm(n_x, r_BH * h_BH, U_n.T)", "(n_x + r_BH * (h_BH @ U_n.T))"),
        },
    ),
    *_table(
        "gru.py",
        arch_checks.gates_read_only,
        {
            "reading the gates moves the state": (
                "self.read(self.project(x_BD), state), strict",
                "self.read(self.project(x_BD), GRUState(state.h_BH.add_(1))), strict",
            ),
        },
    ),
    *_table(
        "rnn.py",
        oracles.recurrent_layers_equal_torch,
        {
            "bias ignored": ("functional.linear(x, self.W_HD, self.b_H)", "functional.linear(x, self.W_HD)"),
            "recurrent weights transposed": ("state.h_BH, self.U_HH.T)", "state.h_BH, self.U_HH)"),
            "first state kept for ever": (
                "torch.addmm(projected_BG, state.h_BH",
                'torch.addmm(projected_BG, self.__dict__.setdefault("kept", state).h_BH',
            ),
            "nonlinearities swapped": (
                'tanh() if self.nonlinearity == "tanh"',
                'tanh() if self.nonlinearity != "tanh"',
            ),
        },
    ),
    *_table(
        "rnn.py",
        arch_checks.shapes,
        {
            "outputs in single precision": ("return h_BH, RNNState(h_BH)", "return h_BH.float(), RNNState(h_BH)"),
        },
    ),
    *_table(
        "lstm.py",
        arch_checks.input_dependence,
        {
            "output is one step late for ever": (
                "return h_BH, LSTMState(h_BH, c_BH)",
                "return state.h_BH, LSTMState(h_BH, c_BH)",
            ),
        },
    ),
    *_table(
        "rnn.py",
        oracles.recurrent_layers_start_from_zero,
        {
            "empty state not empty": (
                "RNNState(self.empty(batch, self.width))",
                "RNNState(self.empty(batch, self.width) + 1)",
            ),
        },
    ),
    *_table(
        "rnn.py",
        arch_checks.batch_independence,
        {
            "batch averaged": ("projected_BG, state.h_BH, self", "projected_BG, state.h_BH - state.h_BH.mean(0), self"),
        },
    ),
    *_table(
        "rnn.py",
        arch_checks.stream_independence,
        {
            "one buffer for all streams": (
                "return h_BH, RNNState(h_BH)",
                'return h_BH, RNNState(self.__dict__.setdefault("kept", h_BH.detach().clone()).copy_(h_BH.detach()))',
            ),
        },
    ),
    *_table(
        "rnn.py",
        arch_checks.gradients_match_finite_differences,
        {
            "no gradient through time": ("projected_BG, state.h_BH, self", "projected_BG, state.h_BH.detach(), self"),
        },
    ),
    *_table(
        "transformer.py",
        arch_checks.causality,
        {
            "causal mask missing": ("is_causal=T > 1", "is_causal=False"),
            "causal mask missing in a window": ("(age_TS >= 0) & (age_TS <", "(age_TS <"),
        },
    ),
    *_table(
        "transformer.py",
        arch_checks.step_equals_scan,
        {
            "values not cached": (
                "values_BNSK[:, :, length : length + T] = v_BNTK",
                "values_BNSK[:, :, length : length + T] = 0",
            ),
            "cache overwrites its last step": (
                "keys_BNSK[:, :, length : length + T] = k_BNTK",
                "keys_BNSK[:, :, length - 1 : length + T - 1] = k_BNTK",
            ),
            "window one too short": ("cache.length - T - self.window + 1)", "cache.length - T - self.window + 2)"),
            "window drops a step too many": ("min(length, window - 1)", "max(0, min(length, window - 2))"),
            "position off by one after the first chunk": (
                "self._added_positions(state.position,",
                "self._added_positions(max(0, state.position - 1),",
            ),
            "position counted from the window": ("self._turns(cache.position,", "self._turns(cache.length,"),
            "step forgets the past": (
                "self.scan(x_BD.unsqueeze(1), state)",
                "self.scan(x_BD.unsqueeze(1), self.init_state(len(x_BD)))",
            ),
        },
    ),
    *_table(
        "transformer.py",
        softmax.transformer_equals_plain_softmax,
        {
            "window one too long": ("age_TS < (self.window or S + 1)", "age_TS <= (self.window or S + 1)"),
            "positions start at one": (
                "self._added_positions(state.position,",
                "self._added_positions(1 + state.position,",
            ),
            "keys not turned": (
                "return qk_2BNTK[0], qk_2BNTK[1],",
                "return qk_2BNTK[0], qkv_BTD.view(B, T, 3, self.heads, -1)[:, :, 1].transpose(1, 2),",
            ),
            "near steps penalised": ("(-slope_N11 * age_TS)", "(slope_N11 * age_TS)"),
            "positions added in every layer": (
                "self.adds_positions = False",
                'self.adds_positions = positions == "sinusoidal"',
            ),
            "cache reused where gradients need it": ("k_BNTK.requires_grad or cache.keys_BNSK.requires_grad", "False"),
        },
    ),
    *_table(
        "core/positions.py",
        softmax.transformer_equals_plain_softmax,
        {
            "heads numbered from zero": ("torch.arange(1, heads + 1,", "torch.arange(0, heads,"),
        },
        arch="transformer",
    ),
    *_table(
        "transformer.py",
        softmax.transformer_equals_torch_encoder,
        {
            "scores not scaled": ("is_causal=T > 1)", "is_causal=T > 1, scale=1.0)"),
            "residual left out": ("x_BTD + self.W_o(attended_BTD)", "self.W_o(attended_BTD)"),
            "no norm before attention": ("self.W_qkv(self.attention_norm(x_BTD))", "self.W_qkv(x_BTD)"),
        },
    ),
    *_table(
        "transformer.py",
        arch_checks.gradients_reach_parameters,
        {
            "attention learns nothing": ("self.W_o(attended_BTD)", "self.W_o(attended_BTD.detach())"),
        },
    ),
    *_table(
        "transformer.py",
        arch_checks.gradients_across_chunks,
        {
            "gradient stops between chunks": (
                "torch.cat([old_keys, k_BNTK], 2)",
                "torch.cat([old_keys.detach(), k_BNTK], 2)",
            ),
        },
    ),
    *_table(
        "core/layer.py",
        arch_checks.step_equals_scan,
        {
            "scan stays at its first state": ("h_BH, state = self.update", "h_BH, _ = self.update"),
        },
        arch="rnn",
    ),
    *_table(
        "core/state.py",
        arch_checks.state_copies,
        {
            "copy shares memory": ("lambda tensor: tensor.clone()", "lambda tensor: tensor"),
        },
        arch="transformer",
    ),
    *_table(
        "core/layer.py",
        arch_checks.forward_equals_scan,
        {
            "forward goes on from its own end": (
                "self.scan(x_BTD, self.init_state(len(x_BTD)))[0]",
                "self.scan(x_BTD, self.scan(x_BTD, self.init_state(len(x_BTD)))[1])[0]",
            ),
        },
        arch="gru",
    ),
    *_table(
        "core/model.py",
        arch_checks.step_equals_scan,
        {
            "state of the first layer for all": (
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[0])",
            ),
        },
        arch="gru",
    ),
    *_table(
        "core/model.py",
        oracles.model_is_its_parts,
        {
            "dropout on the input": (
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.scan(self.dropout(hidden), state[i])",
            ),
            "no dropout in single steps": (
                "layer.step(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.step(hidden, state[i])",
            ),
        },
        arch="lstm",
    ),
    *_table(
        "core/initialisation.py",
        oracles.recurrent_weights_start_as_named,
        {
            "blocks orthogonal only together": (
                "nn.init.orthogonal_(recurrent_HH)",
                "nn.init.orthogonal_(recurrent_GH)",
            ),
            "bound from the input width": ("1 / math.sqrt(width)", "1 / math.sqrt(input_GD.shape[1])"),
            "biases start at one": ("nn.init.zeros_(bias)", "nn.init.ones_(bias)"),
        },
        arch="lstm",
    ),
    *_table(
        "core/initialisation.py",
        oracles.recurrent_weights_start_as_named,
        {
            "identity full": ("nn.init.eye_(recurrent_HH)", "nn.init.ones_(recurrent_HH)"),
        },
        arch="rnn",
    ),
]
