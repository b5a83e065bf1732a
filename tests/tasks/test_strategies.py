"""The stated scores and losses of partial strategies, compared with players of these strategies."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch

import tasks
from bench.validation import lengths_to_check
from tasks import Task
from tasks.core.counting import entropy_of_counts, most_frequent_share
from tests.tasks.players import PLAYERS
from tests.tasks.specs import SAMPLE, for_every_task, short

SEQUENCES, PARTS = 2_000, 20
"""Number of sequences that a player sees, and number of parts whose means give the standard error."""
DEVIATIONS = 5
"""Tolerance in standard errors of a mean over 20 parts: such a deviation occurs once in 10,000 comparisons."""
ROUNDING = 1e-6
TABLE_ERROR = 0.01
"""Tolerance for players that learn a table from a sample, and for the nearest of equally near images."""
LEARNED = ("chaotic_series", "digits", "group_word", "listops", "text")

CASES = [
    ("adding", 12),
    ("adding:preset=hs1997", 30),
    ("adding:preset=hs1997", 9),
    ("brackets", 12),
    ("brackets:resampled=0.9", 9),
    ("chaotic_series", 24),
    ("chaotic_series:system=lorenz,horizon=5", 24),
    ("copy_memory:symbols=3,alphabet=4", 9),
    ("copy_memory:preset=urnn", 30),
    ("cycle_navigation", 6),
    ("delayed_copy:alphabet=3", 9),
    ("delayed_copy:delay=4", 12),
    ("digits", 64),
    ("dyck", 14),
    ("first_last", 5),
    ("flip_flop", 14),
    ("flip_flop:ignore=0.3", 9),
    ("group_word:group=S3", 4),
    ("group_word:group=S4,generators=2", 5),
    ("group_word:group=S3,every_step=False,generators=3", 3),
    ("induction:vocabulary=9", 7),
    ("k_hop", 20),
    ("k_hop:alphabet=3,hops=4", 30),
    ("listops:depth=3,arguments=4", 12),
    ("modular_arithmetic", 7),
    ("modular_arithmetic:modulus=4", 12),
    ("nested_arithmetic", 13),
    ("nested_arithmetic:modulus=4", 20),
    ("recall:pairs=4", 16),
    ("recall:pairs=6,vocabulary=24,overwritten=3", 40),
    ("recall:pairs=5,vocabulary=20,key_tokens=2,key_parts=3,noise=7", 40),
    ("reber", 20),
    ("reber:strings=one", 20),
    ("selective_copy:symbols=4,alphabet=3", 12),
    ("temporal_order", 12),
    ("temporal_order:symbols=3", 12),
    (f"text:path={SAMPLE}", 12),
    ("two_sequences:variant=3b", 9),
]

SLOW = ("chaotic_series", "chaotic_series:system=lorenz,horizon=5", "digits", f"text:path={SAMPLE}")
PARAMETERS = [
    pytest.param(spec, length, id=f"{short(spec)}-{length}", marks=[pytest.mark.slow] if spec in SLOW else [])
    for spec, length in CASES
]


@pytest.mark.parametrize(("spec", "length"), PARAMETERS)
def test_players_reach_the_stated_scores_and_losses(spec: str, length: int) -> None:
    task = tasks.build(spec)
    players = PLAYERS[spec.partition(":")[0]]
    strategies = task.strategies(length)
    assert strategies
    batch = task.sample(tasks.generator(3, "test"), SEQUENCES, length, "test")
    parts = [
        tasks.Batch(inputs=inputs, targets=targets, mask=mask)
        for inputs, targets, mask in zip(
            *(x.chunk(PARTS) for x in (batch.inputs, batch.targets, batch.mask)), strict=True
        )
    ]
    margin = TABLE_ERROR if spec.partition(":")[0] in LEARNED else ROUNDING
    for strategy in strategies:
        outputs = players[strategy.name](task, batch).chunk(PARTS)
        measured = {
            "score": [task.score(task.answer(out), part) for out, part in zip(outputs, parts, strict=True)],
            "loss": [task.loss(out, part).item() for out, part in zip(outputs, parts, strict=True)],
        }
        for name, stated in (("score", strategy.score), ("loss", strategy.loss)):
            values = torch.tensor(measured[name], dtype=torch.float64)
            tolerance = DEVIATIONS * values.std().item() / math.sqrt(PARTS) + margin
            assert stated is None or stated == pytest.approx(values.mean().item(), abs=tolerance), strategy.name


@pytest.mark.slow
def test_every_strategy_has_a_player_that_is_tested() -> None:
    tested: dict[str, set[str]] = {}
    for spec, length in CASES:
        names = {strategy.name for strategy in tasks.build(spec).strategies(length)}
        tested.setdefault(spec.partition(":")[0], set()).update(names)
    assert tested == {name: set(players) for name, players in PLAYERS.items()}


def test_every_task_with_strategies_has_players() -> None:
    having = {name for name in tasks.names() if tasks.build(name).strategies(max(64, tasks.build(name).min_length))}
    assert having <= set(PLAYERS)


@for_every_task(slow=("chaotic_series:system=lorenz,horizon=40",))
def test_strategies_lie_between_the_best_answer_without_memory_and_the_solution(task: Task) -> None:
    for length in lengths_to_check(task)[:3]:
        floor = max(task.chance(length), task.memoryless_score(length) or 0.0)
        strategies = task.strategies(length)
        assert len({strategy.name for strategy in strategies}) == len(strategies)
        scores = [strategy.score for strategy in strategies if strategy.score is not None]
        assert scores == sorted(scores) and all(floor - ROUNDING <= score < 1 for score in scores)
        for strategy in strategies:
            assert strategy.description.endswith(".") and ". " not in strategy.description
            assert strategy.score is not None or strategy.loss is not None
            assert strategy.error >= 0
            best = task.constant_loss(length)
            assert strategy.loss is None or 0 <= strategy.loss <= (math.inf if best is None else best + ROUNDING)


def test_the_lines_of_the_literature() -> None:
    (mean, one) = tasks.build("adding").strategies(50)
    assert (mean.loss, one.loss) == (pytest.approx(1 / 6), pytest.approx(1 / 12))
    copy = tasks.build("copy_memory:preset=urnn").strategies(120)[0]
    assert copy.loss == pytest.approx(10 * math.log(8) / 120)
    (value,) = tasks.build("recall:pairs=8").strategies(64)
    assert value.score == 1 / 8
    assert tasks.build("parity").strategies(64) == ()


def test_strategies_are_described_with_a_sample() -> None:
    text = tasks.describe(tasks.build("recall:pairs=4"), 16)
    assert "Partial strategy “any value shown” (score 0.250, loss 1.386): Name any of the latest values" in text


@pytest.mark.parametrize(("draws", "symbols"), [(1, 3), (3, 2), (4, 3), (5, 4)])
def test_counts_match_an_enumeration(draws: int, symbols: int) -> None:
    share, entropy = Fraction(0), 0.0
    for drawn in itertools.product(range(symbols), repeat=draws):
        counts = [drawn.count(symbol) for symbol in set(drawn)]
        share += Fraction(max(counts), draws * symbols**draws)
        entropy -= sum(count / draws * math.log(count / draws) for count in counts) / symbols**draws
    assert most_frequent_share(draws, symbols) == pytest.approx(float(share), abs=1e-9)
    assert entropy_of_counts(draws, symbols) == pytest.approx(entropy, abs=1e-9)


def test_counts_of_many_draws_approach_equal_shares() -> None:
    assert most_frequent_share(1000, 4) == pytest.approx(0.25, abs=0.03)
    assert entropy_of_counts(1000, 4) == pytest.approx(math.log(4), abs=3e-3)
