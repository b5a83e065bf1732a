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
from arch.core.block import Block, BlockState

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
}
"""Recurrent specs with odd widths. They run the reference implementation: the FLOP counter cannot see into kernels."""
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
    "transformer:block=bare": 12,
    "transformer:expansion=0": 12,
    "transformer:conv=4,expansion=2": 12,
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
    "mlstm": 6,
    "mlstm:block=bare,heads=3": 9,
    "rwkv7": 6,
    "rwkv7:block=bare,heads=1": 7,
}
"""Specs of matrix memories with their widths."""
ALL_SPECS = RECURRENT | ATTENTION | BLOCKS | MEMORIES


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
    `conv1d` for those of a dense one.
    """
    forward = both = 0
    for index, layer in enumerate(model.layers):
        if isinstance(layer, Block) and layer.conv_KD is not None:
            products = 2 * 4 * layer.inputs * batch * length
            inputs_learn = index > 0 or layer.connects or not isinstance(model.encoder, torch.nn.Identity)
            forward += products
            both += products * (3 if inputs_learn else 2)
        own = layer.layer if isinstance(layer, Block) else layer
        filters = [weight for name, weight in own.named_parameters(recurse=False) if name.endswith("_LC")]
        products = 2 * sum(weight.numel() for weight in filters) * batch * length
        forward, both = forward + products, both + 3 * products
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
@pytest.mark.parametrize(
    "spec", [*RECURRENT, *BLOCKS, *MEMORIES, *(spec for spec in ATTENTION if "window" not in spec)]
)
def test_forward_and_training_flops_equal_the_counted_flops(spec: str, inputs: str) -> None:
    model = build(spec, inputs, ALL_SPECS[spec])
    for layer in model.layers:  # the FLOP counter cannot see into kernels
        layer.backend = "reference"
    state_needs_gradient = "transformer" not in spec
    state = pytree.tree_map_only(
        Tensor, lambda tensor: tensor.requires_grad_(state_needs_gradient), model.init_state(BATCH)
    )
    with FlopCounterMode(display=False) as counter:
        outputs, _ = model.scan(sample(inputs), state)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    masked = 0 if state_needs_gradient else masked_flops(model, BATCH, LENGTH)
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
    writes those of the current step.
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
    convolved = sum(part.inputs_BKD.nbytes for part in state if isinstance(part, BlockState))
    written = DEPTH * 2 * model.width * FLOAT32_BYTES + convolved if read else arch.state_bytes(state)
    reads = sum(read) + convolved if read else arch.state_bytes(state)
    assert model.step_bytes(position) == weights + reads + written


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
