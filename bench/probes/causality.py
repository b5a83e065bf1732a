"""Check of a plugin's model before a score is shown: it must be causal, and `step` must give the results of `scan`.

A model that reads later inputs may find the answer there, so its score says nothing. The check uses held-out sequences
of the case, because some leaks show only at longer lengths. It compares the outputs of whole sequences:

-   twice, with the same inputs;
-   with sequences whose later inputs are changed, read before and after the unchanged ones;
-   with a sequence in which one step is changed, for many steps;
-   with the first part of the sequences, and with `step` continued from there.

Gradients of earlier outputs with respect to later inputs must be zero.
"""

# Shape suffixes: B batch, T time, O outputs, H width

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

import arch
import tasks
from bench.probes.consistency import CONSISTENCY_TOLERANCE, SEGMENT_STEPS, consistency_failure
from bench.probes.subject import Subject

MAX_STEPS = 1024
"""Maximum number of steps that the check reads. The limit bounds its duration."""
STREAMED_STEPS = 64
"""Number of steps from the start in which `step` is compared with `scan`, unless the task needs more."""
SEQUENCES = 4
MAX_POSITIONS, ROWS = 128, 32
"""Number of single steps whose inputs are changed, and how many of them are read in one batch."""
TOLERANCE = 1e-4
"""Largest difference that counts as rounding in float32, relative to the largest output or gradient.

Causal models that mix all steps in one product, such as a Fourier transform, differ by about 1e-6.
"""
ROUNDING = 1e-6
"""Relative size of a change of the encoded inputs, a few times the rounding error of float32.

A network may amplify rounding errors. The outputs may therefore differ by a multiple of the effect of this change.
"""
AMPLIFICATION = 10


def causality_failure(subject: Subject) -> str | None:
    """Return the reason why the model is not causal or not deterministic, or None if no reason is found.

    The check needs no gradient mode that a layer might remember, so it can also precede training.
    """
    with _evaluating(subject.model):
        inputs = _inputs(subject)
        return (
            _changes_failure(subject.model, inputs, subject.task)
            or _single_changes_failure(subject.model, inputs[:1], subject.task)
            or _gradient_failure(subject.model, inputs)
        )


def inconsistency(subject: Subject) -> str | None:
    """Return the reason why the model's score must not be shown, or None if the model is causal and consistent."""
    if reason := causality_failure(subject):
        return reason
    with _evaluating(subject.model):
        inputs = _inputs(subject)
        streamed = inputs[:1, : max(STREAMED_STEPS, subject.task.min_length)]
        return consistency_failure(subject.model, streamed) or _continuation_failure(subject.model, inputs)


