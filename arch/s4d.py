"""S4D: a diagonal state-space model with complex states that does not depend on time.

The source is Gu et al. 2022 ("On the Parameterization and Initialization of Diagonal State Space Models"). x is the
input and y' the output, both of H channels. Each channel has N/2 complex states h, N = `states`. The conjugates of
these states are not stored: twice the real part stands for both.

    a = e^(Δ A),  A = -e^(A_log) + i A_im,  Δ = e^(Δ_log)     (1)  Δ per channel; A per state of each channel
    h' = a h + x                                              (2)
    s  = 2 Re(Σ C b h') + D x,  b = (a - 1) / A               (3)  over the states; b is the zero-order hold
    o  = W gelu(s) + b_o,  y' = o_1 ⊙ σ(o_2)                  (4)  o_1 and o_2 are the halves of o: a GLU

    FLOPs per step: 2 H N + 4 H²                                                              (5)
    numbers moved per step: 2 H N + 4 H + 2 H² weights, 2 H N of state                        (6)

The scan (2) equals a convolution with the kernel 2 Re(Σ C b a^t). The initial values decide what a new model remembers:
A starts at -1/2 + i π n for n = 0, …, N/2 - 1 ("S4D-Lin"), and Δ starts log-uniform between 1e-3 and 1e-1. So a state
forgets by half in 1.4 / Δ steps.
"""

# Shape suffixes: B batch, T time, H width, N stored complex states, P real and imaginary part, G = 2H

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions, ParameterGroup, require_steps
from arch.core.memory.projection import Part, project
from arch.core.scan_layer import ScanLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import Bound, StreamingSpec, bind_tensors

MIN_STEP, MAX_STEP = 1e-3, 1e-1
"""Range of the initial time steps Δ."""


class S4DState(NamedTuple):
    """The state of an S4D layer: the real and the imaginary part of all states."""

    real_BNH: Tensor
    imag_BNH: Tensor


class S4D(ScanLayer):
    """A diagonal state-space layer followed by GELU and a gated linear map that mixes the channels.

    Args:
        inputs: Input width. It must equal `width`.
        width: Width H.
        states: Number of states N of each channel, an even number. Half of them are stored.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `states` is not a positive even number, or if `inputs` differs from `width`.

    The layer stands in a residual block by default: block=residual, conv=0, expansion=0 (see `arch.core.block`).
    """

    family = "diagonal"
    residual = True
    default_block: ClassVar[BlockOptions] = BlockOptions(block="residual")

    def __init__(self, inputs: int, width: int, *, states: int = 64, backend: Backend = "auto") -> None:
        super().__init__()
        if states < 2 or states % 2:
            raise ValueError(f"states must be a positive even number, not {states}; half of the states are stored")
        if inputs != width:
            raise ValueError(f"an S4D layer needs inputs of its own width, {width}, not {inputs}; use equal widths")
        self.width, self.pairs, self.backend = width, states // 2, backend
        N, H = self.pairs, width
        self.step_log_H = nn.Parameter(torch.empty(H).uniform_(math.log(MIN_STEP), math.log(MAX_STEP)))
        self.A_log_NH = nn.Parameter(torch.full((N, H), math.log(0.5)))
        n_N1 = torch.arange(N, dtype=self.A_log_NH.dtype).unsqueeze(1)
        self.A_imag_NH = nn.Parameter((math.pi * n_N1).repeat(1, H))
        self.C_PNH = nn.Parameter(torch.randn(2, N, H) / math.sqrt(2))
        self.D_H = nn.Parameter(torch.randn(H))
        bound = 1 / math.sqrt(H)  # as in torch.nn.Linear
        self.W_GH = nn.Parameter(torch.empty(2 * H, H).uniform_(-bound, bound))
        self.b_G = nn.Parameter(torch.empty(2 * H).uniform_(-bound, bound))

    @property
    def inputs(self) -> int:
        """H, the input width, which equals the output width."""
        return self.width

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.step_log_H, self.A_log_NH, self.A_imag_NH], weight_decay=False)]

    def init_state(self, batch: int) -> S4DState:
        shape = batch, self.pairs, self.width
        return S4DState(self.empty(*shape), self.empty(*shape))

    def scan(self, x_BTH: Tensor, state: S4DState) -> tuple[Tensor, S4DState]:
        require_steps(x_BTH)
        weights = (self.step_log_H, self.A_log_NH, self.A_imag_NH, self.C_PNH)
        if self.backend_for(x_BTH, state) == "fused":
            from arch.kernels.training.state_space import discretisation, structured_scan

            discrete = discretisation.discretise(discretise, *weights)
            mixed_BTH, *after = structured_scan.scan(recurrence, x_BTH, *discrete, self.D_H, *state)
        else:
            mixed_BTH, *after = recurrence(x_BTH, *discretise(*weights), self.D_H, *state)
        parts = (Part(self.width), Part(self.width, "sigmoid"))
        value_BTH, gate_BTH = project(mixed_BTH, self.W_GH, self.b_G, parts, backend=self.backend)
        return value_BTH * gate_BTH, S4DState(*after)  # (4)

    def gates(self, x_BD: Tensor, state: S4DState) -> dict[str, Tensor]:
        """Return |a| as `decay`, (B, H, N / 2). It is the same at every step."""
        decay_HN = (-self.step_log_H.exp() * self.A_log_NH.exp()).exp().T  # (1)
        return {"decay": decay_HN.expand(len(x_BD), -1, -1)}

    def flops_per_step(self) -> int:
        return 4 * self.width * self.pairs + 4 * self.width**2  # (5)

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        return 2 * self.scan_flops(batch, length)

    def step_bytes(self, position: int) -> int:
        weights = sum(parameter.numel() for parameter in self.parameters())
        return (weights + 4 * self.pairs * self.width) * element_bytes(self)  # (6)

    def kernel_weights(self) -> tuple[Weight, ...]:
        N, H = self.pairs, self.width
        return (
            Weight(self, "step_log_H", (H,)),
            Weight(self, "A_log_NH", (N, H)),
            Weight(self, "A_imag_NH", (N, H)),
            Weight(self, "C_PNH", (2, N, H)),
            Weight(self, "D_H", (H,)),
            Weight(self, "W_GH", (2 * H, H)),
            Weight(self, "b_G", (2 * H,)),
        )

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep
        from arch.kernels.streaming.s4d_step import discretised_numbers

        N, H = self.pairs, self.width
        # a and 2 C b, which the kernel computes again if the weights differ from its copy of them
        discretised = torch.full((discretised_numbers(N, H),), math.nan, dtype=torch.float32, device="cpu")

        def bind(state: Any, batch: int, *_: Any) -> Bound | None:
            bound = bind_tensors(state, S4DState, batch, ((N, H), (N, H)))
            return None if bound is None else bound._replace(words=(*bound.words, discretised.data_ptr()))

        return StreamingSpec(
            kind="cell",
            inputs=H,
            outputs=H,
            sizes=(H, H, N),
            weights=self.kernel_weights(),
            workspace=3 * H,
            bind=bind,
            cell=LayerStep(_load_step),
        )


