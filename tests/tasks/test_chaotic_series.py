"""The series of `chaotic_series` follow their equations and look the same at every step."""

from __future__ import annotations

import pytest
import torch

import tasks

FLOAT32 = 1e-5
"""Absolute tolerance for values that are continued from float32 inputs."""


def test_mackey_glass_follows_its_equation() -> None:
    batch = tasks.build("chaotic_series:horizon=1").sample(tasks.generator(0, "train"), 5, 60)
    for row in (1.5 * batch.inputs[..., 0].double()).tolist():
        for t in range(17, len(row) - 1):
            change = 0.2 * row[t - 17] / (1 + row[t - 17] ** 10) - 0.1 * row[t]
            assert row[t + 1] == pytest.approx(row[t] + change, abs=FLOAT32)
    assert torch.equal(batch.inputs[:, 18:], batch.targets[:, 17:-1])


def test_lorenz_follows_its_equations() -> None:
    """Continue x, y and z from the first three values of x, by Euler steps of 0.01."""
    batch = tasks.build("chaotic_series:system=lorenz").sample(tasks.generator(0, "train"), 20, 40)
    followed = 0
    for row in (50 * batch.inputs[..., 0].double() - 25).tolist():
        if abs(row[0]) < 5:
            continue
        slopes = [(row[t + 1] - row[t]) / 0.01 for t in range(2)]
        y, next_y = (row[t] + slopes[t] / 10 for t in range(2))
        x, z = row[0], 28 - ((next_y - y) / 0.01 + y) / row[0]
        for expected in row[1:12]:
            x, y, z = x + 0.1 * (y - x), y + 0.01 * (x * (28 - z) - y), z + 0.01 * (x * y - 8 / 3 * z)
            assert x == pytest.approx(expected, abs=0.05)
        followed += 1
    assert followed > 5


@pytest.mark.slow
@pytest.mark.parametrize("system", ["mackey_glass", "lorenz"])
def test_every_step_has_the_same_distribution(system: str) -> None:
    task = tasks.build(f"chaotic_series:system={system}")
    series = task.sample(tasks.generator(0, "train"), 8_000, 80).inputs[..., 0]
    assert series.min() > 0 and series.max() < 1
    spread = series.std(0)
    assert (spread.max() / spread.min()).item() < 1.06
    assert (series.mean(0).max() - series.mean(0).min()).item() < 5 * spread.mean().item() / 8_000**0.5
