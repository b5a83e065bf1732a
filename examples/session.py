"""The library without the command line: build, train, test, stream, and read what a run has stored.

python3 examples/session.py                               train one small model, in seconds
python3 examples/session.py carousel-runs/RUN             then look at a stored run as a table of pandas
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
    """Plain training on fresh sequences; `carousel run` does more, see docs/method.md."""
    generator = tasks.generator(0, "train")
    optimiser = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for _ in range(steps):
        batch = task.sample(generator, BATCH, LENGTH)
        loss = task.loss(model(batch.inputs), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def score(task: tasks.Task, model: arch.SequenceModel, sequences: int = 512) -> float:
    """The share of right answers on test sequences."""
    batch = task.sample(tasks.generator(0, "test"), sequences, LENGTH, "test")
    with torch.inference_mode():
        return task.score(task.answer(model(batch.inputs)), batch)


def stream(task: tasks.Task, model: arch.SequenceModel) -> list[int]:
    """One sequence, step by step, as it would arrive; the bytes of the state after each step."""
    (inputs,) = task.sample(tasks.generator(1, "test"), 1, LENGTH, "test").inputs
    weighed = []
    with torch.inference_mode():
        state = model.init_state(batch=1)
        for x in inputs:
            _, state = model.step(x[None], state)
            weighed.append(arch.state_bytes(state))
    return weighed


def look(run: Path) -> None:
    """Mean score of each architecture and task of a stored run, over its seeds."""
    frame = results.load(run)
    scores = frame[frame["metric"] == "accuracy"]
    print(scores.groupby(["task", "arch", "at_length"])["median"].mean().to_string())


def main(words: list[str], steps: int = 300) -> None:
    """Train a GRU to compare a first step with a last one, then show the run that is named."""
    task = tasks.build("first_last:rule=sum")
    print(tasks.describe(task, LENGTH), end="\n\n")
    model = arch.build("gru:init=orthogonal", channels=1, outputs=2, params=2_000, depth=1, seed=0)
    train(task, model, steps)
    print(f"score {score(task, model):.3f}, chance {task.chance(LENGTH):.3f}")
    print(f"bytes of state, step by step: {stream(task, model)}")
    for word in words:
        look(Path(word))


if __name__ == "__main__":
    main(sys.argv[1:])
