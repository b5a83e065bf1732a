"""Layers that one update rule defines: the next state from the input and the state."""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows (a multiple of H)

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from arch.core.backend import class_obstacle, context_obstacle, tensors_obstacle, weights_obstacle
from arch.core.layer import Layer, require_steps
from arch.core.state import State


class RecurrentLayer(Layer):
    """A layer defined by an update rule h' = f(x, h) for input x, state h and next state h'.

    A subclass splits its equations into two parts. `project` computes the part that depends on the input alone.
    `scan` computes this part for all steps in one matrix product. `update` computes the rest.
    """

    constant_cost = True

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """Map inputs (..., D) to the part of the gates that depends on the input alone, (..., G)."""

    @abstractmethod
    def update(self, projected_BG: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (B, H) of one time step and the next state."""

    def project_flops(self) -> int | None:
        """Return the FLOPs of `project` per step and stream, or None if they are unknown."""
        costs = self._cell_costs()
        return None if costs is None else costs.project_flops

    def update_flops(self) -> int | None:
        """Return the FLOPs of `update` per step and stream, or None if they are unknown."""
        costs = self._cell_costs()
        return None if costs is None else costs.update_flops

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
        require_steps(x_BTD)
        if self.backend_for(x_BTD, state) == "reference":
            return self.follow(self.project(x_BTD), state)
        outputs_TBH, state = self.fuse(x_BTD.transpose(0, 1).contiguous(), state)
        return outputs_TBH.transpose(0, 1), state

    def follow(self, projected_BTG: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (B, T, H) and the last state, by the equations."""
        return self.unroll(projected_BTG.unbind(1), state, 1)

    def unroll(self, projected_BG: Iterable[Tensor], state: State, time: int) -> tuple[Tensor, State]:
        """Apply `update` to each step. Returns the outputs, stacked along dimension `time`, and the last state."""
        outputs = []
        for step_BG in projected_BG:
            h_BH, state = self.update(step_BG, state)
            outputs.append(h_BH)
        return torch.stack(outputs, time), state

    def fuse(self, x_TBD: Tensor, state: State) -> tuple[Tensor, State]:
        """Run all steps of inputs (T, B, D) in one kernel. Returns the outputs (T, B, H) and the last state.

        The kernel gets plain float32 tensors on the CPU. The state's tensors have the shapes of `init_state`.

        Layers with a kernel override this method. Other layers raise `NotImplementedError`. A subclass does not inherit
        the kernel: it may change the equations (see `arch.core.backend`).
        """
        raise NotImplementedError

    def kernel_obstacle(self, x_BTD: Tensor, state: State | None) -> str | None:
        """Return why `fuse` does not compute this variant of the layer, or None if it does.

        Layers with options that their kernel does not know override this method.
        """
        return None

    def backend_for(self, x_BTD: Tensor, state: State | None = None) -> Literal["reference", "fused"]:
        """Return the implementation that `scan` uses for inputs (B, T, D) and a state.

        If `state` is None, only inputs and parameters decide.
        Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
        """
        if self.backend == "reference":
            return "reference"
        if x_BTD.numel() == 0:
            return "reference"
        obstacle = self._obstacle(x_BTD, state)
        if self.backend == "fused":
            if obstacle is not None:
                raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
            return "fused"
        return "reference" if obstacle is not None or x_BTD.shape[1] == 1 else "fused"

    def _obstacle(self, x_BTD: Tensor, state: State | None) -> str | None:
        """Return why the layer's kernel cannot compute `scan`, or None if it can."""
        obstacle = context_obstacle() or class_obstacle(self, "fuse") or self.kernel_obstacle(x_BTD, state)
        if obstacle is not None:
            return obstacle
        if x_BTD.dim() != 3:
            return f"the kernel needs inputs (B, T, D), not {tuple(x_BTD.shape)}"
        B, T, _ = x_BTD.shape
        parts = [] if state is None else _tensors_of(state)
        shapes = [] if state is None else [(B, *part.shape[1:]) for part in _tensors_of(self.init_state(1))]
        if len(parts) != len(shapes):
            return f"the kernel needs a state of {len(shapes)} tensors, not {len(parts)}"
        inputs = [(x_BTD, (B, T, self.inputs)), *zip(parts, shapes, strict=True)]
        return weights_obstacle(self.kernel_weights()) or tensors_obstacle(inputs)


def _tensors_of(state: State) -> list[Any]:
    """Return the parts of a state. A part that the layer does not have is None, and left out."""
    return [part for part in pytree.tree_leaves(state) if part is not None]
