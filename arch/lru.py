"""LRU: a linear recurrence of complex numbers, each of which decays and turns at its own constant rate.

The source is Orvieto et al. 2023, "Resurrecting Recurrent Neural Networks for Long Sequences". x is the input, h the
previous and h' the next state of N complex numbers, and y the output:

    a  = exp(-e^ν + i e^θ)                             (1)  0 < |a| < 1
    h' = a ⊙ h + γ ⊙ B x                               (2)  γ = e^c
    v  = Re(C h') + D ⊙ x                              (3)
    y  = (W_1 u + b_1) ⊙ σ(W_2 u + b_2),  u = gelu(v)  (4a) with `output=glu`: the source's block
    y  = v                                             (4b) with `output=linear`

    FLOPs per step: 4 N D for (2), 4 N H for (3), 4 H² for (4a)                                              (5)
    numbers moved per step: 2 N (D + H) + 3 N + H weights and 4 N of state; 2 H (H + 1) weights for (4a)     (6)

Initially, |a|² is uniform in [r_min², r_max²], and the phase e^θ in [0, max_phase]: a is uniform in a ring. γ starts at
√(1 - |a|²), which keeps the variance of h at that of B x, and is learned. B and C are normal with the variances 1 / 2D
and 1 / N, and D with variance 1. h starts from 0.

The block of the source is a norm, the layer with (4a), and a residual connection. That is block=residual without MLP,
with a layer norm in the place of a batch norm. D ⊙ x needs inputs of the width H.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, N complex states, M = 2N real numbers, G = 2H rows

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.diagonal import Complex, DiagonalLayer, recur_complex
from arch.core.layer import BlockOptions, ParameterGroup
from arch.core.state import element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors

SMALLEST_DRAW = 1e-6
"""Smallest number that is drawn from [0, 1], so that logarithms stay finite. It also bounds |a|² and 1 - |a|². In
float32, an |a| nearer to 1 is off by more than 6% of its distance from 1."""


class LRUState(NamedTuple):
    """The state of an LRU layer: the real parts of h (B, N), and the imaginary parts."""

    re_BN: Tensor
    im_BN: Tensor


class LRU(DiagonalLayer):
    """A linear recurrent unit layer.

    Args:
        inputs: Input width D. It must equal the output width.
        width: Output width H.
        states: Number of complex states N, or None for H.
        r_min: Smallest |a| in a new layer.
        r_max: Largest |a| in a new layer. Close to 1, states remember for long.
        max_phase: Largest phase of a in a new layer. The source uses π / 10 for long sequences.
        output: Whether a gated linear unit follows (4a), or none (4b).
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    The layer stands in a residual block by default: block=residual, conv=0, expansion=0 (see `arch.core.block`).
    """

    family = "diagonal"
    residual = True
    default_block = BlockOptions(block="residual")

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        states: int | None = None,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        output: Literal["glu", "linear"] = "glu",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if inputs != width:
            raise ValueError(f"an LRU layer needs inputs of its own width, {width}, not {inputs}; use equal widths")
        if states is not None and states < 1:
            raise ValueError(f"states must be at least 1, not {states}; omit it for as many states as the width")
        if not 0 <= r_min < r_max <= 1:
            raise ValueError(f"r_min={r_min:g} and r_max={r_max:g} must satisfy 0 <= r_min < r_max <= 1")
        if r_min > 1 - SMALLEST_DRAW / 2:
            raise ValueError(f"r_min={r_min} is too near 1 for float32; choose at most 0.9999995")
        if r_max < math.sqrt(SMALLEST_DRAW):
            raise ValueError(f"r_max={r_max} is too near 0; choose at least 0.001")
        if not max_phase > 0:
            raise ValueError(f"max_phase must be positive, not {max_phase:g}; the largest useful value is 2π")
        N = width if states is None else states
        self.width, self.output, self.backend = width, output, backend
        share_N = torch.empty(N).uniform_()  # of the ring's area
        lost_N = (1 - r_min**2) - (r_max**2 - r_min**2) * share_N.double()  # 1 - |a|², exact also near 0
        lost_N = lost_N.clamp(SMALLEST_DRAW, 1 - SMALLEST_DRAW)
        phase_N = max_phase * torch.empty(N).uniform_(SMALLEST_DRAW, 1)
        self.nu_N = nn.Parameter((-torch.log1p(-lost_N) / 2).log().to(share_N.dtype))
        self.theta_N = nn.Parameter(phase_N.log())
        self.gamma_log_N = nn.Parameter((lost_N.log() / 2).to(share_N.dtype))
        self.B_MD = nn.Parameter(torch.empty(2 * N, width).normal_(std=math.sqrt(1 / (2 * width))))  # Re B, then Im B
        self.C_HM = nn.Parameter(torch.empty(width, 2 * N).normal_(std=math.sqrt(1 / N)))  # Re C, then -Im C
        self.D_H = nn.Parameter(torch.empty(width).normal_())
        has_gate, bound = output == "glu", 1 / math.sqrt(width)  # as in torch.nn.Linear
        self.W_GH = nn.Parameter(torch.empty(2 * width, width).uniform_(-bound, bound)) if has_gate else None
        self.b_G = nn.Parameter(torch.empty(2 * width).uniform_(-bound, bound)) if has_gate else None

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.B_MD.shape[-1]

    @property
    def states(self) -> int:
        """N, the number of complex states."""
        return len(self.nu_N)

    def project_flops(self) -> int:
        return 2 * self.B_MD.numel()  # (5)

    def update_flops(self) -> int:
        return 2 * (self.C_HM.numel() + (0 if self.W_GH is None else self.W_GH.numel()))  # (5)

    def step_bytes(self, position: int) -> int:
        weights = sum(parameter.numel() for parameter in self.parameters())
        return (weights + 4 * self.states) * element_bytes(self)  # (6)

    def init_state(self, batch: int) -> LRUState:
        return LRUState(self.empty(batch, self.states), self.empty(batch, self.states))

    def a(self) -> Complex:
        """Return real and imaginary part of a (N,), equation (1)."""
        return a_of(self.nu_N, self.theta_N)

    def project(self, x: Tensor) -> Tensor:
        return torch.cat([written(x, self.gamma_log_N, self.B_MD), self.D_H * x], -1)

    def follow(self, projected_BTG: Tensor, state: LRUState) -> tuple[Tensor, LRUState]:
        N = self.states
        re_BTN, im_BTN, skipped_BTH = projected_BTG.split([N, N, self.width], -1)
        h = _recur(self.a(), (re_BTN, im_BTN), state)
        y_BTH = read(torch.cat(h, -1), skipped_BTH, self.C_HM, self.W_GH, self.b_G)
        return y_BTH, LRUState(*(part_BTN[:, -1].clone() for part_BTN in h))

    def fuse(self, x_TBD: Tensor, state: LRUState) -> tuple[Tensor, LRUState]:
        from arch.kernels.training.linear_units import lru

        def reference(x_TBD: Tensor, re_BN: Tensor, im_BN: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
            nu_N, theta_N, gamma_log_N, B_MD, C_HM, D_H, *gate = weights
            re_BTN, im_BTN = written(x_TBD.transpose(0, 1), gamma_log_N, B_MD).chunk(2, -1)
            h = _recur(a_of(nu_N, theta_N), (re_BTN, im_BTN), LRUState(re_BN, im_BN))
            y_TBH = read(torch.cat(h, -1).transpose(0, 1), D_H * x_TBD, C_HM, *gate)
            return y_TBH, *(part_BTN[:, -1] for part_BTN in h)

        weights = (self.nu_N, self.theta_N, self.gamma_log_N, self.B_MD, self.C_HM, self.D_H)
        gate = () if self.W_GH is None or self.b_G is None else (self.W_GH, self.b_G)
        y_TBH, *after = lru.scan(reference, x_TBD, *state, *weights, *gate)
        return y_TBH, LRUState(*after)

    def gates(self, x_BD: Tensor, state: LRUState) -> dict[str, Tensor]:
        """Return |a| as `decay`, (B, N). It is the same at every step."""
        return {"decay": torch.exp(-self.nu_N.exp()).expand(len(x_BD), -1)}  # (1)

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        H, N = self.width, self.states
        shapes = {"nu_N": (N,), "theta_N": (N,), "gamma_log_N": (N,), "B_MD": (2 * N, H), "C_HM": (H, 2 * N)}
        shapes |= {"D_H": (H,)} | ({} if self.W_GH is None else {"W_GH": (2 * H, H), "b_G": (2 * H,)})
        return StreamingSpec(
            kind="cell",
            inputs=H,
            outputs=H,
            sizes=(H, H, N),
            weights=tuple(Weight(self, name, shape) for name, shape in shapes.items()),
            workspace=2 * N + 3 * H,
            bind=lambda state, batch, *_: bind_tensors(state, LRUState, batch, ((N,), (N,))),
            cell=LayerStep(_load_step),
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup((self.nu_N, self.theta_N, self.gamma_log_N), weight_decay=False)]


def a_of(nu_N: Tensor, theta_N: Tensor) -> Complex:
    """Return real and imaginary part of a (N,), equation (1)."""
    size_N, phase_N = torch.exp(-nu_N.exp()), theta_N.exp()
    return size_N * phase_N.cos(), size_N * phase_N.sin()  # (1)


def written(x: Tensor, gamma_log_N: Tensor, B_MD: Tensor) -> Tensor:
    """Return γ ⊙ B x for inputs (..., D): real parts, then imaginary parts (..., M)."""
    gamma_M1 = gamma_log_N.exp().repeat(2).unsqueeze(1)
    return functional.linear(x, gamma_M1 * B_MD)  # (2)


def read(h: Tensor, skipped: Tensor, C_HM: Tensor, W_GH: Tensor | None = None, b_G: Tensor | None = None) -> Tensor:
    """Return y for the state h (..., M) and D ⊙ x (..., H). Without W, there is no gated linear unit."""
    v = functional.linear(h, C_HM) + skipped  # (3)
    if W_GH is None:
        return v  # (4b)
    return functional.glu(functional.linear(functional.gelu(v), W_GH, b_G))  # (4a)


def _recur(a: Complex, b: Complex, state: LRUState) -> Complex:
    """Return the states of equation (2), (B, T, N), for a (N,) and γ ⊙ B x (B, T, N)."""
    T = b[0].shape[1]
    re_1TN, im_1TN = (part_N.expand(1, T, -1) for part_N in a)
    return recur_complex((re_1TN, im_1TN), b, (state.re_BN, state.im_BN))


def _load_step() -> object:
    from arch.kernels.streaming.lru_step import lru

    return lru
