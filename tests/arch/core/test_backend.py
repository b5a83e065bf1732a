"""The choice of the backend: the reference implementation or the fused kernel."""

# Shape suffixes: B batch, T time, D input width, H hidden width, N independent batches

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import arch
from arch import RecurrentLayer
from tests.arch.fused import RELATIVE_TOLERANCE, SPECS, assert_same, layer_of


@pytest.fixture
def lstm() -> RecurrentLayer:
    return layer_of("lstm", 3, 8, "auto")


def test_auto_uses_the_kernel_except_for_single_steps(lstm: RecurrentLayer) -> None:
    assert lstm.backend_for(torch.randn(2, 5, 3)) == "fused"
    assert lstm.backend_for(torch.randn(2, 1, 3)) == "reference"
    lstm.backend = "fused"
    assert lstm.backend_for(torch.randn(2, 1, 3)) == "fused"
    lstm.backend = "reference"
    assert lstm.backend_for(torch.randn(2, 5, 3)) == "reference"


OBSTACLES: dict[str, Callable[[RecurrentLayer], tuple[RecurrentLayer, Tensor]]] = {
    "float64": lambda layer: (layer.double(), torch.randn(2, 5, 3, dtype=torch.float64)),
    "bfloat16": lambda layer: (layer.bfloat16(), torch.randn(2, 5, 3, dtype=torch.bfloat16)),
    "meta": lambda layer: (layer.to("meta"), torch.randn(2, 5, 3, device="meta")),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_auto_falls_back_and_fused_refuses_unsupported_tensors(lstm: RecurrentLayer, obstacle: str) -> None:
    layer, x_BTD = OBSTACLES[obstacle](lstm)
    assert layer.backend_for(x_BTD) == "reference"
    assert layer(x_BTD).shape == (2, 5, 8)
    layer.backend = "fused"
    with pytest.raises(ValueError, match=r"backend=fused cannot run here: .* use backend=auto"):
        layer(x_BTD)


def test_auto_falls_back_for_a_state_of_another_dtype(lstm: RecurrentLayer) -> None:
    x_BTD, state = torch.randn(2, 5, 3), lstm.init_state(2)
    assert lstm.backend_for(x_BTD, state) == "fused"
    assert lstm.backend_for(x_BTD, type(state)(*(part.double() for part in state))) == "reference"


def test_auto_falls_back_under_autocast(lstm: RecurrentLayer) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lstm.backend_for(torch.randn(2, 5, 3)) == "reference"


def test_a_step_of_a_fused_model_runs_the_equations_where_a_scan_is_refused() -> None:
    fused, equations = (
        arch.build(f"lstm:backend={backend}", channels=2, outputs=3, width=8, seed=0)
        for backend in ("fused", "reference")
    )
    x_BD = torch.randn(2, 2)
    with torch.no_grad(), FlopCounterMode(display=False):
        assert fused.step_backend_for(x_BD, fused.init_state(2)) == "reference"
        (output, _), (expected, _) = (model.step(x_BD, model.init_state(2)) for model in (fused, equations))
        with pytest.raises(ValueError, match="backend=fused cannot run here: a torch mode is on"):
            fused(x_BD[:, None])
    assert torch.equal(output, expected)


def test_fused_refuses_a_layer_without_a_kernel(lstm: RecurrentLayer) -> None:
    class Sum(RecurrentLayer):
        """A layer with the update rule h' = h + s * x. The weight s starts at 1."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))

        def init_state(self, batch: int) -> Tensor:
            return self.empty(batch, 3)

        def project(self, x: Tensor) -> Tensor:
            return x * self.scale

        def update(self, projected_BG: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return state + projected_BG, state + projected_BG

    layer, x_BTD = Sum(), torch.randn(2, 5, 3)
    for backend in ("reference", "auto"):
        layer.backend = backend
        torch.testing.assert_close(layer(x_BTD), x_BTD.cumsum(1))
    layer.backend = "fused"
    with pytest.raises(ValueError, match="Sum has no kernel"):
        layer(x_BTD)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # raised by torch inside jvp
def test_functorch_transforms_use_the_reference_implementation(lstm: RecurrentLayer) -> None:
    torch.manual_seed(4)
    x_NBTD = torch.randn(3, 2, 5, 3)
    parameters: dict[str, Tensor] = dict(lstm.named_parameters())

    def loss(parameters: dict[str, Tensor], x_BTD: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(lstm, parameters, (x_BTD,))
        return output.square().sum()

    expected = [torch.autograd.grad(lstm(x_BTD).square().sum(), parameters["U_GH"])[0] for x_BTD in x_NBTD]
    gradients_N = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x_NBTD)["U_GH"]
    assert_same([gradients_N.detach()], [torch.stack(expected)])
    tangents = {name: torch.ones_like(parameter) for name, parameter in parameters.items()}
    slope = torch.func.jvp(lambda weights: loss(weights, x_NBTD[0]), (parameters,), (tangents,))[1]
    gradients = torch.func.grad(loss)(parameters, x_NBTD[0])
    terms = torch.cat([gradient.detach().flatten() for gradient in gradients.values()])
    rounding = RELATIVE_TOLERANCE * float(terms.abs().sum())  # terms of both signs cancel: the sum itself is no scale
    torch.testing.assert_close(slope.detach(), terms.sum(), rtol=0, atol=rounding)


@pytest.mark.parametrize("spec", SPECS)
def test_second_derivatives_equal_the_reference_implementation(spec: str) -> None:
    torch.manual_seed(5)
    layer, x_BTD = layer_of(spec, 3, 18), torch.randn(4, 5, 3, requires_grad=True)
    results = {}
    for backend in ("fused", "reference"):
        layer.backend = backend
        first_BTH, state = layer.scan(
            x_BTD[:, :2], layer.init_state(4)
        )  # so that the second state depends on the weights
        second_BTH, final = layer.scan(x_BTD[:, 2:], state)
        output_BTH = torch.cat([first_BTH, second_BTH], 1)
        total = output_BTH.pow(3).sum() + final[-1].square().sum()
        (slope_BTD,) = torch.autograd.grad(total, x_BTD, create_graph=True)
        penalty = slope_BTD.square().sum()
        results[backend] = [slope_BTD.detach(), *torch.autograd.grad(penalty, [x_BTD, *layer.parameters()])]
    assert_same(results["fused"], results["reference"])


def test_the_spec_names_a_backend_other_than_the_default() -> None:
    assert str(arch.get("lstm:backend=auto")) == "lstm"
    assert str(arch.get("lstm:backend=reference")) == "lstm:backend=reference"
    with pytest.raises(ValueError, match="backend=fast is not allowed"):
        arch.get("lstm:backend=fast")
