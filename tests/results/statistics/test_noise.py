"""Which blocks are disturbed: at every threshold, on both of its sides."""

from __future__ import annotations

from typing import Any

import pytest

from results import (
    BUSY_LOAD,
    SLOW_CALIBRATION,
    STOLEN,
    WAITED,
    Block,
    Measurement,
    disturbances,
    disturbed,
    median_calibration,
)
from tests.results.examples import record

PULSE = 0.004
BESIDE = 1e-9


@pytest.mark.parametrize(
    ("field", "threshold", "says"),
    [
        ("calibration_seconds", SLOW_CALIBRATION * PULSE, "the pulse was 1.25 times its median"),
        ("load", BUSY_LOAD, "other work kept 10% of the machine's cores busy"),
        ("steal_share", STOLEN, "another machine had the processor for 5% of the time"),
        ("waiting_share", WAITED, "the measuring thread waited for 5% of the time"),
    ],
)
def test_a_block_is_disturbed_beyond_a_threshold_and_not_at_it(field: str, threshold: float, says: str) -> None:
    def block(value: float) -> Block:
        return Block(**{"calibration_seconds": PULSE, field: value})

    assert disturbed(block(threshold), PULSE) is None
    assert disturbed(block(threshold + BESIDE), PULSE) == says


@pytest.mark.parametrize(
    "facts", [{}, {"load": 0.0, "steal_share": 0.0, "waiting_share": 0.0, "switches": 0}, {"switches": 10_000}]
)
def test_a_quiet_block_is_not_disturbed(facts: dict[str, Any]) -> None:
    assert disturbed(Block(calibration_seconds=PULSE, **facts), PULSE) is None


def test_the_first_cause_is_named() -> None:
    block = Block(calibration_seconds=9, load=1.0, steal_share=1.0, waiting_share=1.0)
    assert str(disturbed(block, 1)).startswith("the pulse was 9.00 times")


def test_the_pulse_of_a_run_is_the_median_of_all_its_blocks() -> None:
    def timed(*pulses: float) -> Measurement:
        blocks = tuple(Block(calibration_seconds=pulse) for pulse in pulses)
        return Measurement(metric="step_seconds", samples=(1.0,) * len(pulses), blocks=blocks)

    first = record(measurements=(timed(0.001, 0.002), timed(0.006)))
    second = record(measurements=(timed(0.003, 0.004),))
    assert median_calibration([first, second]) == 0.003
    assert median_calibration([record(measurements=())]) is None
    assert disturbances(first, 0.003) == ["the pulse was 2.00 times its median"]
    assert len(disturbances(second, 0.002)) == 2
