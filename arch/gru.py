"""GRU: a single state that an update gate moves towards a candidate.

The source is Cho et al. 2014. x is the input, h the previous output and h' the next output. Two variants of the
candidate n are in use. The variants compute different functions:

    r  = σ(W_r x + U_r h + b_r)                   (1)  reset gate
    z  = σ(W_z x + U_z h + b_z)                   (2)  update gate
    n  = tanh(W_n x + b_n + r * (U_n h + b_u))    (3a) candidate with `reset=after`: cuDNN, torch
    n  = tanh(W_n x + b_n + U_n (r * h))          (3b) candidate with `reset=before`: Cho et al.
    h' = (1 - z) * n + z * h                      (4)  output

    FLOPs per step: 6 H (D + H) with either candidate                          (5)
    numbers moved per step: 3 H (D + H + 1) + H weights, 2 H of state          (6)

W, U and b contain three blocks of H rows each, in the order r, z, n. b_u exists only in (3a). The summand H in (6)
counts b_u. Without biases, (6) has 3 H (D + H) weights.
"""

# Shape suffixes: B batch, D input width, H hidden width, G = 3H gate rows

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.initialisation import Initialisation, add_second_bias, bias_groups, initialise
from arch.core.layer import ParameterGroup
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class GRUState(NamedTuple):
    """The state of a GRU layer: the last output h (B, H)."""

    h_BH: Tensor


class GRU(RecurrentLayer):
    """A gated recurrent unit layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        reset: Whether r is applied `after` the recurrent product (3a) or `before` it (3b).
        bias: Whether to learn the biases. `False` omits them.
        init: Initialisation of the weights: `default`, `torch` or `orthogonal` (see `arch.core.initialisation`).
            `torch` starts the biases of r and z as the sums of two, as in `torch.nn.GRU`, and b moves by two steps of
            Adam. In `torch.nn`, the b_n of (3a) moves by one. `default` has one bias per gate.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands bare by default: block=bare, conv=0 (see `arch.core.block`).
    """

    family = "nonlinear"

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        reset: Literal["after", "before"] = "after",
        bias: bool = True,
        init: Initialisation = "default",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.backend = backend
        self.reset = reset
        self.W_GD = nn.Parameter(torch.empty(3 * width, inputs))
        self.U_GH = nn.Parameter(torch.empty(3 * width, width))
        self.b_G = nn.Parameter(torch.empty(3 * width)) if bias else None
        self.u_H = nn.Parameter(torch.empty(width)) if bias and reset == "after" else None
        self.init = init
        initialise(init, self.W_GD, self.U_GH, self.b_G, self.u_H)
        if init == "torch" and self.b_G is not None:
            add_second_bias(self.b_G[: 2 * width], width)

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    def parameter_groups(self) -> list[ParameterGroup]:
        return bias_groups(self.init, self.b_G)

    def project_flops(self) -> int:
        return 6 * self.width * self.W_GD.shape[1]  # (5)

    def update_flops(self) -> int:
        return 6 * self.width**2  # (5)

    def step_bytes(self, position: int) -> int:
        H, D = self.width, self.W_GD.shape[1]
        weights = 3 * H * (D + H + (self.b_G is not None)) + H * (self.u_H is not None)
        return (weights + 2 * H) * element_bytes(self)  # (6)

    def init_state(self, batch: int) -> GRUState:
        return GRUState(self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G)

    def activations(self, projected_BG: Tensor, state: GRUState) -> tuple[Tensor, Tensor, Tensor]:
        """Return r, z and n of equations (1) to (3), each (B, H)."""
        h_BH, H = state.h_BH, self.width
        if self.reset == "after":
            r_x, z_x, n_x = projected_BG.chunk(3, 1)
            r_h, z_h, n_h = functional.linear(h_BH, self.U_GH).chunk(3, 1)
            r_BH = (r_x + r_h).sigmoid()  # (1)
            z_BH = (z_x + z_h).sigmoid()  # (2)
            n_BH = (n_x + r_BH * (n_h if self.u_H is None else n_h + self.u_H)).tanh()  # (3a)
        else:
            gates_BG, n_x = projected_BG.split([2 * H, H], 1)
            U_rz, U_n = self.U_GH.split([2 * H, H])
            r_BH, z_BH = torch.addmm(gates_BG, h_BH, U_rz.T).sigmoid().chunk(2, 1)  # (1), (2)
            n_BH = torch.addmm(n_x, r_BH * h_BH, U_n.T).tanh()  # (3b)
        return r_BH, z_BH, n_BH

    def update(self, projected_BG: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        _, z_BH, n_BH = self.activations(projected_BG, state)  # (1)-(3)
        h_BH = (1 - z_BH) * n_BH + z_BH * state.h_BH  # (4)
        return h_BH, GRUState(h_BH)

    def fuse(self, x_TBD: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        from arch.kernels.training import gru, gru_before

        def from_projected(projected_TBG: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            outputs_TBH, (h_BH,) = self.unroll(projected_TBG, GRUState(inputs[-1]), 0)
            return outputs_TBH, h_BH

        if self.reset != "after":
            outputs_TBH, h_BH = gru_before.scan(from_projected, self.project(x_TBD), self.U_GH, state.h_BH)
        else:
            b_G = self.empty(3 * self.width) if self.b_G is None else self.b_G
            u_H = self.empty(self.width) if self.u_H is None else self.u_H
            weights = (self.W_GD, b_G, self.U_GH, u_H)

            def reference(x_TBD: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
                return from_projected(self.project(x_TBD), *inputs)

            outputs_TBH, h_BH = gru.scan(reference, x_TBD, *weights, state.h_BH)
        return outputs_TBH, GRUState(h_BH)

    def kernel_weights(self) -> tuple[Weight, ...]:
        W_GD, b_G, U_GH, u_H = self._weights()
        return tuple(weight for weight in (W_GD, b_G, U_GH, u_H) if weight is not None)

    def _weights(self) -> tuple[Weight, Weight | None, Weight, Weight | None]:
        """Return W, b, U and b_u. A bias is None if the layer does not have it, or if equation (3b) does not use it."""
        H, D = self.width, self.inputs
        b_G = None if self.b_G is None else Weight(self, "b_G", (3 * H,))
        u_H = None if self.u_H is None or self.reset != "after" else Weight(self, "u_H", (H,))
        return Weight(self, "W_GD", (3 * H, D)), b_G, Weight(self, "U_GH", (3 * H, H)), u_H

    def streaming_spec(self) -> StreamingSpec | None:
        width = self.width
        return StreamingSpec(
            kind="gru" if self.reset == "after" else "gru_before",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width),
            weights=self._weights(),
            workspace=0 if self.reset == "after" else 4 * width,
            bind=lambda state, batch, *_: bind_tensors(state, GRUState, batch, width),
        )

    def gates(self, x_BD: Tensor, state: GRUState) -> dict[str, Tensor]:
        names = ("reset", "update", "candidate")
        return dict(zip(names, self.activations(self.project(x_BD), state), strict=True))
