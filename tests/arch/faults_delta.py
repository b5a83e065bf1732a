"""Faults to plant in the layers with a delta rule, in `mlstm` and in `rwkv7`."""

from __future__ import annotations

from bench.validation import arch_checks
from tests.arch import transitions
from tests.arch.faults import table

TABLES = (
    (
        "core/memory/delta_rule.py",
        transitions.delta_rules_equal_products_of_transitions,
        {
            "keys not scaled to norm 1": ("unit_channels=(1 + n) * H,", "unit_channels=H,"),
            "β not doubled": ("2 * beta_BTN if self.negative else beta_BTN", "beta_BTN"),
        },
        "delta_net",
    ),
    (
        "core/convolution.py",
        arch_checks.step_equals_scan,
        {
            "convolution state not carried": (
                "return parts, last_inputs(u_BTC, before_BLC)",
                "return parts, before_BLC.clone()",
            ),
        },
        "delta_net",
    ),
    (
        "core/convolution.py",
        transitions.delta_rules_equal_products_of_transitions,
        {"no SiLU": ("s_XYC = functional.silu(c_XYC)", "s_XYC = c_XYC")},
        "gated_delta_net",
    ),
    (
        "delta_net.py",
        transitions.delta_rules_equal_products_of_transitions,
        {
            "wrong sign of the correction": ("(k_BSNK, None)", "(-k_BSNK, None)"),
            "β applied twice": ("(k_BSNK, None)", "(beta_BSN1 * k_BSNK, None)"),
            "no norm of the heads": (
                "rms_norm(y_BTNK, self.gain_K, backend=self.backend)",
                "(y_BTNK * self.gain_K).flatten(2)",
            ),
        },
        "",
    ),
    (
        "gated_delta_net.py",
        transitions.delta_rules_equal_products_of_transitions,
        {
            "decay after the correction": ("(alpha_BSNK * k_BSNK, None)", "(k_BSNK, None)"),
            "decay at each of several steps": ("torch.ones_like(alpha_BTNK)", "alpha_BTNK"),
            "decay at the last of several steps": (
                "[alpha_BTNK.unsqueeze(2), others]",
                "[others, alpha_BTNK.unsqueeze(2)]",
            ),
            "decay of the wrong sign": ("torch.exp(-self.log_A_N.exp()", "torch.exp(self.log_A_N.exp()"),
            "gate of KDA is SiLU": ("* g_BTH.sigmoid()", "* functional.silu(g_BTH)"),
        },
        "",
    ),
    (
        "core/memory/normaliser.py",
        transitions.mlstm_equals_its_parallel_form,
        {"normaliser without its absolute value": ("t_BTN1.abs()", "t_BTN1")},
        "mlstm",
    ),
    (
        "mlstm.py",
        transitions.mlstm_equals_its_parallel_form,
        {
            "stabiliser forgotten in the decay": ("torch.exp(log_f_BTN + before_BTN - m_BTN)", "torch.exp(log_f_BTN)"),
            "stabiliser not carried": ("m_BTN[:, -1].clone()", "stabiliser_BN"),
            "normaliser bounded by 1 in stabilised units": (
                "torch.exp(-m_BTN.clamp(min=MIN_STABILISER))",
                "m_BTN.new_ones(m_BTN.shape)",
            ),
            "keys not divided by the root of their width": ("(i_BTN / math.sqrt(q_BTNK.shape[3]))", "i_BTN"),
            "input and forget gates swapped": ("i_BTN, f_BTN = gates_BTG", "f_BTN, i_BTN = gates_BTG"),
        },
        "",
    ),
    (
        "rwkv7.py",
        transitions.rwkv7_equals_the_equations_of_its_paper,
        {
            "wrong sign of the removal": ("kappa, -a * kappa, k", "kappa, a * kappa, k"),
            "removal without its rate": ("kappa, -a * kappa, k", "kappa, -kappa, k"),
            "decay without its bound": ("-SLOWEST_DECAY * w.sigmoid()", "-w.sigmoid()"),
            "no bonus": ("normed_RH + bonus_RH", "normed_RH + 0 * bonus_RH"),
            "ε of the norm does not grow with the head": ("epsilons=y_BTNK.shape[3]", "epsilons=1"),
        },
        "",
    ),
    (
        "rwkv7.py",
        arch_checks.step_equals_scan,
        {
            "token shift not carried": ("x_BTD[:, -1].clone()", "state.input_BD"),
        },
        "",
    ),
)
"""Tables of faults: the file, the check that must fail, the faults by name, and the architecture to check."""

FAULTS = [fault for arguments in TABLES for fault in table(*arguments)]
