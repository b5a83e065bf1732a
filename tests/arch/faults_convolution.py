"""Faults to plant in `arch/tcn.py` and `arch/hybrid.py`."""

from __future__ import annotations

from bench.validation import arch_checks
from tests.arch import convolution, mixtures
from tests.arch.faults import Check, Fault

PLANTED: list[tuple[str, Check, dict[str, tuple[str, str]]]] = [
    (
        "tcn.py",
        convolution.tcn_equals_sums_over_taps,
        {
            "taps in reverse order": ("W_HKD.mT, b_H", "W_HKD.flip(1).mT, b_H"),
            "dilation that does not grow": ("layer.dilation**i", "1"),
            "no weight norm": ("    if g_H is None:\n        return V_HKD", "    if True:\n        return V_HKD"),
            "scale of the first filter for all": ("scale_H[:, None, None]", "scale_H[0]"),
            "shortcut left out": ("v_BTH + shortcut_BTH", "v_BTH"),
            "activation after the sum left out": ("(v_BTH + shortcut_BTH).relu()", "v_BTH + shortcut_BTH"),
            "activations of the convolutions left out": ("functional.relu(convolved_BHT.mT)", "convolved_BHT.mT"),
            "past inputs not carried": ("past_BND.roll(-oldest, 1)", "torch.zeros_like(past_BND)"),
        },
    ),
    (
        "tcn.py",
        convolution.tcn_equals_a_loop,
        {"one bias for both convolutions": ("W2_HKH, self.b2_H)", "W2_HKH, self.b1_H)")},
    ),
    (
        "tcn.py",
        arch_checks.step_equals_scan,
        {
            "ring buffer in the wrong order": ("roll((oldest + T) % N, 1)", "roll(oldest, 1)"),
            "oldest slot left behind": ("(state.oldest + x_BTD.shape[1]) % self.past", "state.oldest"),
        },
    ),
    (
        "hybrid.py",
        mixtures.hybrid_equals_the_chain_of_its_parts,
        {
            "pattern that does not repeat": (
                "itertools.islice(itertools.cycle(pattern), depth)",
                "[*pattern, *[pattern[-1]] * depth][:depth]",
            ),
            "norm at the end of the model only": (' or blocks[i + 1].block == "bare"', ""),
            "norm after every block": ('ends = i + 1 == depth or blocks[i + 1].block == "bare"', "ends = True"),
            "parts without their blocks": (
                "dataclasses.replace(block, conv=rest.conv)",
                'dataclasses.replace(block, conv=rest.conv, block="bare", expansion=0)',
            ),
            "options of a part lost": ("get(f\"{name}:{options.replace(':', ',')}\")", "get(name)"),
        },
    ),
]
"""A file, the check that must fail, and the faults by name: a snippet of the file, and its replacement."""

FAULTS = [Fault(name, file, *texts, check) for file, check, rows in PLANTED for name, texts in rows.items()]
