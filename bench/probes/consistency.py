"""The gate before timing: a trained model's `scan` must do what its repeated `step` does.

The two are compared in short segments that start from the same state; the states that they end in
are compared by what further steps make of them. A network may amplify
rounding from step to step until it is visible; that is its own nature, not a difference between
the forms, and over eight steps it stays far below the tolerance.
"""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

import math

import torch
from torch import Tensor

import arch

SEGMENT_STEPS = 8
CONSISTENCY_TOLERANCE = 1e-3
"""Largest difference allowed, relative to the outputs' largest magnitude (at least 1), in float32."""


def largest_difference(model: arch.SequenceModel, inputs: Tensor) -> float:
    """How far `scan` and `step` part on `inputs`, (B, T) or (B, T, D), relative to the outputs' size."""
    largest, scale = 0.0, 1.0
    with torch.inference_mode():
        state = model.init_state(len(inputs))
        segments = inputs.split(SEGMENT_STEPS, dim=1)
        for segment, following in zip(segments, (*segments[1:], segments[-1]), strict=True):
            by_step, after_step = _stepped(model, segment, arch.copy_state(state))
            by_scan, state = model.scan(segment, state)
            then_by_step, _ = _stepped(model, following, after_step)
            then_by_scan, _ = _stepped(model, following, arch.copy_state(state))
            scale = max(scale, by_scan.abs().max().item())
            for one_BTO, other_BTO in ((by_step, by_scan), (then_by_step, then_by_scan)):
                difference = (one_BTO - other_BTO).abs().max().item()
                largest = math.inf if math.isnan(difference) else max(largest, difference)
    return largest / scale


def _stepped(model: arch.SequenceModel, segment: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
    outputs = []
    for x in segment.unbind(1):
        y_BO, state = model.step(x, state)
        outputs.append(y_BO)
    return torch.stack(outputs, 1), state


def refusal(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Why this model's timings must not be reported; None where they may."""
    difference = largest_difference(model, inputs)
    if difference <= CONSISTENCY_TOLERANCE:
        return None
    return f"step and scan differ by {difference:.2g} of the outputs' size, more than {CONSISTENCY_TOLERANCE:g}"
