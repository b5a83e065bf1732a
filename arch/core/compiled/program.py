"""The program of the compiled step: the words that the kernel reads, and the checks that precede each step."""

# Shape suffixes: B batch, D input channels, H hidden width, O outputs

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Callable
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from arch.core.backend import (
    Weight,
    class_obstacle,
    context_obstacle,
    module_obstacle,
    tensors_of,
    weights_obstacle,
)
from arch.core.compiled.guards import MemoryRecord, TensorGuard, module_guard
from arch.core.state import State
from arch.core.streaming_spec import Bound, StreamingSpec
from arch.kernels.runtime.tensors import PLAIN_TENSORS

_increment_version = torch._C._increment_version  # `torch.autograd.graph.increment_version` of a list
_empty_cpu: Callable[..., Tensor] = getattr(
    getattr(torch._C._dynamo, "guards", None),
    "_empty_strided_cpu",
    lambda shape, strides, dtype: torch.empty_strided(shape, strides, dtype=dtype, device="cpu"),
)
"""Function from shape, strides and dtype to an empty tensor. torch's private one saves 0.2 µs."""

ALIGNMENT = 16
"""The workspace starts at a multiple of so many float32 numbers: a cache line."""
MIN_PACKED_STEPS = 32
"""Smallest number of steps of a stream that packs its weights. Checking packed weights takes as long as some steps."""
MAX_BATCH = 64
"""Maximum number of streams for the kernel. With more streams, torch's matrix products are as fast."""


class Parts(NamedTuple):
    """The modules of a model, each of a class that the kernel knows."""

    encoder: nn.Module
    layers: list[Any]
    readout: nn.Linear
    dropout: nn.Dropout


class _Encoder(NamedTuple):
    """A description of an encoder for the kernel."""

    kind: int
    inputs: int
    """Vocabulary size for tokens, else channels."""
    weights: tuple[Weight | None, Weight | None]
    """W, or the table of the embedding, and the bias."""


