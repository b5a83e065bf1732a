"""The noise of the three variants of `two_sequences`."""

from __future__ import annotations

import pytest
import torch

import tasks

SEQUENCES = 20_000


def drawn(variant: str, split: tasks.Split) -> tasks.Batch:
    task = tasks.build(f"two_sequences:variant={variant}")
    return task.sample(tasks.generator(0, split), SEQUENCES, 10, split)


def test_3a_has_clean_signs_and_noise_of_variance_one_fifth() -> None:
    batch = drawn("3a", "train")
    signs = 2.0 * batch.targets[:, -1] - 1
    assert torch.equal(batch.inputs[:, :3, 0], signs[:, None].expand(-1, 3))
    assert batch.inputs[:, 3:].var().item() == pytest.approx(0.2, rel=0.02)


def test_3b_adds_the_noise_to_the_signs() -> None:
    batch = drawn("3b", "test")
    noise = batch.inputs[:, :3, 0] - (2.0 * batch.targets[:, -1:] - 1)
    assert noise.mean().item() == pytest.approx(0, abs=0.01) and noise.var().item() == pytest.approx(0.2, rel=0.02)


def test_3c_adds_noise_to_training_targets_only() -> None:
    for split, variance in (("train", 0.1), ("validation", 0.0), ("test", 0.0)):
        batch = drawn("3c", split)
        clean = torch.where(batch.inputs[:, :3, 0].sum(1) > 0, 0.8, 0.2)
        noise = batch.targets[:, -1, 0] - clean
        assert noise.var().item() == pytest.approx(variance, rel=0.05, abs=1e-3)
        assert tasks.build("two_sequences:variant=3c").solvable(batch).any() == (split != "train")
