"""ONNX Runtime is an independent oracle: its outputs equal those of the compiled step and of the equations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.perf.baselines import RECURRENT, ours
from tests.perf.onnx_step import OnnxStep

STEPS = 20
AGREEMENT = 1e-5
"""Both sides compute in float32. Rounding and approximated activations differ by about 1e-7 per step."""


@pytest.fixture(autouse=True)
def _keep_denormals() -> Iterator[None]:
    """Switch off the flushing of denormal numbers, which ONNX Runtime may switch on."""
    yield
    torch.set_flush_denormal(False)


def outputs(name: str, spec: str, channels: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs (T, O) of Carousel and of ONNX Runtime for the same stream."""
    model = ours(spec, channels, width)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():  # biases too: they must not be zero
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / width**0.5)
        x_BTD = torch.randn(1, STEPS, channels, generator=generator)
        expected, _ = model.stream(x_BTD, model.init_state(1))
    other, found = OnnxStep(name, model), []
    for x_D in x_BTD[0]:
        other.x_TBD[:] = x_D.numpy()
        other.step()
        found.append(torch.tensor(other.y_TBO[0, 0]))
    return expected[0], torch.stack(found)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("width", [32, 33])
@pytest.mark.parametrize("name", RECURRENT)
def test_outputs_equal_those_of_onnx_runtime(name: str, width: int, backend: str) -> None:
    expected, found = outputs(name, f"{name}:backend={backend}", 5, width)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=AGREEMENT, atol=AGREEMENT)
