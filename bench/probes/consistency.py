"""Consistency check before timing: `scan`, `step` and `stream` of a trained model must give the same results.

All forms run short segments from the same state. The check compares their outputs with those of `scan`, and the outputs
of further steps from the final states. A network may amplify rounding errors over many steps. This amplification is a
property of the network, not a difference between the forms. Over so few steps, rounding errors stay far below the
tolerance.
"""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import arch

SEGMENT_STEPS = 8
CONSISTENCY_TOLERANCE = 1e-3
"""Largest allowed float32 difference, relative to the largest magnitude of the outputs (at least 1)."""

Form = Callable[[Tensor, list[arch.State]], tuple[Tensor, list[arch.State]]]
"""Function that processes a segment (B, T) or (B, T, D) from a state. It returns the outputs and the next state."""


def largest_differences(model: arch.SequenceModel, inputs: Tensor) -> dict[str, float]:
    """Return the largest difference of `step` and of `stream` from `scan`, by the name of the form.

    Differences are relative to the largest magnitude of the outputs, or to 1 if that is smaller. `inputs` has shape
    (B, T) or (B, T, D). A difference is infinite if an output is NaN.
    """
    forms: dict[str, Form] = {"step": partial(_run_steps, model), "stream": model.stream}
    largest, scale = dict.fromkeys(forms, 0.0), 1.0
    with torch.inference_mode():
        state = model.init_state(len(inputs))
        segments = inputs.split(SEGMENT_STEPS, dim=1)
        for segment, next_segment in zip(segments, (*segments[1:], segments[-1]), strict=True):
            by_form = {name: form(segment, arch.copy_state(state)) for name, form in forms.items()}
            by_scan_BTO, state = model.scan(segment, state)
            scale = max(scale, by_scan_BTO.abs().max().item())
            for name, (y_BTO, state_after) in by_form.items():
                next_BTO, _ = forms[name](next_segment, state_after)
                next_after_scan_BTO, _ = forms[name](next_segment, arch.copy_state(state))
                for one_BTO, other_BTO in ((y_BTO, by_scan_BTO), (next_BTO, next_after_scan_BTO)):
                    difference = (one_BTO - other_BTO).abs().max().item()
                    largest[name] = math.inf if math.isnan(difference) else max(largest[name], difference)
    return {name: difference / scale for name, difference in largest.items()}


def _run_steps(model: arch.SequenceModel, segment: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
    outputs = []
    for x in segment.unbind(1):
        y_BO, state = model.step(x, state)
        outputs.append(y_BO)
    return torch.stack(outputs, 1), state


def consistency_failure(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Return the reason why timings of this model must not be reported; None if `scan`, `step` and `stream` agree.

    `inputs` has shape (B, T) or (B, T, D).
    """
    for name, difference in largest_differences(model, inputs).items():
        if not difference <= CONSISTENCY_TOLERANCE:
            return (
                f"{name} and scan differ by {difference:.2g} relative to the outputs, above the tolerance of "
                f"{CONSISTENCY_TOLERANCE:g}"
            )
    return None
