"""The step of a recurrent model in ONNX Runtime, called as its users call it.

The graph has one RNN, GRU or LSTM node per layer, and a readout. The session has one thread. Inputs, outputs and
states are bound to fixed buffers, so that a call neither copies nor allocates them. There are two sets of state
buffers. A step reads one set and writes the other, and the next step does the reverse.
"""

# Shape suffixes: T time (1 step), B batch (1 stream), D channels, H width, G gate rows, L directions (1), O outputs

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import arch

Array = NDArray[np.float32]

OPSET, IR_VERSION = 17, 8
"""Versions of the format: old enough for every ONNX Runtime of the last years."""
NODES: dict[str, tuple[str, tuple[int, ...]]] = {
    "rnn": ("RNN", (0,)),
    "lstm": ("LSTM", (0, 3, 1, 2)),
    "gru": ("GRU", (1, 0, 2)),
}
"""Node and order of the gates. ONNX has input, output, forget, candidate, and update, reset, candidate."""
PARTS = {"rnn": ("h",), "lstm": ("h", "c"), "gru": ("h",)}
"""Parts of a layer's state, in the order of the node's inputs and outputs."""


class OnnxStep:
    """A recurrent model with a single stream in ONNX Runtime. Its state starts at zero.

    Args:
        name: `rnn`, `lstm` or `gru`.
        model: Model of this architecture with default options, reals as inputs and bare layers.
    """

    def __init__(self, name: str, model: arch.SequenceModel) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self._session = onnxruntime.InferenceSession(graph_of(name, model), options, providers=["CPUExecutionProvider"])
        x, *parts = self._session.get_inputs()
        self.x_TBD: Array = np.zeros(x.shape, np.float32)
        self.y_TBO: Array = np.zeros(self._session.get_outputs()[0].shape, np.float32)
        sets = [{part.name: np.zeros(part.shape, np.float32) for part in parts} for _ in range(2)]
        self._bindings = [self._bound(before, after) for before, after in (sets, sets[::-1])]

    def step(self) -> None:
        """Advance the stream by one step: read `x_TBD`, write `y_TBO`."""
        bindings = self._bindings
        self._session.run_with_iobinding(bindings[0])
        bindings.reverse()

    def _bound(self, before: dict[str, Array], after: dict[str, Array]) -> Any:
        binding = self._session.io_binding()
        for bind, buffers in (
            (binding.bind_input, {"x": self.x_TBD} | before),
            (binding.bind_output, {"y": self.y_TBO} | {f"next_{part}": buffer for part, buffer in after.items()}),
        ):
            for name, buffer in buffers.items():
                bind(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        binding.buffers = before, after  # the binding knows only their addresses
        return binding


def graph_of(name: str, model: arch.SequenceModel) -> bytes:
    """Return the model as a serialised ONNX graph of one step.

    The inputs are `x` and the parts of the state, such as `h0` and `c0` for the first layer. The outputs are `y` and
    the parts of the next state, such as `next_h0`.
    """
    operator, order = NODES[name]
    parts, width = PARTS[name], model.width
    nodes = []
    weights: dict[str, Array] = {}
    states: list[tuple[str, str]] = []
    carried = "x"
    for i, layer in enumerate(model.layers):
        weights |= {f"{key}{i}": value for key, value in _weights(name, layer, order).items()}
        before, after = [f"{part}{i}" for part in parts], [f"next_{part}{i}" for part in parts]
        inputs = [carried, f"W{i}", f"R{i}", f"B{i}", "", *before]  # "" omits the lengths of sequences
        reset: dict[str, Any] = {"linear_before_reset": 1} if name == "gru" else {}
        nodes.append(helper.make_node(operator, inputs, ["", *after], hidden_size=width, **reset))
        carried = after[0]  # (L, B, H) of one direction is also (T, B, H) of one step
        states += zip(before, after, strict=True)
    readout = model.readout
    assert isinstance(readout, nn.Linear) and readout.bias is not None
    weights |= {"V": _array(readout.weight).T, "b": _array(readout.bias)}
    nodes += [helper.make_node("MatMul", [carried, "V"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]

    def real(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, size])

    graph = helper.make_graph(
        nodes,
        name,
        [real("x", weights["W0"].shape[2]), *(real(before, width) for before, _ in states)],
        [real("y", readout.out_features), *(real(after, width) for _, after in states)],
        [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(made.SerializeToString())


def _weights(name: str, layer: Any, order: tuple[int, ...]) -> dict[str, Array]:
    """Return W (L, G, D), R (L, G, H) and B (L, 2G) of a node: the input biases, then the recurrent biases."""
    W_GD, U_GH, b_G = (
        _array(weight)
        for weight in ((layer.W_HD, layer.U_HH, layer.b_H) if name == "rnn" else (layer.W_GD, layer.U_GH, layer.b_G))
    )
    recurrent_G = np.zeros_like(b_G)
    if name == "gru":
        recurrent_G[2 * layer.width :] = _array(layer.u_H)

    def ordered(rows: Array) -> Array:
        blocks = np.split(rows, len(order))
        return np.concatenate([blocks[gate] for gate in order])

    biases = np.concatenate([ordered(b_G), ordered(recurrent_G)])
    return {"W": ordered(W_GD)[None], "R": ordered(U_GH)[None], "B": biases[None]}


def _array(parameter: Any) -> Array:
    array: Array = parameter.detach().numpy()
    return array
