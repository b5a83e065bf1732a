"""Options, states and costs of the state-space models, with values computed by hand."""

from __future__ import annotations

import pytest
import torch

import arch
from arch.core.block import Block

SIZES = {"vocabulary": 5, "outputs": 3, "depth": 1}


def test_costs_and_state_of_mamba_equal_values_computed_by_hand() -> None:
    H, E, N, R = 20, 40, 6, 2
    model = arch.build("mamba:states=6", width=H, **SIZES)
    layer = 2 * E * H + 5 * E + E * (2 * N + R) + R * E + E * (N + 2) + E * H
    assert arch.parameter_count(model) == layer + 4 * H + 5 * H + 3 * H + 3  # two norms, embedding, readout
    flops = 4 * E * H + 8 * E + 2 * E * (2 * N + R) + 2 * R * E + 2 * E * N + 2 * E * H
    assert model.step_flops(9) == flops + 2 * 3 * H
    assert arch.state_bytes(model.init_state(1)) == 4 * E * (N + 3)
    assert model.step_bytes(9) == 4 * (layer + 2 * E * (N + 3) + 4 * H + H + 3 * H + 3)


def test_costs_and_state_of_s4d_equal_values_computed_by_hand() -> None:
    H, N = 20, 6
    model = arch.build("s4d:states=6", width=H, **SIZES)
    layer = 2 * H * N + 4 * H + 2 * H * H
    assert arch.parameter_count(model) == layer + 4 * H + 5 * H + 3 * H + 3
    assert model.step_flops(9) == 2 * H * N + 4 * H * H + 2 * 3 * H
    assert arch.state_bytes(model.init_state(1)) == 4 * H * N
    assert model.step_bytes(9) == 4 * (layer + 2 * H * N + 4 * H + H + 3 * H + 3)


@pytest.mark.parametrize("spec", ["mamba", "mamba:conv=0", "s4d"])
def test_the_state_has_the_same_size_after_every_step(spec: str) -> None:
    model = arch.build(spec, width=8, **SIZES).eval()
    state = model.init_state(2)
    empty = arch.state_bytes(state)
    with torch.no_grad():
        for length in (1, 1, 2, 5):
            _, state = model.scan(torch.zeros(2, length, dtype=torch.int64), state)
            assert arch.state_bytes(state) == empty


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
def test_a_layer_stands_in_a_residual_block_without_mlp(spec: str) -> None:
    layer = arch.build(spec, width=8, **SIZES).layers[0]
    assert isinstance(layer, Block) and layer.connects and not layer.has_mlp and layer.conv_KD is None
    assert arch.get(spec).parameters["conv"].default == (4 if spec == "mamba" else 0)


def test_what_forgets_has_no_weight_decay() -> None:
    for spec, names in {"mamba": {"A_log_NE", "D_E"}, "s4d": {"step_log_H", "A_log_NH", "A_imag_NH"}}.items():
        model = arch.build(spec, width=8, **SIZES)
        found = {
            name.rpartition(".")[2]
            for group in arch.parameter_groups(model)
            if not group.weight_decay
            for name, parameter in model.named_parameters()
            if any(parameter is member for member in group.parameters)
        }
        assert found == names


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mamba:states=0", "states must be at least 1, not 0"),
        ("mamba:expand=0", "expand must be at least 1, not 0"),
        ("mamba:conv=3", "conv must be 0 or 4, not 3"),
        ("s4d:states=3", "states must be a positive even number, not 3"),
        ("s4d:states=0", "states must be a positive even number, not 0"),
    ],
)
def test_impossible_options_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        arch.build(spec, width=8, **SIZES)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("spec", ["mamba", "s4d"])
@pytest.mark.parametrize("budget", [{"params": 20_000}, {"state": 8_192, "length": 64}])
def test_budgets_find_a_width(spec: str, budget: dict[str, int]) -> None:
    model = arch.build(spec, **budget, vocabulary=5, outputs=3, depth=2)
    found = arch.parameter_count(model) if "params" in budget else arch.state_bytes(model.init_state(1))
    assert 0.8 < found / next(iter(budget.values())) < 1.25


def test_a_kernel_that_was_demanded_but_cannot_run_is_an_error() -> None:
    layer = arch.get("mamba").layer(8, 8, backend="fused").double()
    with pytest.raises(ValueError, match="backend=fused cannot run here: W_u_ED: the kernel needs dense float32"):
        layer(torch.zeros(1, 3, 8, dtype=torch.float64))
