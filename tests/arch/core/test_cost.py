"""The closed-form costs equal the FLOPs that torch counts and the measured sizes of weights and states."""

# Shape suffixes: B batch, T time, D model width

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

import arch
from arch.core.attention.cache import Cache
from arch.core.block import Block, BlockState
from arch.esn import ESN
from arch.tcn import TCNState

BATCH, LENGTH, DEPTH = 3, 11, 2
VOCABULARY, CHANNELS, OUTPUTS = 7, 5, 3
FLOAT32_BYTES = 4
RECURRENT = {
    "rnn:backend=reference": 9,
    "rnn:nonlinearity=relu,bias=False,backend=reference": 9,
    "lstm:backend=reference": 9,
    "lstm:bias=False,forget_bias=1,backend=reference": 7,
    "gru:backend=reference": 9,
    "gru:bias=False,backend=reference": 9,
    "gru:reset=before,backend=reference": 9,
    "lstm:forget=coupled,peepholes=True,backend=reference": 9,
    "lstm:forget=none,bias=False,backend=reference": 9,
}
"""Recurrent specs with odd widths. They run the reference implementation: the FLOP counter cannot see into kernels."""
DIAGONAL = {
    "min_gru:backend=reference": 9,
    "min_gru:signed=True,bias=False,block=bare,conv=0,backend=reference": 7,
    "min_lstm:backend=reference": 9,
    "min_lstm:bias=False,forget_bias=1,block=bare,backend=reference": 7,
    "ind_rnn:backend=reference": 9,
    "ind_rnn:bias=False,nonlinearity=relu,backend=reference": 7,
    "rg_lru:backend=reference": 9,
    "rg_lru:conv=0,block=bare,backend=reference": 7,
    "lru:backend=reference": 9,
    "lru:states=5,output=linear,backend=reference": 7,
}
"""Diagonal recurrences with odd widths."""
ATTENTION = {
    "transformer": 12,
    "transformer:positions=learned,max_length=64,heads=3,dropout=0.5": 15,
    "transformer:positions=sinusoidal,heads=1,expansion=3": 7,
    "transformer:positions=alibi,heads=5": 15,
    "transformer:positions=none,expansion=1": 6,
    "transformer:window=4": 12,
    "transformer:window=1,positions=alibi": 6,
}
"""Transformer specs with their widths."""
BLOCKS = {
    "lstm:block=residual,expansion=2,backend=reference": 7,
    "gru:block=residual,conv=4,expansion=3,backend=reference": 9,
    "rnn:conv=4,backend=reference": 9,
    "slstm:backend=reference": 12,
    "slstm:block=bare,heads=3,backend=reference": 9,
    "transformer:block=bare": 12,
    "transformer:expansion=0": 12,
    "transformer:conv=4,expansion=2": 12,
    "mamba:backend=reference": 9,
    "mamba:block=bare,conv=0,expand=3,states=5,negative=True,backend=reference": 17,
    "mamba:block=bare,backend=reference": 7,
    "s4d:states=6,backend=reference": 7,
}
"""Specs with a block around each layer, with their widths."""
MEMORIES = {
    "linear_attention": 6,
    "linear_attention:block=bare,heads=3": 9,
    "ret_net": 12,
    "ret_net:heads=1,value_factor=1,block=bare": 6,
    "gla:rank=3": 12,
    "mamba2": 6,
    "mamba2:conv=0,states=5,block=bare": 10,
    "delta_net:householders=2,heads=3": 9,
    "delta_net:conv=0,block=bare": 6,
    "gated_delta_net": 6,
    "gated_delta_net:decay=channel,block=bare": 10,
    "gated_delta_net:householders=3": 6,
    "mlstm": 6,
    "mlstm:block=bare,heads=3": 9,
    "rwkv7": 6,
    "rwkv7:block=bare,heads=1": 7,
}
"""Specs of matrix memories with their widths."""
RESERVOIRS = {"esn:backend=reference": 13, "esn:connections=3,backend=reference": 9}
"""Specs with fixed weights, with their widths."""
CONVOLUTION = {"tcn:backend=reference": 9, "tcn:kernel=3,dilation=3,weight_norm=False,backend=reference": 7}
"""Convolutional specs with their widths."""
MIXED = {"hybrid:backend=reference": 12}
"""Specs of unlike layers, with their widths."""
ALL_SPECS = RECURRENT | DIAGONAL | ATTENTION | BLOCKS | MEMORIES | RESERVOIRS | CONVOLUTION | MIXED


@pytest.mark.parametrize("name", arch.names())
def test_every_architecture_is_compared_with_the_counter(name: str) -> None:
    assert name in {spec.partition(":")[0] for spec in ALL_SPECS}


