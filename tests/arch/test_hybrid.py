"""Hybrids: patterns as users write them, the layers that they give, and models whose layers differ."""

# Shape suffixes: B batch, T time

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import arch
from arch import SequenceModel
from arch.core.block import Block
from bench.validation.examples import ArchExample
from tests.arch.core.test_compiled_cell import Leaky
from tests.arch.fused import assert_same
from tests.arch.kernels.test_residual import results
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import assert_close, by_equations, compiled, inputs, model_of


def layers_of(pattern: str, depth: int, **sizes: Any) -> list[Any]:
    model = arch.build(f"hybrid:pattern={pattern}", outputs=2, width=8, depth=depth, **({"channels": 3} | sizes))
    return list(model.layers)


def names_of(layers: list[Any]) -> str:
    """Return the first letters of the classes of the layers."""
    return "".join(type(getattr(layer, "layer", layer)).__name__[0] for layer in layers)


@pytest.mark.parametrize(
    ("pattern", "depth", "expected"),
    [
        ("gru+transformer", 2, "GT"),
        ("gru+transformer", 5, "GTGTG"),
        ("gru*3+transformer", 8, "GGGTGGGT"),
        ("transformer+lstm*2+gru", 4, "TLLG"),
        ("gru*3+transformer", 1, "G"),
        ("lstm*9", 3, "LLL"),
    ],
)
def test_the_pattern_repeats_over_the_depth(pattern: str, depth: int, expected: str) -> None:
    assert names_of(layers_of(pattern, depth)) == expected


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("hybrid:pattern= gated_delta_net + transformer ", "hybrid"),
        ("hybrid:pattern=gated_delta_net*1+transformer:heads=2", "hybrid"),
        ("hybrid:pattern=gru+gru+transformer*2+gru", "hybrid:pattern=gru*2+transformer*2+gru"),
        (
            "hybrid:pattern=transformer:window=64:heads=4*2+gru:reset=before",
            "hybrid:pattern=transformer:heads=4:window=64*2+gru:reset=before",
        ),
        ("hybrid:backend=reference,conv=4", "hybrid:backend=reference,conv=4"),
    ],
)
def test_equal_patterns_are_written_alike(given: str, written: str) -> None:
    assert str(arch.get(given)) == written == str(arch.get(written))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "the value has an empty part; join the parts by one +"),
        ("gru++transformer", "has an empty part"),
        ("+gru", "has an empty part"),
        ("*3+gru", "has an empty part"),
        ("gru*0+transformer", "has the count '0' after gru*; give a whole number of layers, at least 1"),
        ("gru*-1", "has the count '-1' after gru*"),
        ("gru*", "has the count '' after gru*"),
        ("gru*2*2", "has the count '2*2' after gru*"),
        ("gru*1000000000", "has more than 64 layers; shorten it"),
        ("gru*40+lstm*25", "has more than 64 layers"),
        ("gur+transformer", "has the part gur: no architecture 'gur'; did you mean 'gru'?"),
        ("gru:forget_bias=1+transformer", "has the part gru:forget_bias=1: gru has no option 'forget_bias'"),
        ("transformer:heads=two", "transformer:heads=two is not allowed"),
        ("transformer:heads", "is not a spec of the form name:option=value"),
        ("gru+hybrid", "contains hybrid itself; write out the parts"),
        ("gru:dropout=0.5", "sets dropout in the part gru:dropout=0.5, but it belongs to the whole model"),
    ],
)
def test_impossible_patterns_are_refused_in_one_line(pattern: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        arch.get(f"hybrid:pattern={pattern}")
    assert str(refusal.value).startswith("hybrid:pattern=") and "\n" not in str(refusal.value)
    assert message in str(refusal.value)


def test_the_known_parts_of_a_pattern_lack_the_hybrid_itself() -> None:
    with pytest.raises(ValueError) as refusal:
        arch.get("hybrid:pattern=nothing")
    _, _, listed = str(refusal.value).partition("available: ")
    assert listed.split(", ") == [name for name in arch.names() if name != "hybrid"]


def test_a_model_that_would_lack_a_part_is_refused() -> None:
    message = (
        "the pattern has 4 layers, but the model has 3, so it would have no transformer; raise the depth, or shorten"
    )
    with pytest.raises(ValueError, match=message):
        arch.build("hybrid:pattern=gru*3+transformer", channels=1, outputs=1, depth=3, width=8)


def test_each_part_has_its_own_block_and_each_residual_stream_ends_with_a_norm() -> None:
    layers = layers_of("transformer*2+gru+lstm:block=residual:conv=4", 5)
    assert [type(layer) is Block for layer in layers] == [True, True, False, True, True]
    blocks = [layer for layer in layers if type(layer) is Block]
    assert [block.connects for block in blocks] == [True] * 4
    assert [block.has_mlp for block in blocks] == [True, True, False, True]
    assert [block.conv_KD is not None for block in blocks] == [False, False, True, False]
    normed = [not isinstance(block.final_norm, torch.nn.Identity) for block in blocks]
    assert normed == [False, True, False, True]


def test_options_of_the_block_replace_those_of_every_part() -> None:
    layers = layers_of("gru+transformer,block=residual,conv=4,expansion=2", 2)
    assert all(layer.connects and layer.conv_KD is not None and layer.W_1.out_features == 16 for layer in layers)
    gru, transformer = layers_of("gru+transformer,conv=4", 2)
    assert not gru.connects and transformer.connects and transformer.has_mlp
    assert gru.conv_KD is not None and transformer.conv_KD is not None


@pytest.mark.parametrize(
    ("pattern", "is_residual"),
    [("gru+transformer", False), ("transformer+gru", True), ("gru+rnn,block=residual", True)],
)
def test_reals_go_through_a_linear_map_if_the_first_layer_is_residual(pattern: str, is_residual: bool) -> None:
    spec = f"hybrid:pattern={pattern}"
    assert arch.get(spec).is_residual is is_residual
    model = arch.build(spec, channels=3, outputs=2, width=8)
    assert arch.parameter_count(model.encoder) == (4 * 8 if is_residual else 0)


def test_dilations_go_on_from_one_layer_of_a_part_to_the_next() -> None:
    assert [layer.apart for layer in layers_of("tcn+gru", 6)[::2]] == [1, 2, 4]


def test_positions_are_added_once_and_limit_the_length() -> None:
    spec = "gru+transformer:positions=learned:max_length=9"
    layers = layers_of(spec, 4)
    assert [layer.layer.adds_positions for layer in layers[1::2]] == [True, False]
    model = arch.build(f"hybrid:pattern={spec}", channels=1, outputs=1, width=8)
    assert model.max_length == 9


def test_cost_is_constant_only_if_that_of_all_parts_is() -> None:
    assert arch.have_constant_cost(layers_of("gru+lstm:block=residual", 2))
    assert not arch.have_constant_cost(layers_of("gru+transformer", 2))


def test_gates_are_those_of_the_parts() -> None:
    model = arch.build("hybrid:pattern=gru+transformer", channels=1, outputs=1, width=8)
    gates = model.gates(torch.zeros(1, 1), model.init_state(1))
    assert list(gates) == ["0.reset", "0.update", "0.candidate", "1.attention"]


@pytest.fixture
def _leaky_plugin() -> Iterator[None]:
    arch.add("leaky", Leaky)
    yield
    arch.remove("leaky")


@pytest.mark.usefixtures("_leaky_plugin")
def test_plugins_can_be_parts() -> None:
    assert names_of(layers_of("leaky+gru", 3)) == "LGL"


STREAMED = ["gru+transformer", "transformer:window=3+lstm*2+rnn", "tcn:block=residual+gru:reset=before+lstm,conv=4"]


@pytest.mark.parametrize("pattern", STREAMED)
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_and_streams_equal_the_equations(pattern: str, batch: int) -> None:
    model, x = model_of(f"hybrid:pattern={pattern}", 12, depth=5), inputs(batch, steps=40)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)
    with torch.inference_mode():
        first, state = model.scan(x[:, :9], model.init_state(batch))
        second, state = compiled(model, x[:, 9:15], state)
        third, _ = compiled_stream(model, x[:, 15:], state)
    assert_close(torch.cat([first, second, third], 1), expected)


