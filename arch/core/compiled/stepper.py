"""The compiled step of a whole model: one kernel call instead of a dozen torch calls per layer.

The kernel reads a program of 64-bit words: sizes and memory addresses (`arch.core.compiled.program`). The program is
built at the first step. Before each step, everything that it was built from is compared with the model as it is now.
After a change the program is built again, or the equations run.
"""

# Shape suffixes: B batch, D input channels, O outputs

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.compiler import is_dynamo_compiling

from arch.core.backend import count_dispatch_modes, count_function_modes, observing_modes
from arch.core.compiled.program import Parts, Program

if TYPE_CHECKING:
    from arch.core.state import State


class StreamableModel(Protocol):
    """The attributes of a `SequenceModel` that the compiled step reads."""

    _modules: dict[str, nn.Module | None]


class Stepper:
    """The compiled step of one model.

    A copied or unpickled stepper starts without a program.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._structure: list[Any] = []
        self._parts: Parts | None = None
        self._program: Program | None = None

    def __deepcopy__(self, memo: object) -> Stepper:
        return Stepper()

    def __reduce__(self) -> tuple[type[Stepper], tuple[()]]:
        return Stepper, ()

    def step(self, model: StreamableModel, x: Tensor, state: list[State]) -> tuple[Tensor, list[State]] | None:
        """Return the output and next state of `model.step`, or None if only the reference implementation can run.

        Args:
            model: The model.
            x: Tokens (B,) or reals (B, D).
            state: One state per layer. A state that the previous call returned may be modified in place.
        """
        if is_dynamo_compiling() or forward_ad._current_level >= 0 or count_dispatch_modes():
            return None
        if count_function_modes() and observing_modes():
            return None
        children = model._modules  # ten times as fast as attribute access through nn.Module.__getattr__
        with self._lock:
            program = self._program
            if program is None or program.children is not children or not program.is_unchanged():
                program = self._program = self._rebuilt(children)
            return None if program is None else program.step(x, state)

    def stream(
        self, model: StreamableModel, x: Tensor, state: list[State], times_T: Tensor | None
    ) -> tuple[Tensor, list[State]] | None:
        """Return the outputs (T, B, O) and the next state of `model.stream`, or None as `step` does.

        Args:
            model: The model.
            x: Inputs, tokens (T, B) or reals (T, B, D).
            state: One state per layer. A state that the previous call returned may be modified in place.
            times_T: Receives clock readings, as in `Program.stream`.
        """
        if is_dynamo_compiling() or forward_ad._current_level >= 0 or count_dispatch_modes():
            return None
        if count_function_modes() and observing_modes():
            return None
        with self._lock:
            program = self._program
            if program is None or program.children is not model._modules or not program.is_unchanged():
                program = self._program = self._rebuilt(model._modules)
            return None if program is None else program.stream(x, state, times_T)

    def workspace_bytes(self, model: StreamableModel, x: Tensor, state: list[State]) -> int | None:
        """Return the bytes of the workspace that a step needs, or None if only the reference implementation can run.

        Args:
            model: The model.
            x: Tokens (B,) or reals (B, D).
            state: One state per layer. It may be modified in place.
        """
        if self.step(model, x, state) is None or self._program is None:
            return None
        return 4 * self._program.needed

    def packed_weight_bytes(self, model: StreamableModel, x: Tensor, state: list[State]) -> int | None:
        """Return the bytes of the packed weights of a long stream, and of the copy that shows whether a weight changed.

        The result is None if only the reference implementation can run. The arguments are those of `workspace_bytes`.
        """
        if self.step(model, x, state) is None or self._program is None:
            return None
        return 4 * sum(sum(sizes) for _, *sizes in self._program.packable)

    def _rebuilt(self, children: dict[str, nn.Module | None]) -> Program | None:
        """Return a new program of the model, or None if only the reference implementation can run."""
        modules: list[Any] = [*children.values(), *children["layers"]._modules.values()]  # type: ignore[union-attr]
        structure = [*modules, *map(type, modules)]  # a parametrization changes the class of a module
        if structure != self._structure:
            self._structure, self._parts = structure, _parts(children)
        if self._parts is None:
            return None
        program = Program(children, self._parts)
        return program if program.build() else None


def _parts(children: dict[str, nn.Module | None]) -> Parts | None:
    """Return the modules of a model, or None if the kernel does not know the class of one of them."""
    encoder, stack, readout, dropout = (children.get(name) for name in ("encoder", "layers", "readout", "dropout"))
    if (
        type(encoder) not in (nn.Identity, nn.Linear, nn.Embedding)
        or type(stack) is not nn.ModuleList
        or not len(stack)
    ):
        return None
    if type(readout) is not nn.Linear or type(dropout) is not nn.Dropout or len(children) > 4:
        return None
    if any("streaming_spec" not in vars(type(layer)) for layer in stack):
        return None
    return Parts(encoder, list(stack), readout, dropout)  # type: ignore[arg-type]
