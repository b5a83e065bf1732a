"""Measure each task's time to sample a batch, as a share of one training step on that batch.

    python -m tests.perf.sampling [--batch 64] [--length 1024] [--rounds 5]

The training step is that of `lstm` with 2 layers of 64 units: forward, backward, gradient clipping and Adam. Samples
and steps alternate, so that a busy machine slows samples and steps alike. Their medians are compared. The exit code
is 1 if a task takes more than 15% of a step to sample. Use a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

import arch
import tasks
from tasks import Batch, ImpossibleLength, Task, Tokens

Result = TypeVar("Result")
MAX_SHARE = 0.15
"""Limit on the time to sample a batch, as a share of a training step."""
LAYERS, UNITS = 2, 64


def main() -> int:
    """Print one row per task and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.perf.sampling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--batch", type=int, default=64, help="Sequences per batch (default: %(default)s).")
    parser.add_argument("--length", type=int, default=1024, help="Time steps per sequence (default: %(default)s).")
    parser.add_argument("--rounds", type=int, default=5, help="Timed repetitions (default: %(default)s).")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"batch {options.batch}, length {options.length}, one thread, median of {options.rounds} rounds")
    print(f"{'task':<20} {'sample':>10} {'LSTM step':>11} {'share':>7}")
    too_slow = []
    for name in tasks.names():
        task = tasks.build(name)
        try:
            sample_seconds, step_seconds = measure(task, options.batch, options.length, options.rounds)
        except ImpossibleLength as error:
            print(f"{name:<20} {error}")
            continue
        share = sample_seconds / step_seconds
        print(f"{name:<20} {1e3 * sample_seconds:>7.2f} ms {1e3 * step_seconds:>8.0f} ms {share:>7.2%}")
        if share > MAX_SHARE:
            too_slow.append(name)
    if too_slow:
        print(f"above the limit of {MAX_SHARE:.0%}: {', '.join(too_slow)}")
    return 1 if too_slow else 0


def measure(task: Task, batch: int, length: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds to sample a batch and to train on it. The first round is not counted.

    Args:
        task: the task to sample.
        batch: sequences per batch.
        length: time steps per sequence.
        rounds: timed repetitions.
    """
    generator = tasks.generator(0, "train")
    step = training_step(task)
    sampling, training = [], []
    for _ in range(rounds + 1):
        sampled, seconds = timed(partial(task.sample, generator, batch, length))
        sampling.append(seconds)
        training.append(timed(partial(step, sampled))[1])
    return statistics.median(sampling[1:]), statistics.median(training[1:])


def training_step(task: Task) -> Callable[[Batch], Tensor]:
    """Build a model for `task`, and return its training step as a function of a batch.

    Each call of the function updates the model and returns the loss.
    """
    size = task.inputs.size
    inputs = {"vocabulary": size} if isinstance(task.inputs, Tokens) else {"channels": size}
    model = arch.build("lstm", outputs=task.targets.size, width=UNITS, depth=LAYERS, seed=0, **inputs)
    optimizer = torch.optim.Adam(model.parameters())

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad()
        loss = task.loss(model(batch.inputs), batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Call `work`, and return its result and the seconds that it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
