"""Layers whose `scan` handles any number of steps, so that `step` is a scan of one step.

Linear recurrences, matrix memories and convolutions are of this kind: most of their work depends on the inputs alone,
and is done for all steps at once.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

from torch import Tensor
from torch.utils import _pytree as pytree

from arch.core.backend import class_obstacle, context_obstacle, tensors_obstacle, weights_obstacle
from arch.core.layer import Layer
from arch.core.state import State


class ScanLayer(Layer):
    """A layer of constant cost per step whose `step` is a scan of one step."""

    constant_cost = True

    @abstractmethod
    def flops_per_step(self) -> int:
        """Return the FLOPs of one step of one stream."""

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        h_BTH, after = self.scan(x_BD.unsqueeze(1), state)
        return h_BTH.squeeze(1), after

    def step_flops(self, position: int) -> int:
        return self.flops_per_step()

    def scan_flops(self, batch: int, length: int) -> int:
        return batch * length * self.flops_per_step()

    def backend_for(self, x_BTD: Tensor, state: State | None = None) -> Literal["reference", "fused"]:
        """Return the implementation that `scan` uses for inputs (B, T, D) and a state.

        If `state` is None, only inputs and parameters decide. A class vouches for its kernels by defining
        `streaming_spec` in its own body (see `arch.core.backend`).
        Raises `ValueError` if `backend` is `fused` but the kernels cannot run.
        """
        if self.backend == "reference" or x_BTD.numel() == 0:
            return "reference"
        obstacle = self._scan_obstacle(x_BTD, state)
        if self.backend == "fused" and obstacle is not None:
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        if self.backend == "fused":
            return "fused"
        return "reference" if obstacle is not None or x_BTD.shape[1] == 1 else "fused"

    def _scan_obstacle(self, x_BTD: Tensor, state: State | None) -> str | None:
        """Return why the layer's kernels cannot compute `scan`, or None if they can."""
        obstacle = context_obstacle() or class_obstacle(self, "streaming_spec")
        if obstacle is not None:
            return obstacle
        if x_BTD.dim() != 3:
            return f"the kernel needs inputs (B, T, D), not {tuple(x_BTD.shape)}"
        B, T, _ = x_BTD.shape
        inputs: list[tuple[Any, tuple[int | None, ...]]] = [(x_BTD, (B, T, self.inputs))]
        if state is not None:
            parts, empty = pytree.tree_leaves(state), pytree.tree_leaves(self.init_state(B))
            if len(parts) != len(empty):
                return f"the kernel needs a state of {len(empty)} parts, not {len(parts)}"
            inputs += [
                (part, tuple(like.shape)) for part, like in zip(parts, empty, strict=True) if isinstance(like, Tensor)
            ]
        return weights_obstacle(self.kernel_weights()) or tensors_obstacle(inputs)
