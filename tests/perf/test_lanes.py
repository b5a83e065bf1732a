"""What lanes can give at most, by hand, and how their seconds are counted."""

from __future__ import annotations

import pytest

from results import Span
from tests.perf.lanes import most, worked
from tests.results.examples import record


def test_trainings_share_the_lanes_and_timings_do_not() -> None:
    """90 seconds of training and 10 of timing: 100 on one lane, 45 + 10 on two, 10 at the very least."""
    assert most(90.0, 10.0, 1) == pytest.approx(1.0)
    assert most(90.0, 10.0, 2) == pytest.approx(100 / 55)
    assert most(90.0, 10.0, 10**9) == pytest.approx(10.0)


def test_a_group_that_was_timed_together_is_counted_once() -> None:
    timing = Span(work="timing", worker="0", began=10.0, ended=14.0)
    trainings = [Span(work="training", worker=worker, began=0.0, ended=5.0) for worker in "01"]
    records = [record().model_copy(update={"spans": (training, timing)}) for training in trainings]
    assert worked(records) == (10.0, 4.0)
