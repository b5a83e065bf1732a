"""The recording of layers whose state and gates are not (B, H): matrices, heads, ring buffers and counters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import arch
import tasks
from arch.core.block import in_blocks
from bench.probes import gates
from bench.probes.recording import MAX_FEATURES, fixed_states, watch_gates, watch_states, watch_values
from bench.probes.subject import Subject
from tests.bench.tiny import tiny_case

HEADS, KEYS, VALUES = 2, 3, 4
LENGTH = 6
FLOAT32 = 1e-5
"""Tolerance for float32 models with a few units."""


class Memory(arch.Layer):
    """A matrix memory per head, with a ring buffer of two inputs, a complex part and a counter of steps.

    S' = a S + k vᵀ. The memory of head n decays by `decays[n]` per step.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width, self.inputs_width = width, inputs
        self.W_k = nn.Linear(inputs, HEADS * KEYS)
        self.W_v = nn.Linear(inputs, HEADS * VALUES)
        self.W_o = nn.Linear(HEADS * KEYS * VALUES, width)
        self.decays = torch.tensor([1.0, 0.25])

    def init_state(self, batch: int) -> Any:
        return {
            "memory": self.empty(batch, HEADS, KEYS, VALUES),
            "ring": self.empty(batch, 2, self.inputs_width),
            "phase": torch.zeros(batch, self.width, dtype=torch.complex64),
            "count": torch.zeros((), dtype=torch.int64),
            "seen": 0,
        }

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        k_BNK = self.W_k(x_BD).view(-1, HEADS, KEYS)
        v_BNV = self.W_v(x_BD).view(-1, HEADS, VALUES)
        S_BNKV = self.decays[:, None, None] * state["memory"] + k_BNK.unsqueeze(3) * v_BNV.unsqueeze(2)
        after = {
            "memory": S_BNKV,
            "ring": torch.cat([state["ring"][:, 1:], x_BD.unsqueeze(1)], 1),
            "phase": 1j * state["phase"],
            "count": state["count"] + 1,
            "seen": state["seen"] + 1,
        }
        return self.W_o(S_BNKV.flatten(1)), after

    def scan(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs = []
        for x_BD in x_BTD.unbind(1):
            y_BH, state = self.step(x_BD, state)
            outputs.append(y_BH)
        return torch.stack(outputs, 1), state

    def gates(self, x_BD: Tensor, state: Any) -> dict[str, Tensor]:
        B = len(x_BD)
        return {
            "decay": self.decays.expand(B, HEADS),
            "strength": torch.full((B, HEADS, KEYS), 0.5),
            "step_size": torch.full((B, self.width), 3.0),
            "forget": torch.full((B, self.width), -0.5),
        }


def model_of(depth: int = 2, width: int = 5, block: arch.BlockOptions | None = None) -> arch.SequenceModel:
    torch.manual_seed(0)
    own = [Memory(1 if i == 0 else width, width) for i in range(depth)]
    layers = own if block is None else in_blocks(own, 1, width, block)
    return arch.SequenceModel(nn.Identity(), list(layers), nn.Linear(width, 2))


def inputs_of(batch: int = 4) -> Tensor:
    return torch.randn(batch, LENGTH, 1, generator=torch.Generator().manual_seed(0))


def test_every_tensor_with_values_per_stream_is_a_feature() -> None:
    model, inputs = model_of(), inputs_of()
    assert fixed_states(model, inputs) == [True, True]
    (*_, last_BF) = watch_states(model, inputs)
    with torch.no_grad():
        _, state = model.scan(inputs, model.init_state(4))
    expected = [
        part.flatten(1)
        for layer in state
        for part in (layer["memory"], layer["ring"], torch.view_as_real(layer["phase"]))
    ]
    torch.testing.assert_close(last_BF, torch.cat(expected, 1), rtol=0, atol=FLOAT32)


def test_inputs_of_a_convolution_are_features() -> None:
    plain, with_conv = model_of(1), model_of(1, block=arch.BlockOptions(conv=4))
    widths = [next(watch_states(model, inputs_of())).shape[1] for model in (plain, with_conv)]
    assert widths[1] == widths[0] + 3


def test_layers_are_watched_each_by_what_it_passes_on() -> None:
    """Check a model in which one state is fixed and the other grows."""
    torch.manual_seed(0)
    attention = arch.build("transformer", channels=4, outputs=1, width=4, depth=1, seed=0).layers[0]
    lstm = arch.build("lstm", channels=1, outputs=1, width=4, depth=1, seed=0).layers[0]
    model = arch.SequenceModel(nn.Identity(), [lstm, attention], nn.Linear(4, 2))
    assert fixed_states(model, inputs_of()) == [True, False]
    (*_, last_BF) = watch_states(model, inputs_of())
    assert last_BF.shape == (4, 2 * 4 + 4)
    with torch.no_grad():
        torch.testing.assert_close(model.readout(last_BF[:, 8:]), model(inputs_of())[:, -1])


def test_gates_of_heads_and_keys_are_flattened_to_units() -> None:
    watched = watch_gates(model_of(1), inputs_of())
    assert watched["0.decay"].shape == (4, LENGTH, HEADS)
    assert watched["0.strength"].shape == (4, LENGTH, HEADS * KEYS)
    assert watched["0.decay"][0, 0].tolist() == [1.0, 0.25]


@pytest.mark.parametrize("name", ["ret_net", "ind_rnn"])
def test_a_fixed_decay_gives_the_retention_of_each_unit(name: str) -> None:
    """Check the record of a decay that is constant, and a buffer or a parameter of the model."""
    case = tiny_case(name, length=LENGTH)
    model = arch.build(name, channels=1, outputs=2, width=8, depth=1, seed=0)
    result = gates.measure(Subject(case=case, task=tasks.build(case.task), model=model))
    (decay_1U,) = model.gates(torch.zeros(1, 1), model.init_state(1)).values()
    (kept,) = [one.samples for one in result.measurements if one.metric == "retention"]
    assert kept == pytest.approx([decay ** (LENGTH - 1) for decay in decay_1U[0].tolist()], rel=FLOAT32)


def test_roles_need_activations_of_a_gate() -> None:
    assert set(gates.roles(watch_gates(model_of(1), inputs_of()))) == {(0, "hold"), (0, "write")}


def test_probe_measures_and_stores_a_matrix_memory() -> None:
    case = tiny_case("rnn", length=LENGTH)
    subject = Subject(case=case, task=tasks.build(case.task), model=model_of())
    result = gates.measure(subject)
    traces = [one.samples[0] for one in result.measurements if one.metric == "memory_trace"]
    assert len(traces) == LENGTH and traces[0] > 0.9
    (kept,) = [one.samples for one in result.measurements if one.metric == "retention" and one.at["layer"] == 0]
    assert kept == pytest.approx((1.0, 0.25 ** (LENGTH - 1)))
    assert len(next(watch_states(model_of(width=200), inputs_of()))[0]) == MAX_FEATURES


def test_values_are_outputs_and_vectors_of_the_state() -> None:
    watched = watch_values(model_of(), inputs_of())
    assert set(watched) == {"0.output", "1.output"}, "matrices, complex numbers and counters are left out"
    model = model_of(1)
    torch.testing.assert_close(watch_values(model, inputs_of())["0.output"], model.layers[0](inputs_of()))


class Tuples(Memory):
    """A layer whose state is a tuple of vectors that each step changes in place; the second is its output."""

    def init_state(self, batch: int) -> Any:
        return self.empty(batch, 3), self.empty(batch, self.width), self.empty(batch, 2)

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        total, output, few = state
        total.add_(x_BD)
        output.copy_(total[:, :1].expand_as(output))
        return output.clone(), (total, output, few)


def test_values_of_vectors_without_names_are_copied_and_numbered() -> None:
    model = arch.SequenceModel(nn.Identity(), [Tuples(1, 5)], nn.Linear(5, 2))
    inputs = inputs_of()
    watched = watch_values(model, inputs)
    assert set(watched) == {"0.output", "0.state1", "0.state3"}, "a vector that equals the output is left out"
    torch.testing.assert_close(watched["0.state1"], inputs.cumsum(1).expand(-1, -1, 3))