class Program:
    """The kernel's program for one model.

    Args:
        children: The model's dictionary of modules.
        parts: These modules.
    """

    def __init__(self, children: dict[str, Any], parts: Parts) -> None:
        self.children, self.parts = children, parts
        self.is_unchanged: Callable[[], bool] = _never  # whether the modules are as they were when this was built
        self.after: list[State] = []
        self.read: list[Tensor] = []
        self.packed: list[list[Tensor]] = []  # packed weights and their copy, per layer that can pack them
        self.is_packing = False  # whether the layers use their packed weights
        self.steps_left = 0  # steps that may continue in place
        self.needed = 0  # float32 numbers of the workspace that the bound states need

    def step(self, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        """Return the output (B, O) and the next state, or None if the kernel does not support these inputs."""
        if self._continues(x, state, 1):
            output_BO = _empty_cpu(self.output_shape, self.output_strides, torch.float32)
            if self.run(self.address, x.data_ptr(), output_BO.data_ptr()) == 0:
                if self.counted:
                    _increment_version(self.counted)  # so that autograd notices the change
                self.steps_left -= 1
                for layer, advance in self.advances:
                    self.after[layer] = advance(self.after[layer], 1)
                return output_BO, self.after[:]
        if type(x) in PLAIN_TENSORS and x.layout is torch.strided and not x.is_contiguous():
            return self.step(x.contiguous(), state)  # such as a step x[:, t] of several streams
        bound = self._bind(x, state, 1)
        if bound is None:
            return None
        output_BO = _empty_cpu(self.output_shape, self.output_strides, torch.float32)
        if self.run(self.address, bound.data_ptr(), output_BO.data_ptr()) != 0:
            self.steps_left = 0
            return None
        _increment_version(self.counted)
        return output_BO, self.after[:]

    def stream(self, x: Tensor, state: list[State], times_T: Tensor | None) -> tuple[Tensor, list[State]] | None:
        """Return the outputs (T, B, O) of T steps and the next state, or None if the kernel does not support them.

        Args:
            x: Inputs, tokens (T, B) or reals (T, B, D).
            state: One state per layer.
            times_T: Receives readings of the monotonic clock in nanoseconds: before the first step and after each T / R
                steps. An int64 tensor (R + 1,) on the CPU, or None to read no clock.
        """
        x = x.resolve_neg().contiguous()
        steps, first = len(x), x[0]
        continues = self._continues(first, state, steps) and self.is_in_place(self.memory_record.address)
        if not continues and self._bind(first, state, steps) is None:
            return None
        if self.dtype is torch.int64 and not self.are_tokens(x.data_ptr(), x.numel(), self.inputs):
            self.steps_left = 0
            return None
        # A stream that reads the clock always packs. So the time of a step does not depend on the number of steps.
        self._reserve_packed_weights(steps if times_T is None else MIN_PACKED_STEPS)
        numbers = self.batch * self.outputs
        output_TBO = _empty_cpu((steps, *self.output_shape), (numbers, *self.output_strides), torch.float32)
        self.run_stream(
            self.address,
            x.data_ptr(),
            self.input_bytes,
            output_TBO.data_ptr(),
            4 * numbers,
            steps,
            0 if times_T is None else self.clock(),
            0 if times_T is None else times_T.data_ptr(),
            1 if times_T is None else steps // (len(times_T) - 1),
        )
        _increment_version(self.counted)
        if continues:
            self.steps_left -= steps
            for layer, advance in self.advances:
                self.after[layer] = advance(self.after[layer], steps)
        return output_TBO, self.after[:]

    def _reserve_packed_weights(self, steps: int) -> None:
        """Give layers room for packed weights if so many steps profit from them. Other streams read weights in place.

        The kernel packs the weights, and packs them again if one has changed.
        """
        if (steps >= MIN_PACKED_STEPS) is self.is_packing:
            return
        self.is_packing = steps >= MIN_PACKED_STEPS
        if not self.packed and self.is_packing:
            self.packed = [
                [torch.full((numbers,), math.nan, dtype=torch.float32, device="cpu") for numbers in sizes]
                for _, *sizes in self.packable
            ]
        for number, (index, *_) in enumerate(self.packable):
            buffers = self.packed[number] if self.is_packing else ()
            self.words[index : index + 2] = array("q", [buffer.data_ptr() for buffer in buffers] or [0, 0])

    def _continues(self, x: Tensor, state: list[State], steps: int) -> bool:
        """Return whether the next steps need no new binding.

        `state` must be the last one, and no tensor may have changed its type, shape, strides, context or address.
        `Stepper` has checked the modules. The kernel compares the addresses if it can.
        """
        if steps > self.steps_left or len(state) != len(self.after):
            return False
        for part, own in zip(state, self.after):  # noqa: B905, an argument more takes 0.1 µs
            if part is not own:
                return False
        return self.holds(x, *self.read) and (self.memory_record.is_compiled or self.memory_record.holds())

    def build(self) -> bool:
        """Write everything but the state into a new program.

        Returns False if the kernel does not compute what the model computes now, or cannot read a weight.
        """
        self.is_unchanged = _never
        encoder, layers, readout, dropout = self.parts
        if (
            context_obstacle() is not None
            or _rows(readout) is None
            or readout.weight.dtype is not torch.float32
            or (dropout.training and dropout.p > 0)
        ):
            return False
        if any(layer.backend == "reference" or class_obstacle(layer, "streaming_spec") for layer in layers):
            return False
        specs: list[StreamingSpec] = [spec for layer in layers if (spec := layer.streaming_spec()) is not None]
        if len(specs) < len(layers):
            return False
        replaced = [
            (encoder, (nn.Identity, nn.Linear, nn.Embedding)),
            (readout, (nn.Linear,)),
            (dropout, (nn.Dropout,)),
            *chain.from_iterable(spec.modules for spec in specs),
        ]
        records = [record for spec in specs for record in spec.records]
        widths = [records[0].inputs, *(record.outputs for record in records)]
        if widths[:-1] != [record.inputs for record in records]:
            return False
        if any(module_obstacle(module, *classes) is not None for module, classes in replaced):
            return False
        source, outputs = _encoder(encoder, widths[0]), _rows(readout)
        if source is None or outputs is None:
            return False
        ends = (*source.weights, *_linear_weights(readout, (outputs, widths[-1])))
        weights = [*ends, *chain.from_iterable(record.weights for record in records)]
        if weights_obstacle((weight for weight in weights if weight is not None), in_place=True) is not None:
            return False
        if any(spec.cell is not None and spec.cell.obstacle is not None for spec in specs):
            return False
        self._write(source, ends, outputs, specs)
        wrapped = [spec.wrapped for spec in specs if spec.wrapped is not None]
        self.is_unchanged = module_guard(self.children, [*layers, *wrapped], [module for module, _ in replaced])
        return True

    def _write(
        self, encoder: _Encoder, ends: tuple[Weight | None, ...], outputs: int, specs: list[StreamingSpec]
    ) -> None:
        from arch.kernels.runtime.native import clock_address
        from arch.kernels.streaming import model_step as kernel
        from arch.kernels.streaming import record as layout

        self.run, self.is_in_place, self.are_tokens = kernel.run_step, kernel.run_are_in_place, kernel.run_are_tokens
        self.run_stream = kernel.run_stream
        self.clock = clock_address
        self.inputs, self.outputs = encoder.inputs, outputs
        self.dimensions, self.dtype = (1, torch.int64) if encoder.kind == kernel.TOKENS else (2, torch.float32)
        records = [record for spec in specs for record in spec.records]
        self.words = array("q", [0] * (kernel.HEADER + layout.RECORD * len(records)))
        self.address, _ = self.words.buffer_info()
        self.words[:4] = array("q", [len(records), encoder.kind, encoder.inputs, records[0].inputs])
        self.words[8] = outputs
        self.words[11] = max(width for record in records for width in (record.inputs, record.outputs))
        self.words[13] = int(any(record.kind == "leave" for record in records))
        self.workspace = (2 + self.words[13]) * self.words[11] + max(record.workspace for record in records)
        self.memory = torch.empty(0)
        places: list[tuple[int, Weight | None]] = list(enumerate(ends, 4))
        self.binders = []
        self.packable: list[tuple[int, int, int]] = []  # index of the words, sizes of packed weights and of their copy
        self.packed = []
        self.is_packing = False
        self.constants = [(spec.constants, spec.cell) for spec in specs]  # the kernel uses them by address
        for number, spec in enumerate(records):
            start = kernel.HEADER + number * layout.RECORD
            self.words[start] = kernel.KINDS[spec.kind]
            self.words[start + layout.SIZES : start + layout.SIZES + len(spec.sizes)] = array("q", spec.sizes)
            places += enumerate(spec.weights, start + layout.WEIGHTS)
            if spec.constants is not None:
                self.words[start + layout.CONSTANTS] = spec.constants.data_ptr()
            if spec.cell is not None:
                self.words[start + layout.CONSTANTS] = spec.cell.address
            if spec.kind not in ("enter", "leave"):
                self.binders.append((spec.bind, start + layout.STATE, start - layout.RECORD + layout.STATE))
            numbers = kernel.packed_sizes(kernel.KINDS[spec.kind], spec.sizes)
            if numbers is not None:
                self.packable.append((start + layout.PACKED, *numbers))
        present = [(index, weight) for index, weight in places if weight is not None]
        self.weight_words, self.weights = [index for index, _ in present], [weight for _, weight in present]
        self.weight_tensors = tensors_of(self.weights)
        self.readout_weight = self.weight_tensors[self.weight_words.index(6)]
        self.bounds: list[Any] = [None] * len(specs)  # a `Bound` per layer after the first step
        self.guards: list[Any] = [None] * len(specs)
        self.batch = 0
        self.steps_left = 0
        self._write_addresses()

    def _write_addresses(self) -> None:
        """Write the addresses of the weights, which must have passed `weights_obstacle`."""
        self.weight_addresses = list(map(Tensor.data_ptr, self.weight_tensors))
        for index, address in zip(self.weight_words, self.weight_addresses, strict=True):
            self.words[index] = address
        self.weight_guard = TensorGuard(self.weight_tensors)
        self.steps_left = 0

    def _bind(self, x: Tensor, state: list[State], steps: int) -> Tensor | None:
        """Write the addresses of the weights and of the layers' states into the program, for some steps.

        Returns `x` as a contiguous tensor, or None if the kernel cannot use a weight, a state or `x`.
        """
        self.steps_left = 0
        if type(x) not in PLAIN_TENSORS or x.dtype is not self.dtype or not x.is_cpu or x.layout is not torch.strided:
            return None
        shape = x.shape
        if len(shape) != self.dimensions or not 0 < shape[0] <= MAX_BATCH:
            return None
        if (self.dimensions == 2 and shape[1] != self.inputs) or len(state) != len(self.binders):
            return None
        if (
            not self.weight_guard.holds(*self.weight_tensors)
            or list(map(Tensor.data_ptr, self.weight_tensors)) != self.weight_addresses
        ):
            if context_obstacle() is not None or weights_obstacle(self.weights, in_place=True) is not None:
                return None
            self._write_addresses()
        if not x.is_contiguous() or x.is_neg():
            x = x.clone(memory_format=torch.contiguous_format)
        return x if self._bind_states(state, shape[0], steps) and self._remember(x) else None

    def _bind_states(self, state: list[State], B: int, steps: int) -> bool:
        bounds: list[Bound] = []
        for layer, ((binder, index, outer_index), part) in enumerate(zip(self.binders, state, strict=True)):
            previous, guard = self.bounds[layer], self.guards[layer]
            is_checked = (
                previous is not None
                and part is self.after[layer]
                and self.batch == B
                and guard.holds(*previous.written)
                and all(
                    map(operator.eq, map(Tensor.data_ptr, previous.written), (*previous.outer_words, *previous.words))
                )
            )
            keeps_words = is_checked and previous.advance is None
            bound = previous if keeps_words else binder(part, B, is_checked, steps)
            if bound is None:
                return False
            if previous is None or bound.written[-1] is not previous.written[-1]:
                self.guards[layer] = TensorGuard(bound.written)
            self.words[index : index + len(bound.words)] = array("q", bound.words)
            self.words[outer_index : outer_index + len(bound.outer_words)] = array("q", bound.outer_words)
            bounds.append(bound)
        self.bounds, self.batch, self.after = list(bounds), B, [bound.after for bound in bounds]
        self.needed = B * self.workspace + max(bound.scratch for bound in bounds)
        self._reserve(self.needed)
        self.words[10] = B
        self.written = [tensor for bound in bounds for tensor in bound.written]
        self.counted = [tensor for tensor in self.written if not tensor.is_inference()]  # these have a version counter
        # If two parts of the state share memory, the kernel would update it twice.
        return len({tensor.data_ptr() for tensor in self.written}) == len(self.written)

    def _reserve(self, numbers: int) -> None:
        """Make the workspace large enough for some float32 numbers, and write its address into the program."""
        if self.memory.numel() < numbers + ALIGNMENT:
            self.memory = torch.empty(numbers + numbers // 4 + ALIGNMENT, dtype=torch.float32, device="cpu")
            self.words[9] = -(-self.memory.data_ptr() // (4 * ALIGNMENT)) * 4 * ALIGNMENT

    def _remember(self, x: Tensor) -> bool:
        """Record what the next step must find unchanged to continue in place. Returns False if x has no memory.

        The addresses of `x` and of the output are new at each step.
        """
        try:
            x.data_ptr()
        except RuntimeError:  # within a functorch transform
            return False
        self.read = [*self.weight_tensors, *self.written]
        self.holds = TensorGuard([x, *self.read]).holds
        self.memory_record = MemoryRecord(self.read)
        self.words[12] = self.memory_record.address
        self.input_bytes = x.numel() * x.element_size()
        self.output_shape, self.output_strides = (self.batch, self.outputs), (self.outputs, 1)
        self.steps_left = min(bound.steps_left for bound in self.bounds)
        self.advances = [(layer, bound.advance) for layer, bound in enumerate(self.bounds) if bound.advance is not None]
        return True


def _never() -> bool:
    return False


def _encoder(encoder: nn.Module, outputs: int) -> _Encoder | None:
    """Describe an encoder of a known class, or return None if it has no weight.

    `outputs` is the input width of the first layer.
    """
    from arch.kernels.streaming import model_step as kernel

    if isinstance(encoder, nn.Identity):
        return _Encoder(kernel.REALS, outputs, (None, None))
    rows = _rows(encoder)
    if rows is None:
        return None
    if isinstance(encoder, nn.Embedding):
        return _Encoder(kernel.TOKENS, rows, (Weight(encoder, "weight", (rows, outputs)), None))
    assert isinstance(encoder, nn.Linear)
    channels = encoder.weight.shape[1]
    return _Encoder(kernel.LINEAR, channels, _linear_weights(encoder, (outputs, channels)))


def _rows(module: nn.Module) -> int | None:
    """Return the number of rows of a module's weight, or None if the weight is no matrix."""
    weight = module._parameters.get("weight", module._buffers.get("weight"))
    return len(weight) if weight is not None and weight.dim() == 2 else None


def _linear_weights(linear: nn.Linear, shape: tuple[int, int]) -> tuple[Weight, Weight | None]:
    """Return W, which must have this shape, and the bias of a linear map. The bias is None if there is none."""
    has_bias = linear._parameters.get("bias", linear.weight) is not None  # a missing name is refused later
    return Weight(linear, "weight", shape), Weight(linear, "bias", shape[:1]) if has_bias else None
