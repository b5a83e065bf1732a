"""Test gate traces on disk: a round trip, and one-line errors for invalid files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from results import Record, Run, StoreError, Traces, load_traces, save_traces
from tests.results import examples


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def traces() -> Traces:
    numbers = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    weights = np.arange(2 * 1 * 3 * 3, dtype=np.float32).reshape(2, 1, 3, 3)
    return Traces(
        inputs_STD=numbers[:, :, :1],
        gates={"0.input": numbers, "0.forget": -numbers, "2.decay": numbers},
        states={"0.c": numbers, "2.output": -numbers},
        attention={1: weights},
        targets_STD=numbers[:, :, 1:2],
        answers_STD=numbers[:, :, 2:3],
        scored_ST=numbers[:, :, 0] > 4,
        target_names=("no", "yes, „quoted“"),
    )


def record_with_traces(run: Run, content: bytes) -> Record:
    """Write a traces artifact with this content, and return a record that refers to the artifact."""
    record = examples.record()
    path = run.write_artifact(record.key, "traces.safetensors", content)
    return record.model_copy(update={"artifacts": {"traces": path}})


def test_traces_survive_a_round_trip(run: Run) -> None:
    written = traces()
    read = load_traces(run, record_with_traces(run, save_traces(written)))
    assert read is not None
    np.testing.assert_array_equal(read.inputs_STD, written.inputs_STD)
    assert set(read.gates) == {"0.input", "0.forget", "2.decay"} and set(read.states) == {"0.c", "2.output"}
    for name, gate in read.gates.items():
        np.testing.assert_array_equal(gate, written.gates[name])
    assert list(read.attention) == [1]
    np.testing.assert_array_equal(read.attention[1], written.attention[1])
    for name in ("targets_STD", "answers_STD", "scored_ST"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.scored_ST is not None and read.scored_ST.dtype == bool
    assert (read.input_names, read.target_names) == ((), ("no", "yes, „quoted“"))


def test_values_are_found_by_layer() -> None:
    written = traces()
    assert written.layers == [0, 2]
    assert set(written.gates_of(0)) == {"input", "forget"} and set(written.states_of(2)) == {"output"}
    assert written.gates_of(1) == {}


@pytest.mark.parametrize(("attention", "layer"), [([], 0), ([1], 0), ([0, 1], 2)])
def test_a_file_of_an_older_version_has_gates_of_the_first_layer_without_attention(
    run: Run, attention: list[int], layer: int
) -> None:
    weights = {f"attention.{n}": np.zeros((2, 1, 3, 3), np.float32) for n in attention}
    gate = np.ones((2, 3, 8), np.float32)
    read = load_traces(run, record_with_traces(run, save(inputs=INPUTS, **{"gate.forget": gate}, **weights)))
    assert read is not None
    assert list(read.gates) == [f"{layer}.forget"] and read.layers == [layer]
    assert (read.states, read.targets_STD, read.scored_ST, read.target_names) == ({}, None, None, ())


def test_a_record_without_traces_has_none(run: Run) -> None:
    assert load_traces(run, examples.record()) is None


def save(**named: np.ndarray) -> bytes:
    return safetensors.numpy.save(named)


INPUTS = np.zeros((2, 3, 1), np.float32)


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"",
        lambda: b"half a file",
        lambda: save_traces(traces())[:-9],
        lambda: save(other=INPUTS),
        lambda: save(**{"inputs": INPUTS, "attention.first": INPUTS}),
        lambda: save(**{"inputs": INPUTS, "gate.input": np.zeros((2, 4, 8), np.float32)}),
        lambda: save(**{"inputs": INPUTS, "attention.0": np.zeros((2, 1, 3, 4), np.float32)}),
        lambda: save(inputs=np.zeros(3, np.float32)),
        lambda: save(**{"inputs": INPUTS, "state.0.c": np.zeros((2, 3), np.float32)}),
        lambda: save(inputs=INPUTS, targets=np.zeros((2, 4, 1), np.float32)),
        lambda: save(inputs=INPUTS, scored=np.zeros((2, 3, 1), np.float32)),
        lambda: safetensors.numpy.save({"inputs": INPUTS}, metadata={"target_names": "{"}),
        lambda: safetensors.numpy.save({"inputs": INPUTS}, metadata={"target_names": "3"}),
    ],
)
def test_an_invalid_file_gives_a_one_line_error(run: Run, content: Callable[[], bytes]) -> None:
    with pytest.raises(StoreError, match="measure the case in a new run") as raised:
        load_traces(run, record_with_traces(run, content()))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_reported_with_its_path(run: Run) -> None:
    record = record_with_traces(run, save_traces(traces()))
    (run.folder / record.artifacts["traces"]).unlink()
    with pytest.raises(StoreError, match=r"traces\.safetensors: cannot read the file \(No such file"):
        load_traces(run, record)
