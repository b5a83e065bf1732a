"""Use Carousel as a library: build, train, test and stream a model, and read a stored run.

python3 examples/session.py                               train one small model, in seconds
python3 examples/session.py carousel-runs/RUN             then show a stored run as a pandas table
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import arch
import results
import tasks

LENGTH, BATCH, LEARNING_RATE = 12, 32, 1e-2


def train(task: tasks.Task, model: arch.SequenceModel, steps: int) -> None:
    """Train a model for `steps` optimizer steps, each on new sequences.

    docs/method.md describes how `carousel run` trains.
    """
    generator = tasks.generator(0, "train")
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for _ in range(steps):
        batch = task.sample(generator, BATCH, LENGTH)
        loss = task.loss(model(batch.inputs), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def score(task: tasks.Task, model: arch.SequenceModel, sequences: int = 512) -> float:
    """Return the model's score on `sequences` test sequences."""
    batch = task.sample(tasks.generator(0, "test"), sequences, LENGTH, "test")
    with torch.inference_mode():
        return task.score(task.answer(model(batch.inputs)), batch)


def stream(task: tasks.Task, model: arch.SequenceModel) -> list[int]:
    """Stream one test sequence through a model, and return the size of the state in bytes after each step."""
    (inputs,) = task.sample(tasks.generator(1, "test"), 1, LENGTH, "test").inputs
    state_bytes = []
    with torch.inference_mode():
        state = model.init_state(batch=1)
        for x in inputs:
            _, state = model.step(x[None], state)
            state_bytes.append(arch.state_bytes(state))
    return state_bytes


def show(run: Path) -> None:
    """Print the mean accuracy of a stored run's cases, for each task, architecture and tested length."""
    frame = results.load(run)
    scores = frame[frame["metric"] == "accuracy"]
    print(scores.groupby(["task", "arch", "at_length"])["median"].mean().to_string())


def main(runs: list[str], steps: int = 300) -> None:
    """Train a GRU on the task `first_last`, test and stream the GRU, and show the stored runs in `runs`."""
    task = tasks.build("first_last:rule=sum")
    print(tasks.describe(task, LENGTH), end="\n\n")
    model = arch.build("gru:init=orthogonal", channels=1, outputs=2, params=2_000, depth=1, seed=0)
    train(task, model, steps)
    print(f"score {score(task, model):.3f}, chance {task.chance(LENGTH):.3f}")
    print(f"state bytes after each step: {stream(task, model)}")
    for run in runs:
        show(Path(run))


if __name__ == "__main__":
    main(sys.argv[1:])
