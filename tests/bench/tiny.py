"""A tiny plan, as a TOML file and as a `Plan`. The module also builds tiny cases and untrained models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import tasks
from bench.plans.plan import Plan, Timing, load
from bench.probes.subject import Subject
from bench.training.model import build_model
from results import Case, Protocol

TIMING = Timing(positions=(1, 8), steps=10, blocks=2, block_seconds=1e-4, batch=2)

TINY = """
summary = "two architectures, two seeds, one step of training"
archs = ["rnn", "lstm"]
tasks = ["first_last"]
lengths = [4]
seeds = 2
width = 4
depth = 1

[protocol]
steps = 1
batch = 4
evaluate_every = 1
validation_sequences = 8
test_sequences = 8
evaluate_at = ["1x", "2x"]

[timing]
positions = [1, 8]
steps = 10
blocks = 1
block_seconds = 0.0001
batch = 2
"""

GRID = """
[tuning]
learning_rates = [1e-3, 1e-2]
seeds = 1
"""
"""Text to append to `TINY`: a grid of two learning rates, with one tuning seed."""

CLAIM = """
[[claims]]
name = "learns"
text = "Everything is learned."
source = "nobody"
what = "accuracy"
quantity = { metric = "accuracy" }
at_least = 0.0
"""
"""Text to append to `TINY`: a claim that holds for every run."""


def write_plan(folder: Path, text: str = TINY) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def tiny_plan(folder: Path, **changes: Any) -> Plan:
    return load(str(write_plan(folder))).model_copy(update=changes)


def tiny_case(arch: str = "rnn", task: str = "first_last", *, length: int = 4, seed: int = 0, **protocol: Any) -> Case:
    fields = {"steps": 1, "batch": 4, "evaluate_every": 1, "validation_sequences": 8, "test_sequences": 8} | protocol
    return Case(arch=arch, task=task, length=length, depth=1, width=4, seed=seed, protocol=Protocol(**fields))


def subject(name: str = "rnn", task: str = "first_last", *, length: int = 4, depth: int = 2, **changes: Any) -> Subject:
    case = tiny_case(name, task, length=length, **changes).model_copy(update={"depth": depth})
    built = tasks.build(task)
    return Subject(case=case, task=built, model=build_model(case, built))


def weights_of(subject: Subject) -> list[torch.Tensor]:
    return [value.clone() for value in subject.model.state_dict().values()]
