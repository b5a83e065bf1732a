"""Compare the time that Carousel and a plain loop with torch.nn take for the cases of a plan.

    python -m tests.perf.matrix [--plan quick] [--sample N]

The loop trains equivalent networks from torch.nn, with equal width, batches, steps, optimizer and evaluations. The loop
trains one case after the other, with torch's default number of threads. Carousel runs
`carousel run PLAN --measure accuracy --no-resume` with a new store. The time of Carousel includes start-up, and
compiling kernels if they are not cached. If Carousel solves a case early, the loop stops at the same step. Carousel
and the loop therefore do the same amount of training.

With `--sample N` the loop trains N cases, spread evenly over all cases sorted by key. The time of each remaining case
is estimated from the sampled cases with the same architecture and length. If no such case was sampled, the estimate
uses the sampled cases with the same architecture and any length. This estimate assumes that the time per step is
proportional to the length.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tasks
from bench.training.data import batches
from bench.training.optimizer import clip_gradients
from bench.training.schedule import learning_rate_factor
from results import Case, Record, Store
from results.specs import Spec
from tasks import Reals, Task
from tests.perf.baselines import theirs

AIM = 3.0
"""Smallest ratio of the loop's time to Carousel's that passes."""


class Embedded(nn.Module):
    """A network from torch.nn with an embedding for tokens."""

    def __init__(self, name: str, vocabulary: int, width: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.network = theirs(name, width, width, outputs)

    def forward(self, x_BT: Tensor) -> Tensor:
        outputs: Tensor = self.network(self.embedding(x_BT))
        return outputs


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare Carousel with a plain loop with torch.nn.")
    parser.add_argument("--plan", default="quick", help="Plan to run.")
    parser.add_argument("--sample", type=int, help="Number of cases that the loop trains (default: all).")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as store:
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "bench",
            "run",
            options.plan,
            "--measure",
            "accuracy",
            "--store",
            store,
            "--no-resume",
        ]
        completed = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        carousel_seconds = time.perf_counter() - began
        if completed.returncode != 0:
            print(f"carousel run ended with exit code {completed.returncode}")
            return 1
        records = [record for record in _records(store) if record.training is not None]
    print(f"carousel run {options.plan}: {len(records)} cases in {carousel_seconds:.0f} s on {os.cpu_count()} cores")
    loop_seconds = _loop(records, len(records) if options.sample is None else min(options.sample, len(records)))
    ratio = loop_seconds / carousel_seconds
    print(f"a plain loop with torch.nn: {loop_seconds:.0f} s, {ratio:.2f} times as long (at least {AIM:g} expected)")
    return 0 if ratio >= AIM else 1


def _records(store: str) -> list[Record]:
    records, damaged = Store(Path(store)).find("latest").read()
    assert not damaged, damaged
    return list(records.values())


def _loop(records: list[Record], sample: int) -> float:
    """Return the seconds of the plain loop over all cases. The seconds of cases outside the sample are estimated."""
    chosen = {round(i * (len(records) - 1) / max(1, sample - 1)) for i in range(sample)}
    by_length: dict[tuple[str, int], list[float]] = defaultdict(list)
    by_arch: dict[str, list[float]] = defaultdict(list)
    total = 0.0
    for i, record in enumerate(records):
        if i not in chosen:
            continue
        began = time.perf_counter()
        steps = _train(record)
        seconds = time.perf_counter() - began
        total += seconds
        name = Spec.parse_stored(record.case.arch).name
        by_length[name, record.case.length].append(seconds / steps)
        by_arch[name].append(seconds / steps / record.case.length)
        print(f"  {record.case.arch} {record.case.task} {record.case.length}: {seconds:.1f} s", flush=True)
    for i, record in enumerate(records):
        if i not in chosen:
            assert record.training is not None
            name, length = Spec.parse_stored(record.case.arch).name, record.case.length
            by_step = by_length.get((name, length)) or [length * cost for cost in by_arch[name]]
            total += record.training.steps * sum(by_step) / len(by_step)
    return total


def _train(record: Record) -> int:
    """Train and test one case as in a plain script, and return the number of training steps."""
    assert record.training is not None and record.model is not None
    case, task = record.case, tasks.build(record.case.task)
    model = _network(case, task, record.model.width)
    protocol, steps = case.protocol, record.training.steps
    optimiser = torch.optim.Adam(model.parameters(), lr=protocol.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: learning_rate_factor(protocol, step))
    validation = task.sample(tasks.generator(case.seed, "validation"), protocol.validation_sequences, case.length)
    for step, batch in enumerate(batches(task, case), start=1):
        optimiser.zero_grad()
        loss = task.loss(model(batch.inputs), batch)
        loss.backward()
        clip_gradients(model, protocol)
        optimiser.step()
        schedule.step()
        if step % protocol.evaluate_every == 0 or step == steps:
            _test(model, task, validation)
        if step == steps:
            break
    for length in case.protocol.evaluated_lengths(case.length):
        _test(model, task, task.sample(tasks.generator(case.seed, "test"), protocol.test_sequences, length))
    return steps


def _test(model: nn.Module, task: Task, batch: Any) -> None:
    model.eval()
    with torch.no_grad():
        task.score(task.answer(model(batch.inputs)), batch)
    model.train()


def _network(case: Case, task: Task, width: int) -> nn.Module:
    name, outputs = Spec.parse_stored(case.arch).name, task.targets.size
    if isinstance(task.inputs, Reals):
        return theirs(name, task.inputs.size, width, outputs)
    return Embedded(name, task.inputs.size, width, outputs)


if __name__ == "__main__":
    sys.exit(main())
