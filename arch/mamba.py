"""Mamba: a diagonal state-space model whose time step, input map and output map depend on the input.

The source is Gu & Dao 2023 (section 3 and algorithm 2). x is the input and y' the output. u, z, c, p, Δ and s have E
channels, E = `expand` · H. Each channel has N states h, N = `states`. B and C are shared by the channels:

    u = W_u x,  z = W_z x                                     (1)
    c_t = silu(b_c + Σ_k w_k ⊙ u_(t-3+k))                     (2)  conv=4: over steps t - 3 to t; conv=0: c = silu(u)
    B, C = W_BC c;  r = W_r c;  p = W_pᵀ r + b_p              (3)  r has R = ⌈H / 16⌉ numbers
    Δ = softplus(p),  A = -e^(A_log)                          (4)
    h' = a h + Δ c B,  a = e^(Δ A)                            (5a) for each state of each channel
                       a = 2 e^(Δ A) - 1                      (5b) negative=True
    s = Σ C h' + D c                                          (6)  over the states of a channel
    y' = W_y (s ⊙ silu(z))                                    (7)

    FLOPs per step: 4 E D + 8 E + 2 E (2 N + R) + 2 R E + 2 E N + 2 E H                             (8)
    numbers moved per step: 2 E D + 5 E + E (2 N + R) + R E + E (N + 2) + E H weights,
        2 E (N + 3) of state                                                                        (9)

Without the convolution, (8) lacks 8 E, and (9) lacks 5 E weights and 6 E of state.

With (5b), a lies in (-1, 1) instead of (0, 1), so that an input can turn the sign of a state. Parity needs this (Grazzi
et al. 2025). The write stays as it is.

The initial time steps decide how far back a new model remembers. Δ starts log-uniformly between 1e-3 and 1e-1 for p =
b_p, and A starts at -1, …, -N. So state n of a channel, from 1 to N, forgets by half in 0.7 / (Δ n) steps, or in about
half as many with negative=True.
"""

# Shape suffixes: B batch, T time, K taps, D input width, H hidden width, E channels, N states, R rank, M = 2N

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.convolution import convolve
from arch.core.layer import BlockOptions, ParameterGroup, require_steps
from arch.core.memory.projection import Part, project, project_one
from arch.core.scan_layer import ScanLayer
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors
from arch.kernels.runtime.tensors import CONV_STEPS

MIN_STEP, MAX_STEP = 1e-3, 1e-1
"""Range of the initial time steps Δ."""
INPUTS_PER_RANK = 16
"""Width per row of W_r."""


class MambaState(NamedTuple):
    """The state of a Mamba layer."""

    h_BNE: Tensor
    """The states of all channels."""
    inputs_BKE: Tensor | None = None
    """The last three inputs of the convolution, oldest first, or None without a convolution."""


