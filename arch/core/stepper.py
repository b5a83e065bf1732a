"""The compiled step of a whole model: one kernel call instead of a dozen torch calls per layer.

The kernel reads a program of 64-bit words: sizes and memory addresses. The sizes of weights are written once. The
addresses of weights are updated before each step if they have changed. Thus the kernel never uses outdated weights.
The reference implementation runs instead if the kernel does not support a dtype, a hook or the class of a module.
"""

# Shape suffixes: B batch, D input channels, H hidden width, O outputs

from __future__ import annotations

import operator
import threading
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from arch.core.state import State
from arch.core.streaming_spec import ParameterRef, StreamingSpec
from arch.kernels.runtime import compiler

MAX_BATCH = 64
"""Maximum number of streams for the kernel. With more streams, torch's matrix products are as fast."""


class StreamableModel(Protocol):
    """The attributes of a `SequenceModel` that the compiled step reads."""

    encoder: nn.Module
    layers: nn.ModuleList
    readout: nn.Module
    dropout: nn.Dropout
    training: bool
    _modules: dict[str, nn.Module | None]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters, as `nn.Module.parameters` does."""
        ...


class Stepper:
    """The compiled step of one model.

    The program is built at the first step, and again after a module has been replaced. A copied or unpickled stepper
    starts without a program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._modules: list[Any] = []
        self._program: _Program | None = None

    def __deepcopy__(self, memo: object) -> Stepper:
        return Stepper()

    def __reduce__(self) -> tuple[type[Stepper], tuple[()]]:
        return Stepper, ()

    def step(self, model: StreamableModel, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        """Return the output (B, O) and next state of `model.step`, or None if the kernel cannot process the step."""
        if torch.compiler.is_dynamo_compiling() or torch.is_autocast_enabled("cpu"):
            return None
        if torch._C._len_torch_dispatch_stack():  # a dispatch mode must see each operation; a kernel hides them
            return None
        children = model._modules  # ten times as fast as attribute access through nn.Module.__getattr__
        modules: list[Any] = [children["encoder"], children["readout"], *children["layers"]._modules.values()]  # type: ignore[union-attr]
        with self._lock:
            modules = [*modules, *map(type, modules)]  # a parametrization changes the class of a module
            if modules != self._modules:
                if any(parameter.dtype is not torch.float32 for parameter in model.parameters()):
                    return None
                self._program, self._modules = _build_program(model), modules
            program = self._program
            if program is None or (model.training and model.dropout.p > 0):
                return None
            try:
                return program.step(x, state)
            except RuntimeError:  # raised by data_ptr() of a tensor without memory, as inside a functorch transform
                return None


class _Encoder(NamedTuple):
    """A description of an encoder for the kernel."""

    kind: int
    inputs: int
    """Vocabulary size for tokens, else channels."""
    outputs: int
    weight: ParameterRef | None
    bias: ParameterRef | None


class _Program:
    """The kernel's program for one model, and the checks that precede each step."""

    def __init__(self, model: StreamableModel, layers: list[StreamingSpec], encoder: _Encoder) -> None:
        from arch.kernels.streaming import model_step as kernel

        self._step = kernel.step
        readout = model.readout
        assert isinstance(readout, nn.Linear)
        self.inputs, self.outputs = encoder.inputs, readout.out_features
        self.words = array("q", [0] * (kernel.HEADER + kernel.RECORD * len(layers)))
        self.words[:4] = array("q", [len(layers), encoder.kind, encoder.inputs, encoder.outputs])
        self.words[8] = self.outputs
        kinds = {"rnn": kernel.RNN, "lstm": kernel.LSTM, "gru": kernel.GRU, "transformer": kernel.BLOCK}
        weights: list[tuple[int, ParameterRef | None]] = [(4, encoder.weight), (5, encoder.bias)]
        weights += [(6, (readout, "weight")), (7, None if readout.bias is None else (readout, "bias"))]
        self.bindings = []
        for layer, spec in enumerate(layers):
            start = kernel.HEADER + layer * kernel.RECORD
            self.words[start] = kinds[spec.kind]
            for index, size in enumerate(spec.sizes, start + kernel.SIZES):
                self.words[index] = size
            weights += list(enumerate(spec.weights, start + kernel.WEIGHTS))
            self.bindings.append((spec.bind, start + kernel.STATE))
        present = [(index, *reference) for index, reference in weights if reference is not None]
        self.weight_owners: list[tuple[dict[str, Any], str]] = [
            (vars(module)["_parameters" if name in module._parameters else "_buffers"], name)
            for _, module, name in present
        ]
        self.weight_indices = [index for index, _, _ in present]
        self.weight_shapes = [owner[name].shape for owner, name in self.weight_owners]
        self.weight_addresses: list[int] = []
        self.bound_states: list[State] = []
        self.bound_batch = 0
        self.layer_attributes = [vars(layer) for layer in model.layers]
        self.workspace = max(spec.workspace for spec in layers)
        reads_tokens = encoder.kind == kernel.TOKENS
        self.dimensions = 1 if reads_tokens else 2
        self.dtype = torch.int64 if reads_tokens else torch.float32
        self.hooks = [
            hooks for module in (model.encoder, readout) for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        self.address, self.length = self.words.buffer_info()

    def step(self, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        """Return the output (B, O) and the next state, or None if the kernel cannot process the step."""
        if any(self.hooks) or "reference" in [attributes["backend"] for attributes in self.layer_attributes]:
            return None
        if x.dtype is not self.dtype or not x.is_cpu or x.dim() != self.dimensions:
            return None
        shape = x.shape
        B = shape[0]
        if not 0 < B <= MAX_BATCH or (self.dimensions == 2 and shape[1] != self.inputs) or not self.bind_weights():
            return None
        if (
            self.bound_batch != B
            or len(state) != len(self.bound_states)
            or not all(map(operator.is_, state, self.bound_states))
        ):
            self.bound_states, self.bound_batch = [], 0
            after = self.bind_states(state, B)
            if after is None:
                return None
            state = after
        if not x.is_contiguous():
            x = x.contiguous()
        output_BO = torch.empty(B, self.outputs)
        if self._step(self.address, self.length, x.data_ptr(), output_BO.data_ptr(), B):
            return None
        return output_BO, state

    def bind_weights(self) -> bool:
        """Write the addresses of the current weights into the program.

        Returns True, or False if the kernel cannot read a weight.
        """
        weights = [owner[name] for owner, name in self.weight_owners]
        if not all(map(Tensor.is_contiguous, weights)) or {weight.dtype for weight in weights} != {torch.float32}:
            return False
        addresses = list(map(Tensor.data_ptr, weights))
        if addresses != self.weight_addresses:
            self.weight_addresses = []
            if any(
                weight.shape != shape or not weight.is_cpu or weight.layout is not torch.strided
                for weight, shape in zip(weights, self.weight_shapes, strict=True)
            ):
                return False
            for index, address in zip(self.weight_indices, addresses, strict=True):
                self.words[index] = address
            self.weight_addresses = addresses
        return True

    def bind_states(self, state: list[State], B: int) -> list[State] | None:
        """Write the addresses of the states of B streams into the program, with one state per layer.

        Returns the states after the step. Returns None if the kernel cannot use a state or if states share memory.
        If every layer updates its state in place, the states are stored. A step with the stored states skips this call.
        """
        tensors, longest, after, in_place = 0, 0, [], True
        memory: set[int] = set()
        for (bind, index), part in zip(self.bindings, state, strict=True):
            bound = bind(part, B)
            if bound is None:
                return None
            addresses, following = bound
            self.words[index : index + len(addresses)] = array("q", addresses)
            if len(addresses) > 2:
                longest = max(longest, addresses[4] + 1)
            tensors += min(len(addresses), 2)
            memory.update(addresses[:2])
            in_place = in_place and following is part
            after.append(following)
        if len(memory) < tensors:
            return None  # two parts of the state share memory: the kernel would update it twice
        self.words[9] = B * self.workspace + longest
        if in_place:
            self.bound_states, self.bound_batch = list(after), B
        return after


def _build_program(model: StreamableModel) -> _Program | None:
    """Return the program of a model, or None if the kernel does not support one of its modules."""
    encoder, readout = model.encoder, model.readout
    specs = [layer.streaming_spec() for layer in model.layers]  # type: ignore[operator]
    layers = [spec for spec in specs if spec is not None]
    if type(readout) is not nn.Linear or not specs or len(layers) < len(specs) or compiler.obstacle() is not None:
        return None
    from arch.kernels.streaming import model_step as kernel

    inputs = layers[0].sizes[0]
    if type(encoder) is nn.Identity:
        source = _Encoder(kernel.REALS, inputs, inputs, None, None)
    elif type(encoder) is nn.Embedding and encoder.max_norm is None:
        source = _Encoder(kernel.TOKENS, encoder.num_embeddings, inputs, (encoder, "weight"), None)
    elif type(encoder) is nn.Linear:
        bias = None if encoder.bias is None else (encoder, "bias")
        source = _Encoder(kernel.LINEAR, encoder.in_features, inputs, (encoder, "weight"), bias)
    else:
        return None
    return _Program(model, layers, source)
