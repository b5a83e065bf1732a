"""RNN: the plain recurrent network, whose only memory is its last output.

The source is Elman 1990, "Finding structure in time". The options `nonlinearity=relu,init=identity` give the IRNN of
Le, Jaitly & Hinton 2015. x is the input, h the previous output and h' the next output.

    h' = φ(W x + U h + b)                 (1)  φ is tanh or relu

    FLOPs per step: 2 H (D + H)                                        (2)
    numbers moved per step: H (D + H + 1) weights, 2 H of state        (3)

Without b, (3) has H (D + H) weights.
"""

# Shape suffixes: B batch, D input width, H hidden width

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.initialisation import RectifiedInitialisation, add_second_bias, bias_groups, initialise
from arch.core.layer import ParameterGroup
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors


class RNNState(NamedTuple):
    """The state of an RNN layer: the last output h (B, H)."""

    h_BH: Tensor


class RNN(RecurrentLayer):
    """A plain recurrent layer.

    Args:
        inputs: Input width D.
        width: Output width H.
        nonlinearity: φ in equation (1): `tanh` or `relu`.
        bias: Whether to learn b. `False` omits it.
        init: Initialisation of the weights: `default`, `torch`, `orthogonal` or `identity` (see
            `arch.core.initialisation`). `torch` trains b as `torch.nn.RNN` trains its two biases; `default` has one.
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
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        init: RectifiedInitialisation = "default",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.width = width
        self.backend = backend
        self.nonlinearity = nonlinearity
        self.W_HD = nn.Parameter(torch.empty(width, inputs))
        self.U_HH = nn.Parameter(torch.empty(width, width))
        self.b_H = nn.Parameter(torch.empty(width)) if bias else None
        self.init = init
        initialise(init, self.W_HD, self.U_HH, self.b_H)
        if init == "torch" and self.b_H is not None:
            add_second_bias(self.b_H, width)

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_HD.shape[-1]

    def parameter_groups(self) -> list[ParameterGroup]:
        return bias_groups(self.init, self.b_H)

    def project_flops(self) -> int:
        return 2 * self.W_HD.numel()  # (2)

    def update_flops(self) -> int:
        return 2 * self.width**2  # (2)

    def step_bytes(self, position: int) -> int:
        H, D = self.W_HD.shape
        weights = H * (D + H + (self.b_H is not None))
        return (weights + 2 * H) * element_bytes(self)  # (3)

    def init_state(self, batch: int) -> RNNState:
        return RNNState(self.empty(batch, self.width))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_HD, self.b_H)

    def update(self, projected_BG: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        total_BH = torch.addmm(projected_BG, state.h_BH, self.U_HH.T)
        h_BH = total_BH.tanh() if self.nonlinearity == "tanh" else total_BH.relu()  # (1)
        return h_BH, RNNState(h_BH)

    def fuse(self, x_TBD: Tensor, state: RNNState) -> tuple[Tensor, RNNState]:
        from arch.kernels.training import rnn

        def reference(x_TBD: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            outputs_TBH, (h_BH,) = self.unroll(self.project(x_TBD), RNNState(inputs[-1]), 0)
            return outputs_TBH, h_BH

        b_H = self.empty(self.width) if self.b_H is None else self.b_H
        inputs = (x_TBD, self.W_HD, b_H, self.U_HH, state.h_BH)
        outputs_TBH, h_BH = rnn.scan(reference, self.nonlinearity == "tanh", *inputs)
        return outputs_TBH, RNNState(h_BH)

    def kernel_weights(self) -> tuple[Weight, ...]:
        H, D = self.width, self.inputs
        bias = () if self.b_H is None else (Weight(self, "b_H", (H,)),)
        return Weight(self, "W_HD", (H, D)), *bias, Weight(self, "U_HH", (H, H))

    def streaming_spec(self) -> StreamingSpec | None:
        width = self.width
        W_HD, *b_H, U_HH = self.kernel_weights()
        return StreamingSpec(
            kind="rnn_tanh" if self.nonlinearity == "tanh" else "rnn_relu",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width),
            weights=(W_HD, b_H[0] if b_H else None, U_HH),
            workspace=0,
            bind=lambda state, batch, *_: bind_tensors(state, RNNState, batch, width),
        )
