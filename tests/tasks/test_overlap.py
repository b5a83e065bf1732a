"""The overlap of training and test data: measured, and bounded by `declared_overlap`."""

from __future__ import annotations

import math

import pytest

import tasks
from bench.validation import lengths_to_check
from tasks import Task
from tests.tasks.specs import for_every_task

SEQUENCES = 400
DEVIATIONS = 5
"""Tolerance in Poisson standard deviations of the number of repeated sequences.

The tolerance is doubled below, because a likely sequence may repeat several times.
"""
EXACT = {
    "parity": 10,
    "even_pairs": 10,
    "cycle_navigation": 6,
    "first_last:rule=equal": 10,
    "induction:vocabulary=2": 10,
    "selective_copy:alphabet=3,symbols=2": 6,
    "copy_memory:symbols=3,alphabet=4": 9,
    "modular_arithmetic:modulus=3": 5,
    "group_word:group=A5": 2,
    "group_word:group=S4,generators=2": 9,
    "delayed_copy:alphabet=3": 6,
    "memorization:pairs=9": 5,
    "k_hop": 5,
    "temporal_order": 10,
}
"""Tasks whose sequences are all equally likely, each with a short length."""


@for_every_task()
def test_measured_overlap_is_below_the_declared_bound(task: Task) -> None:
    for length in lengths_to_check(task):
        declared = tasks.declared_overlap(task, length, SEQUENCES)
        measured = tasks.overlap(task, length, SEQUENCES)
        margin = 2 * DEVIATIONS * math.sqrt(declared / SEQUENCES)
        assert 0 <= measured <= declared + margin


@pytest.mark.parametrize(("spec", "length"), EXACT.items())
def test_overlap_of_equally_likely_sequences_follows_from_their_number(spec: str, length: int) -> None:
    task = tasks.build(spec)
    expected = 1 - (1 - task.collision(length)) ** SEQUENCES
    measured = sum(tasks.overlap(task, length, SEQUENCES, seed) for seed in range(20)) / 20
    assert measured == pytest.approx(expected, abs=0.03)


def test_reals_never_overlap_and_tiny_spaces_always_do() -> None:
    assert tasks.overlap(tasks.build("adding"), 8, SEQUENCES) == 0
    assert tasks.declared_overlap(tasks.build("adding"), 8, SEQUENCES) == 0
    assert tasks.overlap(tasks.build("parity"), 2, SEQUENCES) == 1
    assert tasks.declared_overlap(tasks.build("parity"), 2, SEQUENCES) == 1


@pytest.mark.parametrize(("spec", "length"), [("reber", 9), ("reber:strings=one", 9), ("reber:strings=one", 14)])
def test_reber_collision_matches_sampled_pairs(spec: str, length: int) -> None:
    """Check the stated collision probability against the share of identical pairs among sampled pairs."""
    task = tasks.build(spec)
    generator = tasks.generator(0, "train")
    first, second = (task.sample(generator, 200_000, length).inputs for _ in range(2))
    identical = (first == second).all(1).double().mean().item()
    assert task.collision(length) == pytest.approx(identical, rel=0.1)
