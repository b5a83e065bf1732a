"""Settings of the tests of `bench`: calibrations that take microseconds."""

import pytest
import torch

from bench.machine import noise


@pytest.fixture(autouse=True)
def small_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make calibrations in this process multiply small matrices. They took half the time of the tests of timings."""
    matrices = torch.full((8, 8), 0.5), torch.zeros(8, 8)
    monkeypatch.setattr(noise, "calibration_matrices", lambda: matrices)
