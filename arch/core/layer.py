"""What every architecture promises: a causal sequence mixer whose `step` and `scan` agree.

`step` is the streaming form, one time step at a time; `scan` is the training form, a chunk of
steps at once. Both take a state and give the next one, so a sequence may be fed in any chunking
and must give the same outputs and the same final state (to 1e-9 in float64; the contract tests
hold every architecture to it).

What the equations cost is stated in closed form, by one convention for all. FLOPs: a multiply-add of
a matrix product is 2, attention's two products among them; element-wise work (biases, gates,
activations, norms, softmax, positions) and look-ups are not counted, nor is what a mask throws away.
Bytes of a step: each weight read once, the state that is read, and the state that is written.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows (a multiple of H)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from arch.core.backend import Backend, obstacle_to_kernels
from arch.core.state import State
from arch.core.streaming_spec import StreamingSpec


class Layer(nn.Module, ABC):
    """A causal sequence mixer: `inputs` numbers a step in, `width` numbers a step out.

    The keyword-only parameters of a subclass's constructor are the architecture's options; their
    annotations say which values are allowed. A constructor raises `ValueError` where a width or an
    option is impossible.
    """

    residual: ClassVar[bool] = False
    """Whether the output is added to the input, so that both have one width."""

    width: int
    """H, the numbers a step that come out."""

    backend: Backend = "reference"

    max_length: int | None = None
    """The longest sequence that the layer can read, where there is one."""

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """`depth` layers, the first of which reads `inputs` numbers a step."""
        return [cls(inputs if i == 0 else width, width, **options) for i in range(depth)]

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """The empty state of `batch` independent streams."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """One time step: output (B, H) and the next state. The state passed in is used up."""

    @abstractmethod
    def scan(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """A chunk of T ≥ 1 steps: outputs (B, T, H) and the state after the last of them."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Outputs (B, T, H) of whole sequences: `scan` from the empty state."""
        return self.scan(x_BTD, self.init_state(len(x_BTD)))[0]

    def gates(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        """What the gates of this step read, by name; nothing where there are none. Keeps `state`.

        Some names mean the same everywhere: `input` is how much is written, `forget` how much is kept,
        `output` how much is read, `update` how much is kept with the rest written, each (B, H) in [0, 1];
        `attention` is how much each step counts that is read, (B, heads, steps), the present one last.
        """
        return {}

    def backend_for(self, x_BTD: Tensor) -> Literal["reference", "fused"]:
        """Whether `scan` of these inputs runs the equations themselves or a kernel made from them."""
        return "reference"

    def step_flops(self, position: int) -> int | None:
        """FLOPs of one `step` of one stream that has read `position` steps; None where they are not stated."""
        return None

    def scan_flops(self, batch: int, length: int) -> int | None:
        """FLOPs of `scan` from the empty state; None where they are not stated."""
        return None

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int | None:
        """FLOPs of the backward pass of that `scan`: for each product those of its two gradients.

        Where parameters lie before the layer, `inputs_learn`; else the gradient of its inputs may be left out.
        """
        forward = self.scan_flops(batch, length)
        return None if forward is None else 2 * forward

    def step_bytes(self, position: int) -> int | None:
        """Bytes that one `step` of one stream moves after `position` steps; None where they are not stated."""
        return None

    def streamed(self) -> StreamingSpec | None:
        """What the compiled step of a model must know of this layer; None where the equations are all there is."""
        return None

    def empty(self, *shape: int) -> Tensor:
        """Zeros of the layer's own dtype and device."""
        parameter = next(self.parameters())
        return torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)


class RecurrentLayer(Layer):
    """A layer given by an update rule h' = f(x, h).

    A subclass writes its equations once, in two halves: `project` holds what depends on the input
    alone, so that `scan` can do it for all steps in one matrix product; `update` holds the rest.
    """

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates, (..., D) to (..., G)."""

    @abstractmethod
    def update(self, projected_BG: Tensor, state: State) -> tuple[Tensor, State]:
        """The recurrence: output (B, H) and the next state."""

    def project_flops(self) -> int | None:
        """FLOPs of `project` for one step; None where they are not stated."""
        return None

    def update_flops(self) -> int | None:
        """FLOPs of `update` for one stream; None where they are not stated."""
        return None

    def step_flops(self, position: int) -> int | None:
        project, update = self.project_flops(), self.update_flops()
        return None if project is None or update is None else project + update

    def scan_flops(self, batch: int, length: int) -> int | None:
        step = self.step_flops(0)
        return None if step is None else batch * length * step

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int | None:
        project, update = self.project_flops(), self.update_flops()
        if project is None or update is None:
            return None
        return batch * length * ((2 if inputs_learn else 1) * project + 2 * update)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        return self.update(self.project(x_BD), state)

    def scan(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        if self.backend_for(x_BTD, state) == "reference":
            return self.unroll(self.project(x_BTD).unbind(1), state, 1)
        outputs_TBH, state = self.fuse(x_BTD.transpose(0, 1).contiguous(), state)
        return outputs_TBH.transpose(0, 1), state

    def unroll(self, projected_BG: Iterable[Tensor], state: State, time: int) -> tuple[Tensor, State]:
        """`update` for each step in turn: the outputs, their steps along dimension `time`, and the last state."""
        outputs = []
        for step_BG in projected_BG:
            h_BH, state = self.update(step_BG, state)
            outputs.append(h_BH)
        return torch.stack(outputs, time), state

    def fuse(self, x_TBD: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps in one kernel: outputs (T, B, H) and the last state. Overridden where there is such a kernel."""
        raise NotImplementedError

    def backend_for(self, x_BTD: Tensor, state: State | None = None) -> Literal["reference", "fused"]:
        """What `scan` of these inputs runs. Raises `ValueError` where `fused` is asked for and cannot be."""
        if self.backend == "reference":
            return "reference"
        obstacle = self._obstacle([x_BTD, *self.parameters(), *pytree.tree_leaves(state)])
        if self.backend == "fused":
            if obstacle is not None:
                raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
            return "fused"
        return "reference" if obstacle is not None or x_BTD.shape[1] == 1 else "fused"

    def _obstacle(self, tensors: list[Any]) -> str | None:
        """Why the kernel cannot read these tensors, where it cannot."""
        if type(self).fuse is RecurrentLayer.fuse:
            return f"{type(self).__name__} has no kernel"
        return obstacle_to_kernels(tensors)
