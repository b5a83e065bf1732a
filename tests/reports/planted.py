"""Planted architectures with chosen memory shares, states, step costs and sizes."""

from __future__ import annotations

from collections.abc import Sequence

from results import Measurement, Record
from tests.reports import synthetic

POSITION = 8192
"""The only streamed position."""
TIGHT = (-0.01, 0.0, 0.01)
"""Differences of three seeds from the mean that tell any two shares in these tests apart."""
LOOSE = (-0.2, 0.0, 0.2)
"""Differences that tell none apart."""


def records(
    arch: str,
    score: float,
    *,
    state: float,
    microseconds: float,
    spread: Sequence[float] = TIGHT,
    parameters: int = 20_000,
    task: str = "adding",
    is_interpreted: bool = False,
) -> list[Record]:
    """Return one record per seed.

    Args:
        arch: The name of the architecture.
        score: The mean score at the trained length.
        state: The state in bytes at `POSITION`.
        microseconds: The time of a step at `POSITION`, and of a call of it.
        spread: The difference of each seed from `score`.
        parameters: The number of parameters.
        task: The task.
        is_interpreted: Whether only calls of the step were timed.
    """
    made = []
    for seed, difference in enumerate(spread):
        record = synthetic.record(synthetic.case(arch, "adding", 32, seed).model_copy(update={"arch": "gru"}))
        case = synthetic.case(arch, task, 32, seed)
        measurements = [
            Measurement(metric="accuracy", at={"length": 32}, samples=(score + difference,)),
            Measurement(metric="call_step_seconds", at={"position": POSITION}, samples=(1e-6 * microseconds,) * 5),
            Measurement(metric="state_bytes", at={"position": POSITION}, samples=(state,)),
        ]
        if not is_interpreted:
            measurements.append(
                Measurement(metric="step_seconds", at={"position": POSITION}, samples=(1e-6 * microseconds,) * 5)
            )
        record = record.model_copy(
            update={
                "case": case,
                "key": case.key,
                "measurements": tuple(measurements),
                "model": record.model and record.model.model_copy(update={"parameters": parameters}),
            }
        )
        made.append(synthetic.interpreted(record) if is_interpreted else record)
    return made


def still_learning(seeds: Sequence[Record]) -> list[Record]:
    """Return the records with validation scores that rise up to the end of training."""
    made = []
    for record in seeds:
        training = record.training
        assert training is not None
        points = tuple(
            point.model_copy(update={"validation_score": 0.5 * point.step / training.steps, "validation_loss": 1.0})
            for point in training.curve
        )
        made.append(
            record.model_copy(update={"training": training.model_copy(update={"curve": points, "stopped": "budget"})})
        )
    return made
