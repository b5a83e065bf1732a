"""A whole model: an encoder, a stack of layers and a readout, with the same methods as a layer."""

# Shape suffixes: B batch, T time, D input channels, H width, O outputs

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from arch.core.compiled.stepper import Stepper
from arch.core.layer import Layer, require_steps
from arch.core.state import State, copy_state, element_bytes, require_streams, state_bytes, state_layout


class SequenceModel(nn.Module):
    """A sequence model: tokens (B, T) or reals (B, T, D) in, logits or reals (B, T, O) out.

    Tokens are embedded at the model's width. Reals go straight into the first layer, or through a linear map if the
    layers are residual. Dropout is applied between layers only (Zaremba et al. 2014).

    Args:
        encoder: Module from inputs to the first layer's inputs.
        layers: The layers, from input to output.
        readout: Module from the last layer's outputs to the model's outputs.
        dropout: Dropout probability between layers, in [0, 1). Another value raises `ValueError`.
    """

    def __init__(self, encoder: nn.Module, layers: list[Layer], readout: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout}")
        self.encoder = encoder
        self.layers: nn.ModuleList = nn.ModuleList(layers)
        self.readout = readout
        self.dropout = nn.Dropout(dropout)
        self._stepper = Stepper()

    @property
    def width(self) -> int:
        """H, the width of the layers."""
        return next(self._stack()).width

    @property
    def max_length(self) -> int | None:
        """Maximum sequence length in steps that every layer can process, or None if there is no limit."""
        return min((layer.max_length for layer in self._stack() if layer.max_length is not None), default=None)

    def init_state(self, batch: int) -> list[State]:
        """Return the empty state of `batch` independent streams: one state per layer."""
        return [layer.init_state(batch) for layer in self._stack()]

    def step(self, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """Process one time step, given as tokens (B,) or reals (B, D).

        Returns the output (B, O) and the next state. `state` may be modified in place; do not reuse it.
        """
        if not torch.is_grad_enabled():
            compiled = self._stepper.step(self, x, state)
            if compiled is not None:
                return compiled
        require_streams(state, len(x))
        hidden, states = self.encoder(x), []
        for i, layer in enumerate(self._stack()):
            hidden, after = layer.step(hidden if i == 0 else self.dropout(hidden), state[i])
            states.append(after)
        return self.readout(hidden), states

    def scan(self, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """Process a chunk of T steps, given as tokens (B, T) or reals (B, T, D).

        Returns the outputs (B, T, O) and the next state. `state` may be modified in place; do not reuse it. Raises
        `ValueError` if there are no steps, or if the state has another number of streams than the inputs.
        """
        require_steps(x)
        require_streams(state, len(x))
        hidden, states = self.encoder(x), []
        for i, layer in enumerate(self._stack()):
            hidden, after = layer.scan(hidden if i == 0 else self.dropout(hidden), state[i])
            states.append(after)
        by_time = hidden.transpose(0, 1)
        if by_time.is_contiguous():  # recurrent kernels return this order: transpose the outputs, which are smaller
            return self.readout(by_time).transpose(0, 1), states
        return self.readout(hidden), states

    def stream(self, x: Tensor, state: list[State], times_T: Tensor | None = None) -> tuple[Tensor, list[State]]:
        """Process a chunk of T steps one by one, given as tokens (B, T) or reals (B, T, D).

        If gradients are disabled and the model has a compiled step, the steps run in one call of compiled code.
        Otherwise, `step` is called T times. This is also so if a subclass or an instance has its own `step`.

        Args:
            x: The inputs.
            state: The state before the steps. It may be modified in place; do not reuse it. If a step raises an error,
                the state is as it was.
            times_T: Receives readings of the monotonic clock in nanoseconds: before the first step and after each step.
                An int64 tensor (T + 1,) on the CPU, or None to read no clock. With a tensor (R + 1,), the clock is read
                after each T / R steps, so R must divide T. Compiled code that cannot read the clock leaves the tensor
                unchanged, see `arch.kernels.loop_clock_seconds`.

        Returns the outputs (B, T, O) and the next state. Raises `ValueError` if there are no steps, or if `times_T` has
        another shape or type.
        """
        require_steps(x)
        require_streams(state, len(x))
        steps_per_reading = 1 if times_T is None else _steps_per_reading(x.shape[1], times_T)
        if not torch.is_grad_enabled() and not self._has_own_step():
            compiled = self._stepper.stream(self, x.transpose(0, 1), state, times_T)
            if compiled is not None:
                return compiled[0].transpose(0, 1), compiled[1]
        state = copy_state(state)  # a later step may raise, after the first ones have changed their state in place
        outputs, readings = [], [time.monotonic_ns()]
        for x_BD in x.unbind(1):
            y_BO, state = self.step(x_BD, state)
            outputs.append(y_BO)
            readings.append(time.monotonic_ns())
        if times_T is not None:
            times_T.copy_(torch.tensor(readings[::steps_per_reading]))
        return torch.stack(outputs, 1), state

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (B, T, O) of tokens (B, T) or reals (B, T, D), from the empty state."""
        return self.scan(x, self.init_state(len(x)))[0]

    def gates(self, x: Tensor, state: list[State]) -> dict[str, Tensor]:
        """Return the gate activations of one time step, given as tokens (B,) or reals (B, D).

        The keys are `LAYER.GATE`, with layers counted from 0. `state` is not changed.
        """
        require_streams(state, len(x))
        activations: dict[str, Tensor] = {}
        hidden = self.encoder(x)
        for i, layer in enumerate(self._stack()):
            activations |= {f"{i}.{name}": gate for name, gate in layer.gates(hidden, state[i]).items()}
            hidden, _ = layer.step(hidden, copy_state(state[i]))
        return activations

    def backend_for(self, x: Tensor) -> Literal["reference", "fused"]:
        """Return the implementation that the first layer's `scan` uses for tokens (B, T) or reals (B, T, D).

        Raises `ValueError` if the layer's `backend` is `fused` but its kernel cannot run.
        """
        return next(self._stack()).backend_for(self.encoder(x))

    def step_backend_for(self, x: Tensor, state: list[State]) -> Literal["reference", "fused"]:
        """Return the implementation that `step` uses for tokens (B,) or reals (B, D) if gradients are disabled.

        `state` is not changed.
        """
        if self._has_own_step() or self._stepper.step(self, x, copy_state(state)) is None:
            return "reference"
        return "fused"

    def workspace_bytes_for(self, x: Tensor, state: list[State]) -> int | None:
        """Return the memory that the compiled `step` needs for intermediate results, in bytes.

        The inputs are tokens (B,) or reals (B, D). `state` is not changed. The result is None if `step` is not compiled
        or if gradients are enabled.
        """
        if torch.is_grad_enabled() or self._has_own_step():
            return None
        return self._stepper.workspace_bytes(self, x, copy_state(state))

    def packed_weight_bytes_for(self, x: Tensor, state: list[State]) -> int | None:
        """Return the memory of the packed weights that a long compiled `stream` reads, and of their copy, in bytes.

        The copy shows whether a weight has changed since it was packed. The weights themselves are not counted. The
        arguments and the result None are as in `workspace_bytes_for`.
        """
        if torch.is_grad_enabled():
            return None
        return self._stepper.packed_weight_bytes(self, x, copy_state(state))

    def state_bytes_after(self, x: Tensor) -> int:
        """Return the memory of the state in bytes after the T steps of `x`, tokens (B, T) or reals (B, T, D).

        The steps start from the empty state. If the layout of the state does not change from one step to the next, two
        steps are enough, because later steps cannot change it either. Otherwise, one `scan` reads all steps.
        """
        require_steps(x)
        with torch.enable_grad():  # the compiled step runs without gradients only, and takes long to load
            state, layouts = self.init_state(len(x)), []
            for x_BD in x[:, :2].unbind(1):
                _, state = self.step(x_BD, state)
                layouts.append(state_layout(state))
            if layouts[0] != layouts[-1] or len(layouts) == 1:
                _, state = self.scan(x, self.init_state(len(x)))
        return state_bytes(state)

    def use_reference(self) -> None:
        """Let every layer run its equations instead of a kernel, which is impossible on the meta device."""
        for layer in self._stack():
            layer.backend = "reference"

    @property
    def weight_bytes(self) -> int:
        """The memory of all parameters and buffers in bytes. Each counts once."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.parameters(), *self.buffers()))

    def step_flops(self, position: int) -> int | None:
        """Return the FLOPs of `step` for a single stream after `position` steps.

        The module `arch.core.layer` defines this cost. Returns None if the cost of a layer is unknown.
        """
        layers = _sum(layer.step_flops(position) for layer in self._stack())
        return None if layers is None else layers + self._encoder_flops() + self._readout_flops()

    def step_bytes(self, position: int) -> int | None:
        """Return the bytes that `step` moves for a single stream after `position` steps.

        The module `arch.core.layer` defines this cost. Returns None if the cost of a layer is unknown.
        """
        layers = _sum(layer.step_bytes(position) for layer in self._stack())
        if layers is None:
            return None
        embedded = isinstance(self.encoder, nn.Embedding)
        read = (*self.encoder.parameters(), *self.encoder.buffers())
        encoder = self.width if embedded else sum(tensor.numel() for tensor in read)
        return layers + (encoder + parameter_count(self.readout)) * element_bytes(self)

    def forward_flops(self, batch: int, length: int) -> int | None:
        """Return the FLOPs of `forward` for `batch` sequences of `length` steps.

        Returns None if the cost of a layer is unknown.
        """
        layers = _sum(layer.scan_flops(batch, length) for layer in self._stack())
        ends = self._encoder_flops() + self._readout_flops()
        return None if layers is None else layers + batch * length * ends

    def train_step_flops(self, batch: int, length: int) -> int | None:
        """Return the FLOPs of `forward` and its backward pass for `batch` sequences of `length` steps.

        The gradient of the model inputs is not computed. Loss, gradient clipping and optimiser are element-wise and
        count as 0. Returns None if the cost of a layer is unknown.
        """
        forward = self.forward_flops(batch, length)
        parts = [self.encoder, *self._stack(), self.readout]
        learned = [parameter_count(part) > 0 for part in parts]
        layers = _sum(
            layer.backward_flops(batch, length, inputs_learn=any(learned[:i]))
            for i, layer in enumerate(self._stack(), 1)
        )
        if forward is None or layers is None:
            return None
        encoder = self._encoder_flops() if learned[0] else 0
        readout = (2 if any(learned[:-1]) else 1) * self._readout_flops()
        return forward + layers + batch * length * (encoder + readout)

    def _encoder_flops(self) -> int:
        return 2 * self.encoder.weight.numel() if isinstance(self.encoder, nn.Linear) else 0

    def _readout_flops(self) -> int:
        assert isinstance(self.readout, nn.Linear)
        return 2 * self.readout.weight.numel()

    def _has_own_step(self) -> bool:
        """Return whether a subclass, an instance or a patch has replaced `step`, which compiled code would ignore."""
        return "step" in vars(self) or type(self).step is not _STEP

    def _stack(self) -> Iterator[Layer]:
        for layer in self.layers:
            assert isinstance(layer, Layer)
            yield layer


_STEP = SequenceModel.step
"""The `step` that the compiled step replaces."""


def _steps_per_reading(T: int, times_T: Tensor) -> int:
    """Return the number of steps per clock reading. Raises `ValueError` if the readings do not fit the T steps."""
    if not isinstance(times_T, Tensor):
        raise ValueError(f"times_T must be an int64 tensor (R + 1,) or None, not {type(times_T).__name__}")
    readings = times_T.numel() - 1
    if times_T.dim() != 1 or times_T.dtype is not torch.int64 or not times_T.is_cpu or not times_T.is_contiguous():
        raise ValueError(
            f"times_T must be a contiguous int64 vector on the CPU, "
            f"not {times_T.dtype} {tuple(times_T.shape)} on {times_T.device}"
        )
    if readings < 1 or T % readings:
        raise ValueError(f"times_T must have 1 + R elements, and R must divide the {T} steps; R is {readings}")
    return T // readings


def parameter_count(model: nn.Module) -> int:
    """Return the number of learned parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _sum(costs: Iterable[int | None]) -> int | None:
    """Return the sum of the costs, or None if any cost is unknown (None)."""
    terms = list(costs)
    known = [term for term in terms if term is not None]
    return sum(known) if len(known) == len(terms) else None