@contextlib.contextmanager
def _evaluating(model: arch.SequenceModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _inputs(subject: Subject) -> Tensor:
    """Return held-out sequences, (B, T) or (B, T, D), of the longest evaluated length that task and model support."""
    case, task, longest = subject.case, subject.task, subject.model.max_length
    lengths = (case.length, *case.protocol.evaluated_lengths(case.length))
    possible = [length for length in lengths if task.supports_length(length) and length <= (longest or math.inf)]
    short = [length for length in possible if length <= MAX_STEPS]
    # A sequence of any length will do, so a longer one is cut off.
    inputs = subject.test_inputs(SEQUENCES, max(short) if short else min(possible or lengths))
    return inputs[:, : min(MAX_STEPS, longest or MAX_STEPS)]


def _changes_failure(model: arch.SequenceModel, inputs: Tensor, task: tasks.Task) -> str | None:
    """Compare outputs for the same inputs, and for inputs that are changed after a cut, read before or after."""
    with torch.no_grad():
        y_BTO = model(inputs)
        if reason := _difference(model(inputs), y_BTO):
            return f"not deterministic: two evaluations of the same inputs differ by {reason[1]:.2g}"
        for cut in _cuts(inputs):
            for later in (_changed(inputs[:, cut:], task), inputs[:, cut:].roll(1, 0)):
                changed_BTO = model(torch.cat([inputs[:, :cut], later], 1))
                for unchanged_BTO in (y_BTO, model(inputs)):
                    if reason := _difference(changed_BTO[:, :cut], unchanged_BTO[:, :cut]):
                        return f"not causal: output at step {reason[0]} changes with the inputs from step {cut + 1} on"
    return None


def _single_changes_failure(model: arch.SequenceModel, inputs: Tensor, task: tasks.Task) -> str | None:
    """Change one step of one sequence at a time, and compare the outputs before this step.

    The steps are all but the first, or `MAX_POSITIONS` random ones. A leak may appear at a few steps only.
    """
    steps = inputs.shape[1]
    changed = _changed(inputs.expand(2, *inputs.shape[1:]), task)[:1]
    order = 1 + torch.randperm(max(0, steps - 1), generator=tasks.generator(2, "test"))
    with torch.no_grad():
        for positions in order[:MAX_POSITIONS].split(ROWS - 1):
            batch = inputs.repeat(len(positions) + 1, *[1] * (inputs.dim() - 1))
            for row, step in enumerate(positions.tolist(), start=1):
                batch[row, step] = changed[0, step]
            y_BTO = model(batch)
            for row, step in enumerate(positions.tolist(), start=1):
                if reason := _difference(y_BTO[row : row + 1, :step], y_BTO[:1, :step]):
                    return f"not causal: output at step {reason[0]} changes with the input at step {step + 1}"
    return None


def _gradient_failure(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Return the first output that depends on a later input by its gradient; None if there is no such output.

    The gradient is taken with respect to the outputs of the encoder, because tokens have no gradient.
    """
    encoded: list[Tensor] = []

    def detach(_module: object, _inputs: object, outputs: Tensor) -> Tensor:
        encoded.append(outputs.detach().requires_grad_())
        return encoded[-1]

    handle = model.encoder.register_forward_hook(detach)
    try:
        with torch.enable_grad():
            y_BTO = model(inputs)
            for cut in _cuts(inputs):
                output_BO = y_BTO[:, cut - 1]
                weights_BO = torch.linspace(1, 2, output_BO.numel(), device=output_BO.device).view_as(output_BO)
                (gradient_BTH,) = torch.autograd.grad(
                    (weights_BO * output_BO).sum(), encoded[:1], retain_graph=True, allow_unused=True
                )
                if gradient_BTH is None:
                    continue
                later = gradient_BTH[:, cut:].abs().amax((0, 2)) > TOLERANCE * gradient_BTH.abs().max()
                if later.any():
                    step = cut + 1 + int(later.int().argmax())
                    return f"not causal: output at step {cut} changes with the input at step {step}"
    except RuntimeError as error:  # a layer may have no gradient; then only the outputs are compared
        if "does not require grad" not in str(error):
            raise
    finally:
        handle.remove()
    return None


def _continuation_failure(model: arch.SequenceModel, inputs: Tensor) -> str | None:
    """Compare whole sequences with sequences that `scan` reads up to a cut, and `step` continues."""
    with torch.no_grad():
        y_BTO = model(inputs)
        allowed_T = AMPLIFICATION * _effect_of_rounding(model, inputs, y_BTO)
        allowed_T += CONSISTENCY_TOLERANCE * _largest(y_BTO)
        for cut in _cuts(inputs):
            first_BTO, state = model.scan(inputs[:, :cut], model.init_state(len(inputs)))
            if reason := _difference(first_BTO, y_BTO[:, :cut], allowed_T[:cut]):
                return f"not causal: output at step {reason[0]} changes if only the first {cut} steps are read"
            for step in range(cut, min(cut + SEGMENT_STEPS, inputs.shape[1])):
                output_BO, state = model.step(inputs[:, step], state)
                if reason := _difference(output_BO[:, None], y_BTO[:, step : step + 1], allowed_T[step : step + 1]):
                    return f"step and scan differ by {reason[1]:.2g} at step {step + 1}, after a scan of {cut} steps"
    return None


def _effect_of_rounding(model: arch.SequenceModel, inputs: Tensor, y_BTO: Tensor) -> Tensor:
    """Return how much the outputs at each step change, (T,), if the encoded inputs change by `ROUNDING`."""

    def perturb(_module: object, _inputs: object, outputs: Tensor) -> Tensor:
        noise = torch.randn(outputs.shape, generator=tasks.generator(1, "test")).to(outputs)
        return outputs * (1 + ROUNDING * noise)

    handle = model.encoder.register_forward_hook(perturb)
    try:
        effect_T: Tensor = (model(inputs) - y_BTO).abs().nan_to_num(0.0).amax((0, 2))
        return effect_T
    finally:
        handle.remove()


def _cuts(inputs: Tensor) -> list[int]:
    """Return numbers of steps after which to change or cut off sequences: one, half of the steps, and all but one."""
    steps = inputs.shape[1]
    return sorted({cut for cut in (1, steps // 2, steps - 1) if 0 < cut < steps})


def _changed(inputs: Tensor, task: tasks.Task) -> Tensor:
    """Return inputs that differ from tokens (B, T) or reals (B, T, D) at every step."""
    if isinstance(task.inputs, tasks.Tokens):
        return (inputs + 1 + torch.arange(inputs.shape[1], device=inputs.device) % max(1, task.inputs.size - 1)) % (
            task.inputs.size
        )
    return inputs.roll(1, 0) * 0.5 + torch.randn(inputs.shape, generator=tasks.generator(0, "test")).to(inputs)


def _difference(actual_BTO: Tensor, expected_BTO: Tensor, allowed_T: Tensor | None = None) -> tuple[int, float] | None:
    """Return the first step, counted from 1, at which outputs differ, and the largest difference; None if they agree.

    If `allowed_T` is None, the largest allowed difference is `TOLERANCE` times the largest expected output.
    """
    equal_BTO = (actual_BTO == expected_BTO) | (actual_BTO.isnan() & expected_BTO.isnan())
    difference_BTO = (actual_BTO - expected_BTO).abs().nan_to_num(nan=math.inf).masked_fill(equal_BTO, 0.0)
    difference_T = difference_BTO.amax((0, 2))
    allowed = TOLERANCE * _largest(expected_BTO) if allowed_T is None else allowed_T
    wrong_T = difference_T > allowed
    return (1 + int(wrong_T.int().argmax()), difference_T.max().item()) if wrong_T.any() else None


def _largest(y_BTO: Tensor) -> Tensor:
    """Return the largest magnitude of the finite outputs, as a scalar."""
    return y_BTO.nan_to_num(0.0, 0.0, 0.0).abs().max()
