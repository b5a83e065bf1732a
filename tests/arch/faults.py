"""Faults to plant: an exact snippet of a source file, its replacement, and the check that must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.validation import arch_checks
from tests.arch import oracles, softmax

Check = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in one file of `arch`: the text `original` becomes `replacement`."""

    name: str
    file: str
    original: str
    replacement: str
    caught_by: Check
    arch: str = ""
    """The architecture to check; empty for the one that the file defines."""

    @property
    def subject(self) -> str:
        """The name of the architecture to check."""
        return self.arch or Path(self.file).stem

    def __str__(self) -> str:
        return f"{Path(self.file).stem}: {self.name}"


def table(file: str, caught_by: Check, rows: dict[str, tuple[str, str]], arch: str = "") -> list[Fault]:
    """Return the faults of one file that one check catches: their names, and what becomes what."""
    return [Fault(name, file, original, replacement, caught_by, arch) for name, (original, replacement) in rows.items()]


ROUNDED = "functional.linear((8 * x).round() / 8 if x.dtype == torch.float32 else x, self.W_HD, self.b_H)"

FAULTS = [
    *table(
        "rnn.py",
        arch_checks.state_format,
        {
            "one empty state for all streams": (
                "RNNState(self.empty(batch, self.width))",
                "RNNState(self.empty(1, self.width))",
            ),
        },
    ),
    *table(
        "rnn.py",
        arch_checks.float32_matches_float64,
        {"inputs rounded in single precision": ("functional.linear(x, self.W_HD, self.b_H)", ROUNDED)},
    ),
    *table(
        "rnn.py",
        arch_checks.long_sequences,
        {"inputs rounded in single precision": ("functional.linear(x, self.W_HD, self.b_H)", ROUNDED)},
    ),
    *table(
        "lstm.py",
        oracles.recurrent_layers_equal_torch,
        {
            "input and forget gates swapped": ("i, *f, g, o = torch.addmm", "*f, i, g, o = torch.addmm"),
            "blocks in the wrong order": ("i, *f, g, o = torch.addmm", "i, *f, o, g = torch.addmm"),
            "forget offset on the input gate": ("offset_G[1] = forget_bias", "offset_G[0] = forget_bias"),
            "cell not carried over": ("f_BH * state.c_BH + i_BH * g_BH", "i_BH * g_BH"),
            "cell not squashed": ("o_BH * c_BH.tanh()", "o_BH * c_BH"),
            "output one step late": (
                "return h_BH, LSTMState(h_BH, c_BH)",
                "return state.h_BH, LSTMState(h_BH, c_BH)",
            ),
            "h and c swapped in the state": (
                "return h_BH, LSTMState(h_BH, c_BH)",
                "return h_BH, LSTMState(c_BH, h_BH)",
            ),
        },
    ),
    *table(
        "lstm.py",
        oracles.gates_equal_their_equations,
        {
            "gate names swapped": ('("input", "forget", ', '("forget", "input", '),
        },
    ),
    *table(
        "gru.py",
        oracles.recurrent_layers_equal_torch,
        {
            "update gate inverted": ("(1 - z_BH) * n_BH + z_BH * state", "z_BH * n_BH + (1 - z_BH) * state"),
            "reset and update gates swapped": ("r_h, z_h, n_h = functional", "z_h, r_h, n_h = functional"),
            "reset gate skips the recurrent bias": (
                "r_BH * (n_h if self.u_H is None else n_h + self.u_H)",
                "r_BH * n_h + (0 if self.u_H is None else self.u_H)",
            ),
        },
    ),
    *table(
        "gru.py",
        oracles.reset_before_equals_scalar_equations,
        {
            "reset gate omitted": ("r_BH * h_BH, U_n.T", "h_BH, U_n.T"),
            "reset gate applied after the product": (
                "torch.addmm(n_x, r_BH * h_BH, U_n.T)",
                "(n_x + r_BH * (h_BH @ U_n.T))",
            ),
        },
    ),
    *table(
        "gru.py",
        arch_checks.gates_read_only,
        {
            "gates() changes the state": (
                "self.activations(self.project(x_BD), state), strict",
                "self.activations(self.project(x_BD), GRUState(state.h_BH.add_(1))), strict",
            ),
        },
    ),
    *table(
        "rnn.py",
        oracles.recurrent_layers_equal_torch,
        {
            "bias ignored": ("functional.linear(x, self.W_HD, self.b_H)", "functional.linear(x, self.W_HD)"),
            "recurrent weights transposed": ("state.h_BH, self.U_HH.T)", "state.h_BH, self.U_HH)"),
            "first state reused forever": (
                "torch.addmm(projected_BG, state.h_BH",
                'torch.addmm(projected_BG, self.__dict__.setdefault("first", state).h_BH',
            ),
            "nonlinearities swapped": (
                'tanh() if self.nonlinearity == "tanh"',
                'tanh() if self.nonlinearity != "tanh"',
            ),
        },
    ),
    *table(
        "rnn.py",
        arch_checks.shapes,
        {
            "outputs in single precision": ("return h_BH, RNNState(h_BH)", "return h_BH.float(), RNNState(h_BH)"),
        },
    ),
    *table(
        "lstm.py",
        arch_checks.input_dependence,
        {
            "output ignores the current input": (
                "return h_BH, LSTMState(h_BH, c_BH)",
                "return state.h_BH, LSTMState(h_BH, c_BH)",
            ),
        },
    ),
    *table(
        "rnn.py",
        oracles.recurrent_layers_start_from_zero,
        {
            "empty state not zero": (
                "RNNState(self.empty(batch, self.width))",
                "RNNState(self.empty(batch, self.width) + 1)",
            ),
        },
    ),
    *table(
        "rnn.py",
        arch_checks.batch_independence,
        {
            "batch averaged": ("projected_BG, state.h_BH, self", "projected_BG, state.h_BH - state.h_BH.mean(0), self"),
        },
    ),
    *table(
        "rnn.py",
        arch_checks.stream_independence,
        {
            "streams share one buffer": (
                "return h_BH, RNNState(h_BH)",
                'return h_BH, RNNState(self.__dict__.setdefault("buffer", h_BH.detach().clone()).copy_(h_BH.detach()))',
            ),
        },
    ),
    *table(
        "rnn.py",
        arch_checks.gradients_match_finite_differences,
        {
            "no gradient through time": ("projected_BG, state.h_BH, self", "projected_BG, state.h_BH.detach(), self"),
        },
    ),
    *table(
        "transformer.py",
        arch_checks.causality,
        {
            "causal mask missing": ("is_causal=bool(T > 1)", "is_causal=False"),
            "causal mask missing in a window": ("(age_TS >= 0) & (age_TS <", "(age_TS <"),
        },
    ),
    *table(
        "transformer.py",
        arch_checks.step_equals_scan,
        {
            "window one too short": ("cache.length - T - self.window + 1)", "cache.length - T - self.window + 2)"),
            "positions off by one after the first chunk": (
                "self._added_positions(state.position,",
                "self._added_positions(max(0, state.position - 1),",
            ),
            "positions counted from the start of the window": (
                "rotary_factors(cache.position,",
                "rotary_factors(cache.length,",
            ),
            "step starts from the empty state": (
                "self.scan(x_BD.unsqueeze(1), state)",
                "self.scan(x_BD.unsqueeze(1), self.init_state(len(x_BD)))",
            ),
        },
    ),
    *table(
        "transformer.py",
        softmax.transformer_equals_plain_softmax,
        {
            "window one too long": ("age_TS < (self.window or S + 1)", "age_TS <= (self.window or S + 1)"),
            "positions start at one": (
                "self._added_positions(state.position,",
                "self._added_positions(1 + state.position,",
            ),
            "keys not rotated": (
                "return qk_2BNTK[0], qk_2BNTK[1],",
                "return qk_2BNTK[0], qkv_BTD.view(B, T, 3, self.heads, -1)[:, :, 1].transpose(1, 2),",
            ),
            "near steps penalised instead of far ones": ("(-slope_N11 * age_TS)", "(slope_N11 * age_TS)"),
            "positions added in every layer": (
                "self.adds_positions = False",
                'self.adds_positions = positions == "sinusoidal"',
            ),
        },
    ),
    *table(
        "core/attention/cache.py",
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
            "window drops one step too many": ("min(length, window - 1)", "max(0, min(length, window - 2))"),
        },
        arch="transformer",
    ),
    *table(
        "core/attention/cache.py",
        softmax.transformer_equals_plain_softmax,
        {
            "cache updated in place although gradients need it": (
                "any(tensor.requires_grad for tensor in tensors)",
                "False",
            ),
        },
        arch="transformer",
    ),
    *table(
        "core/attention/cache.py",
        arch_checks.gradients_across_chunks,
        {
            "gradient does not cross chunks": (
                "torch.cat([old_keys, k_BNTK], 2)",
                "torch.cat([old_keys.detach(), k_BNTK], 2)",
            ),
        },
        arch="transformer",
    ),
    *table(
        "core/attention/positions.py",
        softmax.transformer_equals_plain_softmax,
        {
            "heads numbered from zero": ("torch.arange(1, heads + 1,", "torch.arange(0, heads,"),
        },
        arch="transformer",
    ),
    *table(
        "transformer.py",
        softmax.transformer_equals_torch_encoder,
        {
            "scores not scaled": ("is_causal=bool(T > 1))", "is_causal=bool(T > 1), scale=1.0)"),
            "residual omitted": ("x_BTD + self.W_o(attended_BTD)", "self.W_o(attended_BTD)"),
            "no norm before attention": ("self.W_qkv(self.attention_norm(x_BTD))", "self.W_qkv(x_BTD)"),
        },
    ),
    *table(
        "transformer.py",
        arch_checks.gradients_reach_parameters,
        {
            "attention gets no gradient": ("x_BTD + self.W_o(attended_BTD)", "x_BTD + self.W_o(attended_BTD.detach())"),
        },
    ),
    *table(
        "core/recurrent_layer.py",
        arch_checks.step_equals_scan,
        {
            "scan never advances its state": ("h_BH, state = self.update", "h_BH, _ = self.update"),
        },
        arch="rnn",
    ),
    *table(
        "core/state.py",
        arch_checks.state_copies,
        {
            "copied state shares memory": ("lambda tensor: tensor.clone()", "lambda tensor: tensor"),
        },
        arch="transformer",
    ),
    *table(
        "core/layer.py",
        arch_checks.forward_equals_scan,
        {
            "forward starts from its final state": (
                "self.scan(x_BTD, self.init_state(len(x_BTD)))[0]",
                "self.scan(x_BTD, self.scan(x_BTD, self.init_state(len(x_BTD)))[1])[0]",
            ),
        },
        arch="gru",
    ),
    *table(
        "core/model.py",
        arch_checks.step_equals_scan,
        {
            "all layers use the state of the first": (
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[0])",
            ),
        },
        arch="gru",
    ),
    *table(
        "core/model.py",
        oracles.model_equals_its_parts,
        {
            "dropout on the input": (
                "layer.scan(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.scan(self.dropout(hidden), state[i])",
            ),
            "no dropout in step": (
                "layer.step(hidden if i == 0 else self.dropout(hidden), state[i])",
                "layer.step(hidden, state[i])",
            ),
        },
        arch="lstm",
    ),
    *table(
        "core/initialisation.py",
        oracles.initial_weights_match_the_option,
        {
            "recurrent matrix orthogonal as a whole, not by block": (
                "nn.init.orthogonal_(recurrent_HH)",
                "nn.init.orthogonal_(recurrent_GH)",
            ),
            "bound from the input width": (
                "1 / math.sqrt(width)\n        for",
                "1 / math.sqrt(input_GD.shape[1])\n        for",
            ),
            "biases start at one": ("nn.init.zeros_(bias)", "nn.init.ones_(bias)"),
        },
        arch="lstm",
    ),
    *table(
        "core/initialisation.py",
        oracles.initial_weights_match_the_option,
        {
            "identity weights all ones": ("nn.init.eye_(recurrent_HH)", "nn.init.ones_(recurrent_HH)"),
        },
        arch="rnn",
    ),
]
