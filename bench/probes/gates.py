"""gates: gate activations, memory of the first element and gradient norms of a trained model on held-out sequences.

A gate's name decides its role. `input` and `strength` are write gates, `forget` and `decay` are hold gates, and
`output` is a read gate. `update` is a hold gate, and its complement is a write gate. A `decay` may be negative: its
magnitude holds. Gates with other names have no role, so no metric describes them. Neither has a gate with another
activation outside [0, 1].
"""

# Shape suffixes: B batch, T time, H units, N sequences, D channels, F features of a state, S stored sequences

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import tasks
from bench.probes import trace_analysis
from bench.probes.recording import ATTENTION, watch_gates, watch_states, watch_values
from bench.probes.subject import ProbeResult, Subject
from bench.training.data import to_device
from bench.training.model import build_model
from results import Measurement, Traces, save_traces

STORED_SEQUENCES = 4
STORED_UNITS = 16
"""Largest number of units of a gate or a state whose traces are stored. A unit is a channel, or a head if a gate has
one value per head. The first sequences and units are stored, because a deliberate selection would not be
representative."""
STORED_NUMBERS = 1 << 19
"""Largest number of values of gates and states that are stored. For long sequences, fewer sequences are stored."""
MAX_STEPS = 64
"""Largest number of steps at which a trace metric is recorded. They are spread evenly over the whole sequence."""
INNER_STEPS = slice(1, -1)
CONTRASTED_STEPS: dict[str, tuple[slice | int, slice | int]] = {
    "write": (0, INNER_STEPS),
    "hold": (INNER_STEPS, 0),
    "read": (-1, INNER_STEPS),
}
"""For each role, two selections of steps: the gate should be open at the first and closed at the second. A model whose
gates follow this pattern copies the first element to the last step."""
ROLES = {"input": "write", "strength": "write", "forget": "hold", "decay": "hold", "output": "read"}
"""The role of each gate by its name. `update` has two roles."""
ROUNDING = 1e-5
"""Largest distance of an activation from [0, 1] that counts as a rounding error."""
BINS = 20
HIGH_FROM, HIGH_TO = 0.8, 1.0
"""Range of the activations that `forget_share` counts."""
FIT_PARTS, SELECT_PARTS, TEST_PARTS = 4, 1, 2
"""Division of the held-out sequences, in sevenths, for `trace_analysis.decodability`."""
MIN_SEQUENCES, MAX_SEQUENCES, TOTAL_STEPS = 448, 3584, 1 << 17
"""Smallest and largest number of sequences to decode, and the target for their total number of steps. The smallest and
the largest number take precedence over the target."""
MIN_GATED, MAX_GATED, TOTAL_GATED_STEPS = 8, 256, 1 << 13
"""Smallest and largest number of sequences for recording gates and gradients, and the target for their total number of
steps."""


