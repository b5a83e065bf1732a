"""Layers whose `scan` handles any number of steps, so that `step` is a scan of one step.

Linear recurrences, matrix memories and convolutions are of this kind: most of their work depends on the inputs alone,
and is done for all steps at once.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

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
