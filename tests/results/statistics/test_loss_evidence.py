"""Losses show use of the past if, and almost only if, there is some."""

from __future__ import annotations

import math

import numpy as np
import pytest

from results import LossEvidence, loss_evidence

SIXTH = 1 / 6
"""The squared error of the best constant answer to the adding problem."""
SIMULATIONS = 600
TARGETS = {
    "uniform": lambda random, count: random.uniform(size=count),
    "sum of two uniforms": lambda random, count: random.uniform(size=count) + random.uniform(size=count),
    "normal": lambda random, count: random.normal(size=count),
}


def of(name: str, losses: tuple[float, ...], floor: float | None, sequences: int = 512) -> LossEvidence:
    return loss_evidence(name, losses, constant=floor, memoryless=None, sequences=sequences)


@pytest.mark.parametrize(
    ("losses", "shows", "clear_seeds"),
    [
        ((0.164, 0.169, 0.166), False, 0),  # as good as the best constant
        ((0.162, 0.161, 0.162), False, 0),  # below it, but by less than a twentieth
        ((0.15, 0.148, 0.152), True, 0),  # the whole interval is clearly below it
        ((0.08, 0.17, 0.19), True, 1),  # a seed learned, and the interval is wide: -0.03 to 0.32
        ((0.055, 0.028, 0.166), True, 2),  # the seeds of an LSTM that had the score of chance
        ((0.10, 0.165, 0.20), False, 0),  # a seed is lower, but not by half
        ((0.3, 0.5, 0.4), False, 0),  # worse than a constant
        ((0.05,), True, 1),
        ((0.12,), False, 0),
    ],
)
def test_squared_errors_against_that_of_the_best_constant(
    losses: tuple[float, ...], shows: bool, clear_seeds: int
) -> None:
    found = of("mse", losses, SIXTH)
    assert (found.shows_past, len(found.clear_losses), found.seeds) == (shows, clear_seeds, len(losses))


def test_the_loss_without_the_past_is_the_floor_if_it_is_known() -> None:
    losses = (0.150, 0.149, 0.151)
    assert loss_evidence("mse", losses, constant=SIXTH, memoryless=None, sequences=512).shows_past
    assert not loss_evidence("mse", losses, constant=SIXTH, memoryless=0.152, sequences=512).shows_past


def test_nothing_is_shown_without_a_floor_or_with_a_floor_of_zero() -> None:
    assert not of("mse", (0.0, 0.0), None).shows_past
    assert not of("mse", (0.0, 0.0), 0.0).shows_past
    assert not of("cross_entropy", (0.0,), 0.0).shows_past


def test_one_seed_with_few_test_sequences_shows_nothing() -> None:
    assert of("mse", (0.01, 0.2), SIXTH, sequences=64).shows_past
    assert not of("mse", (0.01, 0.2), SIXTH, sequences=63).shows_past


def test_losses_need_at_least_one_seed() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        of("mse", (), SIXTH)


def test_cross_entropy_of_a_seed_needs_a_small_bound_of_its_p_value() -> None:
    floor = math.log(2)
    needed = floor - math.log(1000) / 512  # exp(-512 (floor - loss)) = 0.001
    assert 0.95 * floor < needed  # the margin of 5% decides here
    assert of("cross_entropy", (0.949 * floor, 2.0), floor).shows_past
    assert not of("cross_entropy", (0.951 * floor, 2.0), floor).shows_past
    needed = floor - math.log(1000) / 64  # the bound decides here
    assert of("cross_entropy", (needed - 0.001, 2.0), floor, sequences=64).shows_past
    assert not of("cross_entropy", (needed + 0.001, 2.0), floor, sequences=64).shows_past


def test_seeds_that_agree_show_the_past_only_if_they_have_enough_test_sequences() -> None:
    assert of("mse", (0.15, 0.15), SIXTH, sequences=512).shows_past_on_average
    assert not of("mse", (0.15, 0.15), SIXTH, sequences=128).shows_past_on_average
    floor = math.log(2)
    needed = floor - math.log(1000) / 128  # exp(-2 · 64 (floor - loss)) = 0.001
    assert of("cross_entropy", (needed - 0.001,) * 2, floor, sequences=64).shows_past_on_average
    assert not of("cross_entropy", (needed + 0.001,) * 2, floor, sequences=64).shows_past_on_average


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("sequences", [64, 512])
def test_a_constant_answer_seldom_shows_the_past_by_its_squared_error(kind: str, sequences: int) -> None:
    """Three seeds answer the true mean, which is the hardest case: every other constant has a larger error."""
    random = np.random.default_rng(0)
    draw = TARGETS[kind]
    sample = draw(random, 300_000)
    mean, variance = sample.mean(), sample.var()
    losses_RS = ((draw(random, (SIMULATIONS, 3, sequences)) - mean) ** 2).mean(2)
    alarms = sum(of("mse", tuple(losses.tolist()), variance, sequences).shows_past for losses in losses_RS)
    # Student's interval lies below the true value in 2.5% of runs, and in more with few sequences, due to the skew.
    assert alarms / SIMULATIONS <= 0.045
    singles = ((draw(random, (10_000, sequences)) - mean) ** 2).mean(1)
    assert (singles <= variance / 2).mean() <= 0.001


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("sequences", [16, 512])
def test_a_memoryless_answer_seldom_shows_the_past_by_its_cross_entropy(share: float, sequences: int) -> None:
    """Three seeds give the true probabilities of two classes, the more frequent of which has the given share."""
    random = np.random.default_rng(0)
    floor = -math.log(share)
    is_frequent_RSN = random.uniform(size=(SIMULATIONS, 3, sequences)) < share
    losses_RS = np.where(is_frequent_RSN, -math.log(share), -math.log(1 - share)).mean(2)
    alarms = sum(
        loss_evidence(
            "cross_entropy", tuple(losses.tolist()), constant=None, memoryless=floor, sequences=sequences
        ).shows_past
        for losses in losses_RS
    )
    assert alarms / SIMULATIONS <= 0.005