def test_gradients_of_the_kernels_equal_those_of_the_equations() -> None:
    model, x = model_of("hybrid:pattern=gru+transformer", 12, depth=4), inputs(3, steps=11).requires_grad_()
    assert_same(results(model, "fused", x), results(model, "reference", x))


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_the_backend_of_a_hybrid_is_that_of_every_layer(backend: str) -> None:
    model: SequenceModel = arch.build(f"hybrid:backend={backend}", channels=1, outputs=1, width=8, depth=3)
    assert [layer.backend for layer in model.layers] == [backend] * 3


@pytest.mark.parametrize("option", ["block=bare", "conv=0", "expansion=0"])
def test_an_option_of_the_block_that_would_leave_each_part_its_own_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"hybrid: {option} leaves each part its own") as refusal:
        arch.get(f"hybrid:{option}")
    assert "\n" not in str(refusal.value)
    assert arch.get(f"hybrid:pattern=gru:{option}+transformer").block == arch.get("hybrid").block


def test_a_hybrid_of_four_layers_is_validated_with_all_of_them() -> None:
    example = ArchExample(
        package=arch, spec="hybrid:pattern=gru*3+transformer", level="reals", width=16, batch=1, steps=3
    )
    assert names_of(list(example.build().module.layers)) == "GGGT"
