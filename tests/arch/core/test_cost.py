"""The closed forms against torch's own count of what was multiplied, and against measured bytes."""

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

BATCH, LENGTH, DEPTH = 3, 11, 2
VOCABULARY, CHANNELS, OUTPUTS = 7, 5, 3
FLOAT32_BYTES = 4
UNROLLED = {
    "rnn:backend=reference": 9,
    "rnn:nonlinearity=relu,bias=False,backend=reference": 9,
    "lstm:backend=reference": 9,
    "lstm:bias=False,forget_bias=1,backend=reference": 7,
    "gru:backend=reference": 9,
    "gru:bias=False,backend=reference": 9,
    "gru:reset=before,backend=reference": 9,
}
"""Specs by a width that is odd; the counter sees into no kernel, so the equations themselves run."""
ATTENTION = {
    "transformer": 12,
    "transformer:positions=learned,max_length=64,heads=3,dropout=0.5": 15,
    "transformer:positions=sinusoidal,heads=1,expansion=3": 7,
    "transformer:positions=alibi,heads=5": 15,
    "transformer:positions=none,expansion=1": 6,
    "transformer:window=4": 12,
    "transformer:window=1,positions=alibi": 6,
}
EVERY = UNROLLED | ATTENTION


@pytest.fixture(autouse=True)
def _attention_by_two_products() -> Iterator[None]:
    """Fused attention on a CPU is not counted; the two products of the plain form are."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def model(spec: str, reads: str, width: int) -> arch.SequenceModel:
    sizes = {"vocabulary": VOCABULARY} if reads == "tokens" else {"channels": CHANNELS}
    return arch.build(spec, outputs=OUTPUTS, width=width, depth=DEPTH, seed=0, **sizes)


def inputs(reads: str, batch: int = BATCH, length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if reads == "tokens":
        return torch.randint(VOCABULARY, (batch, length), generator=generator)
    return torch.randn(batch, length, CHANNELS, generator=generator)


def masked_flops(it: arch.SequenceModel, batch: int, length: int) -> int:
    """What plain attention multiplies only for the mask to throw away: both products of each later step."""
    window = it.layers[0].window
    assert window is None
    return DEPTH * 4 * it.width * batch * length * (length - 1) // 2


@pytest.mark.parametrize("reads", ["tokens", "reals"])
@pytest.mark.parametrize("spec", EVERY)
def test_a_step_costs_what_is_counted(spec: str, reads: str) -> None:
    it = model(spec, reads, EVERY[spec]).eval()
    state, x = it.init_state(1), inputs(reads, batch=1)
    with torch.inference_mode():
        for position in range(LENGTH):
            with FlopCounterMode(display=False) as counter:
                _, state = it.step(x[:, position], state)
            assert it.step_flops(position) == counter.get_total_flops()


@pytest.mark.parametrize("length", [1, LENGTH])
@pytest.mark.parametrize("spec", EVERY)
def test_a_forward_pass_costs_its_steps(spec: str, length: int) -> None:
    it = model(spec, "reals", EVERY[spec])
    steps = [it.step_flops(position) for position in range(length)]
    assert it.forward_flops(BATCH, length) == BATCH * sum(step for step in steps if step is not None)


@pytest.mark.parametrize("reads", ["tokens", "reals"])
@pytest.mark.parametrize("spec", [*UNROLLED, *(spec for spec in ATTENTION if "window" not in spec)])
def test_a_forward_pass_and_a_training_step_cost_what_is_counted(spec: str, reads: str) -> None:
    it = model(spec, reads, EVERY[spec])
    for layer in it.layers:  # the counter does not see into a kernel
        layer.backend = "reference"
    asks = "transformer" not in spec
    state = pytree.tree_map_only(Tensor, lambda one: one.requires_grad_(asks), it.init_state(BATCH))
    with FlopCounterMode(display=False) as counter:
        outputs, _ = it.scan(inputs(reads), state)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    thrown_away = 0 if asks else masked_flops(it, BATCH, LENGTH)
    assert it.forward_flops(BATCH, LENGTH) == forward - thrown_away
    assert it.train_step_flops(BATCH, LENGTH) == counter.get_total_flops() - 3 * thrown_away


def test_costs_by_hand() -> None:
    lstm = arch.build("lstm", channels=2, outputs=3, width=10, depth=1)
    assert lstm.step_flops(77) == 8 * 10 * (2 + 10) + 2 * 10 * 3
    assert lstm.step_bytes(77) == 4 * (40 * 2 + 40 * 10 + 40 + 2 * 20 + 10 * 3 + 3)
    assert lstm.forward_flops(4, 5) == 20 * 1020
    assert lstm.train_step_flops(4, 5) == 20 * (2 * 8 * 10 * 2 + 3 * 8 * 10 * 10 + 3 * 60)
    windowed = arch.build("transformer:window=4,heads=1", vocabulary=9, outputs=3, width=10, depth=1)
    assert [windowed.step_flops(t) for t in (0, 2, 3, 9)] == [2460 + 40 * steps for steps in (1, 3, 4, 4)]
    assert windowed.forward_flops(1, 6) == 6 * 2460 + 40 * (1 + 2 + 3 + 4 + 4 + 4)


@pytest.mark.parametrize("reads", ["tokens", "reals"])
@pytest.mark.parametrize("spec", EVERY)
def test_a_step_moves_the_weights_and_the_state_that_are_measured(
    spec: str, reads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recurrent state is read and written whole; of a cache what attention is given is read, and one step written."""
    it, position = model(spec, reads, EVERY[spec]).eval(), 7
    for layer in it.layers:  # what attention is given can be seen in the equations alone
        layer.backend = "reference"
    state, x, read = it.init_state(1), inputs(reads, batch=1), []
    attention = functional.scaled_dot_product_attention

    def measured(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
        read.append(k.nbytes + v.nbytes)
        return attention(q, k, v, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", measured)
    with torch.inference_mode():
        for step in range(position + 1):
            read.clear()
            _, state = it.step(x[:, step], state)
    tables = [it.encoder.weight] if reads == "tokens" else []
    tables += [layer.position_SD for layer in it.layers if getattr(layer, "position_SD", None) is not None]
    weights = sum(one.nbytes for one in [*it.parameters(), *it.buffers()])
    weights -= sum(one.nbytes - one[0].nbytes for one in tables)
    written = DEPTH * 2 * it.width * FLOAT32_BYTES if read else arch.state_bytes(state)
    assert it.step_bytes(position) == weights + (sum(read) or arch.state_bytes(state)) + written


def test_a_full_cache_is_what_its_next_step_reads() -> None:
    it = model("transformer", "tokens", 12)
    first = it.step_bytes(0)
    with torch.inference_mode():
        _, state = it.scan(inputs("tokens", batch=1, length=8), it.init_state(1))
    assert first is not None
    assert it.step_bytes(7) == first + arch.state_bytes(state) * 7 // 8


def test_bytes_follow_the_precision() -> None:
    it = model("gru", "tokens", 9)
    single = it.step_bytes(3)
    assert single is not None
    assert it.double().step_bytes(3) == 2 * single


class Unstated(arch.RecurrentLayer):
    """An architecture that says nothing of its costs."""

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


def test_what_is_not_stated_is_none() -> None:
    stated = arch.build("rnn", vocabulary=5, outputs=2, width=4, depth=1)
    layers = [stated.layers[0], Unstated(4, 4)]
    it = arch.SequenceModel(stated.encoder, layers, stated.readout)  # type: ignore[arg-type]
    found = (it.step_flops(3), it.step_bytes(3), it.forward_flops(2, 3), it.train_step_flops(2, 3))
    assert found == (None, None, None, None)
