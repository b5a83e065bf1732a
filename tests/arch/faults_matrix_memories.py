"""Faults to plant in the matrix memories. `tests.arch.faults` says what a row means."""

from __future__ import annotations

from collections.abc import Callable

from bench.validation import arch_checks
from tests.arch.faults import table
from tests.arch.matrix_memories import matrix_memories_equal_masked_attention

TABLES: list[tuple[str, Callable[..., None], dict[str, tuple[str, str]], str]] = [
    (
        "core/matrix_memory.py",
        matrix_memories_equal_masked_attention,
        {
            "decay after the write": (
                "S_MKV = torch.baddbmm(kept_MKV, w_TMK1[t], v_TM1V[t])",
                "S_MKV = torch.baddbmm(S_MKV, w_TMK1[t], v_TM1V[t]) * a_TMK1[t]",
            ),
            "read before the write": (
                "torch.bmm(q_QM1K[t // reads_every], S_MKV)",
                "torch.bmm(q_QM1K[t // reads_every], kept_MKV)",
            ),
        },
        "gla",
    ),
    (
        "core/matrix_memory.py",
        arch_checks.step_equals_scan,
        {
            "memory not carried": (
                "S_MKV, reads = S_BNKV.flatten(0, 1), []",
                "S_MKV, reads = 0 * S_BNKV.flatten(0, 1), []",
            )
        },
        "linear_attention",
    ),
    (
        "core/convolution.py",
        matrix_memories_equal_masked_attention,
        {"taps in reverse order": ("w_LC[k], seen", "w_LC[CONV_STEPS - k], seen")},
        "mamba2",
    ),
    (
        "linear_attention.py",
        matrix_memories_equal_masked_attention,
        {
            "no feature map": ('Part(self.width, "feature", self.heads)', 'Part(self.width, "none", self.heads)'),
        },
        "linear_attention",
    ),
    (
        "core/memory/normaliser.py",
        matrix_memories_equal_masked_attention,
        {"normaliser missing": ("r_BTNV * divisor_BTN1.reciprocal()", "r_BTNV")},
        "linear_attention",
    ),
    (
        "core/memory/projection.py",
        matrix_memories_equal_masked_attention,
        {"normaliser counts the values": ("(0, 1), value=1.0)", "(0, 1), value=2.0)")},
        "linear_attention",
    ),
    (
        "ret_net.py",
        matrix_memories_equal_masked_attention,
        {
            "all heads forget equally": (
                "torch.exp2(-5.0 - torch.arange(heads))",
                "torch.exp2(-5.0 - torch.zeros(heads))",
            ),
            "memory not rotated back after a chunk": (
                "apply_rotary(rotated_BNKV.mT.contiguous(), rotary_TJ[-1].conj()).mT.contiguous()",
                "rotated_BNKV",
            ),
            "values not normalised": (
                "gated_norm(y_BTNV, g_BTC, self.gain_C, self.offset_C, backend=self.backend)",
                "torch.nn.functional.silu(g_BTC) * (y_BTNV.flatten(2) * self.gain_C + self.offset_C)",
            ),
        },
        "ret_net",
    ),
    (
        "gla.py",
        matrix_memories_equal_masked_attention,
        {
            "decay without its exponent": ("(EXPONENT * functional", "(functional"),
            "keys and queries swapped": ("q_BTNK, k_BTNK, v_BTNV, g_BTH,", "k_BTNK, q_BTNK, v_BTNV, g_BTH,"),
            "values not gated": ("gated_norm(y_BTNV, g_BTH,", "gated_norm(y_BTNV, torch.ones_like(g_BTH),"),
        },
        "gla",
    ),
    (
        "gla.py",
        arch_checks.gradients_reach_parameters,
        {"decay does not learn": ("decay=self._decay(low_BTR)", "decay=self._decay(low_BTR).detach()")},
        "gla",
    ),
    (
        "mamba2.py",
        matrix_memories_equal_masked_attention,
        {
            "write not scaled by the step size": ("strength=step_BTN1,", ""),
            "no skip": ("skip_N.unsqueeze(-1), u_BTNV", "0 * skip_N.unsqueeze(-1), u_BTNV"),
            "B and C swapped": ("u_BTE, B_BTK, C_BTK =", "u_BTE, C_BTK, B_BTK ="),
            "norm before the gate": ("gates_first=True", "gates_first=False"),
            "bias of the step size missing": ("softplus(d_BTN + step_N)", "softplus(d_BTN + 0 * step_N)"),
        },
        "mamba2",
    ),
    (
        "mamba2.py",
        arch_checks.step_equals_scan,
        {
            "inputs of the convolution not carried": (
                "c_BTC, inputs_BLC = convolve(",
                "c_BTC, _ = convolve(",
            ),
        },
        "mamba2",
    ),
]
"""File, check that must fail, rows and architecture, as `tests.arch.faults` reads them."""

FAULTS = [fault for arguments in TABLES for fault in table(*arguments)]
