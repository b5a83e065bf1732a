"""A compiled cell: the element-wise part of a recurrent layer, from which its compiled step is built."""

# Shape suffixes: B batch, D input width, H hidden width, G rows of all gates

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from arch.core.backend import Weight
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
    def _compiled(self) -> Any:
        from numba import cfunc, int64, njit, void

        from arch.kernels.simd.matvec import floats, integers
        from arch.kernels.streaming.recurrent_step import layer_step

        form, states = self.form, self.form.states
        cell = njit(self.function)
        step = layer_step(cell, gates=form.gates, states=states, splits_last=form.splits_last)

        def run(D, H, weights, x, state, y, B):  # type: ignore[no-untyped-def]
            step(D, H, integers(weights, 4), floats(x), integers(state, states), floats(y), B)

        try:
            return cfunc(void(*[int64] * 7))(run)
        except Exception as error:  # Numba has many
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            name = self.function.__qualname__
            raise ValueError(
                f"the cell {name} cannot be compiled: {reason}; "
                "use the functions of arch.kernels.cells, and no Python numbers without splat"
            ) from None

    @property
    def address(self) -> int:
        """Address of the compiled step. Raises `ValueError` if the function cannot be compiled."""
        return int(self._compiled.address)

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
        )

    def _bind(self, state: State, kind: Any, batch: int, width: int) -> Bound | None:
        if kind is not Tensor:
            bound = bind_tensors(state, kind, batch, width)
            return bound if bound is None or len(bound.words) == self.form.states else None
        if self.form.states != 1 or tensor_obstacle(state, (batch, width)) is not None:
            return None
        own = state.detach().clone()
        return Bound((own.data_ptr(),), own, (own,))
