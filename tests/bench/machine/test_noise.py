"""What the machine did around a block, from counters that are made up: every share worked out by hand."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from bench.machine.noise import WINDOW_SECONDS, kept_matrices
from bench.probes import Machine, Reading, pulse, read_counters
from results import disturbed
from tests.bench.doubles import LOADED_BLOCK, CountingClock, loaded_machine

EXACT = 1e-12
"""Relative: shares of decimal numbers, to the last bits of a float64."""
BEAT = 0.003


def reading(wall: float, **counters: Any) -> Reading:
    return Reading(**{"wall": wall, "thread": wall, "own": wall, "busy": wall, "stolen": 0.0, "switches": 0} | counters)


def machine_of(readings: Iterable[Reading], **options: Any) -> Machine:
    given = iter(readings)
    return Machine(read=lambda: next(given), beat=lambda: BEAT, **{"cores": 2} | options)


def test_the_result_and_every_share_of_a_loaded_machine() -> None:
    result, block = loaded_machine().around(lambda: "the result")
    assert result == "the result"
    assert block == LOADED_BLOCK


def test_a_quiet_block_is_quiet_and_a_disturbed_one_says_by_what() -> None:
    quiet = machine_of([reading(0), reading(1), reading(2)]).around(int)[1]
    assert (quiet.load, quiet.steal_share, quiet.waiting_share, quiet.switches) == (0, 0, 0, 0)
    assert disturbed(quiet, BEAT) is None
    neighbour = machine_of([reading(0), reading(1, busy=2), reading(2, busy=4)]).around(int)[1]
    assert neighbour.load == 0.5
    assert disturbed(neighbour, BEAT) == "other work kept 50% of the machine's cores busy"


def test_the_pulse_is_taken_before_the_block_and_outside_it() -> None:
    done: list[str] = []
    times = itertools.count()

    def read() -> Reading:
        done.append("read")
        return reading(next(times))

    machine = Machine(read=read, beat=lambda: done.append("beat") or BEAT, cores=1)  # type: ignore[func-returns-value]
    machine.around(lambda: done.append("work"))
    assert done == ["read", "beat", "read", "work", "read"]


def test_the_load_of_short_blocks_is_that_of_the_last_moments() -> None:
    """Ten blocks of a tenth of a second; others work in the fifth and sixth only, on one core of two."""
    readings = [reading(0.0)]
    others = 0.0
    for block in range(10):
        readings.append(reading(block / 10, busy=block / 10 + others))
        others += 0.1 * (block in (4, 5))
        readings.append(reading(block / 10 + 0.1, busy=block / 10 + 0.1 + others))
    machine = machine_of(readings)
    loads = [machine.around(int)[1].load for _ in range(10)]
    assert loads[:2] == [None, None]  # too soon to tell
    # A window of three tenths reaches two blocks back.
    expected = [0, 0, 1, 2, 2, 1, 0, 0]
    assert loads[2:] == pytest.approx([share / 6 for share in expected], rel=1e-9, abs=EXACT)


def test_a_long_block_is_its_own_window() -> None:
    machine = machine_of([reading(0), reading(1, busy=2), reading(3, busy=4)])
    assert machine.around(int)[1].load == 0.0  # what others did before it is not its load


@pytest.mark.parametrize("lost", ["thread", "own", "busy", "stolen", "switches"])
def test_what_the_system_does_not_tell_is_left_open(lost: str) -> None:
    readings = [reading(second, **{lost: None}) for second in (0.0, 1.0, 2.0)]
    block = machine_of(readings).around(int)[1]
    found = block.model_dump(exclude={"calibration_seconds"})
    open_fields = {
        "thread": {"waiting_share"},
        "own": {"load"},
        "busy": {"load"},
        "stolen": {"steal_share"},
        "switches": {"switches"},
    }
    assert {field for field, value in found.items() if value is None} == open_fields[lost]


def test_counters_that_run_apart_give_shares_between_nought_and_one() -> None:
    ahead = machine_of([reading(0), reading(1), reading(2, thread=5, own=9, switches=0)]).around(int)[1]
    assert (ahead.load, ahead.waiting_share) == (0, 0)
    behind = machine_of([reading(0), reading(1), reading(2, thread=-5, busy=99)]).around(int)[1]
    assert (behind.load, behind.waiting_share) == (1, 1)


def test_a_thread_that_waits_for_a_gpu_is_not_held_up() -> None:
    readings = [reading(second, thread=0.0) for second in (0.0, 1.0, 2.0)]
    assert machine_of(readings, device="cuda").around(int)[1].waiting_share is None


def test_the_pulse_is_the_clocks() -> None:
    assert pulse(CountingClock(tick=3_000_000)) == 0.003


def test_the_counters_of_this_system_count_this_thread() -> None:
    """Work of our own moves our counters and sleep does not: nothing here depends on how fast the machine is."""
    before = read_counters()
    while time.thread_time() < (before.thread or 0) + 0.05:
        torch.ones(64, 64) @ torch.ones(64, 64)
    after = read_counters()
    assert before.thread is not None and after.thread is not None
    assert before.own is not None and after.own is not None
    assert after.thread - before.thread >= 0.05
    assert after.own - before.own >= 0.05
    assert after.wall > before.wall

    seen: list[Reading] = []
    thread = threading.Thread(target=lambda: seen.append(read_counters()))
    thread.start()
    thread.join()
    assert seen[0].thread is not None
    assert seen[0].thread < after.thread  # of the thread that asks, not of the process


def test_sleep_is_waiting() -> None:
    slept = Machine(beat=lambda: BEAT).around(lambda: time.sleep(2 * WINDOW_SECONDS))[1]
    assert slept.waiting_share is not None
    assert slept.waiting_share > 0.5


def test_the_pulse_beats_in_either_mode() -> None:
    """Its matrices are kept, and what was made for inference alone could not be written to elsewhere."""
    kept_matrices.cache_clear()
    with torch.inference_mode():
        assert pulse(CountingClock(tick=2_000_000)) == 0.002
    assert pulse(CountingClock(tick=3_000_000)) == 0.003
    matrix, product = kept_matrices()
    assert torch.equal(product, matrix @ matrix)
