"""A model on the meta device has the shapes of a real model, and building it runs no initialisation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import arch
from arch.core.build import solved_widths
from tests.arch.subjects import every_spec

BUDGET = 3_000
FILLING = {"normal_", "uniform_", "add_", "mul_", "copy_", "normal", "uniform"}
"""Operations that fill tensors. Others, such as sums of a few initial values, cost nothing on the meta device."""


class RecordOperations(TorchDispatchMode):
    """A mode that records the names of all dispatched operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("inputs", [{"channels": 3}, {"vocabulary": 5}], ids=str)
@pytest.mark.parametrize("spec", every_spec())
def test_a_model_on_the_meta_device_has_the_same_shapes_and_is_not_filled(spec: str, inputs: dict[str, int]) -> None:
    sizes: dict[str, Any] = {**inputs, "outputs": 2, "width": 8}
    with RecordOperations() as recorded, arch.meta_device():
        meta_model = arch.build(spec, **sizes)
    assert not recorded.names & FILLING
    model = arch.build(spec, **sizes)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in meta_model.state_dict().items()} == shapes
    assert all(parameter.is_meta for parameter in meta_model.parameters())
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_no_architecture_imports_the_compiler_of_torch_on_the_meta_device() -> None:
    script = """
import sys, arch
for name in arch.names():
    with arch.meta_device():
        arch.build(name, outputs=2, channels=3, width=32)
    assert "torch._dynamo" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(arch.__file__).parents[1])


def test_tensors_of_other_devices_have_values_and_results_on_the_meta_device_their_dtypes() -> None:
    with arch.meta_device():
        number = torch.full((2,), 3.0, device="cpu")
        assert (number.fill_(5.0) * 2).tolist() == [10.0, 10.0]
        assert torch.arange(3, device="cpu").tolist() == [0, 1, 2]
        assert torch.empty(2).copy_(number).is_meta
        whole_N, real_M1 = torch.arange(4), torch.empty(3, 1, dtype=torch.float64)
        results = [1 - whole_N, whole_N / 2, whole_N * real_M1, torch.complex(real_M1, real_M1).abs().exp()]
    assert all(result.is_meta for result in results)
    assert [tuple(result.shape) for result in results] == [(4,), (4,), (3, 4), (3, 1)]
    assert [result.dtype for result in results] == [torch.int64, torch.float32, torch.float64, torch.float64]


def test_the_width_search_runs_once_for_the_same_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, built = arch.get("lstm").layer, []
    stack = layer.stack
    monkeypatch.setattr(layer, "stack", lambda *sizes, **options: built.append(sizes) or stack(*sizes, **options))
    solved_widths.clear()

    def models_built(spec: str, **sizes: int) -> int:
        built.clear()
        arch.build(spec, **({"channels": 1, "outputs": 2, "params": BUDGET} | sizes))
        return len(built)

    assert models_built("lstm") > 1
    assert models_built("lstm") == 1
    for spec, sizes in (("lstm:bias=False", {}), ("lstm", {"outputs": 3}), ("lstm", {"params": 2 * BUDGET})):
        assert models_built(spec, **sizes) > 1
    assert models_built("lstm", depth=1) > 1
