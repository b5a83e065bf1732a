"""Test that jobs and results survive their way to a driver and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.against.driver import describe, job_document, job_of, result_document, result_of
from bench.executors.jobs import Failure, Job, JobResult, TimeJob, TimingResult, TrainingResult, TrainJob
from bench.plugins.loader import Plugin
from results import Block, Measurement, ProbeRun, Record, Span
from tests.bench.tiny import TIMING, tiny_case, tiny_plan

PLUGIN = Plugin(name="mine", digest="0123456789", sources={"mine.py": b"x = 1\n"})
ENTRY_POINT = Plugin(name="theirs", digest="9876543210", module="their.module")
CASE = tiny_case()
TRAIN = TrainJob(case=CASE, learning_rate=0.1, probes=("accuracy", "gates"), plugins=(PLUGIN, ENTRY_POINT))
TIME = TimeJob(cases=(CASE, tiny_case("lstm")), weights=(b"\0\xff", b""), probes=("latency",), timing=TIMING)
SPAN = Span(work="timing", worker="0", began=1.0, ended=2.5)
BLOCK = Block(calibration_seconds=0.1, load=0.25)
MEASUREMENT = Measurement(metric="forward_seconds", at={"batch": 1}, samples=(0.1, 1 / 3), blocks=(BLOCK,))
RESULTS: list[Any] = [
    Failure("crashed", "it fell over", worker_exited=True),
    {CASE.key: TimingResult(measurements=(MEASUREMENT,), probes={"latency": ProbeRun(status="ok", seconds=0.5)})},
    TrainingResult(
        record=Record(key=CASE.key, case=CASE, status="ok", measurements=(MEASUREMENT,)),
        weights=b"\0\1\2",
        artifacts={"traces": b"\xfe"},
    ),
]


def through_json(document: dict[str, Any]) -> dict[str, Any]:
    passed: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return passed


@pytest.mark.parametrize("job", [TRAIN, TIME])
def test_a_job_survives(job: Job) -> None:
    assert job_of(through_json(job_document(job))) == job


@pytest.mark.parametrize("result", RESULTS)
def test_a_result_survives(result: Any) -> None:
    whole = JobResult(worker="0", job=TIME, result=result, span=SPAN)
    assert result_of(through_json(result_document(whole)), TIME) == whole


def test_a_plan_is_described_with_the_cases_that_it_has_here(tmp_path: Any) -> None:
    from bench.plans.grid import cases

    plan = tiny_plan(tmp_path)
    document = {"plan": plan.model_dump(mode="json", exclude_defaults=True), "device": "cpu", "plugins": []}
    described = describe(through_json(document))
    assert described["cases"] == [case.model_dump(mode="json") for case in cases(plan)]
    assert described["environment"]["threads"] >= 1


def test_a_setting_that_this_version_does_not_know_is_refused() -> None:
    document = job_document(TIME)
    document["timing"]["new_setting"] = 1
    with pytest.raises(ValueError, match="new_setting"):
        job_of(document)
