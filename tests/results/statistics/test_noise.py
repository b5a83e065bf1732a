"""Test the detection of disturbed blocks on both sides of every threshold."""

from __future__ import annotations

from typing import Any

import pytest

from results import (
    BUSY_LOAD,
    MAX_STEAL_SHARE,
    MAX_WAITING_SHARE,
    SLOW_CALIBRATION,
    Block,
    Measurement,
    disturbances,
    disturbed,
    median_calibration,
)
from tests.results.examples import record

CALIBRATION = 0.004
STEP = 1e-9
"""Small change that moves a value beyond a threshold."""


@pytest.mark.parametrize(
    ("field", "threshold", "reason"),
    [
        ("calibration_seconds", SLOW_CALIBRATION * CALIBRATION, "calibration took 1.25 times its median"),
        ("load", BUSY_LOAD, "other work kept 10% of the machine's cores busy"),
        ("steal_share", MAX_STEAL_SHARE, "the hypervisor ran other machines for 5% of the time"),
        ("waiting_share", MAX_WAITING_SHARE, "the measuring thread waited for 5% of the time"),
    ],
)
def test_a_block_is_disturbed_beyond_a_threshold_but_not_at_it(field: str, threshold: float, reason: str) -> None:
    def block(value: float) -> Block:
        return Block(**{"calibration_seconds": CALIBRATION, field: value})

    assert disturbed(block(threshold), CALIBRATION) is None
    assert disturbed(block(threshold + STEP), CALIBRATION) == reason


@pytest.mark.parametrize(
    "facts", [{}, {"load": 0.0, "steal_share": 0.0, "waiting_share": 0.0, "switches": 0}, {"switches": 10_000}]
)
def test_a_quiet_block_is_not_disturbed(facts: dict[str, Any]) -> None:
    assert disturbed(Block(calibration_seconds=CALIBRATION, **facts), CALIBRATION) is None


def test_the_first_cause_is_reported() -> None:
    block = Block(calibration_seconds=9, load=1.0, steal_share=1.0, waiting_share=1.0)
    assert str(disturbed(block, 1)).startswith("calibration took 9.00 times")


def test_the_calibration_of_a_run_is_the_median_over_all_blocks() -> None:
    def timed(*calibrations: float) -> Measurement:
        blocks = tuple(Block(calibration_seconds=seconds) for seconds in calibrations)
        return Measurement(metric="step_seconds", samples=(1.0,) * len(calibrations), blocks=blocks)

    first = record(measurements=(timed(0.001, 0.002), timed(0.006)))
    second = record(measurements=(timed(0.003, 0.004),))
    assert median_calibration([first, second]) == 0.003
    assert median_calibration([record(measurements=())]) is None
    assert disturbances(first, 0.003) == ["calibration took 2.00 times its median"]
    assert len(disturbances(second, 0.002)) == 2
