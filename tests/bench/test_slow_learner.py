"""An architecture that needs three times its budget is called still learning, and never ranked last for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.plugins.loader import Plugin, install, load
from reports import LeaderboardRow, leaderboard
from results import Case, Protocol, Record
from tests.bench.plugin_files import write
from tests.reports import synthetic

ADDER = '''"""{name}: the sum of the marked numbers, in units of `scale`, rounded to multiples of `grid`."""

import torch
from torch import nn

from arch import Layer


class Adder(Layer):
    """`scale`  factor of the outputs: the smaller it is, the further the readout's weights have to grow.
    `grid`  distance of the sums that the layer can tell apart; 0 for all.
    """

    def __init__(self, inputs: int, width: int, *, scale: float = 1.0, grid: float = 0.0) -> None:
        super().__init__()
        self.width, self.scale, self.grid = width, scale, grid
        self.bias = nn.Parameter(torch.zeros(width))

    def init_state(self, batch):
        return self.empty(batch, 1)

    def step(self, x_BD, state):
        sum_B1 = state + x_BD[:, :1] * x_BD[:, 1:2]
        seen_B1 = self.grid * (sum_B1 / self.grid).round() if self.grid else sum_B1
        return self.bias + self.scale * seen_B1, sum_B1

    def scan(self, x_BTD, state):
        outputs = []
        for x_BD in x_BTD.unbind(1):
            h_BH, state = self.step(x_BD, state)
            outputs.append(h_BH)
        return torch.stack(outputs, 1), state
'''
SLOW, COARSE = "adder:scale=0.15", "adder:grid=0.25"
"""The first needs about three times the budget to solve the task.

The second never solves it: it rounds sums to quarters, so that about a third of its answers are correct.
"""
BUDGET = 240
SEEDS = 3
"""Two seeds of each would never be told apart."""


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[tuple[Plugin, ...]]:
    yield load([write(tmp_path, "adder", ADDER)]).plugins
    install(())


def trained(plugins: tuple[Plugin, ...], arch: str, steps: int) -> list[Record]:
    protocol = Protocol(
        steps=steps,
        learning_rate=0.02,
        evaluate_every=20,
        validation_sequences=64,
        test_sequences=256,
        evaluate_at=("1x",),
    )
    return [
        run_training_job(
            TrainJob(
                case=Case(arch=arch, task="adding", length=4, depth=1, width=4, seed=seed, protocol=protocol),
                plugins=plugins,
            ),
            lambda *_: None,
        ).record
        for seed in range(SEEDS)
    ]


def rows_of(records: Sequence[Record]) -> dict[str, LeaderboardRow]:
    rows = leaderboard(synthetic.run([record.case for record in records]), records)
    return {row.arch: row for row in rows}


def test_slow_learner_is_still_learning_and_not_last(plugins: tuple[Plugin, ...]) -> None:
    coarse = trained(plugins, COARSE, BUDGET)
    rows = rows_of([*trained(plugins, SLOW, BUDGET), *coarse])
    slow, other = rows[SLOW], rows[COARSE]
    assert slow.score is not None and other.score is not None
    assert slow.score < other.score - 0.1
    assert (slow.still_learning, slow.undecided, other.still_learning, other.undecided) == (SEEDS, True, 0, False)
    assert (slow.rank_first, other.rank_last) == (1, 2)

    rows = rows_of([*trained(plugins, SLOW, 3 * BUDGET), *coarse])
    slow, other = rows[SLOW], rows[COARSE]
    assert slow.score is not None and slow.score > 0.9
    assert (slow.rank_first, slow.rank_last, other.rank_first) == (1, 1, 2)
