"""The pending work of a run, updated record by record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.progress.estimates import SECONDS_PER_TIMED_CASE, DurationEstimator
from bench.progress.eta import TIMING
from bench.runner.pending import Pending
from bench.runner.resume import new_run_file
from results import Case, Probe, ProbeRun, Record
from tests.bench.runs import like_a_worker, request_for

__all__ = ["like_a_worker"]

PROBES: tuple[Probe, ...] = ("latency", "streaming")
OK_RUN = ProbeRun(status="ok", seconds=1.0)


@pytest.fixture
def pending(tmp_path: Path) -> Pending:
    """Return the pending work of a new run with four cases, each to be timed in two processes."""
    return Pending(new_run_file(request_for(tmp_path, repeat=2)), {}, DurationEstimator())


def record(case: Case, status: Any = "ok", *, times_timed: int = 0, failed: Probe | None = None) -> Record:
    probes = {probe: OK_RUN for probe in PROBES if times_timed}
    if failed is not None:
        probes[failed] = ProbeRun(status="failed", reason="too slow", seconds=0.0)
    return Record(key=case.key, case=case, status=status, probes=probes, repetitions=max(1, times_timed))


def repetitions(pending: Pending) -> list[int]:
    return [group.repetition for group in pending.timing_groups for _ in group.cases]


def test_every_case_of_a_new_run_is_untrained(pending: Pending) -> None:
    assert pending.untrained == list(pending.file.cases)
    assert (pending.count, pending.untimed, pending.timing_groups) == (4, [], [])


def test_a_trained_case_lacks_all_its_timings(pending: Pending) -> None:
    case = pending.file.cases[0]
    pending.add(record(case))
    assert case not in pending.untrained
    assert (pending.count, pending.untimed, repetitions(pending)) == (4, [case], [0, 1])


def test_a_timed_case_lacks_the_other_repetitions(pending: Pending) -> None:
    case = pending.file.cases[0]
    pending.add(record(case, times_timed=1))
    assert (pending.count, repetitions(pending)) == (4, [1])
    pending.add(record(case, times_timed=2))
    assert (pending.count, repetitions(pending)) == (3, [])


@pytest.mark.parametrize("status", ["crashed", "timeout", "out_of_memory"])
def test_a_failed_case_stays_untrained(pending: Pending, status: str) -> None:
    pending.add(record(pending.file.cases[0], status))
    assert pending.untrained == list(pending.file.cases)


@pytest.mark.parametrize("status", ["diverged", "inconsistent"])
def test_a_case_without_a_usable_model_is_not_timed(pending: Pending, status: str) -> None:
    pending.add(record(pending.file.cases[0], status))
    assert (pending.count, pending.untimed) == (3, [])


def test_a_case_whose_timing_failed_is_not_timed_again(pending: Pending) -> None:
    pending.add(record(pending.file.cases[0], times_timed=1, failed="latency"))
    assert (pending.count, pending.untimed) == (3, [])


def test_a_case_without_its_record_is_untrained_in_the_order_of_the_plan(pending: Pending) -> None:
    for case in pending.file.cases:
        pending.add(record(case))
    for case in (pending.file.cases[2], pending.file.cases[0]):
        pending.discard_record(case)
    assert pending.untrained == [pending.file.cases[0], pending.file.cases[2]]
    assert pending.untimed == [pending.file.cases[1], pending.file.cases[3]]


def test_expected_timing_seconds_include_untrained_cases(pending: Pending) -> None:
    assert pending.timing_seconds == 0.0
    assert pending.expected_seconds[TIMING] == pytest.approx(4 * 2 * SECONDS_PER_TIMED_CASE)
    pending.add(record(pending.file.cases[0], times_timed=1))
    assert pending.timing_seconds == pytest.approx(SECONDS_PER_TIMED_CASE)
    assert pending.expected_seconds[TIMING] == pytest.approx((3 * 2 + 1) * SECONDS_PER_TIMED_CASE)


def test_every_timing_gets_a_new_process_if_timings_are_repeated(pending: Pending) -> None:
    groups = {(case.task, case.length, case.seed) for case in pending.file.cases}
    assert pending.starts(2) == {"training": 2, "timing": 2 * len(groups)}
    for case in pending.file.cases:
        pending.add(record(case, times_timed=1))
    assert pending.starts(2) == {"training": 0, "timing": len(groups)}


def test_one_process_runs_all_timings_that_are_not_repeated(tmp_path: Path) -> None:
    pending = Pending(new_run_file(request_for(tmp_path, repeat=1)), {}, DurationEstimator())
    assert pending.starts(9) == {"training": 4, "timing": 1}
    assert pending.starts(9, machines=2)["timing"] == min(2, len(pending.file.cases))
