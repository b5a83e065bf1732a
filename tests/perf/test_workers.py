"""The largest possible speed-up from more workers, computed by hand, and the worker time in seconds."""

from __future__ import annotations

import pytest

from results import Span
from tests.perf.workers import max_speedup, worker_seconds
from tests.results.examples import record


def test_only_training_runs_in_parallel() -> None:
    """90 s of training and 10 s of timing take 100 s on one worker, 45 + 10 on two, and never less than 10."""
    assert max_speedup(90.0, 10.0, 1) == pytest.approx(1.0)
    assert max_speedup(90.0, 10.0, 2) == pytest.approx(100 / 55)
    assert max_speedup(90.0, 10.0, 10**9) == pytest.approx(10.0)


def test_a_group_of_timed_cases_counts_once() -> None:
    timing = Span(work="timing", worker="0", began=10.0, ended=14.0)
    trainings = [Span(work="training", worker=worker, began=0.0, ended=5.0) for worker in "01"]
    records = [record().model_copy(update={"spans": (training, timing)}) for training in trainings]
    assert worker_seconds(records) == (10.0, 4.0)
