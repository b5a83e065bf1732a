"""gates: what the trained model's gates do on held-out sequences, what its state remembers, where gradients reach.

A gate has a role by its name: `input` writes, `forget` holds, `output` reads; `update` holds what
it keeps and writes the rest. A gate of another name is stored and has no role.
"""

# Shape suffixes: B batch, T time, H units

from __future__ import annotations

import torch
from torch import Tensor

import tasks
from bench.probes import trace_analysis
from bench.probes.recording import ATTENTION, watch_gates, watch_states
from bench.probes.subject import Subject
from bench.training.data import to_device
from bench.training.model import build_model
from results import Measurement, Traces, save_traces

STORED_SEQUENCES = 4
STORED_UNITS = 8
"""The first ones, not chosen: a chosen unit would show what it was chosen for."""
MAX_STEPS = 64
"""Steps of a long sequence at which traces are measured, evenly spread, first and last among them."""
BETWEEN = slice(1, -1)
CONTRASTED: dict[str, tuple[slice | int, slice | int]] = {
    "write": (0, BETWEEN),
    "hold": (BETWEEN, 0),
    "read": (-1, BETWEEN),
}
"""Where each role should stand high, and where low, if the first element is copied to the end."""
BINS = 20
SHARE_FROM, SHARE_TO = 0.8, 1.0
FIT, CHOOSE, TELL = 4, 1, 2
"""How held-out sequences are shared out, in sevenths: see `decodability`."""
MAX_SEQUENCES, MAX_GATED, MIN_SEQUENCES, MIN_GATED = 3584, 256, 448, 8
SEQUENCE_STEPS, GATED_STEPS = 1 << 17, 1 << 13
"""Steps of all sequences together; longer sequences are fewer, so that the probe's cost stays bounded."""


def measure(subject: Subject) -> tuple[list[Measurement], bytes]:
    """Summaries as measurements, and the traces of a few sequences as a file."""
    case, task, model = subject.case, subject.task, subject.model
    T = case.length
    count = min(MAX_SEQUENCES, max(MIN_SEQUENCES, SEQUENCE_STEPS // T))
    gated = min(MAX_GATED, max(MIN_GATED, GATED_STEPS // T))
    whole = to_device(task.sample(tasks.generator(case.seed, "test"), count, T, "test"), subject.device)
    part = tasks.Batch(inputs=whole.inputs[:gated], targets=whole.targets[:gated], mask=whole.mask[:gated])
    steps = sorted({round(place) for place in torch.linspace(0, T - 1, min(T, MAX_STEPS)).tolist()})
    gates = watch_gates(model, part.inputs)
    untrained = build_model(case, task).to(subject.device)
    found = [
        *_memory(subject, whole.inputs, steps),
        *_at_steps("gradient_trace", trace_analysis.gradient_trace(model, task, part), steps),
        *_at_steps("initial_gradient_trace", trace_analysis.gradient_trace(untrained, task, part), steps),
    ]
    for (layer, role), gate_BTH in roles(gates).items():
        found += _of_role(layer, role, gate_BTH, steps)
    return found, save_traces(_stored(part.inputs, gates))


def roles(gates: dict[str, Tensor]) -> dict[tuple[int, str], Tensor]:
    """Gates (B, T, H) by layer and by what they do: write, hold or read."""
    found: dict[tuple[int, str], Tensor] = {}
    for full, gate_BTH in gates.items():
        layer, _, name = full.partition(".")
        if name == "update":
            found |= {(int(layer), "hold"): gate_BTH, (int(layer), "write"): 1 - gate_BTH}
        elif (role := {"input": "write", "forget": "hold", "output": "read"}.get(name)) is not None:
            found[int(layer), role] = gate_BTH
    return found


def _of_role(layer: int, role: str, gate_BTH: Tensor, steps: list[int]) -> list[Measurement]:
    level_T = gate_BTH.double().mean((0, 2))
    found = _at_steps(f"{role}_gate", level_T, steps, layer=layer)
    if len(level_T) > 2 and (ratio := trace_analysis.contrast(level_T, *CONTRASTED[role])) is not None:
        found.append(Measurement(metric=f"{role}_contrast", at={"layer": layer}, samples=(ratio,)))
    if role == "hold" and len(level_T) > 1:
        found += _of_hold(layer, gate_BTH[:, 1:])
    return found


def _of_hold(layer: int, hold_BTH: Tensor) -> list[Measurement]:
    """From the second step on: at the first there is nothing to hold."""
    at = {"layer": layer}
    share = trace_analysis.share_between(hold_BTH, SHARE_FROM, SHARE_TO)
    kept, half_lives = trace_analysis.retention(hold_BTH).tolist(), trace_analysis.half_life(hold_BTH).tolist()
    return [
        Measurement(metric="forget_share", at=at, samples=(share,)),
        Measurement(metric="retention", at=at, samples=tuple(kept)),
        Measurement(metric="half_life_steps", at=at, samples=tuple(half_lives)),
        *(
            Measurement(metric="hold_histogram", at=at | {"from_percent": 100 * k // BINS}, samples=(share,))
            for k, share in enumerate(trace_analysis.histogram(hold_BTH, BINS).tolist())
        ),
    ]


def _memory(subject: Subject, inputs: Tensor, steps: list[int]) -> list[Measurement]:
    fit, choose = (part * len(inputs) // (FIT + CHOOSE + TELL) for part in (FIT, CHOOSE))
    first_ND = _first_element(subject.task, inputs)
    found = []
    for t, state_NF in enumerate(watch_states(subject.model, inputs)):
        if t not in steps:
            continue
        told = trace_analysis.decodability(state_NF, first_ND, fit=fit, choose=choose)
        if told is not None:
            found.append(Measurement(metric="memory_trace", at={"step": t + 1}, samples=(told,)))
    return found


def _first_element(task: tasks.Task, inputs: Tensor) -> Tensor:
    """x_1 as numbers, (N, D): a token as one of as many channels as there are symbols."""
    if isinstance(task.inputs, tasks.Tokens):
        return torch.nn.functional.one_hot(inputs[:, 0], task.inputs.size).double()
    return inputs[:, 0]


def _at_steps(metric: str, trace_T: Tensor, steps: list[int], **at: int) -> list[Measurement]:
    return [Measurement(metric=metric, at=at | {"step": t + 1}, samples=(trace_T[t].item(),)) for t in steps]


def _stored(inputs: Tensor, gates: dict[str, Tensor]) -> Traces:
    shown = inputs[:STORED_SEQUENCES].cpu().float()
    few = {name: gate[:STORED_SEQUENCES].cpu().float().numpy() for name, gate in gates.items()}
    attention = f".{ATTENTION}"
    return Traces(
        inputs_STD=(shown if shown.dim() == 3 else shown.unsqueeze(2)).numpy(),
        gates={
            name.removeprefix("0."): gate[:, :, :STORED_UNITS]
            for name, gate in few.items()
            if name.startswith("0.") and not name.endswith(attention)
        },
        attention={int(name.removesuffix(attention)): gate for name, gate in few.items() if name.endswith(attention)},
    )
