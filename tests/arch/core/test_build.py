"""Building a model: seeds, parameter budgets, dropout, inputs, and messages for impossible sizes."""

# Shape suffixes: B batch, T time, O outputs

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import arch
from tests.arch.subjects import every_spec

SIZES: dict[str, Any] = {"channels": 1, "outputs": 2}
SPECS = [*every_spec(), "gru:block=residual,conv=4,expansion=2", "lstm:conv=4", "transformer:block=bare"]
BUDGET = 3_000
NATIVE_DEFAULTS = ("rnn", "lstm", "gru", "transformer")


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


def equal(model: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Return whether two models have the same weights."""
    ours, theirs = weights(model), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("inputs", [{"channels": 3}, {"vocabulary": 5}], ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_a_seed_determines_the_weights_and_leaves_the_global_generator_unchanged(
    spec: str, inputs: dict[str, int]
) -> None:
    sizes: dict[str, Any] = {**inputs, "outputs": 2, "width": 8}
    torch.manual_seed(99)
    before = torch.get_rng_state()
    first = arch.build(spec, **sizes, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(arch.build(spec, **sizes, seed=3), first)
    assert not equal(arch.build(spec, **sizes, seed=4), first)
    torch.manual_seed(3)
    assert equal(arch.build(spec, **sizes), first)
    assert not equal(arch.build(spec, **sizes), first)


def test_a_seed_reseeds_the_generator_of_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("reseeds the generators of all devices"))
    assert arch.build("lstm", **SIZES, width=4, seed=0).width == 4


@pytest.mark.parametrize("spec", [*arch.names(), *SPECS[-3:]])
def test_a_budget_gives_the_nearest_width_and_the_weights_of_that_width(spec: str) -> None:
    """Compare `build` with a trial of widths 1 to 64. `build` must not advance the global generator."""
    counts = {}
    for width in range(1, 65):
        try:
            counts[width] = arch.parameter_count(arch.build(spec, **SIZES, width=width))
        except ValueError:
            continue
    budget = min(BUDGET, max(counts.values()) // 2)  # of a reservoir, the readout alone has parameters
    nearest = min(counts, key=lambda width: abs(counts[width] - budget))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    solved = arch.build(spec, **SIZES, params=budget, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(solved, arch.build(spec, **SIZES, width=nearest, seed=3))


@pytest.mark.parametrize("name", NATIVE_DEFAULTS)
def test_the_four_architectures_meet_a_budget_closely(name: str) -> None:
    model = arch.build(name, vocabulary=10, outputs=10, params=20_000)
    assert arch.parameter_count(model) == pytest.approx(20_000, rel=0.05)


@pytest.mark.parametrize("spec", SPECS)
def test_dropout_is_applied_between_layers_in_training_mode_only(spec: str) -> None:
    dropping = str(arch.get(spec).with_options({"dropout": 0.5}))
    x_BTD = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    plain, model = (arch.build(name, **SIZES, width=8, seed=3) for name in (spec, dropping))
    expected = plain.eval()(x_BTD)
    assert equal(plain, model)
    assert not torch.equal(model.train()(x_BTD), expected)
    torch.testing.assert_close(model.eval()(x_BTD), expected, rtol=0, atol=0)
    single = arch.build(dropping, **SIZES, width=8, depth=1, seed=3)
    torch.testing.assert_close(single.train()(x_BTD), copy.deepcopy(single).eval()(x_BTD), rtol=0, atol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_tokens_are_embedded_and_reals_enter_directly_or_through_a_linear_map(spec: str) -> None:
    tokens = arch.build(spec, vocabulary=5, outputs=7, width=8)
    reals = arch.build(spec, channels=3, outputs=7, width=8)
    assert tokens(torch.tensor([[0, 4, 2]])).shape == (1, 3, 7) == reals(torch.zeros(1, 3, 3)).shape
    sizes = 5 * 8, (3 + 1) * 8 if arch.get(spec).is_residual else 0
    for encoder, size in zip((tokens.encoder, reals.encoder), sizes, strict=True):
        assert sum(tensor.numel() for tensor in encoder.state_dict().values()) == size
        assert arch.parameter_count(encoder) == (size if arch.get(spec).layer.encoder_learns else 0)


def test_max_length_is_the_number_of_learned_positions() -> None:
    assert arch.build("transformer:positions=learned,max_length=9", **SIZES, width=8).max_length == 9
    assert arch.build("transformer", **SIZES, width=8).max_length is None


def test_gate_names_start_with_the_layer() -> None:
    model = arch.build("gru", **SIZES, width=8)
    gates = model.gates(torch.zeros(1, 1), model.init_state(1))
    assert list(gates) == [f"{layer}.{gate}" for layer in (0, 1) for gate in ("reset", "update", "candidate")]
    transformer = arch.build("transformer", **SIZES, width=8)
    assert list(transformer.gates(torch.zeros(1, 1), transformer.init_state(1))) == ["0.attention", "1.attention"]


IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("transformer:heads=4", {"width": 10}, "width 10 is not a multiple of 8.* try width 8 or 16"),
    ("transformer:heads=4,positions=alibi", {"width": 10}, "width 10 is not a multiple of 4.* try width 8 or 12"),
    ("transformer:heads=4,positions=alibi", {"width": 3}, "try width 4 or 8"),
    ("transformer:heads=300", {"params": 20_000}, "accepts no width up to 256"),
    ("transformer:heads=0", {"width": 8}, "heads must be at least 1, not 0"),
    ("transformer:heads=0", {"params": 20_000}, "^transformer:heads=0: heads must be at least 1, not 0$"),
    ("mamba:states=0", {"state": 4_096, "length": 8}, "^mamba:states=0: states must be at least 1, not 0$"),
    ("lru:r_min=0.9999999", {"width": 8}, "r_min=0.9999999 is too near 1 for float32; choose at most 0.9999995"),
    ("lru:r_max=1e-5", {"width": 8}, "r_max=1e-05 is too near 0; choose at least 0.001"),
    ("transformer:expansion=-1", {"width": 8}, "expansion must be at least 0, not -1"),
    ("lstm:expansion=2", {"width": 8}, "expansion=2 is the MLP of a residual block; add block=residual"),
    ("transformer:positions=learned,max_length=0", {"width": 8}, "max_length must be at least 1, not 0"),
    ("transformer:window=0", {"width": 8}, "window must be at least 1 step, not 0; omit it"),
    ("lstm", {"params": 10}, "over the budget of 10"),
    ("lstm", {"params": 0}, "params must be at least 1, not 0"),
    ("lstm", {"width": -3}, "width must be at least 1, not -3"),
    ("lstm", {"width": 8, "depth": 0}, "depth must be at least 1, not 0"),
    ("lstm", {"width": 8, "outputs": 0}, "outputs must be at least 1, not 0"),
    ("lstm", {"width": 8, "channels": 0}, "channels must be at least 1, not 0"),
    ("lstm", {"width": 8, "channels": None, "vocabulary": 0}, "vocabulary must be at least 1, not 0"),
    ("lstm", {"width": 8, "channels": None, "vocabulary": -1}, "vocabulary must be at least 1, not -1"),
    ("lstm", {"width": 8, "params": 100}, "exactly one of width, .* given: width=8, params=100"),
    ("lstm", {}, "exactly one of width, params, layer_params, state, step_flops; given: none of them"),
    ("lstm", {"width": 8, "vocabulary": 5}, "either vocabulary.* or channels"),
    ("lstm", {"width": 8, "channels": None}, "either vocabulary.* or channels"),
    ("lstm:dropout=1", {"width": 8}, r"dropout must lie in \[0, 1\), not 1"),
    ("lstm:dropout=-0.5", {"width": 8}, r"dropout must lie in \[0, 1\), not -0.5"),
    ("lstm:dropout=1", {"params": 20_000}, r"dropout must lie in \[0, 1\), not 1"),
]


@pytest.mark.parametrize("name", ["transformer", "s4d", "lru"])
def test_layers_of_one_width_refuse_another_input_width_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"layer needs inputs of its own width, 8, not 4; use equal widths$"):
        arch.get(name).layer(4, 8)


@pytest.mark.parametrize(("spec", "sizes", "message"), IMPOSSIBLE, ids=str)
def test_impossible_sizes_are_refused_in_one_line(spec: str, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        arch.build(spec, **{**SIZES, **sizes})
    assert "\n" not in str(refusal.value)


def test_too_long_a_sequence_for_learned_positions_gets_a_helpful_message() -> None:
    model = arch.build("transformer:positions=learned,max_length=4", **SIZES, width=8)
    x_BTD = torch.zeros(1, 5, 1)
    message = "step 5 is beyond the 4 learned positions; set transformer:max_length=5"
    assert model(x_BTD[:, :4]).shape == (1, 4, 2)
    with pytest.raises(ValueError, match=message):
        model(x_BTD)
    _, state = model.scan(x_BTD[:, :4], model.init_state(1))
    with pytest.raises(ValueError, match=message):
        model.step(x_BTD[:, 4], state)
    longer = arch.build("transformer:positions=learned,max_length=5", **SIZES, width=8)
    assert longer(x_BTD).shape == (1, 5, 2)
