"""The block around a layer: every architecture with every kind of block keeps the contract and equals its equations."""

# Shape suffixes: B batch, T time, D input width, H width

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import arch
from arch import BlockOptions
from arch.core.block import Block, BlockState
from bench.validation import ARCH_CHECKS, ArchExample, Level, repeat_step, scan_chunks
from tests.arch.subjects import BATCH, DIFFERENT, WIDTH, assert_same_state, close, same_state

BLOCKS = (
    "conv=4",
    "block=residual",
    "block=residual,conv=4",
    "block=residual,expansion=2",
    "block=residual,conv=4,expansion=2",
)
WHOLE = ("transformer:block=residual", "transformer:block=residual,expansion=2")
"""Specs whose layer is the whole block by itself."""
SPECS = [
    *(spec for name in arch.names() for block in BLOCKS if (spec := f"{name}:{block}") not in WHOLE),
    "transformer:block=bare,conv=4",
    "transformer:expansion=0",
    "transformer:conv=4,window=3",
    "transformer:conv=4,positions=learned,max_length=16",
    "gru:reset=before,bias=False,block=residual,conv=4,expansion=4",
]
CONTRACT = [
    *((f"{name}:{block}", "reals") for name in DIFFERENT for block in (BLOCKS[0], BLOCKS[-1])),
    ("transformer:block=bare", "reals"),
    *((f"{name}:{BLOCKS[-1]}", "layer") for name in arch.names() if name not in DIFFERENT),
]
"""Specs and levels that run the whole contract. The written-out equations cover the other blocks."""
SLOW = ("long_sequences",)
"""Checks that run on few specs, because each takes seconds."""
STEPS = 11


