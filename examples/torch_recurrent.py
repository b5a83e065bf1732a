"""torch_recurrent: the layers of the package torchrecurrent, as one architecture. This example adapts a library.

The package collects more than thirty published recurrent layers (Martinuzzi 2025, arXiv:2510.21252), such as MGU, RAN,
NAS, UGRNN and STAR. The option `kind` names one of them:

    pip install torchrecurrent
    carousel validate --plugin examples/torch_recurrent.py
    carousel run quick --plugin examples/torch_recurrent.py -a +torch_recurrent:kind=MGU -a +torch_recurrent:kind=RAN

An adapter states the state, and calls the library for the rest. Its results are those of the library:

- The weights start as the library starts them, which may differ from the paper and from Carousel's own layers.
- Every step calls torch from Python, in training too. So training is slow, and the cost of a streamed step is mostly
  that of these calls. Reports mark the architecture as interpreted, and no deadline is tested for it.
- FLOPs, bytes per step and gates are unknown, so a budget of FLOPs is refused.
- Some kinds have conditions of their own, such as inputs as wide as the state. `carousel validate` says which ones a
  kind breaks.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import torch
import torchrecurrent
from torch import Tensor

from arch import Layer


class TorchRecurrent(Layer):
    """A layer of torchrecurrent.

    Args:
        inputs: Input width D.
        width: Output width H.
        kind: Name of a layer of the package, such as `MGU`.
    """

    constant_cost = True

    def __init__(self, inputs: int, width: int, *, kind: str = "MGU") -> None:
        super().__init__()
        kinds = [name.removesuffix("Cell") for name in torchrecurrent.__all__ if name.endswith("Cell")]
        if kind not in kinds:
            raise ValueError(f"torchrecurrent has no layer {kind!r}; choose one of {', '.join(kinds)}")
        cell = getattr(torchrecurrent, f"{kind}Cell")
        self.width = width
        self.cell = cell(inputs, width)

    def init_state(self, batch: int) -> tuple[Tensor, ...]:
        parts = 2 if self.cell.uses_double_state() else 1
        return tuple(self.empty(batch, self.width) for _ in range(parts))

    def step(self, x_BD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        after = self.cell(x_BD, state if len(state) > 1 else state[0])
        state = after if isinstance(after, tuple) else (after,)
        return state[0], state

    def scan(self, x_BTD: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs = []
        for x_BD in x_BTD.unbind(1):
            h_BH, state = self.step(x_BD, state)
            outputs.append(h_BH)
        return torch.stack(outputs, 1), state