def discretise(step_log_H: Tensor, A_log_NH: Tensor, A_imag_NH: Tensor, C_PNH: Tensor) -> tuple[Tensor, Tensor]:
    """Return a of (1) and 2 C b of (3), real parts first, each (2, N, H), by plain torch.

    With e^v = a, a - 1 is computed from e^(Re v) - 1 and sines, because |a - 1| may be far below 1.

    Args:
        step_log_H: Δ_log.
        A_log_NH, A_imag_NH: A_log and A_im.
        C_PNH: C, real part first.
    """
    step_H, A_NH, A_i = step_log_H.exp(), -A_log_NH.exp(), A_imag_NH
    decay_NH, angle_NH = step_H * A_NH, step_H * A_i
    a_NH, a_i = decay_NH.exp() * angle_NH.cos(), decay_NH.exp() * angle_NH.sin()
    a_minus_1 = decay_NH.expm1() * angle_NH.cos() - 2 * (angle_NH / 2).sin().square()
    size_NH = A_NH.square() + A_i.square()
    b_NH = (a_minus_1 * A_NH + a_i * A_i) / size_NH
    b_i = (a_i * A_NH - a_minus_1 * A_i) / size_NH
    C_NH, C_i = C_PNH
    Cb_PNH = 2 * torch.stack([C_NH * b_NH - C_i * b_i, C_NH * b_i + C_i * b_NH])
    return torch.stack([a_NH, a_i]), Cb_PNH


def recurrence(
    x_BTH: Tensor, a_PNH: Tensor, Cb_PNH: Tensor, D_H: Tensor, real_BNH: Tensor, imag_BNH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gelu(s) (B, T, H) of equations (2) to (4), and the states after the last step, by plain torch.

    Args:
        x_BTH: x.
        a_PNH: a, real part first.
        Cb_PNH: 2 C b, real part first.
        D_H: D.
        real_BNH, imag_BNH: The states before the first step.
    """
    (a_NH, a_i), states = a_PNH, []
    for x_BH in x_BTH.unbind(1):
        before_BNH = real_BNH
        real_BNH = a_NH * before_BNH - a_i * imag_BNH + x_BH.unsqueeze(1)  # (2)
        imag_BNH = a_NH * imag_BNH + a_i * before_BNH
        states.append(torch.stack([real_BNH, -imag_BNH], 1))
    s_BTH = torch.einsum("btpnh,pnh->bth", torch.stack(states, 1), Cb_PNH) + D_H * x_BTH  # (3)
    return functional.gelu(s_BTH), real_BNH, imag_BNH


def _load_step() -> Any:
    from arch.kernels.streaming.s4d_step import s4d_step

    return s4d_step
