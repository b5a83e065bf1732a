"""A compiled cell: the element-wise part of a recurrent layer, from which its compiled step is built."""

# Shape suffixes: B batch, D input width, H hidden width, G rows of all gates

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from arch.core.backend import Weight, class_obstacle, context_obstacle, weights_obstacle
from arch.core.streaming_spec import Bound, CellCosts, StreamingSpec, bind_tensors
from arch.kernels.runtime.tensors import tensor_obstacle

if TYPE_CHECKING:
    from arch.core.layer import Layer
    from arch.core.state import State

MAX_STATES = 8
"""Maximum number of parts of the state. The kernel's record has room for so many addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCell:
    """The element-wise part of a recurrent layer, compiled for streams.

    Use it as a decorator of a function of two tuples: the sums of the gates, and the parts of the state before the
    step. The function returns a tuple of the parts of the state after the step. Part 0 is the output h. Each item is a
    vector of several units, and `arch.kernels.cells` has functions for vectors.

        @CompiledCell(gates=2, states=1)
        def cell(sums, state):
            z, n = sigmoid(sums[0]), tanh(sums[1])
            return (fma(z, state[0] - n, n),)

    The sum of a gate is W x + b + U h of its H rows. With `splits_last`, the last gate gives two sums: W x + b, then
    U h + b_u.
    """

    gates: int
    """Number of gates: W and U have so many blocks of H rows."""
    states: int
    """Number of parts of the state, each (B, H)."""
    splits_last: bool = False
    """Whether the function gets the last gate as two sums."""

    def __post_init__(self) -> None:
        if self.gates < 1 or not 1 <= self.states <= MAX_STATES:
            raise ValueError(
                f"a cell has at least 1 gate and 1 to {MAX_STATES} states, not {self.gates} and {self.states}"
            )

    def __call__(self, function: Callable[..., Any]) -> Cell:
        return Cell(function, self)


class Cell:
    """A compiled cell with its function.

    Args:
        function: The function of sums and state.
        form: The number of gates and of parts of the state.
    """

    def __init__(self, function: Callable[..., Any], form: CompiledCell) -> None:
        self.function, self.form = function, form

    @functools.cached_property
    def _outcome(self) -> tuple[Any, str | None]:
        """The compiled step, or None and the reason why it cannot be compiled. A failure is not tried again."""
        from numba import cfunc, njit

        from arch.kernels.simd.matvec import floats
        from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
        from arch.kernels.streaming.recurrent_step import layer_step

        form, states = self.form, self.form.states
        cell = njit(self.function)
        step = layer_step(cell, gates=form.gates, states=states, splits_last=form.splits_last)

        def run(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
            sizes, weights, state = parts_of(record)
            step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)

        reason: str | None
        try:
            compiled, reason = cfunc(LAYER_SIGNATURE)(run), None
        except Exception as error:  # Numba has many
            compiled, reason = None, _reason(error, self.function.__code__.co_filename)
        reason = self._returns_too_much(cell) or reason
        if reason is None:
            return compiled, None
        return None, f"the cell {self.function.__qualname__} cannot be compiled: {reason}"

    def _returns_too_much(self, cell: Any) -> str | None:
        """Return why the result of the compiled function is no tuple of all parts of the state, or None if it is."""
        states = self.form.states
        for signature in cell.nopython_signatures:
            kind = signature.return_type
            count = getattr(kind, "count", None)
            if count != states:
                found = f"a tuple of {count}" if count is not None else f"{kind}"
                return f"it returns {found}, but states={states}: return a tuple with each part of the state, h first"
        return None

    @property
    def obstacle(self) -> str | None:
        """Why the function cannot be compiled, in one line; None if it can."""
        return self._outcome[1]

    @property
    def address(self) -> int:
        """Address of the compiled step. Raises `ValueError` if the function cannot be compiled."""
        compiled, reason = self._outcome
        if reason is not None:
            raise ValueError(reason)
        return int(compiled.address)

    def spec(
        self, layer: Layer, *, W: str, b: str | None = None, U: str | None = None, b_u: str | None = None, state: Any
    ) -> StreamingSpec:
        """Return the description of a layer for `Layer.streaming_spec`.

        It also states the costs of the layer, so that `Layer.step_flops` and `step_bytes` know them. Raises
        `ValueError` if the layer has no parameter or buffer of a name.

        Args:
            layer: The layer. Its `width` is H.
            W: Name of the parameter that multiplies the input, (gates · H, D).
            b: Name of the bias (gates · H,), or None.
            U: Name of the parameter that multiplies h, (gates · H, H), or None.
            b_u: Name of the bias of the last gate's U h, (H,), or None. It is read with `splits_last` only.
            state: The named tuple class of the layer's state, or `torch.Tensor` for a single (B, H) tensor.
        """
        known = {*layer._parameters, *layer._buffers, *vars(layer)}  # a layer without bias may set it to None
        for name in filter(None, (W, b, U, b_u)):
            if name not in known:
                raise ValueError(
                    f"the compiled cell of {type(layer).__name__} reads {name!r}, but the layer has no parameter or "
                    "buffer of this name; correct the call of `spec`"
                )
        H, rows = layer.width, self.form.gates * layer.width
        D = int(getattr(layer, W).shape[-1])
        shapes = {W: (rows, D), b: (rows,), U: (rows, H), b_u: (H,)}
        names = (W, b, U, b_u)
        weights = tuple(
            None if name is None or getattr(layer, name) is None else Weight(layer, name, shapes[name])
            for name in names
        )
        numbers = sum(math.prod(weight.shape) for weight in weights if weight is not None)
        costs = CellCosts(
            project_flops=2 * rows * D,
            update_flops=0 if weights[2] is None else 2 * rows * H,
            step_numbers=numbers + 2 * self.form.states * H,
        )
        return StreamingSpec(
            kind="cell",
            inputs=D,
            outputs=H,
            sizes=(D, H),
            weights=weights,
            workspace=0,
            bind=lambda part, batch, *_: self._bind(part, state, batch, H),
            cell=self,
            costs=costs,
            state_obstacle=lambda part, batch: self._state_obstacle(part, state, batch, H),
        )

    def _bind(self, state: State, kind: Any, batch: int, width: int) -> Bound | None:
        if self._state_obstacle(state, kind, batch, width) is not None:
            return None
        if kind is not Tensor:
            return bind_tensors(state, kind, batch, width)
        assert isinstance(state, Tensor)
        own = state.detach().clone()
        return Bound((own.data_ptr(),), own, (own,))

    def _state_obstacle(self, state: State, kind: Any, batch: int, width: int) -> str | None:
        """Return why the cell cannot use a state, or None if it can.

        Args:
            state: The state.
            kind: The class that `spec` was given.
            batch: Number of streams.
            width: Width of the layer.
        """
        if kind is not Tensor and type(state) is not kind:
            return f"`spec` says state={kind.__name__}, but the state is a {type(state).__name__}"
        if kind is Tensor and not isinstance(state, Tensor):
            return f"`spec` says state=Tensor, but the state is a {type(state).__name__}"
        parts: tuple[Any, ...] = (state,) if kind is Tensor else tuple(state)
        if len(parts) != self.form.states:
            return f"the cell says states={self.form.states}, but the state has {len(parts)} parts"
        obstacles = (tensor_obstacle(part, (batch, width)) for part in parts)
        return next((f"the state: {obstacle}" for obstacle in obstacles if obstacle is not None), None)


def cell_obstacle(layer: Any) -> str | None:
    """Return why streams do not run the compiled cell that a layer brings, in one line.

    Returns None if they run it, if the layer's class brings no cell, or if nothing can be compiled on this machine. The
    cell is compiled if it is not yet.

    Args:
        layer: A layer with float32 weights on the CPU, without a block around it.
    """
    if "streaming_spec" not in vars(type(layer)) or context_obstacle() is not None:
        return None
    spec: StreamingSpec | None = layer.streaming_spec()
    if spec is None or spec.kind != "cell" or spec.cell is None or spec.state_obstacle is None:
        return None
    if layer.backend == "reference":
        return "the layer's backend is 'reference'; set self.backend = \"auto\" in the constructor"
    return (
        class_obstacle(layer, "streaming_spec")
        or weights_obstacle((weight for weight in spec.weights if weight is not None), in_place=True)
        or spec.state_obstacle(layer.init_state(1), 1)
        or spec.cell.obstacle
    )


def _reason(error: Exception, file: str) -> str:
    """Return the first line of Numba's message that says something, with the line of the user's code.

    Args:
        error: Numba's error.
        file: The file of the user's function.
    """
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line).strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Failed in", "During:"))]
    first = telling[0] if telling else type(error).__name__
    if first.endswith(":") and len(telling) > 1:
        first = f"{first} {telling[1].removeprefix('>>> ')}"
    numbers = (re.search(r"at (.*) \((\d+)\)$", line) for line in lines)
    own = next((found[2] for found in numbers if found and found[1] == file), None)
    where = "" if own is None else f" at line {own}"
    return f"{first}{where}; use the functions of arch.kernels.cells, and no Python numbers without splat"