def measure(subject: Subject) -> ProbeResult:
    """Measure gates, memory and gradients, and return the traces of a few sequences as the artifact `traces`."""
    case, task, model = subject.case, subject.task, subject.model
    T = case.length
    count = min(MAX_SEQUENCES, max(MIN_SEQUENCES, TOTAL_STEPS // T))
    gated_count = min(MAX_GATED, max(MIN_GATED, TOTAL_GATED_STEPS // T))
    batch = to_device(task.sample(tasks.generator(case.seed, "test"), count, T, "test"), subject.device)
    gated = tasks.Batch(
        inputs=batch.inputs[:gated_count], targets=batch.targets[:gated_count], mask=batch.mask[:gated_count]
    )
    steps = sorted({round(step) for step in torch.linspace(0, T - 1, min(T, MAX_STEPS)).tolist()})
    gates = watch_gates(model, gated.inputs)
    untrained = build_model(case, task).to(subject.device)
    measurements = [
        *_measure_memory(subject, batch.inputs, steps),
        *_trace("gradient_trace", trace_analysis.gradient_trace(model, task, gated), steps),
        *_trace("initial_gradient_trace", trace_analysis.gradient_trace(untrained, task, gated), steps),
    ]
    for (layer, role), gate_BTH in roles(gates).items():
        measurements += _measure_role(layer, role, gate_BTH, steps)
    traces = save_traces(_stored_traces(subject, gated, gates))
    return ProbeResult(measurements=measurements, artifacts={"traces": traces})


def roles(gates: dict[str, Tensor]) -> dict[tuple[int, str], Tensor]:
    """Return gates (B, T, H) by layer and role: write, hold or read. `gates` has keys such as `0.forget`.

    If several gates of a layer have one role, the first one counts.
    """
    by_role: dict[tuple[int, str], Tensor] = {}
    for full_name, gate_BTH in gates.items():
        layer, _, name = full_name.partition(".")
        if gate_BTH.is_complex():
            continue
        if name == "decay":
            gate_BTH = gate_BTH.abs()
        if gate_BTH.amin() < -ROUNDING or gate_BTH.amax() > 1 + ROUNDING:
            continue
        gate_BTH = gate_BTH.clamp(0, 1)
        if name == "update":
            by_role |= {(int(layer), "hold"): gate_BTH, (int(layer), "write"): 1 - gate_BTH}
        elif (role := ROLES.get(name)) is not None:
            by_role.setdefault((int(layer), role), gate_BTH)
    return by_role


def _measure_role(layer: int, role: str, gate_BTH: Tensor, steps: list[int]) -> list[Measurement]:
    level_T = gate_BTH.double().mean((0, 2))
    measurements = _trace(f"{role}_gate", level_T, steps, layer=layer)
    if len(level_T) > 2 and (ratio := trace_analysis.contrast(level_T, *CONTRASTED_STEPS[role])) is not None:
        measurements.append(Measurement(metric=f"{role}_contrast", at={"layer": layer}, samples=(ratio,)))
    if role == "hold" and len(level_T) > 1:
        measurements += _measure_hold(layer, gate_BTH[:, 1:])  # there is nothing to hold at the first step
    return measurements


def _measure_hold(layer: int, hold_BTH: Tensor) -> list[Measurement]:
    at = {"layer": layer}
    share = trace_analysis.share_between(hold_BTH, HIGH_FROM, HIGH_TO)
    retention_H, half_life_H = trace_analysis.retention(hold_BTH), trace_analysis.half_life(hold_BTH)
    return [
        Measurement(metric="forget_share", at=at, samples=(share,)),
        Measurement(metric="retention", at=at, samples=tuple(retention_H.tolist())),
        Measurement(metric="half_life_steps", at=at, samples=tuple(half_life_H.tolist())),
        *(
            Measurement(metric="hold_histogram", at=at | {"from_percent": 100 * k // BINS}, samples=(bin_share,))
            for k, bin_share in enumerate(trace_analysis.histogram(hold_BTH, BINS).tolist())
        ),
    ]


def _measure_memory(subject: Subject, inputs: Tensor, steps: list[int]) -> list[Measurement]:
    """Measure the R² of decoding the first element from the state at each of `steps`, counted from 0.

    A step is omitted if its R² is undefined.
    """
    parts = FIT_PARTS + SELECT_PARTS + TEST_PARTS
    fit, select = FIT_PARTS * len(inputs) // parts, SELECT_PARTS * len(inputs) // parts
    first_ND = _first_element(subject.task, inputs)
    measurements = []
    for t, state_NF in enumerate(watch_states(subject.model, inputs)):
        if t not in steps:
            continue
        r_squared = trace_analysis.decodability(state_NF, first_ND, fit=fit, select=select)
        if r_squared is not None:
            measurements.append(Measurement(metric="memory_trace", at={"step": t + 1}, samples=(r_squared,)))
    return measurements


def _first_element(task: tasks.Task, inputs: Tensor) -> Tensor:
    """Return the first element of each sequence as numbers, (N, D); tokens are one-hot encoded."""
    if isinstance(task.inputs, tasks.Tokens):
        return torch.nn.functional.one_hot(inputs[:, 0], task.inputs.size).double()
    return inputs[:, 0]


def _trace(metric: str, trace_T: Tensor, steps: list[int], **at: int) -> list[Measurement]:
    return [Measurement(metric=metric, at=at | {"step": t + 1}, samples=(trace_T[t].item(),)) for t in steps]


def _stored_traces(subject: Subject, batch: tasks.Batch, gates: dict[str, Tensor]) -> Traces:
    """Return the traces of the first sequences of `batch`, for figures of single sequences.

    `gates` holds the activations on all sequences of `batch`.
    """
    task, model, T = subject.task, subject.model, batch.mask.shape[1]
    real = {name: gate for name, gate in gates.items() if not gate.is_complex()}
    attention = f".{ATTENTION}"
    named = {name: gate[:, :, :STORED_UNITS] for name, gate in real.items() if not name.endswith(attention)}
    values = watch_values(model, batch.inputs[:STORED_SEQUENCES])
    states = {name: value[:, :, :STORED_UNITS] for name, value in values.items()}
    numbers = T * sum(value.shape[2] for value in (*named.values(), *states.values()))
    S = max(1, min(STORED_SEQUENCES, STORED_NUMBERS // max(1, numbers)))
    with torch.inference_mode():
        answers = task.answer(model(batch.inputs[:S]))
    has_classes = isinstance(task.targets, tasks.Tokens)
    return Traces(
        inputs_STD=_stored(batch.inputs[:S]),
        gates={name: _stored(gate[:S]) for name, gate in named.items()},
        states={name: _stored(value[:S]) for name, value in states.items()},
        attention={
            int(name.removesuffix(attention)): gate[:S].cpu().float().numpy()
            for name, gate in real.items()
            if name.endswith(attention)
        },
        targets_STD=_stored(batch.targets[:S]),
        answers_STD=_stored(answers),
        scored_ST=batch.mask[:S].cpu().numpy(),
        input_names=tuple(task.input_names) if isinstance(task.inputs, tasks.Tokens) else (),
        target_names=tuple(task.target_names) if has_classes else (),
    )


def _stored(values: Tensor) -> np.ndarray:
    """Return values (S, T) or (S, T, D) as float32 numbers (S, T, D). Tokens and classes have one channel."""
    numbers = values.cpu().float().numpy()
    return numbers if numbers.ndim == 3 else numbers[:, :, None]
