"""Faults of the LSTM's variants, of sLSTM and of echo state networks. See `tests.arch.faults`."""

from __future__ import annotations

from tests.arch import nonlinear
from tests.arch.faults import Check, table

TABLES: list[tuple[str, Check, dict[str, tuple[str, str]]]] = [
    (
        "lstm.py",
        nonlinear.lstm_variants_equal_greff,
        {
            "coupled forget gate keeps what is written": ("f_BH = 1 - i_BH", "f_BH = i_BH"),
            "peephole of the output gate sees the old cell": (
                "p_PH[-1] * (f_BH * c_BH + i_BH * g_BH)",
                "p_PH[-1] * c_BH",
            ),
            "peepholes of input and forget gate swapped": (
                "i + p_PH[0] * c_BH, [f[0] + p_PH[1] * c_BH]",
                "i + p_PH[1] * c_BH, [f[0] + p_PH[0] * c_BH]",
            ),
        },
    ),
    (
        "slstm.py",
        nonlinear.slstm_equals_its_equations_without_stabiliser,
        {
            "stabiliser not carried in the forget gate": ("(log_f - m_BH).exp()", "(log_f - state.m_BH).exp()"),
            "input gate not stabilised": ("(log_i - m_BH).exp()", "log_i.exp()"),
            "no normaliser": ("o_BH * c_BH / n_BH", "o_BH * c_BH"),
            "normaliser not carried": ("f_BH * state.n_BH + i_BH  # (8)", "f_BH + i_BH  # (8)"),
            "forget gate not squashed": ("functional.logsigmoid(f)", "f"),
            "heads mixed": ("bnk,gnjk->bgnj", "bnk,gnjk->bgjn"),
            "empty stabiliser 0 instead of none": ("m_BH.fill_(-torch.inf)", "m_BH.add_(1e3)"),
        },
    ),
    (
        "esn.py",
        nonlinear.esn_equals_full_matrices,
        {
            "leak on the old value": ("self.leak_1 * (s_BH.tanh() - state.h_BH)", "(1 - self.leak_1) * s_BH.tanh()"),
            "spectral radius not scaled": ("U_HK *= spectral_radius /", "U_HK *= 1 /"),
            "inputs not scaled": ("_uniform(input_scaling, width, J)", "_uniform(1.0, width, J)"),
            "a source read twice": ("torch.rand(units, choices).argsort(1)", "torch.rand(units, choices).long()"),
            "every unit reads the same units": ("x.index_select(-1, source_H)", "x.index_select(-1, source_H * 0)"),
        },
    ),
]

FAULTS = [fault for arguments in TABLES for fault in table(*arguments)]
