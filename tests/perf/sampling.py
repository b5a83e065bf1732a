"""What sampling costs: each task's time for one batch, as a share of one training step of that shape.

    python -m tests.perf.sampling [--batch 64] [--length 1024] [--rounds 5]

The training step is that of `lstm` with 2 layers of 64 units: forward, backward, clipped, Adam. Steps
and samples take turns, so that a busy machine slows both, and medians are compared. Every task must
stay under 15%; the command fails where one does not. Run it on a machine that does nothing else.
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
LAYERS, UNITS = 2, 64


def main() -> int:
    parser = argparse.ArgumentParser(description="What sampling costs beside training.")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f"batch {given.batch}, length {given.length}, one thread, median of {given.rounds} rounds")
    print(f"{'task':<20} {'sample':>10} {'LSTM step':>11} {'share':>7}")
    too_slow = []
    for name in tasks.names():
        task = tasks.build(name)
        try:
            sample_seconds, step_seconds = measure(task, given.batch, given.length, given.rounds)
        except ImpossibleLength as error:
            print(f"{name:<20} {error}")
            continue
        share = sample_seconds / step_seconds
        print(f"{name:<20} {1e3 * sample_seconds:>7.2f} ms {1e3 * step_seconds:>8.0f} ms {share:>7.2%}")
        if share > MAX_SHARE:
            too_slow.append(name)
    if too_slow:
        print(f"over {MAX_SHARE:.0%}: {', '.join(too_slow)}")
    return 1 if too_slow else 0


def measure(task: Task, batch: int, length: int, rounds: int) -> tuple[float, float]:
    """Seconds to sample a batch and to train on it, medians after one round that does not count."""
    generator = tasks.generator(0, "train")
    step = training_step(task)
    sampling, training = [], []
    for _ in range(rounds + 1):
        sampled, seconds = timed(partial(task.sample, generator, batch, length))
        sampling.append(seconds)
        training.append(timed(partial(step, sampled))[1])
    return statistics.median(sampling[1:]), statistics.median(training[1:])


def training_step(task: Task) -> Callable[[Batch], Tensor]:
    size = task.inputs.size
    reads = {"vocabulary": size} if isinstance(task.inputs, Tokens) else {"channels": size}
    model = arch.build("lstm", outputs=task.targets.size, width=UNITS, depth=LAYERS, seed=0, **reads)
    optimiser = torch.optim.Adam(model.parameters())

    def step(batch: Batch) -> Tensor:
        optimiser.zero_grad()
        loss = task.loss(model(batch.inputs), batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return loss

    return step


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
