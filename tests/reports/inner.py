"""A synthetic run on a fixed training set with known measurements of the `gates` probe."""

from __future__ import annotations

import numpy as np

from results import (
    Case,
    Claim,
    EvalPoint,
    Measurement,
    Model,
    ProbeRun,
    Protocol,
    Record,
    ReferenceScores,
    RunFile,
    Traces,
    Training,
)
from tests.reports import synthetic

LENGTH = 6
PLAIN = Protocol(train_sequences=64, epochs=4, batch=32, fit_sequences=8, keep_best=True)
DECAYED = PLAIN.model_copy(update={"weight_decay": 0.1})
LSTM, DROPPED = "lstm:bias=False,init=orthogonal", "lstm:bias=False,dropout=0.3,init=orthogonal"
SCORES = {"lstm:bias=False": 0.76, LSTM: 0.92, "rnn": 0.75, "transformer": 0.97, DROPPED: 0.94}
MEMORY = {"lstm:bias=False": 0.1, LSTM: 0.9, "rnn": -0.4, "transformer": 0.95, DROPPED: 0.9}
"""R² at the last step. R² is 1 at the first step and changes linearly in between."""
CLAIMS = (
    Claim.model_validate_json(
        '{"name": "learns", "text": "The <LSTM> learns.", "source": "a paper", "what": "accuracy",'
        ' "cases": {"arch": ["lstm*", "!*dropout*"]}, "quantity": {"metric": "accuracy"}, "at_least": 0.9}'
    ),
    Claim.model_validate_json(
        '{"name": "grows", "text": "A GRU grows.", "source": "a paper", "what": "parameters",'
        ' "cases": {"arch": ["gru"]}, "quantity": {"model": "parameters"}, "at_most": 5}'
    ),
)


def cases() -> list[Case]:
    models = [(arch, PLAIN) for arch in SCORES] + [(LSTM, DECAYED)]
    return [
        Case(arch=arch, task="first_last", length=LENGTH, width=8, seed=seed, protocol=protocol)
        for arch, protocol in models
        for seed in range(2)
    ]


def run(**changes: object) -> RunFile:
    return synthetic.run(cases(), **({"claims": CLAIMS, "plan": "seed", "probes": ("accuracy", "gates")} | changes))


def record(case: Case) -> Record:
    score = SCORES[case.arch] + (0.01 if case.protocol.weight_decay else 0.0) + 0.01 * case.seed
    curve = tuple(
        EvalPoint(
            step=step,
            train_loss=0.5,
            validation_loss=0.5 + 0.02 * step,
            validation_score=score,
            fit_loss=0.5 - 0.05 * step,
            fit_score=min(1.0, 0.5 + 0.06 * step),
        )
        for step in range(1, 9)
    )
    return Record(
        key=case.key,
        case=case,
        status="ok",
        model=Model(parameters=100, width=8, depth=2),
        training=Training(
            steps=8, sequences=256, seconds=1.0, stopped="budget", threads=1, flushes_denormals=True, curve=curve
        ),
        reference_scores=(ReferenceScores(length=LENGTH, chance=0.5, memoryless_score=0.75),),
        measurements=(
            Measurement(metric="accuracy", at={"length": LENGTH}, samples=(score,)),
            Measurement(metric="early_stopped_accuracy", at={"length": LENGTH}, samples=(score + 0.005,)),
            *inner(case),
        ),
        probes={"accuracy": ProbeRun(status="ok", seconds=0.1), "gates": ProbeRun(status="ok", seconds=0.1)},
        artifacts={"traces": f"artifacts/{case.key}/traces.safetensors"},
    )


def inner(case: Case) -> list[Measurement]:
    made = []
    for step in range(1, LENGTH + 1):
        r_squared = 1 + (MEMORY[case.arch] - 1) * (step - 1) / (LENGTH - 1)
        gradient = 10.0 ** (step - LENGTH - case.seed)
        made += [
            Measurement(metric="memory_trace", at={"step": step}, samples=(r_squared,)),
            Measurement(metric="gradient_trace", at={"step": step}, samples=(gradient,)),
            Measurement(metric="initial_gradient_trace", at={"step": step}, samples=(gradient / 10,)),
        ]
    for layer in (0, 1) if case.arch.startswith("lstm") else ():
        at = {"layer": layer}
        made += levels(case, layer)
        made += [
            Measurement(metric="forget_share", at=at, samples=(0.25,)),
            Measurement(metric="retention", at=at, samples=(0.5, 0.1, 0.9)),
            Measurement(metric="half_life_steps", at=at, samples=(5.0, 1.0, 40.0)),
            *(
                Measurement(metric="hold_histogram", at=at | {"from_percent": k}, samples=(0.05,))
                for k in range(0, 100, 5)
            ),
        ]
    return made


def levels(case: Case, layer: int) -> list[Measurement]:
    """Return measurements of the hold gate of one layer: its level at each step, and its contrast.

    The level is highest at the first step and lowest at the last step. With each layer and each seed, all levels rise
    by 0.1.
    """
    offset = 0.1 * (layer + case.seed)
    heights = [0.5 + offset, *[0.3 + offset] * (LENGTH - 2), 0.2 + offset]
    return [
        *(
            Measurement(metric="hold_gate", at={"layer": layer, "step": step}, samples=(height,))
            for step, height in enumerate(heights, 1)
        ),
        Measurement(metric="hold_contrast", at={"layer": layer}, samples=(heights[1] / heights[0],)),
    ]


def traces(arch: str) -> Traces | None:
    """Return traces of two sequences: gates and states that change from 0, or attention to the first step.

    The model answers yes to the first sequence, and no to the second. Yes is correct for both. The traces of an RNN
    have neither gates nor attention.
    """
    inputs = np.zeros((2, LENGTH, 1), np.float32)
    if arch == "transformer":
        first = np.zeros((2, 2, LENGTH, LENGTH), np.float32)
        first[..., 0] = 1
        return Traces(inputs_STD=inputs, attention={0: first, 1: first})
    if arch == "rnn":
        return Traces(inputs_STD=inputs)
    rising = np.linspace(0, 1, LENGTH, dtype=np.float32)[None, :, None].repeat(2, 0).repeat(3, 2)
    scored = np.zeros((2, LENGTH), bool)
    scored[:, -1] = True
    return Traces(
        inputs_STD=inputs,
        gates={"0.candidate": -rising, "0.forget": rising, "0.input": rising, "1.forget": 1 - rising},
        states={"0.c": 2 * rising, "0.output": -rising, "1.c": rising, "1.output": rising},
        targets_STD=np.ones((2, LENGTH, 1), np.float32),
        answers_STD=np.array([[[1]] * LENGTH, [[0]] * LENGTH], np.float32),
        scored_ST=scored,
        target_names=("no", "yes"),
    )