@pytest.fixture(autouse=True)
def _use_math_attention() -> Iterator[None]:
    """Use the math backend of attention, because the FLOP counter does not count the fused CPU backend."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def build(spec: str, inputs: str, width: int) -> arch.SequenceModel:
    sizes = {"vocabulary": VOCABULARY} if inputs == "tokens" else {"channels": CHANNELS}
    return arch.build(spec, outputs=OUTPUTS, width=width, depth=DEPTH, seed=0, **sizes)


def sample(inputs: str, batch: int = BATCH, length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if inputs == "tokens":
        return torch.randint(VOCABULARY, (batch, length), generator=generator)
    return torch.randn(batch, length, CHANNELS, generator=generator)


def masked_flops(model: arch.SequenceModel, batch: int, length: int) -> int:
    """Return the FLOPs that math attention spends on masked results: two products per query and future step."""
    return DEPTH * 4 * model.width * batch * length * (length - 1) // 2


def convolution_flops(model: arch.SequenceModel, batch: int, length: int) -> tuple[int, int]:
    """Return the FLOPs of the convolutions of blocks and layers in the forward pass, and in both passes.

    The equations sum shifted products, which the counter does not see. The counter takes the gradients of a depthwise
    `conv1d` for those of a dense one. The sparse products of a reservoir are sums of this kind, too.
    """
    forward = both = 0
    for index, layer in enumerate(model.layers):
        if isinstance(layer, Block) and layer.conv_KD is not None:
            products = 2 * 4 * layer.inputs * batch * length
            inputs_learn = index > 0 or layer.connects or not isinstance(model.encoder, torch.nn.Identity)
            forward += products
            both += products * (3 if inputs_learn else 2)
        own = layer.layer if isinstance(layer, Block) else layer
        named = own.named_parameters(recurse=False)  # layers that convolve by themselves
        filters = [weight for name, weight in named if name.endswith("_LC") or name in ("conv_KH", "conv_KE")]
        products = 2 * sum(weight.numel() for weight in filters) * batch * length
        forward, both = forward + products, both + 3 * products
        if isinstance(layer, ESN):  # without gradients
            products = 2 * (layer.W_HJ.numel() + layer.U_HK.numel()) * batch * length
            forward += products
            both += products
    return forward, both


@pytest.mark.parametrize("inputs", ["tokens", "reals"])
@pytest.mark.parametrize("spec", ALL_SPECS)
def test_step_flops_equal_the_counted_flops(spec: str, inputs: str) -> None:
    model = build(spec, inputs, ALL_SPECS[spec]).eval()
    state, x = model.init_state(1), sample(inputs, batch=1)
    with torch.inference_mode():
        for position in range(LENGTH):
            with FlopCounterMode(display=False) as counter:
                _, state = model.step(x[:, position], state)
            assert model.step_flops(position) == counter.get_total_flops() + convolution_flops(model, 1, 1)[0]


@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("spec", ALL_SPECS)
def test_forward_flops_are_the_sum_of_the_step_flops(spec: str, length: int) -> None:
    model = build(spec, "reals", ALL_SPECS[spec])
    steps = [model.step_flops(position) for position in range(length)]
    assert model.forward_flops(BATCH, length) == BATCH * sum(step for step in steps if step is not None)


@pytest.mark.parametrize("inputs", ["tokens", "reals"])
@pytest.mark.parametrize("spec", [spec for spec in ALL_SPECS if "window" not in spec and spec not in MIXED])
def test_forward_and_training_flops_equal_the_counted_flops(spec: str, inputs: str) -> None:
    model = build(spec, inputs, ALL_SPECS[spec])
    for layer in model.layers:  # the FLOP counter cannot see into kernels
        layer.backend = "reference"
    has_attention = "transformer" in spec
    # The past inputs of a convolution are no part of the graph, and reservoirs do not learn.
    state_needs_gradient = not has_attention and spec not in CONVOLUTION and spec not in RESERVOIRS
    state = pytree.tree_map_only(
        Tensor, lambda tensor: tensor.requires_grad_(state_needs_gradient), model.init_state(BATCH)
    )
    with FlopCounterMode(display=False) as counter:
        outputs, _ = model.scan(sample(inputs), state)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    masked = masked_flops(model, BATCH, LENGTH) if has_attention else 0
    by_convolution, by_both_passes = convolution_flops(model, BATCH, LENGTH)
    assert model.forward_flops(BATCH, LENGTH) == forward - masked + by_convolution
    assert model.train_step_flops(BATCH, LENGTH) == counter.get_total_flops() - 3 * masked + by_both_passes


def test_costs_equal_values_computed_by_hand() -> None:
    lstm = arch.build("lstm", channels=2, outputs=3, width=10, depth=1)
    assert lstm.step_flops(77) == 8 * 10 * (2 + 10) + 2 * 10 * 3
    assert lstm.step_bytes(77) == 4 * (40 * 2 + 40 * 10 + 40 + 2 * 20 + 10 * 3 + 3)
    assert lstm.forward_flops(4, 5) == 20 * 1020
    assert lstm.train_step_flops(4, 5) == 20 * (2 * 8 * 10 * 2 + 3 * 8 * 10 * 10 + 3 * 60)
    windowed = arch.build("transformer:window=4,heads=1", vocabulary=9, outputs=3, width=10, depth=1)
    assert [windowed.step_flops(t) for t in (0, 2, 3, 9)] == [2460 + 40 * steps for steps in (1, 3, 4, 4)]
    assert windowed.forward_flops(1, 6) == 6 * 2460 + 40 * (1 + 2 + 3 + 4 + 4 + 4)


@pytest.mark.parametrize("inputs", ["tokens", "reals"])
@pytest.mark.parametrize("spec", ALL_SPECS)
def test_step_bytes_equal_the_measured_sizes(spec: str, inputs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare `step_bytes` with the sizes of the weights and of the state that a step reads and writes.

    A recurrent step reads and writes its whole state. A transformer step reads the visible keys and values, and
    writes those of the current step. A convolution reads the inputs at its taps, and writes the current one.
    """
    model, position = build(spec, inputs, ALL_SPECS[spec]).eval(), 7
    for layer in model.layers:  # only the reference implementation calls the patched function
        layer.backend = "reference"
    state, x, read = model.init_state(1), sample(inputs, batch=1), []
    attention = functional.scaled_dot_product_attention

    def measured(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        read.append(k.nbytes + v.nbytes)
        return attention(q, k, v, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", measured)
    with torch.inference_mode():
        for step in range(position + 1):
            read.clear()
            _, state = model.step(x[:, step], state)
    tables = [model.encoder.weight] if inputs == "tokens" else []
    tables += [layer.position_SD for layer in model.layers if getattr(layer, "position_SD", None) is not None]
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    weights -= sum(table.nbytes - table[0].nbytes for table in tables)
    moved = sum(moved_bytes(layer, part) for layer, part in zip(model.layers, state, strict=True))
    assert model.step_bytes(position) == weights + sum(read) + moved


def moved_bytes(layer: Any, state: Any) -> int:
    """Return the bytes of a layer's state that a step reads and writes, without the keys and values that it reads."""
    if isinstance(state, BlockState):
        return 2 * state.inputs_BKD.nbytes + moved_bytes(layer.layer, state.layer)
    if isinstance(state, Cache):
        return 2 * layer.width * FLOAT32_BYTES
    if isinstance(state, TCNState):
        return sum(ring[:, :: layer.apart].nbytes + ring[:, 0].nbytes for ring in (state.x_BND, state.u_BNH))
    return 2 * arch.state_bytes(state)


def test_a_step_reads_the_whole_cache() -> None:
    model = build("transformer", "tokens", 12)
    first = model.step_bytes(0)
    with torch.inference_mode():
        _, state = model.scan(sample("tokens", batch=1, length=8), model.init_state(1))
    assert first is not None
    assert model.step_bytes(7) == first + arch.state_bytes(state) * 7 // 8


def test_step_bytes_double_in_float64() -> None:
    model = build("gru", "tokens", 9)
    single = model.step_bytes(3)
    assert single is not None
    assert model.double().step_bytes(3) == 2 * single


class UnknownCost(arch.RecurrentLayer):
    """A layer without cost functions."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.scale = torch.nn.Parameter(torch.ones(width))

    def init_state(self, batch: int) -> Tensor:
        return self.empty(batch, self.width)

    def project(self, x: Tensor) -> Tensor:
        return x

    def update(self, projected_BG: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h_BH = projected_BG + self.scale * state
        return h_BH, h_BH


def test_unknown_costs_are_none() -> None:
    known = arch.build("rnn", vocabulary=5, outputs=2, width=4, depth=1)
    layers = [known.layers[0], UnknownCost(4, 4)]
    model = arch.SequenceModel(known.encoder, layers, known.readout)  # type: ignore[arg-type]
    costs = (model.step_flops(3), model.step_bytes(3), model.forward_flops(2, 3), model.train_step_flops(2, 3))
    assert costs == (None, None, None, None)
