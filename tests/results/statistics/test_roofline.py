"""Tests of shares of the machine's limits that need no model. Expected shares are computed by hand."""

from __future__ import annotations

import pytest

from results import Limits, Measurement
from tests.results.examples import record

ROUNDING = 1e-12
"""Relative tolerance for a few float64 operations."""


def test_calls_from_python_are_held_against_the_same_limits_as_steps_in_compiled_code() -> None:
    at = {"position": 16}
    step = Measurement(metric="step_seconds", at=at, samples=(3e-6,))
    call = Measurement(metric="call_step_seconds", at=at, samples=(12e-6,))
    others = (
        Measurement(metric="step_flops", at=at, samples=(600.0,)),
        Measurement(metric="step_bytes", at=at, samples=(1200.0,)),
        Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e12,)),
        Measurement(metric="read_bytes_per_second", at=at, samples=(2e9,)),
    )
    limits = Limits(record().model_copy(update={"measurements": (step, call, *others)}))
    # 1200 bytes at 2e9 bytes per second take 0.6 µs.
    assert limits.share(step) == pytest.approx(0.2, rel=ROUNDING)
    assert limits.share(call) == pytest.approx(0.05, rel=ROUNDING)
