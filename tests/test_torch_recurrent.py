"""The example that adapts the package torchrecurrent: it keeps the contract and computes what the library computes."""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchrecurrent

import arch
from bench.plugins.loader import install, load
from bench.validation.checker import validate_arch

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "torch_recurrent.py"


@pytest.fixture(autouse=True)
def _plugin() -> Iterator[None]:
    assert load([EXAMPLE]).disabled == ()
    yield
    install(())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MGU", "PeepholeLSTM"])
def test_the_adapter_passes_every_check(kind: str) -> None:
    verdict = validate_arch(f"torch_recurrent:kind={kind}")
    assert verdict.failed == [] and (verdict.state or "").startswith("state constant")


@pytest.mark.parametrize("kind", ["MGU", "PeepholeLSTM"])
def test_a_layer_equals_that_of_the_library(kind: str) -> None:
    layer = arch.build(f"torch_recurrent:kind={kind}", channels=3, outputs=1, width=6, depth=1).layers[0]
    theirs = getattr(torchrecurrent, kind)(3, 6, batch_first=True)
    theirs.cells[0].load_state_dict(layer.cell.state_dict())
    x_BTD = torch.randn(2, 9, 3)
    torch.testing.assert_close(layer(x_BTD), theirs(x_BTD)[0])


def test_an_unknown_kind_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError) as refusal:
        arch.build("torch_recurrent:kind=MGUU", channels=1, outputs=1, width=4)
    message = str(refusal.value)
    assert message.startswith("torchrecurrent has no layer 'MGUU'; choose one of ") and ", MGU, " in message
    assert "\n" not in message


def test_steps_are_interpreted_and_costs_are_unknown() -> None:
    model = arch.build("torch_recurrent", channels=1, outputs=1, width=4).eval()
    with torch.inference_mode():
        assert model.step_backend_for(torch.zeros(1, 1), model.init_state(1)) == "reference"
    assert (model.step_flops(0), model.step_bytes(0)) == (None, None)
