"""Faults to plant in the diagonal recurrences, as in `tests.arch.faults`."""

from __future__ import annotations

from bench.validation import arch_checks
from tests.arch import diagonal
from tests.arch.faults import table

FAULTS = [
    *table(
        "core/diagonal.py",
        arch_checks.step_equals_scan,
        {
            "earlier step of a pair not decayed": ("times(odd_a, even_b) + odd_b", "even_b + odd_b"),
            "steps between pairs not decayed": (
                "times(a[:, 2::2], odd_h[:, : (T - 1) // 2])",
                "odd_h[:, : (T - 1) // 2]",
            ),
            "initial state forgotten": ("times(a[:, :1], h.unsqueeze(1)) + b[:, :1]", "b[:, :1]"),
        },
        arch="min_gru",
    ),
    *table(
        "core/diagonal.py",
        diagonal.lru_equals_its_convolution,
        {
            "product with the conjugate": (
                "re * other_re - im * other_im, re * other_im + im * other_re",
                "re * other_re + im * other_im, re * other_im - im * other_re",
            ),
        },
        arch="lru",
    ),
    *table(
        "core/diagonal.py",
        diagonal.minimal_recurrences_equal_their_log_space_form,
        {
            "decay after the write": (
                "times(a[:, :1], h.unsqueeze(1)) + b[:, :1]",
                "times(a[:, :1], h.unsqueeze(1) + b[:, :1])",
            )
        },
        arch="min_gru",
    ),
    *table(
        "min_gru.py",
        diagonal.minimal_recurrences_equal_their_log_space_form,
        {
            "gate inverted": ("return 1 - z_BTH, z_BTH * positive", "return z_BTH, (1 - z_BTH) * positive"),
            "candidate without g": ("z_BTH * positive(n_BTH)", "z_BTH * n_BTH"),
        },
    ),
    *table(
        "min_gru.py",
        diagonal.signed_recurrence_equals_the_products_of_its_decays,
        {
            "decay without its sign": ("(1 - z_BTH) * s_BTH.tanh(), z", "(1 - z_BTH) * s_BTH.sigmoid(), z"),
            "sign on what is written": ("z_BTH * n_BTH  # (4)", "z_BTH * n_BTH * s_BTH.tanh()  # (4)"),
        },
    ),
    *table(
        "min_lstm.py",
        diagonal.minimal_recurrences_equal_their_log_space_form,
        {
            "gates not scaled to the sum 1": (
                "return log_ratio_BTH.sigmoid(), (-log_ratio_BTH).sigmoid()",
                "return f_BTH.sigmoid(), i_BTH.sigmoid()",
            ),
            "forget and input gates swapped": ("f_BTH, i_BTH, n_BTH = projected", "i_BTH, f_BTH, n_BTH = projected"),
        },
    ),
    *table(
        "min_lstm.py",
        diagonal.new_layers_start_as_their_papers_say,
        {"forget offset on the input gate": ("offset_G[0] = forget_bias", "offset_G[1] = forget_bias")},
    ),
    *table(
        "rg_lru.py",
        diagonal.rg_lru_equals_the_products_of_its_decays,
        {
            "input not scaled": ("scale_BTH * i_BTH * u_BTH", "i_BTH * u_BTH"),
            "scaled by 1 - a": ("torch.expm1(2 * log_a_BTH)", "torch.expm1(log_a_BTH)"),
            "wrong sign of the decay": (
                "-SHARPNESS * functional.softplus(self.decay_H)",
                "-SHARPNESS * functional.softplus(-self.decay_H)",
            ),
            "gates read before the convolution": (
                "functional.linear(u_BTH, self.W_ri_GH, self.b_ri_G)\n        h_BTH",
                "functional.linear(v_BTH, self.W_ri_GH, self.b_ri_G)\n        h_BTH",
            ),
        },
    ),
    *table(
        "core/convolution.py",
        arch_checks.step_equals_scan,
        {"inputs of the convolution not carried": ("torch.cat(parts, 1).c", "(0 * torch.cat(parts, 1)).c")},
        arch="rg_lru",
    ),
    *table(
        "core/convolution.py",
        diagonal.rg_lru_equals_the_products_of_its_decays,
        {"filters in the wrong order": ("w_LC[k], seen", "w_LC[CONV_STEPS - k], seen")},
        arch="rg_lru",
    ),
    *table(
        "rg_lru.py",
        diagonal.new_layers_start_as_their_papers_say,
        {"decay starts too small": ("/ SHARPNESS).expm1().log()", ").expm1().log()")},
    ),
    *table(
        "lru.py",
        diagonal.lru_equals_its_convolution,
        {
            "input not normalised": ("functional.linear(x, gamma_M1 * B_MD)", "functional.linear(x, B_MD)"),
            "skip connection omitted": ("functional.linear(h, C_HM) + skipped", "functional.linear(h, C_HM)"),
            "opposite phase": ("size_N * phase_N.sin()", "-size_N * phase_N.sin()"),
        },
    ),
    *table(
        "lru.py",
        diagonal.new_layers_start_as_their_papers_say,
        {"radius uniform instead of area": ("share_N.double()", "share_N.double().square()")},
    ),
    *table(
        "ind_rnn.py",
        diagonal.ind_rnn_equals_a_loop_over_its_units,
        {"units do not remember": ("projected_BH + u_H * h_BH", "projected_BH + u_H * h_BH * 0")},
    ),
]