class Mamba(ScanLayer):
    """A selective state-space layer with its projections, short convolution and gate.

    Args:
        inputs: Input width D.
        width: Output width H.
        expand: Number of channels per unit of the output, E / H.
        states: Number of states N of each channel.
        negative: Whether decays lie in (-1, 1), by (5b). Otherwise they lie in (0, 1).
        conv: Number of steps that the causal depthwise convolution of u reads: 4, or 0 for none.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `expand` or `states` is below 1, or if `conv` is neither 0 nor 4.

    The layer stands in a residual block by default: block=residual, expansion=0 (see `arch.core.block`).
    """

    family = "diagonal"
    default_block: ClassVar[BlockOptions] = BlockOptions(block="residual")

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        expand: int = 2,
        states: int = 16,
        negative: bool = False,
        conv: int = CONV_STEPS,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        for name, value in {"expand": expand, "states": states}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if conv not in (0, CONV_STEPS):
            raise ValueError(f"conv must be 0 or {CONV_STEPS}, not {conv}")
        self.width, self.states, self.negative, self.backend = width, states, negative, backend
        self.channels = E = expand * width
        self.rank = R = math.ceil(width / INPUTS_PER_RANK)
        self.W_u_ED = _uniform(E, inputs)
        self.W_z_ED = _uniform(E, inputs)
        bound = 1 / math.sqrt(CONV_STEPS)  # as in torch.nn.Conv1d with one channel per group
        self.conv_KE = nn.Parameter(torch.empty(conv, E).uniform_(-bound, bound)) if conv else None
        self.conv_E = nn.Parameter(torch.empty(E).uniform_(-bound, bound)) if conv else None
        self.W_BC_ME = _uniform(2 * states, E)
        self.W_r_RE = _uniform(R, E)
        self.W_p_RE = nn.Parameter(torch.empty(R, E).uniform_(-1 / math.sqrt(R), 1 / math.sqrt(R)))
        step_E = torch.empty(E).uniform_(math.log(MIN_STEP), math.log(MAX_STEP)).exp()
        self.b_p_E = nn.Parameter(step_E + torch.log(-torch.expm1(-step_E)))  # the inverse of softplus
        n_N = torch.arange(1, states + 1, dtype=step_E.dtype)
        self.A_log_NE = nn.Parameter(n_N.log().unsqueeze(1).repeat(1, E))
        self.D_E = nn.Parameter(torch.ones(E))
        self.W_y_HE = _uniform(width, E)

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_u_ED.shape[1]

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([self.A_log_NE, self.D_E], weight_decay=False)]

    def init_state(self, batch: int) -> MambaState:
        h_BNE = self.empty(batch, self.states, self.channels)
        return MambaState(h_BNE, None if self.conv_KE is None else self.empty(batch, CONV_STEPS - 1, self.channels))

    def scan(self, x_BTD: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        require_steps(x_BTD)
        backend = self.backend_for(x_BTD, state)
        E, R, N = self.channels, self.rank, self.states
        entering = torch.cat([self.W_u_ED, self.W_z_ED])
        u_BTE, z_BTE = project(x_BTD, entering, None, (Part(E), Part(E)), backend=backend)  # (1)
        c_BTE, inputs_BKE = self._convolve(u_BTE, state.inputs_BKE, backend)
        selecting = torch.cat([self.W_r_RE, self.W_BC_ME])
        r_BTR, BC_BTM = project(c_BTE, selecting, None, (Part(R), Part(2 * N)), backend=backend)  # (3)
        weights = (self.W_p_RE, self.b_p_E, -self.A_log_NE.exp())  # (4)
        selected = (r_BTR, c_BTE, z_BTE, *weights, BC_BTM, self.D_E, state.h_BNE)
        if backend == "fused":
            from arch.kernels.training.state_space import selective_scan

            y_BTE, h_BNE = selective_scan.scan(partial(recurrence, self.negative), self.negative, *selected)
        else:
            y_BTE, h_BNE = recurrence(self.negative, *selected)
        return project_one(y_BTE, self.W_y_HE, backend=backend), MambaState(h_BNE, inputs_BKE)  # (7)

    def _convolve(self, u_BTE: Tensor, before_BKE: Tensor | None, backend: Backend) -> tuple[Tensor, Tensor | None]:
        """Return c (B, T, E) of (2) and the next inputs (B, 3, E), if there is a convolution."""
        if before_BKE is None or self.conv_KE is None or self.conv_E is None:
            return functional.silu(u_BTE), None
        return convolve(u_BTE, before_BKE, self.conv_KE, self.conv_E, activates=True, backend=backend)

    def gates(self, x_BD: Tensor, state: MambaState) -> dict[str, Tensor]:
        """Return a as `decay`, (B, E, N), and 1 - e^-Δ as `input`, (B, E).

        a lies in (-1, 1) with `negative=True`. By theorem 1 of the source, σ(p) = 1 - e^-Δ is the input gate of a state
        with A = -1. A write of (5) is Δ times its input. Δ has no upper bound, and 1 - e^-Δ rises with it from 0 to 1.
        """
        u_BTE = functional.linear(x_BD, self.W_u_ED).unsqueeze(1)
        c_BE = self._convolve(u_BTE, state.inputs_BKE, "reference")[0].squeeze(1)
        p_BE = functional.linear(c_BE, self.W_r_RE) @ self.W_p_RE + self.b_p_E
        step_BE1 = functional.softplus(p_BE).unsqueeze(2)
        return {"decay": decay(-step_BE1 * self.A_log_NE.exp().T, self.negative), "input": p_BE.sigmoid()}

    def flops_per_step(self) -> int:
        return 4 * self.channels * self.inputs + self._inner_flops()  # (8)

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        entering = 4 * self.channels * self.inputs
        return batch * length * ((2 if inputs_learn else 1) * entering + 2 * self._inner_flops())

    def _inner_flops(self) -> int:
        """Return the FLOPs of a step without those of (1)."""
        E, N, R = self.channels, self.states, self.rank
        conv = 0 if self.conv_KE is None else 2 * CONV_STEPS * E
        return conv + 2 * E * (2 * N + R) + 2 * R * E + 2 * E * N + 2 * E * self.width

    def step_bytes(self, position: int) -> int:
        weights = sum(parameter.numel() for parameter in self.parameters())
        moved = self.states + (0 if self.conv_KE is None else CONV_STEPS - 1)
        return (weights + 2 * self.channels * moved) * element_bytes(self)  # (9)

    def _weights(self) -> tuple[Weight | None, ...]:
        """Return the weights in the order of the streaming kernel. Those of a missing convolution are None."""
        names = ("W_u_ED", "W_z_ED", "conv_KE", "conv_E", "W_BC_ME", "W_r_RE", "W_p_RE", "b_p_E", "A_log_NE", "D_E")
        tensors = ((name, getattr(self, name)) for name in (*names, "W_y_HE"))
        D, H, E, N, R, K = self.inputs, self.width, self.channels, self.states, self.rank, CONV_STEPS
        shapes = ((E, D), (E, D), (K, E), (E,), (2 * N, E), (R, E), (R, E), (E,), (N, E), (E,), (H, E))
        return tuple(
            None if tensor is None else Weight(self, name, shape)
            for (name, tensor), shape in zip(tensors, shapes, strict=True)
        )

    def kernel_weights(self) -> tuple[Weight, ...]:
        return tuple(weight for weight in self._weights() if weight is not None)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        E, N, R = self.channels, self.states, self.rank
        shapes = ((N, E),) if self.conv_KE is None else ((N, E), (CONV_STEPS - 1, E))
        return StreamingSpec(
            kind="cell",
            inputs=self.inputs,
            outputs=self.width,
            sizes=(self.inputs, self.width, E, N, R, int(self.negative)),
            weights=self._weights(),
            workspace=2 * E + 2 * N + R,
            bind=lambda state, batch, *_: bind_tensors(state, MambaState, batch, shapes),
            cell=LayerStep(_load_step),
        )


def decay(exponent: Tensor, negative: bool) -> Tensor:
    """Return a of (5a) or (5b) from the exponents Δ A, of any shape."""
    return 2 * exponent.exp() - 1 if negative else exponent.exp()


def recurrence(
    negative: bool,
    r_BTR: Tensor,
    c_BTE: Tensor,
    z_BTE: Tensor,
    W_RE: Tensor,
    b_E: Tensor,
    A_NE: Tensor,
    BC_BTM: Tensor,
    D_E: Tensor,
    h_BNE: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return s ⊙ silu(z) (B, T, E) of equations (3) to (7) and the states after the last step, by plain torch.

    Args:
        negative: Whether a is that of (5b).
        r_BTR: r.
        c_BTE: c.
        z_BTE: z.
        W_RE, b_E: W_p and b_p.
        A_NE: A.
        BC_BTM: B of all states, then C of all states.
        D_E: D.
        h_BNE: The states before the first step.
    """
    B_BTN, C_BTN = BC_BTM.chunk(2, 2)
    step_BTE = functional.softplus(r_BTR @ W_RE + b_E)  # (3), (4)
    a_BTNE = decay(step_BTE.unsqueeze(2) * A_NE, negative)
    write_BTNE = (step_BTE * c_BTE).unsqueeze(2) * B_BTN.unsqueeze(3)
    states = []
    for a_BNE, write_BNE in zip(a_BTNE.unbind(1), write_BTNE.unbind(1), strict=True):
        h_BNE = a_BNE * h_BNE + write_BNE  # (5)
        states.append(h_BNE)
    s_BTE = (C_BTN.unsqueeze(2) @ torch.stack(states, 1)).squeeze(2) + D_E * c_BTE  # (6)
    return s_BTE * functional.silu(z_BTE), h_BNE


def _uniform(rows: int, columns: int) -> nn.Parameter:
    """Return a matrix that is uniform in ±1/√columns, as in `torch.nn.Linear`."""
    return nn.Parameter(torch.empty(rows, columns).uniform_(-1 / math.sqrt(columns), 1 / math.sqrt(columns)))


def _load_step() -> Any:
    from arch.kernels.streaming.mamba_step import mamba_step

    return mamba_step
