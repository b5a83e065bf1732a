"""Gate and attention traces of one trained model on a few test sequences, stored as a safetensors artifact."""

# Shape suffixes: S sequences, T time steps, D input channels, U units, N heads

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from results.schema.record import Record
from results.store.document import StoreError
from results.store.store import MAX_FILE_BYTES, Run

if TYPE_CHECKING:
    import numpy as np

ARTIFACT = "traces"
_INPUTS, _GATE, _ATTENTION = "inputs", "gate.", "attention."


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Inputs, gate activations and attention weights of a few sequences.

    `inputs_STD`  model inputs. Tokens are stored in one channel, as their indices.
    `gates`       gate activations by gate name, (S, T, U), of the first U units of the first layer with gates. U may
                  differ between gates.
    `attention`   attention weights by layer, (S, N, T, T), with the attended step on the last axis.
    """

    inputs_STD: np.ndarray
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    attention: dict[int, np.ndarray] = field(default_factory=dict)


def save_traces(traces: Traces) -> bytes:
    """Return the content of a safetensors file with the traces in float32."""
    import numpy as np
    import safetensors.numpy

    named = {
        _INPUTS: traces.inputs_STD,
        **{f"{_GATE}{name}": values for name, values in traces.gates.items()},
        **{f"{_ATTENTION}{layer}": values for layer, values in traces.attention.items()},
    }
    return safetensors.numpy.save({name: np.ascontiguousarray(values, np.float32) for name, values in named.items()})


def load_traces(run: Run, record: Record) -> Traces | None:
    """Return the traces of a record, or None if there are none.

    Raises `StoreError` if the file is invalid or cannot be read.
    """
    import safetensors
    import safetensors.numpy

    if ARTIFACT not in record.artifacts:
        return None
    path = run.folder / record.artifacts[ARTIFACT]
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            limit = f"at most {MAX_FILE_BYTES >> 20} MiB are read"
            raise StoreError(f"{path}: the file is too large ({size:,} bytes): {limit}; measure the case in a new run")
        named = safetensors.numpy.load(path.read_bytes())
        gates = {name.removeprefix(_GATE): named[name] for name in sorted(named) if name.startswith(_GATE)}
        attention = {
            int(name.removeprefix(_ATTENTION)): named[name] for name in sorted(named) if name.startswith(_ATTENTION)
        }
        traces = Traces(inputs_STD=named[_INPUTS], gates=gates, attention=attention)
    except OSError as error:
        reason = f"cannot read the file ({error.strerror})"
        raise StoreError(f"{path}: {reason}; measure the case in a new run") from None
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: the file does not contain valid traces; measure the case in a new run") from None
    _check_shapes(traces, str(path))
    return traces


def _check_shapes(traces: Traces, path: str) -> None:
    """Raise `StoreError` unless every trace covers all sequences and steps of the inputs."""
    if traces.inputs_STD.ndim == 3:
        S, T, _ = traces.inputs_STD.shape
        fits = all(gate.ndim == 3 and gate.shape[:2] == (S, T) for gate in traces.gates.values())
        fits &= all(weights.ndim == 4 and weights.shape[::2] == (S, T) for weights in traces.attention.values())
        fits &= all(weights.shape[-1] == T for weights in traces.attention.values())
        if fits:
            return
    raise StoreError(f"{path}: the shapes of traces and inputs do not match; measure the case in a new run")
