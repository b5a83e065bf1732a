"""Consistency check before timing: `scan` of a trained model must give the same results as repeated calls of `step`.

Both forms run short segments from the same state. The check compares their outputs, and the outputs of further steps
from the two final states. A network may amplify rounding errors over many steps. This amplification is a property
of the network, not a difference between the forms. Over so few steps, rounding errors stay far below the tolerance.
"""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

import math

import torch
from torch import Tensor

import arch

SEGMENT_STEPS = 8
CONSISTENCY_TOLERANCE = 1e-3
"""Largest allowed float32 difference, relative to the largest magnitude of the outputs (at least 1)."""


def largest_difference(model: arch.SequenceModel, inputs: Tensor) -> float:
    """Return the largest difference between `scan` and `step`, relative to the largest magnitude of the outputs.

    A largest magnitude below 1 counts as 1. `inputs` has shape (B, T) or (B, T, D). The result is infinite if an output
    is NaN.
    """
    largest, scale = 0.0, 1.0
    with torch.inference_mode():
        state = model.init_state(len(inputs))
        segments = inputs.split(SEGMENT_STEPS, dim=1)
        for segment, next_segment in zip(segments, (*segments[1:], segments[-1]), strict=True):
            by_step_BTO, state_after_steps = _run_steps(model, segment, arch.copy_state(state))
            by_scan_BTO, state = model.scan(segment, state)
            next_after_steps_BTO, _ = _run_steps(model, next_segment, state_after_steps)
            next_after_scan_BTO, _ = _run_steps(model, next_segment, arch.copy_state(state))
            scale = max(scale, by_scan_BTO.abs().max().item())
            for y_BTO, other_BTO in ((by_step_BTO, by_scan_BTO), (next_after_steps_BTO, next_after_scan_BTO)):
                difference = (y_BTO - other_BTO).abs().max().item()
                largest = math.inf if math.isnan(difference) else max(largest, difference)
    return largest / scale


def _run_steps(model: arch.SequenceModel, segment: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
    outputs = []
    for x in segment.unbind(1):
        y_BO, state = model.step(x, state)
        outputs.append(y_BO)
    return torch.stack(outputs, 1), state


def consistency_failure(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Return the reason why timings of this model must not be reported; None if `scan` and `step` agree.

    `inputs` has shape (B, T) or (B, T, D).
    """
    difference = largest_difference(model, inputs)
    if difference <= CONSISTENCY_TOLERANCE:
        return None
    return (
        f"step and scan differ by {difference:.2g} relative to the outputs, above the tolerance of "
        f"{CONSISTENCY_TOLERANCE:g}"
    )
