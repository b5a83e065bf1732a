"""Compiled cells of plugins: streams equal the equations, and mistakes are told."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import arch
from arch import CompiledCell, SequenceModel
from arch.kernels.cells import fma, sigmoid, splat, tanh
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import assert_close, by_equations, compiled, inputs

WIDTHS = (1, 16, 21)


class TwoParts(NamedTuple):
    h_BH: Tensor
    c_BH: Tensor


@CompiledCell(gates=2, states=2)
def leaky(sums: Any, state: Any) -> Any:
    c = fma(sigmoid(sums[0]), state[1] - sums[1], sums[1])
    return tanh(c) * splat(0.5), c


@CompiledCell(gates=2, states=1, splits_last=True)
def split(sums: Any, state: Any) -> Any:
    return (tanh(sums[1] + sigmoid(sums[0]) * sums[2]),)


@CompiledCell(gates=1, states=1)
def of_inputs(sums: Any, state: Any) -> Any:
    return (tanh(sums[0]) + splat(0.5) * state[0],)


class Base(arch.RecurrentLayer):
    """A layer with weights for `gates` gates; its subclasses have the equations."""

    gates_count = 1

    def __init__(self, inputs: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.width, self.backend = width, "auto"
        rows = self.gates_count * width
        self.W_GD = nn.Parameter(torch.randn(rows, inputs) * 0.5)
        self.U_GH = nn.Parameter(torch.randn(rows, width) * 0.3)
        self.b_G = nn.Parameter(torch.randn(rows)) if bias else None
        self.u_H = nn.Parameter(torch.randn(width)) if bias else None

    def init_state(self, batch: int) -> Any:
        return self.empty(batch, self.width)

    def project(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.W_GD, self.b_G)


class Leaky(Base):
    gates_count = 2

    def init_state(self, batch: int) -> TwoParts:
        return TwoParts(self.empty(batch, self.width), self.empty(batch, self.width))

    def update(self, projected_BG: Tensor, state: TwoParts) -> tuple[Tensor, TwoParts]:
        f_BH, g_BH = (projected_BG + state.h_BH @ self.U_GH.T).chunk(2, 1)
        c_BH = f_BH.sigmoid() * state.c_BH + (1 - f_BH.sigmoid()) * g_BH
        h_BH = c_BH.tanh() * 0.5
        return h_BH, TwoParts(h_BH, c_BH)

    def streaming_spec(self) -> Any:
        return leaky.spec(self, W="W_GD", b="b_G", U="U_GH", state=TwoParts)


class Split(Base):
    gates_count = 2

    def update(self, projected_BG: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        r_x, n_x = projected_BG.chunk(2, 1)
        r_h, n_h = (state @ self.U_GH.T).chunk(2, 1)
        n_h = n_h if self.u_H is None else n_h + self.u_H
        h_BH = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        return h_BH, h_BH

    def streaming_spec(self) -> Any:
        return split.spec(self, W="W_GD", b="b_G", U="U_GH", b_u="u_H", state=Tensor)


class OfInputs(Base):
    def update(self, projected_BG: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = projected_BG.tanh() + 0.5 * state
        return h_BH, h_BH

    def streaming_spec(self) -> Any:
        return of_inputs.spec(self, W="W_GD", b="b_G", state=Tensor)


class Changed(Leaky):
    """A subclass that changes the equations and does not define `streaming_spec` itself."""

    def update(self, projected_BG: Tensor, state: TwoParts) -> tuple[Tensor, TwoParts]:
        h_BH, state = super().update(projected_BG, state)
        return 2 * h_BH, state


def model_of(layer: type[Base], width: int, bias: bool = True, depth: int = 2) -> SequenceModel:
    torch.manual_seed(0)
    layers: list[Any] = [layer(3 if i == 0 else width, width, bias=bias) for i in range(depth)]
    return SequenceModel(nn.Identity(), layers, nn.Linear(width, 2)).eval()


@pytest.mark.parametrize("layer", [Leaky, Split, OfInputs])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_streams_and_steps_equal_the_equations(layer: type[Base], width: int, bias: bool) -> None:
    model, x = model_of(layer, width, bias), inputs(3)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


def test_a_cell_can_stand_beside_built_in_layers() -> None:
    torch.manual_seed(0)
    layers: list[Any] = [arch.get("lstm").layer(3, 8), Leaky(8, 20), arch.get("gru").layer(20, 5)]
    model, x = SequenceModel(nn.Identity(), layers, nn.Linear(5, 2)).eval(), inputs(2)
    for layer in (layers[0], layers[2]):
        layer.backend = "auto"
    assert_close(compiled_stream(model, x)[0], by_equations(model, x))


def test_a_subclass_does_not_inherit_the_cell() -> None:
    model, x = model_of(Changed, 8), inputs(2)
    with torch.inference_mode():
        assert model.step_backend_for(x[:, 0], model.init_state(2)) == "reference"
        assert_close(model.stream(x, model.init_state(2))[0], by_equations(model, x))


def test_a_state_of_another_size_runs_by_the_equations() -> None:
    model, x = model_of(Split, 8), inputs(2)
    with torch.inference_mode():
        state = [torch.zeros(1, 8) for _ in model.layers]
        assert model.step_backend_for(x[:, 0], state) == "reference"


def test_a_weight_of_another_shape_runs_by_the_equations() -> None:
    model, x = model_of(OfInputs, 8, depth=1), inputs(2)
    model.layers[0].b_G = nn.Parameter(torch.zeros(1))
    with torch.inference_mode():
        assert model.step_backend_for(x[:, 0], model.init_state(2)) == "reference"


def test_a_cell_that_cannot_be_compiled_is_one_line() -> None:
    @CompiledCell(gates=1, states=1)
    def wrong(sums: Any, state: Any) -> Any:
        return (sums[0] + "one",)

    with pytest.raises(ValueError, match=r"the cell .*wrong cannot be compiled: .*; use the functions of") as raised:
        _ = wrong.address
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("gates", "states"), [(0, 1), (1, 0), (1, 9)])
def test_impossible_cells_are_refused(gates: int, states: int) -> None:
    with pytest.raises(ValueError, match="a cell has at least 1 gate and 1 to 8 states"):
        CompiledCell(gates=gates, states=states)


def test_costs_follow_from_the_cell() -> None:
    """A step has the products W x and U h, and moves the weights once and each state twice."""
    H, D = 5, 3
    leaky_layer, split_layer, of_inputs_layer = Leaky(D, H), Split(D, H), OfInputs(D, H)
    assert leaky_layer.step_flops(7) == 2 * 2 * H * (D + H)
    assert leaky_layer.scan_flops(4, 11) == 4 * 11 * 2 * 2 * H * (D + H)
    assert leaky_layer.backward_flops(1, 1, inputs_learn=False) == 2 * H * 2 * D + 2 * 2 * H * 2 * H
    assert leaky_layer.step_bytes(7) == 4 * (2 * H * (D + H + 1) + 2 * 2 * H)
    assert split_layer.step_bytes(0) == 4 * (2 * H * (D + H + 1) + H + 2 * H)
    assert of_inputs_layer.step_flops(0) == 2 * H * D  # the cell reads no U
    assert of_inputs_layer.step_bytes(0) == 4 * (H * (D + 1) + 2 * H)
    counted = FlopCounterMode(display=False)
    with counted, torch.no_grad():
        leaky_layer.scan(torch.randn(4, 11, D), leaky_layer.init_state(4))
    assert counted.get_total_flops() == leaky_layer.scan_flops(4, 11)


def test_costs_of_a_cell_that_does_not_run_are_unknown() -> None:
    assert Changed(3, 5).step_flops(0) is None and Changed(3, 5).step_bytes(0) is None
    model = model_of(Leaky, 8)
    model.layers[0].b_G = nn.Parameter(torch.zeros(1))
    assert model.step_flops(0) is None and model.step_bytes(0) is None


def test_costs_that_a_layer_states_are_not_derived() -> None:
    class Stated(Leaky):
        def step_flops(self, position: int) -> int:
            return 17

        def streaming_spec(self) -> Any:
            return leaky.spec(self, W="W_GD", b="b_G", U="U_GH", state=TwoParts)

    assert Stated(3, 5).step_flops(0) == 17


def test_a_wrong_name_of_a_weight_is_told() -> None:
    with pytest.raises(ValueError, match="the compiled cell of Leaky reads 'V_GH', but the layer has no parameter"):
        leaky.spec(Leaky(3, 5), W="W_GD", U="V_GH", state=TwoParts)


def obstacle_of(cell: Any, gates: int = 1, kind: Any = Tensor) -> str | None:
    class Plugin(Base):
        gates_count = gates

        def update(self, projected_BG: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return state, state

        def streaming_spec(self) -> Any:
            return cell.spec(self, W="W_GD", b="b_G", state=kind)

    model = model_of(Plugin, 8, depth=1)
    with torch.inference_mode():
        runs = model.step_backend_for(inputs(2)[:, 0], model.init_state(2)) == "fused"
    found = arch.cell_obstacle(model.layers[0])
    assert runs is (found is None)
    return found


def test_obstacle_of_a_cell_is_named() -> None:
    @CompiledCell(gates=1, states=1)
    def too_many(sums: Any, state: Any) -> Any:
        return (sums[0], sums[0])

    @CompiledCell(gates=1, states=1)
    def with_number(sums: Any, state: Any) -> Any:
        return (sums[0] * 1.001,)

    line = with_number.function.__code__.co_firstlineno + 2
    assert obstacle_of(of_inputs) is None
    assert obstacle_of(of_inputs, gates=2) == "W_GD: the kernel needs a tensor of shape (8, 3), not (16, 3)"
    assert obstacle_of(of_inputs, kind=TwoParts) == "`spec` says state=TwoParts, but the state is a Tensor"
    assert "it returns a tuple of 2, but states=1" in (obstacle_of(too_many) or "")
    told = obstacle_of(with_number) or ""
    assert "found for signature: mul(float32x" in told and f" at line {line}; use the functions of" in told
    assert "\n" not in told and "\x1b" not in told


def test_layers_without_a_cell_have_no_obstacle() -> None:
    assert arch.cell_obstacle(Changed(3, 5)) is None
    assert arch.cell_obstacle(arch.get("lstm").layer(3, 5)) is None
