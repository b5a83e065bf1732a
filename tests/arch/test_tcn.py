"""TCN: what a model sees, its ring buffers, its initial weights, and options that it refuses."""

# Shape suffixes: B batch, T time

from __future__ import annotations

import math

import pytest
import torch

import arch


@pytest.mark.parametrize(
    ("spec", "depth", "steps"), [("tcn", 2, 37), ("tcn:kernel=2", 3, 15), ("tcn:dilation=3,kernel=3", 2, 17)]
)
def test_an_output_sees_exactly_the_receptive_field(spec: str, depth: int, steps: int) -> None:
    model = arch.build(spec, channels=1, outputs=1, width=16, depth=depth, seed=0).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()  # no activation is cut off, so that every path counts
    x_BTD = torch.ones(1, steps + 3, 1, dtype=torch.float64, requires_grad=True)
    (slope_BTD,) = torch.autograd.grad(model(x_BTD)[0, -1].sum(), x_BTD)
    assert slope_BTD[0, :, 0].count_nonzero() == steps == 1 + sum(layer.receptive_field - 1 for layer in model.layers)
    assert (slope_BTD[0, -steps:] > 0).all()


def test_the_state_is_two_ring_buffers_per_layer_and_never_grows() -> None:
    model = arch.build("tcn:kernel=3", channels=5, outputs=1, width=8, depth=2)
    state = model.init_state(1)
    for _ in range(6):
        assert arch.state_bytes(state) == 4 * (2 * (5 + 8) + 4 * (8 + 8))
        _, state = model.scan(torch.zeros(1, 3, 5), state)
    assert [part.oldest for part in state] == [18 % 2, 18 % 4]


@pytest.mark.parametrize("inputs", [24, 40])
def test_filters_start_as_those_of_torch_with_their_own_length(inputs: int) -> None:
    torch.manual_seed(0)
    layer = arch.get("tcn").layer(inputs, 24)
    bound = 1 / math.sqrt(7 * inputs)
    assert 0.95 * bound < layer.V1_HKD.abs().max() <= bound
    torch.testing.assert_close(layer.g1_H, layer.V1_HKD.flatten(1).norm(dim=1))
    assert (layer.P_HD is None) is (inputs == 24)
    if layer.P_HD is not None:
        assert 0.009 < layer.P_HD.std() < 0.011


@pytest.mark.parametrize(
    ("spec", "depth", "message"),
    [
        ("tcn:kernel=1", 2, "kernel must be from 2 to 64 steps, not 1; reach further by dilation"),
        ("tcn:kernel=65", 2, "kernel must be from 2 to 64 steps, not 65"),
        ("tcn:dilation=0", 2, "dilation must be at least 1, not 0"),
        (
            "tcn:kernel=64,dilation=64",
            4,
            "layer 3 with kernel=64 and dilation=64 would reach back 258,048 steps",
        ),
    ],
)
def test_impossible_sizes_are_refused_in_one_line(spec: str, depth: int, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        arch.build(spec, channels=1, outputs=1, width=4, depth=depth)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_weight_norm_changes_no_output_at_the_start() -> None:
    normed, plain = (
        arch.build(spec, channels=3, outputs=2, width=8, seed=0) for spec in ("tcn", "tcn:weight_norm=False")
    )
    x_BTD = torch.randn(2, 50, 3)
    torch.testing.assert_close(normed(x_BTD), plain(x_BTD))


@pytest.mark.parametrize("backend", ["auto", "fused"])
def test_training_runs_the_convolution_of_torch_and_says_so(backend: str) -> None:
    model = arch.build(f"tcn:backend={backend}", channels=3, outputs=2, width=8, seed=0)
    assert model.backend_for(torch.randn(2, 50, 3)) == "reference"
    described = arch.describe(arch.get(f"tcn:backend={backend}"))
    assert described.training_obstacle is not None and described.streaming_obstacle is None
