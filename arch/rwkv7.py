"""RWKV-7: a matrix memory with a decay per channel and a delta rule whose keys and strengths are learned apart.

The source is Peng et al. 2025, "RWKV-7 Goose". x is the input and x₋ the one before it. μ, w_0, a_0, ξ, α and ρ are
learned vectors. r, w, k, v, a and g have H numbers, or K numbers per head:

    x_c = x + μ_c ⊙ (x₋ - x)                                     (1)  token shift, for c = r, w, k, v, a, g
    r = W_r x_r,  k = W_k x_k,  v = W_v x_v                      (2)
    w = exp(-e^(-1/2) σ(w_0 + W_w↑ tanh(W_w↓ x_w)))              (3)  decay, in (0.545, 1)
    a = σ(a_0 + W_a↑ W_a↓ x_a)                                   (4)  in-context learning rate
    g = W_g↑ σ(W_g↓ x_g)                                         (5)  output gate
    κ = (ξ ⊙ k) / |ξ ⊙ k|,  k̃ = k ⊙ (1 + α ⊙ (a - 1))           (6)  |x| = √(Σ x² + 1e-6), per head
    S' = (diag(w) - (a ⊙ κ) κᵀ) S + k̃ vᵀ                         (7)  S is (K, K), keys times values
    h = norm(S'ᵀ r) + (Σ ρ ⊙ r ⊙ k̃) v                            (8)  group norm per head with ε = K · 1e-5; bonus
    y = W_o (g ⊙ h)                                              (9)

The initialisation is that of the authors' code, in which μ and w_0 depend on the depth of a layer. It starts W_o at
zero, but a stack of bare layers would stay there. Here W_o starts like W_v. The paper also adds to v the values of the
first layer, and has a token shift in the MLP. Both are left out, because a layer here sees its own input alone.

    FLOPs per step: 2 D (3 H + R) + 2 H R, with R the widths of W_w↓, W_a↓ and W_g↓ together; 8 H K for (7) and the
        read; 2 H² for W_o                                                                              (10)
    numbers moved per step: all weights; H K + D numbers of state, read and written                     (11)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K head width, R and G narrow widths

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight, is_fused
from arch.core.convolution import unit
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.heads import HeadLayer, group_norm, uniform
from arch.core.memory.projection import project_one
from arch.core.streaming_spec import StreamingSpec

SLOWEST_DECAY = math.exp(-0.5)
"""e^(-1/2) of equation (3)."""
SHIFT_POWERS = (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)
"""Powers of the initial μ of r, w, k, v, a and g."""
UP_SCALE = 0.1
"""Scale of the initial W_w↑, W_a↑ and W_g↑, which are orthogonal."""


class RWKV7State(NamedTuple):
    """The state of an RWKV-7 layer."""

    memory_BNKV: Tensor
    """S, the memory of each head."""
    input_BD: Tensor
    """x₋, the last input."""


class Mixed(NamedTuple):
    """What equations (1) to (6) give for T steps, each (B, T, N, K), but g (B, T, H)."""

    r: Tensor
    decay: Tensor
    kappa: Tensor
    removal: Tensor
    """-a ⊙ κ, the second factor of what (7) removes."""
    k: Tensor
    v: Tensor
    g: Tensor


class RWKV7(HeadLayer):
    """A layer of matrix memories with a generalised delta rule.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N. The width must be a multiple of it.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `heads` is below 1, or if the width is no multiple of it.

    The layer stands in a residual block by default: block=residual, conv=0, expansion=4 (see `arch.core.block`).
    """

    family = "matrix"
    default_block: ClassVar[BlockOptions] = BlockOptions(block="residual", expansion=4)

    def __init__(self, inputs: int, width: int, *, heads: int = 2, backend: Backend = "auto") -> None:
        super().__init__(inputs, width, heads=heads, multiple=heads, backend=backend)
        R, G = round(2.5 * math.sqrt(width)), round(5 * math.sqrt(width))  # as the authors suggest, but not rounded up
        self.mu_6D = nn.Parameter(torch.empty(6, inputs))
        self.W_r_HD, self.W_k_HD, self.W_v_HD = (uniform(width, inputs) for _ in range(3))
        self.decay_RD, self.decay_HR, self.decay_H = *narrow(R, inputs, width), nn.Parameter(torch.empty(width))
        self.rate_RD, self.rate_HR, self.rate_H = *narrow(R, inputs, width), nn.Parameter(torch.empty(width))
        self.gate_GD, self.gate_HG = narrow(G, inputs, width)
        self.xi_H, self.alpha_H, self.rho_H = (nn.Parameter(torch.empty(width)) for _ in range(3))
        self.gain_H, self.offset_H = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.W_HH = uniform(width, width)
        self._initialise()
        self.place(0, 1)

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return `depth` layers. μ and w_0 of each start at values for its depth.

        Args:
            inputs: Input width of the first layer.
            width: Output width H.
            depth: Number of layers.
            options: Options of the constructor, by name.
        """
        layers = super().stack(inputs, width, depth, **options)
        for index, layer in enumerate(layers):
            layer.place(index, depth)
        return layers

    @torch.no_grad()
    def _initialise(self) -> None:
        """Set the initial weights that do not depend on the depth of the layer."""
        H, K = self.width, self.width // self.heads
        for weight, scale in ((self.W_r_HD, 0.5), (self.W_k_HD, 0.05), (self.W_v_HD, 0.5), (self.W_HH, 0.5)):
            weight.mul_(scale)
        rising_H = torch.arange(H) / max(H - 1, 1) - 0.5
        self.rate_H.copy_(-0.19 + 0.3 * zigzag(H, K) + 0.4 * rising_H)
        self.xi_H.copy_(0.71 - 0.1 * rising_H)
        self.alpha_H.fill_(1.02)
        self.rho_H.fill_(-0.04)

    @torch.no_grad()
    def place(self, index: int, depth: int) -> None:
        """Set the initial μ and w_0 of layer number `index` of `depth` layers."""
        D, H, K = self.inputs, self.width, self.width // self.heads
        remaining, passed = 1 - index / depth, index / max(depth - 1, 1)
        powers_61 = remaining * torch.tensor(SHIFT_POWERS)[:, None]
        self.mu_6D.copy_(1 - (torch.arange(D) / D).pow(powers_61))
        ramp_H = (torch.arange(H) / max(H - 1, 1)).pow(1 + passed**0.3)
        self.decay_H.copy_(-5.5 + 6 * ramp_H + 2.5 * zigzag(H, K))

    def init_state(self, batch: int) -> RWKV7State:
        N, K = self.heads, self.width // self.heads
        return RWKV7State(self.empty(batch, N, K, K), self.empty(batch, self.inputs))

    def scan(self, x_BTD: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        require_steps(x_BTD)
        r, w, kappa, removal, k, v, g_BTH = self._mix(x_BTD, state)
        y_BTNK, memory_BNKV = matrix_memory.scan(
            r, k, v, state.memory_BNKV, decay=w, correction=(kappa, removal), backend=self.backend
        )  # (7)
        normed_BTH = group_norm(y_BTNK, self.gain_H, self.offset_H, epsilons=y_BTNK.shape[3], backend=self.backend)
        h_BTH = self._finish(normed_BTH, r, k, v, g_BTH)
        y_BTH = project_one(h_BTH, self.W_HH, backend=self.backend)  # (9)
        return y_BTH, RWKV7State(memory_BNKV, x_BTD[:, -1].clone())

    def _mix(self, x_BTD: Tensor, state: RWKV7State) -> Mixed:
        """Return what equations (1) to (6) give for a chunk that follows a state."""
        down = (self.W_r_HD, self.decay_RD, self.W_k_HD, self.W_v_HD, self.rate_RD, self.gate_GD)
        up = (self.decay_HR, self.rate_HR, self.gate_HG)
        weights = (self.mu_6D, *down, *up, self.decay_H, self.rate_H, self.xi_H, self.alpha_H)
        inputs, (B, T, _) = (x_BTD, state.input_BD, *weights), x_BTD.shape
        D, H, R, G = self.inputs, self.width, len(self.decay_RD), len(self.gate_GD)
        matrices = ((H, D), (R, D), (H, D), (H, D), (R, D), (G, D), (H, R), (H, R), (H, G))
        shapes = ((B, T, D), (B, D), (6, D), *matrices, (H,), (H,), (H,), (H,))
        if not is_fused(self.backend, zip(inputs, shapes, strict=True), T):
            return Mixed._make(mixed(self.heads, *inputs))
        from arch.kernels.training.heads import token_mix as kernel

        reference = partial(mixed, self.heads)
        return Mixed._make(kernel.mix(reference, self.heads, x_BTD, state.input_BD, kernel.Weights._make(weights)))

    def _finish(self, normed_BTH: Tensor, r: Tensor, k: Tensor, v: Tensor, g_BTH: Tensor) -> Tensor:
        """Return g ⊙ h (B, T, H) of equations (8) and (9) from the normed reads and from r, k̃, v and g."""
        (B, T, H), N = normed_BTH.shape, self.heads
        rows = tuple(part.reshape(B * T, H) for part in (normed_BTH, r, k, v, g_BTH))
        inputs, shapes = (*rows, self.rho_H), (*((B * T, H) for _ in rows), (H,))
        if not is_fused(self.backend, zip(inputs, shapes, strict=True), T):
            (h_RH,) = with_bonus(N, *inputs)
        else:
            from arch.kernels.training.heads import bonus as kernel

            h_RH = kernel.add_bonus(partial(with_bonus, N), N, *inputs)
        return h_RH.view(B, T, H)

    def gates(self, x_BD: Tensor, state: RWKV7State) -> dict[str, Tensor]:
        """Return w of equation (3) as `decay` and a of equation (4) as `strength`, each (B, H).

        a is the share of what a key returns that a step removes, so it acts as the β of a delta rule.
        """
        change_BD = state.input_BD - x_BD
        x_w, x_a = (x_BD + self.mu_6D[place] * change_BD for place in (1, 4))  # (1)
        return {
            "decay": decay(x_w, self.decay_RD, self.decay_HR, self.decay_H),
            "strength": rate(x_a, self.rate_RD, self.rate_HR, self.rate_H),
        }

    def project_flops(self) -> int:
        rows = 3 * self.width + len(self.decay_RD) + len(self.rate_RD) + len(self.gate_GD)
        return 2 * rows * self.inputs

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int:
        return 2 * self.scan_flops(batch, length)  # the gradients of x_c are needed for those of μ

    def flops_per_step(self) -> int:
        K, narrow_width = self.width // self.heads, len(self.decay_RD) + len(self.rate_RD) + len(self.gate_GD)
        memory = matrix_memory.flops_per_step(K, K, self.heads, corrects=True)
        return self.project_flops() + 2 * self.width * narrow_width + memory + 2 * self.width**2  # (10)

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N, R, G = self.inputs, self.width, self.heads, len(self.decay_RD), len(self.gate_GD)
        K = H // N

        def load() -> object:
            from arch.kernels.streaming.heads import rwkv7

            return rwkv7.step

        shapes = {
            "mu_6D": (6, D),
            "W_r_HD": (H, D),
            "W_k_HD": (H, D),
            "W_v_HD": (H, D),
            "decay_RD": (R, D),
            "decay_HR": (H, R),
            "decay_H": (H,),
            "rate_RD": (R, D),
            "rate_HR": (H, R),
            "rate_H": (H,),
            "gate_GD": (G, D),
            "gate_HG": (H, G),
            "xi_H": (H,),
            "alpha_H": (H,),
            "rho_H": (H,),
            "gain_H": (H,),
            "offset_H": (H,),
            "W_HH": (H, H),
        }
        return self.head_spec(
            load,
            sizes=(D, H, N, R, G),
            weights=tuple(Weight(self, name, shape) for name, shape in shapes.items()),
            state=RWKV7State,
            shapes=((N, K, K), (D,)),
            workspace=7 * H + D + G + 2 * K,
        )


def mixed(
    heads: int,
    x_BTD: Tensor,
    before_BD: Tensor,
    mu_6D: Tensor,
    W_r_HD: Tensor,
    decay_RD: Tensor,
    W_k_HD: Tensor,
    W_v_HD: Tensor,
    rate_RD: Tensor,
    gate_GD: Tensor,
    decay_HR: Tensor,
    rate_HR: Tensor,
    gate_HG: Tensor,
    decay_H: Tensor,
    rate_H: Tensor,
    xi_H: Tensor,
    alpha_H: Tensor,
) -> tuple[Tensor, ...]:
    """Return the fields of `Mixed` by equations (1) to (6) in plain torch.

    Args:
        heads: Number of heads N.
        x_BTD: Inputs.
        before_BD: The input before the first step.
        mu_6D: μ of r, w, k, v, a and g.
        W_r_HD, W_k_HD, W_v_HD, decay_RD, rate_RD, gate_GD: W_r, W_k, W_v, W_w↓, W_a↓ and W_g↓.
        decay_HR, rate_HR, gate_HG: W_w↑, W_a↑ and W_g↑.
        decay_H, rate_H, xi_H, alpha_H: w_0, a_0, ξ and α.
    """
    linear = functional.linear
    change_BTD = torch.cat([before_BD.unsqueeze(1), x_BTD[:, :-1]], 1) - x_BTD
    x_r, x_w, x_k, x_v, x_a, x_g = (x_BTD + mu_D * change_BTD for mu_D in mu_6D)  # (1)
    r_BTH, k_BTH, v_BTH = linear(x_r, W_r_HD), linear(x_k, W_k_HD), linear(x_v, W_v_HD)  # (2)
    w_BTH, a_BTH = decay(x_w, decay_RD, decay_HR, decay_H), rate(x_a, rate_RD, rate_HR, rate_H)
    g_BTH = linear(linear(x_g, gate_GD).sigmoid(), gate_HG)  # (5)
    new_BTH = k_BTH * (1 + alpha_H * (a_BTH - 1))  # (6)
    r, w, a, key, k, v = (x.unflatten(2, (heads, -1)) for x in (r_BTH, w_BTH, a_BTH, xi_H * k_BTH, new_BTH, v_BTH))
    kappa = unit(key)  # (6)
    return r, w, kappa, -a * kappa, k, v, g_BTH


def decay(x: Tensor, down_RD: Tensor, up_HR: Tensor, start_H: Tensor) -> Tensor:
    """Return w (..., H) of equation (3) for x_w (..., D)."""
    w = functional.linear(functional.linear(x, down_RD).tanh(), up_HR, start_H)
    return torch.exp(-SLOWEST_DECAY * w.sigmoid())  # (3)


def rate(x: Tensor, down_RD: Tensor, up_HR: Tensor, start_H: Tensor) -> Tensor:
    """Return a (..., H) of equation (4) for x_a (..., D)."""
    return functional.linear(functional.linear(x, down_RD), up_HR, start_H).sigmoid()  # (4)


def with_bonus(
    heads: int, normed_RH: Tensor, r_RH: Tensor, k_RH: Tensor, v_RH: Tensor, g_RH: Tensor, rho_H: Tensor
) -> tuple[Tensor]:
    """Return g ⊙ h (R, H) of equations (8) and (9) in plain torch.

    Args:
        heads: Number of heads N.
        normed_RH: The normed reads.
        r_RH, k_RH, v_RH, g_RH: r, k̃, v and g.
        rho_H: ρ.
    """
    bonus_RN1 = (rho_H * r_RH * k_RH).unflatten(1, (heads, -1)).sum(2, keepdim=True)
    bonus_RH = (bonus_RN1 * v_RH.unflatten(1, (heads, -1))).flatten(1)
    return (g_RH * (normed_RH + bonus_RH),)  # (8), (9)


def narrow(rank: int, inputs: int, width: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return W↓ (R, D), which is zero, and W↑ (H, R), which is orthogonal with the scale `UP_SCALE`."""
    return nn.Parameter(torch.zeros(rank, inputs)), nn.Parameter(
        nn.init.orthogonal_(torch.empty(width, rank), gain=UP_SCALE)
    )


def zigzag(width: int, head_width: int) -> Tensor:
    """Return numbers (H,) that rise from -1 to 1 within each head, as a signed square of a ramp."""
    ramp_H = 2 * (torch.arange(width) % head_width) / max(head_width - 1, 1) - 1
    return ramp_H * ramp_H.abs()
