"""The gate before timing: a trained model's `scan` must do what its repeated `step` does.

The two are compared in short segments that start from the same state. A network may amplify
rounding from step to step until it is visible; that is its own nature, not a difference between
the forms, and over eight steps it stays far below the tolerance.
"""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

import torch
from torch import Tensor

import arch

SEGMENT_STEPS = 8
GATE_TOLERANCE = 1e-3
"""Largest difference allowed, relative to the outputs' largest magnitude (at least 1), in float32."""


def largest_difference(model: arch.SequenceModel, inputs: Tensor) -> float:
    """How far `scan` and `step` part on `inputs`, (B, T) or (B, T, D), relative to the outputs' size."""
    largest, scale = 0.0, 1.0
    with torch.inference_mode():
        state = model.init_state(len(inputs))
        for segment in inputs.split(SEGMENT_STEPS, dim=1):
            stepped_state, stepped = arch.copy_state(state), []
            for x in segment.unbind(1):
                y_BO, stepped_state = model.step(x, stepped_state)
                stepped.append(y_BO)
            scanned_BTO, state = model.scan(segment, state)
            difference = (scanned_BTO - torch.stack(stepped, 1)).abs().max().item()
            largest = max(largest, difference) if difference == difference else float("inf")
            scale = max(scale, scanned_BTO.abs().max().item())
    return largest / scale


def refusal(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Why this model's timings must not be reported; None where they may."""
    difference = largest_difference(model, inputs)
    if difference <= GATE_TOLERANCE:
        return None
    return f"step and scan differ by {difference:.2g} of the outputs' size, more than {GATE_TOLERANCE:g}"
