"""Traces of one trained model on a few test sequences, stored as a safetensors artifact.

They are the inputs, the targets, the model's answers, and the gates, states and attention of its layers.
"""

# Shape suffixes: S sequences, T time steps, D channels, U units, N heads

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from results.schema.record import Record
from results.store.document import StoreError
from results.store.store import MAX_FILE_BYTES, Run

if TYPE_CHECKING:
    import numpy as np

ARTIFACT = "traces"
OUTPUT = "output"
"""The name of a layer's output among its states."""
_INPUTS, _TARGETS, _ANSWERS, _SCORED = "inputs", "targets", "answers", "scored"
_GATE, _STATE, _ATTENTION = "gate.", "state.", "attention."
_INPUT_NAMES, _TARGET_NAMES = "input_names", "target_names"
_LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header, a little-endian number of so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What happened inside a model on a few sequences.

    Layers are counted from 0. Tokens are stored in one channel, as their indices. Files that older versions wrote have
    the gates of the first layer with gates only, and neither states, targets nor answers.
    """

    inputs_STD: np.ndarray
    """Model inputs, (S, T, D)."""
    gates: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Gate activations by `LAYER.GATE`, such as `0.forget`, (S, T, U), of the first U units. U may differ."""
    states: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The output of each layer, `LAYER.output`, and the vectors of its state, such as `0.c`, (S, T, U)."""
    attention: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Attention weights by layer, (S, N, T, T), with the attended step on the last axis."""
    targets_STD: np.ndarray | None = None
    """Correct answers, which carry meaning at scored steps only; None if they are unknown."""
    answers_STD: np.ndarray | None = None
    """The model's answers at all steps; None if they are unknown."""
    scored_ST: np.ndarray | None = None
    """The steps at which an answer is asked for, as booleans; None if they are unknown."""
    input_names: tuple[str, ...] = ()
    """A name per input token; empty for real inputs."""
    target_names: tuple[str, ...] = ()
    """A name per class of an answer; empty for real answers."""

    @property
    def layers(self) -> list[int]:
        """The layers with gates or states, ascending."""
        return sorted({int(name.partition(".")[0]) for name in (*self.gates, *self.states)})

    def gates_of(self, layer: int) -> dict[str, np.ndarray]:
        """Return the gates of one layer by name, such as `forget`."""
        return _of_layer(self.gates, layer)

    def states_of(self, layer: int) -> dict[str, np.ndarray]:
        """Return the output and the state vectors of one layer by name, such as `c`."""
        return _of_layer(self.states, layer)


def save_traces(traces: Traces) -> bytes:
    """Return the content of a safetensors file with the traces in float32."""
    import numpy as np
    import safetensors.numpy

    answers = {_TARGETS: traces.targets_STD, _ANSWERS: traces.answers_STD, _SCORED: traces.scored_ST}
    named = {
        _INPUTS: traces.inputs_STD,
        **{name: values for name, values in answers.items() if values is not None},
        **{f"{_GATE}{name}": values for name, values in traces.gates.items()},
        **{f"{_STATE}{name}": values for name, values in traces.states.items()},
        **{f"{_ATTENTION}{layer}": values for layer, values in traces.attention.items()},
    }
    names = {_INPUT_NAMES: traces.input_names, _TARGET_NAMES: traces.target_names}
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(values, np.float32) for name, values in named.items()},
        metadata={key: json.dumps(value) for key, value in names.items() if value} or None,
    )


def load_traces(run: Run, record: Record) -> Traces | None:
    """Return the traces of a record, or None if there are none.

    Raises `StoreError` if the file is invalid or cannot be read.
    """
    import safetensors

    if ARTIFACT not in record.artifacts:
        return None
    path = run.folder / record.artifacts[ARTIFACT]
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            limit = f"at most {MAX_FILE_BYTES >> 20} MiB are read"
            raise StoreError(f"{path}: the file is too large ({size:,} bytes): {limit}; measure the case in a new run")
        traces = _parse(path.read_bytes())
    except OSError as error:
        reason = f"cannot read the file ({error.strerror})"
        raise StoreError(f"{path}: {reason}; measure the case in a new run") from None
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: the file does not contain valid traces; measure the case in a new run") from None
    _check_shapes(traces, str(path))
    return traces


def _parse(content: bytes) -> Traces:
    """Return the traces in the content of a file.

    Raises `SafetensorError`, `KeyError`, `TypeError` or `ValueError` if the content is invalid.
    """
    import safetensors.numpy

    named = safetensors.numpy.load(content)
    attention = {int(name): weights for name, weights in _starting_with(_ATTENTION, named).items()}
    gates, states = _starting_with(_GATE, named), _starting_with(_STATE, named)
    header = content[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")]
    metadata = json.loads(header).get("__metadata__") or {}
    scored_ST = named.get(_SCORED)
    return Traces(
        inputs_STD=named[_INPUTS],
        gates={_with_layer(name, attention): gate for name, gate in gates.items()},
        states={_with_layer(name, {}): state for name, state in states.items()},
        attention=attention,
        targets_STD=named.get(_TARGETS),
        answers_STD=named.get(_ANSWERS),
        scored_ST=None if scored_ST is None else scored_ST > 0,
        input_names=tuple(map(str, json.loads(metadata.get(_INPUT_NAMES, "[]")))),
        target_names=tuple(map(str, json.loads(metadata.get(_TARGET_NAMES, "[]")))),
    )


def _starting_with(prefix: str, named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): named[name] for name in sorted(named) if name.startswith(prefix)}


def _with_layer(name: str, attention: Mapping[int, np.ndarray]) -> str:
    """Return `LAYER.NAME`. A file of an older version has `NAME`, of the first layer that is no attention."""
    if name.partition(".")[0].isdecimal():
        return name
    return f"{next(layer for layer in count() if layer not in attention)}.{name}"


def _of_layer(values: Mapping[str, np.ndarray], layer: int) -> dict[str, np.ndarray]:
    prefix = f"{layer}."
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _check_shapes(traces: Traces, path: str) -> None:
    """Raise `StoreError` unless every trace covers all sequences and steps of the inputs."""
    if traces.inputs_STD.ndim == 3:
        S, T, _ = traces.inputs_STD.shape
        known = [values for values in (traces.targets_STD, traces.answers_STD) if values is not None]
        by_step = [*traces.gates.values(), *traces.states.values(), *known]
        fits = all(values.ndim == 3 and values.shape[:2] == (S, T) for values in by_step)
        fits &= all(weights.ndim == 4 and weights.shape[::2] == (S, T) for weights in traces.attention.values())
        fits &= all(weights.shape[-1] == T for weights in traces.attention.values())
        fits &= traces.scored_ST is None or traces.scored_ST.shape == (S, T)
        if fits:
            return
    raise StoreError(f"{path}: the shapes of traces and inputs do not match; measure the case in a new run")
