"""A sketch of a model has its sizes and no numbers, and nothing is computed for it."""

from __future__ import annotations

from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode

import arch
from arch.core.build import solved_widths
from tests.arch.subjects import every_spec

BUDGET = 3_000


class Dispatched(TorchDispatchMode):
    """Keeps the names of what torch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("inputs", [{"channels": 3}, {"vocabulary": 5}], ids=str)
@pytest.mark.parametrize("spec", every_spec())
def test_a_sketch_has_the_shapes_of_the_model_and_is_filled_with_nothing(spec: str, inputs: dict[str, int]) -> None:
    sizes: dict[str, Any] = {**inputs, "outputs": 2, "width": 8}
    with Dispatched() as dispatched, arch.meta_device():
        sketch = arch.build(spec, **sizes)
    filled = {name for name in dispatched.names if name.rstrip("_") in ("normal", "uniform", "add", "mul", "copy")}
    assert not filled
    model = arch.build(spec, **sizes)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in sketch.state_dict().items()} == shapes
    assert all(parameter.is_meta for parameter in sketch.parameters())
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_a_width_is_searched_once_for_the_same_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, built = arch.get("lstm").layer, []
    stack = layer.stack
    monkeypatch.setattr(layer, "stack", lambda *given, **options: built.append(given) or stack(*given, **options))
    solved_widths.clear()

    def models_for(spec: str, **sizes: int) -> int:
        built.clear()
        arch.build(spec, **({"channels": 1, "outputs": 2, "params": BUDGET} | sizes))
        return len(built)

    assert models_for("lstm") > 1
    assert models_for("lstm") == 1
    for spec, sizes in (("lstm:bias=False", {}), ("lstm", {"outputs": 3}), ("lstm", {"params": 2 * BUDGET})):
        assert models_for(spec, **sizes) > 1
    assert models_for("lstm", depth=1) > 1
