"""Faults to plant in `mamba` and `s4d`, each with the check or oracle that must fail."""

from __future__ import annotations

from bench.validation import arch_checks
from tests.arch import state_space
from tests.arch.faults import Fault, table

FAULTS: list[Fault] = [
    *table(
        "mamba.py",
        state_space.mamba_equals_its_attention_form,
        {
            "decay after the write": ("a_BNE * h_BNE + write_BNE", "a_BNE * (h_BNE + write_BNE)"),
            "time step missing in the write": ("(step_BTE * c_BTE).unsqueeze(2)", "c_BTE.unsqueeze(2)"),
            "B and C swapped": ("B_BTN, C_BTN = BC_BTM", "C_BTN, B_BTN = BC_BTM"),
            "inputs do not bypass the states": (".squeeze(2) + D_E * c_BTE", ".squeeze(2)"),
            "gate is a sigmoid": ("s_BTE * functional.silu(z_BTE)", "s_BTE * z_BTE.sigmoid()"),
            "states grow": ("self.b_p_E, -self.A_log_NE.exp())", "self.b_p_E, self.A_log_NE.exp())"),
            "negative decays not shifted": ("2 * exponent.exp() - 1 if", "2 * exponent.exp() if"),
            "negative decays not doubled": ("2 * exponent.exp() - 1 if", "exponent.exp() - 1 if"),
            "time steps not positive": ("functional.softplus(r_BTR @ W_RE + b_E)", "(r_BTR @ W_RE + b_E)"),
        },
    ),
    *table(
        "core/convolution.py",
        state_space.mamba_equals_its_attention_form,
        {"filters in reverse": ("w_LC[k], seen", "w_LC[3 - k], seen")},
        arch="mamba",
    ),
    *table(
        "mamba.py",
        arch_checks.step_equals_scan,
        {
            "inputs of the convolution not carried": (
                "MambaState(h_BNE, inputs_BKE)",
                "MambaState(h_BNE, state.inputs_BKE)",
            ),
            "states not carried": ("MambaState(h_BNE, inputs_BKE)", "MambaState(state.h_BNE, inputs_BKE)"),
        },
    ),
    *table(
        "mamba.py",
        state_space.mamba_decay_is_the_share_that_is_kept,
        {
            "the decay of the gates ignores A": (
                "(-step_BE1 * self.A_log_NE.exp().T, ",
                "(-step_BE1 * self.D_E[:, None], ",
            ),
            "the decay of the gates ignores its sign": (
                "A_log_NE.exp().T, self.negative)",
                "A_log_NE.exp().T, False)",
            ),
        },
    ),
    *table(
        "mamba.py",
        state_space.initial_time_steps_match_the_paper,
        {
            "softplus not inverted": ("step_E + torch.log(-torch.expm1(-step_E))", "step_E"),
            "time steps uniform, not log-uniform": (
                "uniform_(math.log(MIN_STEP), math.log(MAX_STEP)).exp()",
                "uniform_(MIN_STEP, MAX_STEP)",
            ),
            "A starts at 0": ("torch.arange(1, states + 1,", "torch.arange(0, states,"),
        },
    ),
    *table(
        "s4d.py",
        state_space.s4d_equals_its_convolution,
        {
            "conjugates not counted": ("Cb_PNH = 2 * torch.stack", "Cb_PNH = torch.stack"),
            "no zero-order hold": ("torch.stack([C_NH * b_NH - C_i * b_i, C_NH * b_i + C_i * b_NH])", "C_PNH"),
            "imaginary part added": ("torch.stack([real_BNH, -imag_BNH], 1)", "torch.stack([real_BNH, imag_BNH], 1)"),
            "states do not rotate": ("a_NH * before_BNH - a_i * imag_BNH", "a_NH * before_BNH"),
            "imaginary part updated from the new real part": (
                "a_NH * imag_BNH + a_i * before_BNH",
                "a_NH * imag_BNH + a_i * real_BNH",
            ),
            "input decays at once": (
                "- a_i * imag_BNH + x_BH.unsqueeze(1)",
                "- a_i * imag_BNH + a_NH * x_BH.unsqueeze(1)",
            ),
            "inputs do not bypass the states": (" + D_H * x_BTH  # (3)", ""),
            "no GELU": ("return functional.gelu(s_BTH), real", "return s_BTH, real"),
        },
    ),
    *table(
        "s4d.py",
        state_space.initial_time_steps_match_the_paper,
        {
            "frequencies without π": ("(math.pi * n_N1)", "(1.0 * n_N1)"),
            "states decay twice as fast": ("math.log(0.5)", "math.log(1.0)"),
        },
    ),
]
