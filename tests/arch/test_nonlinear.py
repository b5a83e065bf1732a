"""Options, initial weights and sizes of the LSTM's variants, of sLSTM and of echo state networks."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import copy

import pytest
import torch

import arch
from arch.esn import ESN
from arch.slstm import SLSTM


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "lstm:forget=coupled,forget_bias=1",
            "forget_bias=1.0 is the bias of a learned forget gate, but forget=coupled",
        ),
        ("lstm:forget=none,forget_bias=-2", "forget_bias=-2.0 is the bias of a learned forget gate, but forget=none"),
        ("slstm:heads=0", "heads must be at least 1, not 0"),
        ("slstm:heads=3", "width 16 is not a multiple of 3 heads; try width 15 or 18"),
        ("esn:connections=0", "connections must be at least 1, not 0"),
        ("esn:spectral_radius=0", "spectral_radius must be above 0, not 0"),
        ("esn:input_scaling=-1", "input_scaling must be above 0, not -1"),
        ("esn:leak=0", "leak must be above 0 and at most 1, not 0"),
        ("esn:leak=1.5", "leak must be above 0 and at most 1, not 1.5"),
    ],
)
def test_invalid_options_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        arch.build(spec, channels=1, outputs=1, width=16)
    assert "\n" not in str(refusal.value)


def test_the_variants_of_the_lstm_have_the_parameters_of_their_gates() -> None:
    D, H = 3, 8
    counts = {
        "lstm": 4 * H * (D + H + 1),
        "lstm:forget=coupled": 3 * H * (D + H + 1),
        "lstm:forget=none,bias=False": 3 * H * (D + H),
        "lstm:peepholes=True": 4 * H * (D + H + 1) + 3 * H,
        "lstm:forget=coupled,peepholes=True": 3 * H * (D + H + 1) + 2 * H,
    }
    for spec, count in counts.items():
        layer = arch.build(spec, channels=D, outputs=1, width=H, depth=1).layers[0]
        assert arch.parameter_count(layer) == count  # type: ignore[arg-type]


def test_forget_biases_of_slstm_fall_by_a_power_law_that_depends_on_the_layer() -> None:
    layers = arch.build("slstm:heads=2,block=bare,conv=0", channels=3, outputs=1, width=10, depth=3).layers
    for index, layer in enumerate(layers):
        assert isinstance(layer, SLSTM)
        b_i, b_f, b_z, b_o = layer.b_G.detach().split(10)
        share = torch.arange(5) / 4
        expected = 5 - 12 * share ** (0.3 + 1.3 * index / 2)
        torch.testing.assert_close(b_f, torch.cat([expected, expected]))
        assert not any(part.any() for part in (b_i, b_z, b_o, layer.U_GK))
    wide = arch.build("slstm", channels=3, outputs=1, width=256, depth=1, seed=0).layers[0].layer  # type: ignore[union-attr]
    assert isinstance(wide, SLSTM)
    assert wide.W_GD.std().item() == pytest.approx((2 / (5 * 256)) ** 0.5, rel=0.02)


def test_slstm_remembers_from_the_first_step_on() -> None:
    """Check that the first output is that of the first candidate alone, however small its input gate is."""
    layer = SLSTM(1, 4)
    with torch.no_grad():
        layer.b_G[:4] = -1e4
        first_BH = layer(torch.ones(1, 1, 1))[:, 0]
        _, _, z, o = (layer.W_GD[:, 0] + layer.b_G).split(4)
    torch.testing.assert_close(first_BH[0], o.sigmoid() * z.tanh())


@pytest.mark.parametrize("inputs", [{"channels": 3}, {"vocabulary": 5}])
def test_of_an_echo_state_network_only_the_readout_learns(inputs: dict[str, int]) -> None:
    model = arch.build("esn", outputs=4, width=30, depth=2, seed=0, **inputs)
    assert [name for name, _ in model.named_parameters()] == ["readout.weight", "readout.bias"]
    assert arch.parameter_count(model) == 4 * 31
    x = torch.randint(5, (2, 7)) if "vocabulary" in inputs else torch.randn(2, 7, 3)
    model(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_a_reservoir_is_drawn_from_the_seed_and_saved() -> None:
    one, same, other = (arch.build("esn:leak=0.5", vocabulary=5, outputs=4, width=20, seed=seed) for seed in (0, 0, 1))
    x = torch.randint(5, (2, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(one(x), same(x)) and not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


@pytest.mark.parametrize(("table", "source"), [("W_sources_HJ", 1), ("U_sources_HK", 20), ("U_sources_HK", -1)])
def test_connections_to_what_a_reservoir_does_not_have_are_not_loaded(table: str, source: int) -> None:
    model = copy.deepcopy(arch.build("esn", channels=1, outputs=4, width=20, seed=0))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wrong = before | {f"layers.0.{table}": before[f"layers.0.{table}"].clone()}
    wrong[f"layers.0.{table}"][0, 0] = source
    with pytest.raises(ValueError, match=rf"^layers\.0\.{table}: a connection reads number {source}, but .*$"):
        model.load_state_dict(wrong)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_no_kernel_reads_outside_of_a_reservoir() -> None:
    model = arch.build("esn", channels=1, outputs=4, width=20, seed=0)
    model.layers[0].U_sources_HK[3, 2] = 1_000_000
    with torch.inference_mode():
        assert model.step_backend_for(torch.zeros(2, 1), model.init_state(2)) == "reference"
        for run in (lambda: model.step(torch.zeros(2, 1), model.init_state(2)), lambda: model(torch.zeros(2, 5, 1))):
            with pytest.raises((IndexError, RuntimeError), match="out of"):
                run()


def test_a_budget_of_parameters_gives_a_reservoir_a_limited_width() -> None:
    widest = ESN.max_budget_width
    assert widest is not None
    with arch.meta_device():
        assert arch.build("esn", channels=2, outputs=1, params=20_000).width == widest
        assert arch.build("esn", channels=2, outputs=1, params=20_000, depth=3).width == widest
        assert arch.build("esn", channels=2, outputs=4, params=404).width == 100
        assert arch.build("esn", channels=2, outputs=1, state=4_000, depth=1, length=4).width == 1_000
        assert arch.build("esn:block=residual,expansion=2", channels=2, outputs=1, params=20_000).width < widest


def test_inputs_echo_but_fade() -> None:
    """Check that two states are driven together by the same inputs, at a rate below the spectral radius."""
    torch.manual_seed(0)
    layer = ESN(1, 100, spectral_radius=0.8)
    x_BTD = torch.randn(2, 80, 1)[:1].expand(2, 80, 1)
    state = layer.init_state(2)._replace(h_BH=torch.randn(2, 100))
    outputs_BTH, _ = layer.scan(x_BTD, state)
    apart_T = (outputs_BTH[0] - outputs_BTH[1]).norm(dim=1)
    assert 0 < apart_T[40] < apart_T[0] * 0.8**40
