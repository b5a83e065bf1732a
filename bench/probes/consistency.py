"""Consistency check before timing: `scan`, `step` and `stream` of a trained model must give the same results.

All forms run short segments from the same state. The check compares their outputs with those of `scan`, and the outputs
of further steps from the final states. A network may amplify rounding errors over many steps. This amplification is a
property of the network, not a difference between the forms. Over so few steps, rounding errors stay far below the
tolerance.

A stream that reads the clock packs its weights. It runs other kernels than a short stream without a clock, and these
kernels are the ones that are timed. So `stream` is checked with and without a clock. A longer timed stream is compared
with the same stream in short segments: both run the same kernels, so there are no rounding errors to amplify.
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
TIMED_STEPS = 32
"""Number of steps of the longer timed stream, as many as packed weights need without a clock."""
TIMED_STREAM = "stream with a clock"
CONSISTENCY_TOLERANCE = 1e-3
"""Largest allowed float32 difference, relative to the largest magnitude of the outputs (at least 1)."""

Form = Callable[[Tensor, list[arch.State]], tuple[Tensor, list[arch.State]]]
"""Function that processes a segment (B, T) or (B, T, D) from a state. It returns the outputs and the next state."""


def largest_differences(model: arch.SequenceModel, inputs: Tensor) -> dict[str, float]:
    """Return the largest difference of `step`, of `stream` and of a timed stream from `scan`, by the name of the form.

    Differences are relative to the largest magnitude of the outputs, or to 1 if that is smaller. `inputs` has shape
    (B, T) or (B, T, D). A difference is infinite if an output is NaN.
    """
    forms: dict[str, Form] = {
        "step": partial(_run_steps, model),
        "stream": model.stream,
        TIMED_STREAM: partial(_stream_with_a_clock, model),
    }
    largest, scale = dict.fromkeys(forms, 0.0), 1.0
    with torch.inference_mode():
        state = model.init_state(len(inputs))
        segments = inputs.split(SEGMENT_STEPS, dim=1)
        for number, (segment, next_segment) in enumerate(zip(segments, (*segments[1:], segments[-1]), strict=True)):
            by_form = {name: form(segment, arch.copy_state(state)) for name, form in forms.items()}
            by_scan_BTO, state = model.scan(segment, state)
            scale = max(scale, by_scan_BTO.abs().max().item())
            for name, (y_BTO, state_after) in by_form.items():
                next_BTO, _ = forms[name](next_segment, state_after)
                next_after_scan_BTO, _ = forms[name](next_segment, arch.copy_state(state))
                for one_BTO, other_BTO in ((y_BTO, by_scan_BTO), (next_BTO, next_after_scan_BTO)):
                    largest[name] = max(largest[name], _difference(one_BTO, other_BTO))
            if number == 0:  # the longer timed stream continues a carried state
                difference = _difference_of_a_longer_stream(model, inputs, state)
                largest[TIMED_STREAM] = max(largest[TIMED_STREAM], difference)
    return {name: difference / scale for name, difference in largest.items()}


def _difference(one_BTO: Tensor, other_BTO: Tensor) -> float:
    difference = (one_BTO - other_BTO).abs().max().item()
    return math.inf if math.isnan(difference) else difference


def _difference_of_a_longer_stream(model: arch.SequenceModel, inputs: Tensor, state: list[arch.State]) -> float:
    """Return the difference between a timed stream of `TIMED_STEPS` steps and the same stream in short segments.

    Both start from copies of `state`, the state after `SEGMENT_STEPS` steps. After the last input, `inputs` start
    again. A model of limited length reads fewer steps.
    """
    steps = min(TIMED_STEPS, (model.max_length or math.inf) - SEGMENT_STEPS)
    if steps < 1:
        return 0.0
    x = inputs[:, torch.arange(SEGMENT_STEPS, SEGMENT_STEPS + int(steps), device=inputs.device) % inputs.shape[1]]
    whole_BTO, _ = _stream_with_a_clock(model, x, arch.copy_state(state))
    parts, state = [], arch.copy_state(state)
    for segment in x.split(SEGMENT_STEPS, dim=1):
        y_BTO, state = _stream_with_a_clock(model, segment, state)
        parts.append(y_BTO)
    return _difference(whole_BTO, torch.cat(parts, 1))


def _stream_with_a_clock(
    model: arch.SequenceModel, segment: Tensor, state: list[arch.State]
) -> tuple[Tensor, list[arch.State]]:
    return model.stream(segment, state, torch.zeros(segment.shape[1] + 1, dtype=torch.int64))


def _run_steps(model: arch.SequenceModel, segment: Tensor, state: list[arch.State]) -> tuple[Tensor, list[arch.State]]:
    outputs = []
    for x in segment.unbind(1):
        y_BO, state = model.step(x, state)
        outputs.append(y_BO)
    return torch.stack(outputs, 1), state


def consistency_failure(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Return the reason why timings of this model must not be reported; None if all forms agree.

    `inputs` has shape (B, T) or (B, T, D).
    """
    for name, difference in largest_differences(model, inputs).items():
        if not difference <= CONSISTENCY_TOLERANCE:
            return (
                f"{name} and scan differ by {difference:.2g} relative to the outputs, above the tolerance of "
                f"{CONSISTENCY_TOLERANCE:g}"
            )
    return None
