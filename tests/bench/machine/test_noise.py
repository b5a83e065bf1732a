"""Tests of the noise around a block, with synthetic counters and shares computed by hand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from bench.machine.noise import WINDOW_SECONDS, Machine, Reading, calibrate, calibration_matrices, read_counters
from results import disturbed
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine

EXACT = 1e-12
"""Absolute tolerance for shares in float64, for rounding only."""
CALIBRATION_SECONDS = 0.003


@pytest.fixture
def small_calibration() -> None:
    """Keep the matrices of the real calibration, which other tests replace."""


def reading(wall: float, **counters: Any) -> Reading:
    return Reading(
        **{"wall": wall, "thread": wall, "own": wall, "busy": wall, "stolen": 0.0, "switches": 0, "instructions": 0}
        | counters
    )


def machine_of(readings: Iterable[Reading], **options: Any) -> Machine:
    given = iter(readings)
    return Machine(read=lambda: next(given), calibration=lambda: CALIBRATION_SECONDS, **{"cores": 2} | options)


def test_result_and_every_share_of_a_loaded_machine() -> None:
    result, block = loaded_machine().observe(lambda: "the result")
    assert result == "the result"
    assert block == LOADED_BLOCK


def test_quiet_block_is_undisturbed_and_busy_block_has_a_reason() -> None:
    quiet = machine_of([reading(0), reading(1), reading(2)]).observe(int)[1]
    assert (quiet.load, quiet.steal_share, quiet.waiting_share, quiet.switches) == (0, 0, 0, 0)
    assert disturbed(quiet, CALIBRATION_SECONDS) is None
    busy = machine_of([reading(0), reading(1, busy=2), reading(2, busy=4)]).observe(int)[1]
    assert busy.load == 0.5
    assert disturbed(busy, CALIBRATION_SECONDS) == "other work kept 50% of the machine's cores busy"


def test_calibration_runs_before_the_block_and_outside_it() -> None:
    events: list[str] = []
    times = itertools.count()

    def read() -> Reading:
        events.append("read")
        return reading(next(times))

    def calibration() -> float:
        events.append("calibrate")
        return CALIBRATION_SECONDS

    machine = Machine(read=read, calibration=calibration, cores=1)
    machine.observe(lambda: events.append("work"))
    assert events == ["read", "calibrate", "read", "work", "read"]


def test_load_of_short_blocks_is_computed_over_a_window() -> None:
    """Check that the load of blocks of 0.1 s is computed over windows of 0.3 s.

    Other processes use one of two cores during the fifth and sixth blocks.
    """
    readings = [reading(0.0)]
    others = 0.0
    for block in range(10):
        readings.append(reading(block / 10, busy=block / 10 + others))
        others += 0.1 * (block in (4, 5))
        readings.append(reading(block / 10 + 0.1, busy=block / 10 + 0.1 + others))
    machine = machine_of(readings)
    loads = [machine.observe(int)[1].load for _ in range(10)]
    assert loads[:2] == [None, None]  # shorter than the window
    # The window of 0.3 s includes the two previous blocks.
    expected = [0, 0, 1, 2, 2, 1, 0, 0]
    assert loads[2:] == pytest.approx([share / 6 for share in expected], rel=1e-9, abs=EXACT)


def test_long_block_is_its_own_window() -> None:
    machine = machine_of([reading(0), reading(1, busy=2), reading(3, busy=4)])
    assert machine.observe(int)[1].load == 0.0  # load before the block does not count


@pytest.mark.parametrize("missing", ["thread", "own", "busy", "stolen", "switches", "instructions"])
def test_share_of_a_missing_counter_is_none(missing: str) -> None:
    readings = [reading(second, **{missing: None}) for second in (0.0, 1.0, 2.0)]
    block = machine_of(readings).observe(int)[1]
    fields = block.model_dump(exclude={"calibration_seconds"})
    expected = {
        "thread": {"waiting_share"},
        "own": {"load", "cpu_seconds"},
        "busy": {"load"},
        "stolen": {"steal_share"},
        "switches": {"switches"},
        "instructions": {"instructions"},
    }
    assert {field for field, value in fields.items() if value is None} == expected[missing]


def test_shares_of_inconsistent_counters_lie_between_0_and_1() -> None:
    ahead = machine_of([reading(0), reading(1), reading(2, thread=5, own=9, switches=0)]).observe(int)[1]
    assert (ahead.load, ahead.waiting_share) == (0, 0)
    behind = machine_of([reading(0), reading(1), reading(2, thread=-5, busy=99)]).observe(int)[1]
    assert (behind.load, behind.waiting_share) == (1, 1)


def test_waiting_for_a_gpu_is_not_counted_as_waiting() -> None:
    readings = [reading(second, thread=0.0) for second in (0.0, 1.0, 2.0)]
    assert machine_of(readings, device="cuda").observe(int)[1].waiting_share is None


def test_calibration_time_is_read_from_the_clock() -> None:
    assert calibrate(CountingClock(tick=3_000_000)) == 0.003


def test_counters_of_this_system_count_this_thread() -> None:
    """Check that the counters grow with the work of this thread, on a machine of any speed."""
    before = read_counters()
    while time.thread_time() < (before.thread or 0) + 0.05:
        torch.ones(64, 64) @ torch.ones(64, 64)
    after = read_counters()
    assert before.thread is not None and after.thread is not None
    assert before.own is not None and after.own is not None
    assert after.thread - before.thread >= 0.05
    assert after.own - before.own >= 0.05
    assert after.wall > before.wall

    readings: list[Reading] = []
    thread = threading.Thread(target=lambda: readings.append(read_counters()))
    thread.start()
    thread.join()
    assert readings[0].thread is not None
    assert readings[0].thread < after.thread  # the counter is that of the calling thread, not of the process


def test_sleep_counts_as_waiting() -> None:
    block = Machine(calibration=lambda: CALIBRATION_SECONDS).observe(lambda: time.sleep(2 * WINDOW_SECONDS))[1]
    assert block.waiting_share is not None
    assert block.waiting_share > 0.5


def test_calibration_works_inside_and_outside_inference_mode() -> None:
    """Check that the cached matrices can be reused inside and outside inference mode.

    Tensors created in inference mode cannot be modified in place outside this mode.
    """
    calibration_matrices.cache_clear()
    with torch.inference_mode():
        assert calibrate(CountingClock(tick=2_000_000)) == 0.002
    assert calibrate(CountingClock(tick=3_000_000)) == 0.003
    matrix, product = calibration_matrices()
    assert torch.equal(product, matrix @ matrix)
