"""What a plan would store of a case, beside the limit that the store itself keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import STREAMED_SHARE, Plan, Timing, load, names
from bench.plans.record_size import BLOCK, FULL, MEASUREMENT, check_record_size, timed_bytes
from bench.runner.resume import new_run_file
from results import Block, EvalPoint, Measurement, Record, Training
from results.store.document import MAX_QUOTES, MAX_VALUES
from tests.bench.runs import request_for
from tests.bench.tiny import tiny_case, tiny_plan


def plan_of(folder: Path, **timing: Any) -> Plan:
    fields: dict[str, Any] = {"streams": (), "blocks": 1, "positions": (1, 2)} | timing
    return tiny_plan(folder, timing=Timing(**fields))


def record_of(plan: Plan, repeat: int) -> Record:
    """A record with the samples and blocks of the plan's timings, as the probes would give them."""
    timing, block = (
        plan.timing,
        Block(calibration_seconds=0.01, load=0.1, steal_share=0.1, waiting_share=0.1, switches=10),
    )
    places = [("step_seconds", position, timing.steps) for position in timing.positions]
    places += [("forward_seconds", 1, timing.blocks), ("forward_seconds", 2, timing.blocks)]
    places += [("train_step_seconds", 2, timing.blocks)]
    measurements = [
        Measurement(metric=metric, at={"position": at}, samples=(1e-5,) * samples, blocks=(block,) * timing.blocks)
        for metric, at, samples in places
    ]
    case = tiny_case()
    return Record(key=case.key, case=case, status="ok", measurements=tuple(measurements) * repeat)


def share_of(record: Record) -> float:
    """How full a record is by what the store counts when it writes one."""
    text = record.model_dump_json(indent=1)
    return max(text.count(",") / MAX_VALUES, text.count('"') / MAX_QUOTES[Record])


@pytest.mark.parametrize("name", names())
def test_every_plan_of_the_folder_can_be_repeated_ten_times(name: str) -> None:
    check_record_size(load(name), [], 10)


@pytest.mark.parametrize(
    ("timing", "fits", "too_many"),
    [({"steps": 10_000}, 22, 23), ({"steps": 1000, "blocks": 1000}, 1, 2), ({"steps": 10}, 180, 260)],
    ids=["samples", "blocks", "processes"],
)
def test_what_is_let_through_can_be_stored_and_what_is_refused_nearly_fills_a_record(
    tmp_path: Path, timing: dict[str, Any], fits: int, too_many: int
) -> None:
    plan = plan_of(tmp_path, **timing)
    check_record_size(plan, cases(plan), fits)
    assert share_of(record_of(plan, fits)) < 1
    with pytest.raises(UsageError, match=r"times what a record can hold: 2 positions of .* smaller --repeat") as caught:
        check_record_size(plan, cases(plan), too_many)
    assert "\n" not in str(caught.value)


def test_one_stream_that_is_timed_at_a_position_has_all_samples_of_it(tmp_path: Path) -> None:
    def values(*streams: int) -> int:
        return timed_bytes(plan_of(tmp_path, steps=100, streams=streams, streams_position=2), 1).values

    of_one_measurement = BLOCK.values + MEASUREMENT.values
    assert values(1) - values() == 100 + of_one_measurement
    assert values(8) - values() == 100 // STREAMED_SHARE + of_one_measurement
    assert values(1, 8) == values(1) + values(8) - values()


def test_looks_at_validation_data_are_counted_too(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)

    def looking(steps: int) -> list[Any]:
        return [tiny_case(steps=steps, evaluate_every=1)]

    point = EvalPoint(step=1, train_loss=0.5, validation_loss=0.5, validation_score=0.5)
    training = Training(
        steps=1, sequences=1, seconds=1.0, stopped="budget", threads=1, flushes_denormals=True, curve=(point,) * 6000
    )
    check_record_size(plan, looking(6000), 1)
    case = tiny_case()
    assert share_of(Record(key=case.key, case=case, status="ok", training=training)) < FULL
    with pytest.raises(UsageError, match=r"8,000 looks at validation data .* evaluate_every is 1 steps"):
        check_record_size(plan, looking(8000), 1)


def test_a_run_refuses_before_anything_is_trained(tmp_path: Path) -> None:
    request = request_for(tmp_path, repeat=100_000)
    with pytest.raises(UsageError, match="smaller --repeat"):
        new_run_file(request)
    assert not (tmp_path / "runs").exists()
