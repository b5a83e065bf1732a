"""The page about plugins: its examples pass every check, and its lists are complete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
import tasks
from bench.plugins.loader import install, load
from bench.training.optimizer import optimizer_of, training_loss
from bench.validation.checker import validate_arch, validate_task
from results import Protocol
from tests.bench.tiny import subject

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = {text.partition(":")[0].strip('"'): text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)}


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def load_example(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(EXAMPLES[name], encoding="utf-8")
    assert load([folder / f"{name}.py"]).disabled == ()


def test_the_page_has_an_example_of_each_hook() -> None:
    assert EXAMPLES.keys() == {"decaying", "sparse", "mixed", "folds"}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_passes_every_check(tmp_path: Path, name: str) -> None:
    load_example(tmp_path, name)
    validate = validate_task if name in tasks.names() else validate_arch
    assert [str(result) for result in validate(name).failed] == []


def test_the_examples_do_what_the_page_says(tmp_path: Path) -> None:
    load_example(tmp_path, "decaying")
    model = subject("decaying").model
    groups = optimizer_of(model, Protocol(steps=1, learning_rate=0.01, weight_decay=0.5)).groups
    assert [(group.learning_rate, group.weight_decay) for group in groups] == [(0.001, 0.0)] * 2 + [(0.01, 0.5)]
    load_example(tmp_path, "sparse")
    built = subject("sparse")
    batch = built.task.sample(torch.Generator().manual_seed(0), 4, 4)
    loss = training_loss(built.model, built.task, batch)
    assert loss.item() > built.task.loss(built.model(batch.inputs), batch).item()
    load_example(tmp_path, "mixed")
    model = arch.build("mixed", channels=1, outputs=1, width=8, depth=4)
    assert [type(layer).__name__ for layer in model.layers] == ["Mixed", "Transformer"] * 2


def test_the_task_of_the_page_has_a_data_set_per_seed(tmp_path: Path) -> None:
    load_example(tmp_path, "folds")
    task = tasks.build("folds")
    sets = []
    for seed in (0, 1):
        batches = [task.for_seed(seed).sample(tasks.generator(draw, "train"), 4_000, 16).inputs for draw in (0, 1)]
        sets.append({tuple(row) for batch in batches for row in batch.tolist()})
    assert len(sets[0]) <= 2_000 and len(sets[0] & sets[1]) < 200


def test_the_page_lists_every_reserved_option() -> None:
    (line,) = re.findall(r"Use no reserved name\.\*\*(.*?) have a meaning", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", line)) == arch.RESERVED_OPTIONS
