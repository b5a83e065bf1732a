"""A model's step as one compiled call: what the kernel must be told, and when it may run.

Sizes and addresses are written into a program once; before each step the addresses are compared with
those of the parameters that the model has now, and nothing is copied, so that weights are never out of date.
Whatever the kernel does not know (gradients, other types, hooks, modules of another class) runs by the equations.
"""

# Shape suffixes: B batch, D input channels, H hidden width, O outputs

from __future__ import annotations

import operator
import threading
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from arch.core.state import State
from arch.core.streaming_spec import Place, StreamingSpec

MAX_BATCH = 64
"""Streams that the kernel takes at once: beyond, the reference's own matrix products are as fast."""


class StreamableModel(Protocol):
    """What the compiled step reads of a `SequenceModel`."""

    encoder: nn.Module
    layers: nn.ModuleList
    readout: nn.Module
    dropout: nn.Dropout
    training: bool
    _modules: dict[str, nn.Module | None]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, as `nn.Module` gives them."""
        ...


class Stepper:
    """The compiled step of one model. It is made when it is first needed, and copied with a model as an empty one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._modules: list[Any] = []
        self._program: _Program | None = None

    def __deepcopy__(self, memo: object) -> Stepper:
        return Stepper()

    def __reduce__(self) -> tuple[type[Stepper], tuple[()]]:
        return Stepper, ()

    def step(self, model: StreamableModel, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        """What `model.step` gives, or None where the equations must be asked."""
        if torch.compiler.is_dynamo_compiling() or torch.is_autocast_enabled("cpu"):
            return None
        if torch._C._len_torch_dispatch_stack():  # someone looks at the operations, to count or to trace them
            return None
        children = model._modules  # attributes of a module are found ten times as slowly
        modules: list[Any] = [children["encoder"], children["readout"], *children["layers"]._modules.values()]  # type: ignore[union-attr]
        with self._lock:
            modules = [*modules, *map(type, modules)]  # a parametrisation gives a module another class
            if modules != self._modules:
                if any(parameter.dtype is not torch.float32 for parameter in model.parameters()):
                    return None
                self._program, self._modules = program_of(model), modules
            program = self._program
            if program is None or (model.training and model.dropout.p > 0):
                return None
            try:
                return program.step(x, state)
            except RuntimeError:  # a tensor without memory, as inside a transform
                return None


class _Program:
    def __init__(
        self, model: StreamableModel, layers: list[StreamingSpec], encoder: tuple[int, int, int, list[Place]]
    ) -> None:
        from arch.kernels.streaming import model_step as kernel

        self._step = kernel.step
        self.ends = (model.encoder, model.readout)
        self.kind, self.inputs, width, places = encoder
        readout = model.readout
        assert isinstance(readout, nn.Linear)
        self.outputs, self.tokens = readout.out_features, self.kind == kernel.TOKENS
        self.numbers = array("q", [0] * (kernel.HEADER + kernel.RECORD * len(layers)))
        self.numbers[:4] = array("q", [len(layers), self.kind, self.inputs, width])
        self.numbers[8] = self.outputs
        kinds = {"rnn": kernel.RNN, "lstm": kernel.LSTM, "gru": kernel.GRU, "transformer": kernel.BLOCK}
        table: list[tuple[int, Place]] = list(zip((4, 5), places, strict=True))
        table += [(6, (readout, "weight")), (7, None if readout.bias is None else (readout, "bias"))]
        self.states = []
        for layer, streamed in enumerate(layers):
            start = kernel.HEADER + layer * kernel.RECORD
            self.numbers[start] = kinds[streamed.kind]
            for at, number in enumerate(streamed.numbers, start + kernel.SIZES):
                self.numbers[at] = number
            table += list(enumerate(streamed.weights, start + kernel.WEIGHTS))
            self.states.append((streamed.bind, start + kernel.STATE))
        present = [(at, *place) for at, place in table if place is not None]
        self.owners: list[tuple[dict[str, Any], str]] = [
            (vars(module)["_parameters" if name in module._parameters else "_buffers"], name)
            for _, module, name in present
        ]
        self.places = [at for at, _, _ in present]
        self.shapes = [owner[name].shape for owner, name in self.owners]
        self.addresses: list[int] = []
        self.known: list[State] = []
        self.layers = [vars(layer) for layer in model.layers]
        self.batch = 0
        self.room = max(streamed.room for streamed in layers)
        self.dimensions = 1 if self.tokens else 2
        self.dtype = torch.int64 if self.tokens else torch.float32
        self.hooks = [hooks for module in self.ends for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self.address, self.length = self.numbers.buffer_info()

    def step(self, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        if any(self.hooks) or "reference" in [layer["backend"] for layer in self.layers]:
            return None
        if x.dtype is not self.dtype or not x.is_cpu or x.dim() != self.dimensions:
            return None
        shape = x.shape
        B = shape[0]
        if not 0 < B <= MAX_BATCH or (self.dimensions == 2 and shape[1] != self.inputs) or not self.weights_stand():
            return None
        if self.batch != B or len(state) != len(self.known) or not all(map(operator.is_, state, self.known)):
            self.known, self.batch = [], 0
            after = self.bind(state, B)
            if after is None:
                return None
            state = after
        if not x.is_contiguous():
            x = x.contiguous()
        output_BO = torch.empty(B, self.outputs)
        if self._step(self.address, self.length, x.data_ptr(), output_BO.data_ptr(), B):
            return None
        return output_BO, state

    def weights_stand(self) -> bool:
        """Whether the kernel can read the model's weights; their addresses are in the program then."""
        weights = [owner[name] for owner, name in self.owners]
        if not all(map(Tensor.is_contiguous, weights)) or {weight.dtype for weight in weights} != {torch.float32}:
            return False
        addresses = list(map(Tensor.data_ptr, weights))
        if addresses != self.addresses:
            self.addresses = []
            if any(
                weight.shape != shape or not weight.is_cpu or weight.layout is not torch.strided
                for weight, shape in zip(weights, self.shapes, strict=True)
            ):
                return False
            for at, address in zip(self.places, addresses, strict=True):
                self.numbers[at] = address
            self.addresses = addresses
        return True

    def bind(self, state: list[State], B: int) -> list[State] | None:
        """The states after one more step, whose addresses are in the program then; None where it cannot take them.

        A state that is written over is known by identity in the next step, and is not looked at again.
        """
        tensors, longest, after, lasts = 0, 0, [], True
        memory: set[int] = set()
        for (bind, at), part in zip(self.states, state, strict=True):
            found = bind(part, B)
            if found is None:
                return None
            addresses, following = found
            self.numbers[at : at + len(addresses)] = array("q", addresses)
            if len(addresses) > 2:
                longest = max(longest, addresses[4] + 1)
            tensors += min(len(addresses), 2)
            memory.update(addresses[:2])
            lasts = lasts and following is part
            after.append(following)
        if len(memory) < tensors:
            return None  # two parts of the state are one memory, which must not be written twice
        self.numbers[9] = B * self.room + longest
        if lasts:
            self.known, self.batch = list(after), B
        return after


def program_of(model: StreamableModel) -> _Program | None:
    """The program of a model, where the kernel knows every module of it."""
    encoder, readout = model.encoder, model.readout
    layers = [layer.streamed() for layer in model.layers]  # type: ignore[operator]
    known = [layer for layer in layers if layer is not None]
    if type(readout) is not nn.Linear or not layers or len(known) < len(layers):
        return None
    from arch.kernels.streaming import model_step as kernel

    inputs = known[0].numbers[0]
    if type(encoder) is nn.Identity:
        found: tuple[int, int, int, list[Place]] = (kernel.REALS, inputs, inputs, [None, None])
    elif type(encoder) is nn.Embedding and encoder.max_norm is None:
        found = (kernel.TOKENS, encoder.num_embeddings, inputs, [(encoder, "weight"), None])
    elif type(encoder) is nn.Linear:
        bias: Place = None if encoder.bias is None else (encoder, "bias")
        found = (kernel.LINEAR, encoder.in_features, inputs, [(encoder, "weight"), bias])
    else:
        return None
    return _Program(model, known, found)
