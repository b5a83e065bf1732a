"""A seed draws the same data under any default dtype and device of torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import tasks
from bench.validation import lengths_to_check
from tasks import digits, memorization, text
from tasks.core import groups
from tests.tasks.specs import SAMPLE, SPECS

SEED, BATCH = 7, 3


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore torch's defaults after the test."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def drawn(task: tasks.Task) -> list[torch.Tensor]:
    length = lengths_to_check(task)[0]
    batch = task.sample(tasks.generator(SEED, "train"), BATCH, length)
    return [batch.inputs, batch.targets, batch.mask]


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16, torch.device("meta")], ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_data_does_not_depend_on_the_defaults(spec: str, default: torch.dtype | torch.device) -> None:
    task = tasks.build(spec)
    expected = drawn(task)
    if isinstance(default, torch.device):
        torch.set_default_device(default)
    else:
        torch.set_default_dtype(default)
    actual = drawn(task)
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype and one.device == other.device
        assert torch.equal(one, other)
    now = torch.get_default_device() if isinstance(default, torch.device) else torch.get_default_dtype()
    assert now == default


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "spec", ["digits", "group_word", "group_word:group=D4,generators=2", "memorization", f"text:path={SAMPLE}"]
)
def test_data_that_is_loaded_under_other_defaults(spec: str) -> None:
    task = tasks.build(spec)
    expected, score = drawn(task), task.memoryless_score(task.min_length)
    for cached in (digits.images, groups.products_of, groups.inverses_of, memorization.table_of, text.corpus_of):
        cached.cache_clear()
    for default in (torch.bfloat16, torch.float64):
        torch.set_default_dtype(default)
        assert task.memoryless_score(task.min_length) == score
    torch.set_default_device("meta")
    for cached in (digits.images, groups.products_of, groups.inverses_of, memorization.table_of, text.corpus_of):
        cached.cache_clear()
    actual = drawn(task)
    for one, other in zip(actual, expected, strict=True):
        assert torch.equal(one, other)