def layers_of(spec: str, depth: int = 2) -> tuple[Any, list[Any]]:
    """Return a model in float64 that reads three channels, and its layers. No bias is 0 and no gain is 1."""
    model = arch.build(spec, channels=3, outputs=2, width=WIDTH, depth=depth, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return arch.to_float64(model.eval()), list(model.layers)


def reals(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("check", [check for name, check in ARCH_CHECKS.items() if name not in SLOW])
@pytest.mark.parametrize(("spec", "level"), CONTRACT)
def test_contract(check: Callable[[ArchExample], None], spec: str, level: Level) -> None:
    check(ArchExample(package=arch, spec=spec, level=level, width=WIDTH, batch=BATCH, same_state=same_state))


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("spec", ["lstm:block=residual,conv=4,expansion=2", "transformer:block=bare,conv=4"])
def test_contract_of_long_sequences(name: str, spec: str) -> None:
    ARCH_CHECKS[name](ArchExample(package=arch, spec=spec, level="reals", width=WIDTH, batch=1, steps=1024))


def convolved(block: Block, u_BTD: Tensor) -> Tensor:
    """Return equation (1) by `conv1d` of torch, from zeros before the first step."""
    if block.conv_KD is None:
        return u_BTD
    weight_D1K = block.conv_KD.T.unsqueeze(1)
    padded_BDT = functional.pad(u_BTD.mT, (3, 0))
    return functional.conv1d(padded_BDT, weight_D1K, block.conv_D, groups=block.inputs).mT


def normed(norm: Any, x_BTD: Tensor) -> Tensor:
    """Return a layer norm, written out."""
    centred_BTD = x_BTD - x_BTD.mean(-1, keepdim=True)
    variance_BT1 = centred_BTD.square().mean(-1, keepdim=True)
    return centred_BTD / (variance_BT1 + 1e-5).sqrt() * norm.weight + norm.bias


def by_hand(block: Block, x_BTD: Tensor) -> Tensor:
    """Return equations (1) to (4) of a block for a sequence from the empty state, written out."""
    layer = block.layer
    if not block.connects:
        return layer(convolved(block, x_BTD))
    y_BTH = x_BTD + layer(convolved(block, normed(block.norm, x_BTD)))
    if block.has_mlp:
        W_1, W_2 = block.W_1, block.W_2
        wide_BTE = normed(block.mlp_norm, y_BTH) @ W_1.weight.T + W_1.bias  # type: ignore[operator]
        wide_BTE = wide_BTE * (1 + torch.erf(wide_BTE / 2**0.5)) / 2
        y_BTH = y_BTH + wide_BTE @ W_2.weight.T + W_2.bias  # type: ignore[operator]
    return y_BTH if isinstance(block.final_norm, nn.Identity) else normed(block.final_norm, y_BTH)


@pytest.mark.parametrize("spec", SPECS)
def test_outputs_and_gradients_equal_the_equations_by_hand(spec: str) -> None:
    model, blocks = layers_of(spec)
    x_BTD = reals(BATCH, STEPS, 3).requires_grad_()
    hidden = model.encoder(x_BTD)
    for block in blocks:
        assert type(block) is Block
        hidden = by_hand(block, hidden)
    expected, actual = model.readout(hidden), model(x_BTD)
    close(actual, expected)
    variables = [x_BTD, *model.parameters()]
    weights = reals(*actual.shape, seed=5)
    close(
        torch.autograd.grad((actual * weights).sum(), variables),
        torch.autograd.grad((expected * weights).sum(), variables),
    )


@pytest.mark.parametrize("spec", [*WHOLE, "transformer", "lstm", "lstm:block=bare,conv=0"])
def test_a_layer_that_is_the_whole_block_stands_alone(spec: str) -> None:
    assert [type(layer) for layer in layers_of(spec)[1]] == [arch.get(spec).layer] * 2


@pytest.mark.parametrize(("spec", "own"), [("lstm:block=residual,conv=4", "lstm"), ("rnn:conv=4", "rnn")])
def test_a_block_leaves_the_initial_weights_of_the_layer_unchanged(spec: str, own: str) -> None:
    sizes: dict[str, Any] = {"channels": WIDTH, "outputs": 2, "width": WIDTH, "depth": 1}
    block = arch.build(spec, **{**sizes, "vocabulary": 5, "channels": None}, seed=3).layers[0]
    layer = arch.build(own, **{**sizes, "vocabulary": 5, "channels": None}, seed=3).layers[0]
    assert isinstance(block, Block)
    close(dict(block.layer.named_parameters()), dict(layer.named_parameters()))
    assert block.conv_KD is not None and 0.4 < block.conv_KD.abs().max() <= 0.5


@pytest.mark.parametrize("expansion", [2, 4])
def test_a_block_around_bare_attention_equals_the_whole_block(expansion: int) -> None:
    """Compare a `Block` without a convolution with the block that `Transformer` has by itself."""
    _, wholes = layers_of(f"transformer:expansion={expansion}")
    options = BlockOptions(block="residual", expansion=expansion)
    Transformer = arch.get("transformer").layer
    x_BTD = reals(BATCH, STEPS, WIDTH)
    for whole, is_last in zip(wholes, (False, True), strict=True):
        block = Block(Transformer(WIDTH, WIDTH, block="bare"), WIDTH, options, is_last=is_last).double()
        names = {"layer.": "", "norm": "attention_norm", "mlp_norm": "perceptron_norm"}
        weights = whole.state_dict()
        renamed = {}
        for name in block.state_dict():
            module, _, leaf = name.removeprefix("layer.").rpartition(".")
            renamed[name] = weights[f"{names.get(module, module)}.{leaf}"]
        block.load_state_dict(renamed)
        assert block.step_flops(3) == whole.step_flops(3) and block.step_bytes(3) == whole.step_bytes(3)
        close(block(x_BTD), whole(x_BTD))


def test_the_state_is_the_last_inputs_and_the_state_of_the_layer() -> None:
    _, (block, _) = layers_of("lstm:block=residual,conv=4")
    x_BTD = reals(BATCH, STEPS, WIDTH)
    _, state = scan_chunks(block, x_BTD, (1, 2, 5, 3))
    assert type(state) is BlockState
    close(state.inputs_BKD, normed(block.norm, x_BTD)[:, -3:])
    numbers = BATCH * WIDTH * (3 + 2)
    assert arch.state_bytes(state) == 8 * numbers == arch.state_bytes(block.init_state(BATCH))
    assert type(layers_of("lstm:block=residual")[1][0].init_state(1)) is type(state.layer)


@pytest.mark.parametrize("spec", ["lstm:block=residual,conv=4,expansion=2", "transformer:conv=4"])
def test_weights_can_be_stored_and_loaded(spec: str) -> None:
    model, _ = layers_of(spec)
    other = arch.to_float64(arch.build(spec, channels=3, outputs=2, width=WIDTH, seed=9))
    other.load_state_dict(model.state_dict())
    x_BTD = reals(BATCH, STEPS, 3)
    close(other(x_BTD), model(x_BTD))


@pytest.mark.parametrize("spec", ["gru:block=residual,conv=4,expansion=2", "transformer:conv=4"])
def test_gates_are_those_of_the_layer_for_the_inputs_that_it_sees(spec: str) -> None:
    _, (block, _) = layers_of(spec)
    x_BTD = reals(BATCH, STEPS, WIDTH)
    _, state = repeat_step(block, x_BTD[:, :-1])
    _, inner = repeat_step(block.layer, convolved(block, normed(block.norm, x_BTD))[:, :-1])
    seen_BD = convolved(block, normed(block.norm, x_BTD))[:, -1]
    actual, expected = block.gates(x_BTD[:, -1], state), block.layer.gates(seen_BD, inner)
    assert actual.keys() == expected.keys() and actual
    close(actual, expected)
    assert_same_state(state.layer, inner, close)


class Penalised(arch.get("rnn").layer):  # type: ignore[misc]
    """A layer with its own groups of parameters and an auxiliary loss."""

    def parameter_groups(self) -> list[arch.ParameterGroup]:
        return [arch.ParameterGroup([self.U_HH], learning_rate=0.1)]

    def auxiliary_loss(self) -> Tensor:
        return self.U_HH.square().sum()  # type: ignore[no-any-return]


def test_parameter_groups_and_auxiliary_losses_of_the_layer_count_once() -> None:
    block = Block(Penalised(4, 4), 4, BlockOptions(block="residual", conv=4), is_last=True)
    model = nn.Sequential(block)
    groups = arch.parameter_groups(model)
    assert [group.learning_rate for group in groups] == [0.1, 1.0]
    assert sum(len(tuple(group.parameters)) for group in groups) == len(list(model.parameters()))
    loss = arch.auxiliary_loss(model)
    assert loss is not None
    close(loss, block.layer.U_HH.square().sum())  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lstm:conv=3", "lstm: conv must be 0 or 4, not 3"),
        ("lstm:expansion=2", "lstm: expansion=2 is the MLP of a residual block; add block=residual, or omit expansion"),
        ("transformer:block=bare,expansion=4", "transformer: expansion=4 is the MLP of a residual block"),
        ("lstm:block=residual,expansion=-1", "lstm: expansion must be at least 0, not -1"),
        ("lstm:block=both", "lstm:block=both is not allowed: the value must be 'bare' or 'residual'"),
        ("lstm:conv=wide", "lstm:conv=wide is not allowed: "),
    ],
)
def test_impossible_blocks_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        arch.get(spec)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("lstm:block=bare,conv=0,expansion=0", "lstm"),
        ("lstm:expansion=2,conv=4,block=residual", "lstm:block=residual,conv=4,expansion=2"),
        ("transformer:block=residual,expansion=4", "transformer"),
        ("transformer:block=bare,expansion=0", "transformer:block=bare"),
        ("transformer:conv=4", "transformer:conv=4"),
    ],
)
def test_specs_of_blocks_are_written_without_defaults(given: str, written: str) -> None:
    assert str(arch.get(given)) == written == str(arch.get(written))


class OwnConvolution(arch.RecurrentLayer):
    """A layer that builds the short convolution itself."""

    def __init__(self, inputs: int, width: int, *, conv: int = 4) -> None:
        super().__init__()
        self.width, self.conv = width, conv
        self.map = nn.Linear(inputs, width)

    def init_state(self, batch: int) -> Tensor:
        return self.empty(batch, self.width)

    def project(self, x: Tensor) -> Tensor:
        return self.map(x)

    def update(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, Any]:
        return projected_BG, state


@pytest.mark.parametrize(("options", "conv"), [("", 4), ("conv=0", 0), ("block=residual", 4)])
def test_a_layer_with_its_own_convolution_gets_no_other(options: str, conv: int) -> None:
    spec = arch.Arch(name="own", layer=OwnConvolution).with_options(dict([options.split("=")] if options else []))
    for layer in arch.build(spec, channels=3, outputs=1, width=WIDTH).layers:
        inner = layer.layer if isinstance(layer, Block) else layer
        assert isinstance(inner, OwnConvolution) and inner.conv == conv
        assert not isinstance(layer, Block) or layer.conv_KD is None
