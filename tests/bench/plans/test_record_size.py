"""Records of accepted plans fit into the store, and oversized plans are refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import Plan, Timing, load, names
from bench.plans.record_size import BLOCK, FULL, MEASUREMENT, check_record_size, timing_size
from bench.runner.resume import new_run_file
from results import Block, EvalPoint, Measurement, Record, Training
from results.store.document import MAX_QUOTES, MAX_VALUES
from tests.bench.runs import request_for
from tests.bench.tiny import tiny_case, tiny_plan


def plan_of(folder: Path, **timing: Any) -> Plan:
    fields: dict[str, Any] = {"streams": (), "chunks": (), "blocks": 1, "positions": (1, 2)} | timing
    return tiny_plan(folder, timing=Timing(**fields))


def record_of(plan: Plan, repeat: int) -> Record:
    """Return a record with the samples and blocks that `repeat` timing processes measure under the plan."""
    timing = plan.timing
    disturbance = {"load": 0.1, "steal_share": 0.1, "waiting_share": 0.1, "switches": 10}
    block = Block(calibration_seconds=0.01, wall_seconds=0.1, cpu_seconds=0.1, instructions=10**6, **disturbance)
    timings = [("step_seconds", position, timing.steps) for position in timing.positions]
    timings += [("call_step_seconds", position, timing.call_steps) for position in timing.positions]
    timings += [("forward_seconds", 1, timing.blocks), ("forward_seconds", 2, timing.blocks)]
    timings += [("train_step_seconds", 2, timing.blocks)]
    measurements = [
        Measurement(metric=metric, at={"position": at}, samples=(1e-5,) * samples, blocks=(block,) * timing.blocks)
        for metric, at, samples in timings
    ]
    case = tiny_case()
    return Record(key=case.key, case=case, status="ok", measurements=tuple(measurements) * repeat)


def share_of(record: Record) -> float:
    """Return the size of a record as a share of the store's limits."""
    text = record.model_dump_json(indent=1)
    return max(text.count(",") / MAX_VALUES, text.count('"') / MAX_QUOTES[Record])


@pytest.mark.parametrize("name", names())
def test_every_shipped_plan_fits_with_ten_repeats(name: str) -> None:
    check_record_size(load(name), [], 10)


@pytest.mark.parametrize(
    ("timing", "fits", "too_many"),
    [({"steps": 10_000}, 18, 19), ({"steps": 500, "blocks": 500}, 1, 2), ({"steps": 10}, 120, 200)],
    ids=["samples", "blocks", "processes"],
)
def test_accepted_plan_fits_and_refused_plan_nearly_fills_a_record(
    tmp_path: Path, timing: dict[str, Any], fits: int, too_many: int
) -> None:
    plan = plan_of(tmp_path, **timing)
    check_record_size(plan, cases(plan), fits)
    assert share_of(record_of(plan, fits)) < 1
    with pytest.raises(UsageError, match=r"times the space of a record: 2 positions of .* smaller --repeat") as caught:
        check_record_size(plan, cases(plan), too_many)
    assert "\n" not in str(caught.value)


def test_single_stream_at_a_timed_position_has_all_samples_of_it(tmp_path: Path) -> None:
    def values(*streams: int) -> int:
        return timing_size(plan_of(tmp_path, steps=100, streams=streams, streams_position=2), 1).values

    one_measurement = BLOCK.values + MEASUREMENT.values
    assert values(1) - values() == 100 + one_measurement
    assert values(8) - values() == 100 // 5 + one_measurement + MEASUREMENT.values  # and the steps per clock reading
    assert values(1, 8) == values(1) + values(8) - values()


def test_calls_and_chunks_are_counted(tmp_path: Path) -> None:
    def values(**timing: Any) -> int:
        return timing_size(plan_of(tmp_path, **timing), 1).values

    one_measurement = BLOCK.values + MEASUREMENT.values
    assert values(steps=1000, chunks=(1, 2)) - values(steps=1000) == 2 * (1000 // 20 + one_measurement)
    # Steps in compiled code and calls from Python, at two positions: a fifth as many calls, but at least fifty.
    assert values(steps=1000) - values(steps=500) == 2 * (1000 + 200 - 500 - 100)
    assert values(steps=100) - values(steps=50) == 2 * 50


def test_evaluations_are_counted(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path)

    def evaluated_every_step(steps: int) -> list[Any]:
        return [tiny_case(steps=steps, evaluate_every=1)]

    point = EvalPoint(step=1, train_loss=0.5, validation_loss=0.5, validation_score=0.5)
    training = Training(
        steps=1, sequences=1, seconds=1.0, stopped="budget", threads=1, flushes_denormals=True, curve=(point,) * 6000
    )
    check_record_size(plan, evaluated_every_step(6000), 1)
    case = tiny_case()
    assert share_of(Record(key=case.key, case=case, status="ok", training=training)) < FULL
    with pytest.raises(UsageError, match=r"8,000 evaluations .* raise evaluate_every, which is 1 steps"):
        check_record_size(plan, evaluated_every_step(8000), 1)


def test_oversized_run_is_refused_before_training(tmp_path: Path) -> None:
    request = request_for(tmp_path, repeat=100_000)
    with pytest.raises(UsageError, match="smaller --repeat"):
        new_run_file(request)
    assert not (tmp_path / "runs").exists()
