"""Every architecture agrees with its oracles. Further tests check other properties of layers and models."""

# Shape suffixes: B batch, T time, D input width, G gate rows

from __future__ import annotations

import math

import pytest
import torch

import arch
from bench.validation import CHANNELS
from tests.arch.checks import Check, oracle_checks
from tests.arch.oracles import close, gradients, reals
from tests.arch.subjects import BATCH, WIDTH, model


@pytest.mark.parametrize("check", list(oracle_checks()), ids=str)
def test_oracle(check: Check) -> None:
    check.run()


def test_the_oracles_cover_every_spec_of_the_four_architectures() -> None:
    """Count the checks per architecture, to catch a predicate that excludes a spec by mistake."""
    archs = [check.arch for check in oracle_checks()]
    assert {name: archs.count(name) for name in ("rnn", "lstm", "gru", "transformer")} == {
        "rnn": 4 * 3,
        "lstm": 5 * 3 + 2 * 3,
        "gru": 5 * 2 + 4 * 2,
        "transformer": 2 * 8 + 1,
    }


def test_the_lstm_of_the_literature_has_the_published_parameter_count() -> None:
    model = arch.build("lstm:bias=False", channels=1, outputs=2, width=128, depth=2)
    assert arch.parameter_count(model) == 197_378


@pytest.mark.parametrize(
    ("spec", "bias", "rows"),
    [
        ("lstm", "forget_bias", slice(WIDTH, 2 * WIDTH)),
        ("lstm", "input_bias", slice(WIDTH)),
        ("lstm:forget=none", "input_bias", slice(WIDTH)),
    ],
)
def test_a_constant_bias_of_a_gate_equals_a_learned_bias_of_that_value(spec: str, bias: str, rows: slice) -> None:
    constant = model(str(arch.get(spec).with_options({"bias": False, bias: 1.5})), depth=1).layers[0]
    learned = model(spec, depth=1).layers[0]
    offset_G = torch.zeros_like(learned.b_G)
    offset_G[rows] = 1.5
    learned.load_state_dict({"W_GD": constant.W_GD, "U_GH": constant.U_GH, "b_G": offset_G})
    x_BTD = reals(BATCH, 7, CHANNELS, seed=0).requires_grad_()
    actual, expected = constant(x_BTD), learned(x_BTD)
    close(actual, expected)
    close(
        gradients([actual], [x_BTD, constant.W_GD, constant.U_GH]),
        gradients([expected], [x_BTD, learned.W_GD, learned.U_GH]),
    )
    assert "b_G" not in dict(constant.named_parameters())


@pytest.mark.parametrize("forget", ["learned", "none", "coupled"])
def test_an_input_bias_moves_the_start_of_the_input_gate_alone(forget: str) -> None:
    usual, closed = (
        arch.build(f"lstm:forget={forget},input_bias={bias}", channels=1, outputs=1, width=4, seed=0).layers[0]
        for bias in (0, -3)
    )
    moved_G = (closed.b_G - usual.b_G).detach()
    torch.testing.assert_close(moved_G, torch.tensor([-3.0] * 4 + [0.0] * (len(moved_G) - 4)))
    assert torch.equal(usual.W_GD, closed.W_GD) and torch.equal(usual.U_GH, closed.U_GH)


def test_a_model_with_a_constant_forget_bias_is_restored_from_its_weights() -> None:
    one, other = (arch.build("lstm:bias=False,forget_bias=1", channels=1, outputs=1, width=4, seed=s) for s in (0, 1))
    other.load_state_dict(one.state_dict())
    x_BTD = torch.ones(1, 5, 1)
    torch.testing.assert_close(other(x_BTD), one(x_BTD), rtol=0, atol=0)


def test_the_two_variants_of_the_gru_compute_different_functions() -> None:
    after, before = (model(f"gru:reset={reset},bias=False", depth=1).layers[0] for reset in ("after", "before"))
    before.load_state_dict(after.state_dict())
    x_BTD = reals(BATCH, 5, CHANNELS, seed=0)
    close(after(x_BTD)[:, 0], before(x_BTD)[:, 0])  # the first step starts from a zero state in both
    assert (after(x_BTD) - before(x_BTD)).abs().max() > 1e-3


def test_learned_positions_start_with_a_deviation_of_one_over_root_width() -> None:
    width = 64
    layer = arch.build("transformer:positions=learned", channels=1, outputs=1, width=width, seed=0).layers[0]
    assert isinstance(layer.position_SD, torch.nn.Parameter) and layer.position_SD.shape == (4096, width)
    assert layer.position_SD.std().item() == pytest.approx(1 / math.sqrt(width), rel=0.01)
