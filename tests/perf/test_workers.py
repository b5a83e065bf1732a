"""Tests of the largest possible speed-up against values computed by hand, and of the worker time in seconds."""

from __future__ import annotations

import pytest

from results import Span
from tests.perf.workers import max_speedup, worker_seconds
from tests.results.examples import record


def test_only_training_runs_in_parallel() -> None:
    """Check the speed-up if 100 s on one worker are 90 s of training and 10 s of timing.

    Two workers take 45 + 10 s, and more workers never take less than the 10 s of timing.
    """
    assert max_speedup(90.0, 10.0, 1) == pytest.approx(1.0)
    assert max_speedup(90.0, 10.0, 2) == pytest.approx(100 / 55)
    assert max_speedup(90.0, 10.0, 10**9) == pytest.approx(10.0)


def test_a_group_of_timed_cases_counts_once() -> None:
    timing = Span(work="timing", worker="0", began=10.0, ended=14.0)
    trainings = [Span(work="training", worker=worker, began=0.0, ended=5.0) for worker in "01"]
    records = [record().model_copy(update={"spans": (training, timing)}) for training in trainings]
    assert worker_seconds(records) == (10.0, 4.0)
