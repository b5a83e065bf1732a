"""Gate traces of one trained model on a few held-out sequences: an artifact beside its record, as safetensors."""

# Shape suffixes: S sequences, T time, D input channels, U units, N heads

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
    """What was read, and what the gates of the first layer and the attention of every layer made of it.

    `inputs_STD`  what the model read; tokens as one channel of whole numbers.
    `gates`       by name, (S, T, U): the first layer's gates of its first U units.
    `attention`   by layer, (S, N, T, T): the weight of each step read (last axis) at each step.
    """

    inputs_STD: np.ndarray
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    attention: dict[int, np.ndarray] = field(default_factory=dict)


def save_traces(traces: Traces) -> bytes:
    """The traces as a safetensors file."""
    import numpy as np
    import safetensors.numpy

    named = {
        _INPUTS: traces.inputs_STD,
        **{f"{_GATE}{name}": values for name, values in traces.gates.items()},
        **{f"{_ATTENTION}{layer}": values for layer, values in traces.attention.items()},
    }
    return safetensors.numpy.save({name: np.ascontiguousarray(values, np.float32) for name, values in named.items()})


def load_traces(run: Run, record: Record) -> Traces | None:
    """The traces of a record, None where it has none. Raises `StoreError` where the file cannot be read."""
    import safetensors
    import safetensors.numpy

    if ARTIFACT not in record.artifacts:
        return None
    path = run.folder / record.artifacts[ARTIFACT]
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise StoreError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        named = safetensors.numpy.load(path.read_bytes())
        gates = {name.removeprefix(_GATE): named[name] for name in sorted(named) if name.startswith(_GATE)}
        attention = {
            int(name.removeprefix(_ATTENTION)): named[name] for name in sorted(named) if name.startswith(_ATTENTION)
        }
        traces = Traces(inputs_STD=named[_INPUTS], gates=gates, attention=attention)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} does not hold gate traces; run its case again to have them") from None
    _check_shapes(traces, str(path))
    return traces


def _check_shapes(traces: Traces, where: str) -> None:
    """Every trace covers the sequences and steps of the inputs. Raises `StoreError`."""
    if traces.inputs_STD.ndim == 3:
        S, T, _ = traces.inputs_STD.shape
        sound = all(gate.ndim == 3 and gate.shape[:2] == (S, T) for gate in traces.gates.values())
        sound &= all(map_.ndim == 4 and map_.shape[::2] == (S, T) for map_ in traces.attention.values())
        sound &= all(map_.shape[-1] == T for map_ in traces.attention.values())
        if sound:
            return
    raise StoreError(f"{where}: its traces do not fit the inputs; run its case again to have them")
