"""sLSTM: an LSTM with exponential input gates, a normaliser and memory mixing within heads.

The source is Beck et al. 2024 (xLSTM). x is the input and h the previous output. c, n and m are the previous cell,
normaliser and stabiliser. There are N heads of K = H / N units each. U_i, U_f, U_z and U_o have one K × K block per
head on their diagonals, so a unit sees the outputs of its own head only.

    ĩ  = W_i x + U_i h + b_i                       (1)  logarithm of the input gate
    f̂  = W_f x + U_f h + b_f                       (2)  forget gate σ(f̂)
    z  = tanh(W_z x + U_z h + b_z)                 (3)  candidate
    o  = σ(W_o x + U_o h + b_o)                    (4)  output gate
    m' = max(ĩ, log σ(f̂) + m)                      (5)  stabiliser, m_0 = -∞
    i  = exp(ĩ - m'),  f = exp(log σ(f̂) + m - m')  (6)  stabilised gates, one of which is 1
    c' = f * c + i * z                             (7)  cell
    n' = f * n + i                                 (8)  normaliser, at least 1 after the first step
    h' = o * c' / n'                               (9)  output

    FLOPs per step: 8 H (D + K)                                        (10)
    numbers moved per step: 4 H (D + K + 1) weights, 8 H of state      (11)

The output does not depend on m, which only keeps c and n in the range of floating-point numbers. c' / n' is a weighted
mean of all candidates so far. W and b have four blocks of H rows each, in the order i, f, z, o. U has the K columns of
each row's own head.

The initial weights are those of the authors' code: W ~ N(0, 2 / (5 D)), and U and b are 0 but for b_f. In each head of
layer l of L, counted from 0, unit k starts with b_f = 5 - 12 (k / (K - 1))^(0.3 + 1.3 l / (L - 1)). So the units of a
head start with different lifetimes, from one step to 150 steps.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, N heads, K head width, G = 4H gate rows

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.layer import BlockOptions
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import StreamingSpec, bind_tensors

LARGEST_FORGET_BIAS, FORGET_BIAS_RANGE = 5.0, 12.0
FIRST_POWER, POWER_RANGE = 0.3, 1.3
"""The numbers of the initial b_f, in the order of its formula."""


class SLSTMState(NamedTuple):
    """The state of an sLSTM layer: the last output h, cell c, normaliser n and stabiliser m, each (B, H)."""

    h_BH: Tensor
    c_BH: Tensor
    n_BH: Tensor
    m_BH: Tensor


class SLSTM(RecurrentLayer):
    """An LSTM layer with exponential gates.

    W is a full matrix, as in the equations of the paper. The block of the authors' code has one block of W per head,
    lets only i and f see the convolution, and normalises the outputs of each head.

    Args:
        inputs: Input width D.
        width: Output width H, a multiple of `heads`.
        heads: Number of heads N.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if `heads` is below 1, or does not divide `width`.

    The layer stands in a residual block by default: block=residual, conv=4, expansion=2 (see `arch.core.block`). This
    MLP has as many weights as the gated MLP of the paper, which is 4/3 as wide as the model.
    """

    family = "nonlinear"
    default_block = BlockOptions(block="residual", conv=4, expansion=2)

    def __init__(self, inputs: int, width: int, *, heads: int = 4, backend: Backend = "auto") -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads must be at least 1, not {heads}")
        if width % heads:
            below = max(width // heads, 1) * heads
            raise ValueError(f"width {width} is not a multiple of {heads} heads; try width {below} or {below + heads}")
        self.width = width
        self.heads = heads
        self.backend = backend
        self.W_GD = nn.Parameter(torch.empty(4 * width, inputs))
        self.U_GK = nn.Parameter(torch.zeros(4 * width, width // heads))
        self.b_G = nn.Parameter(torch.zeros(4 * width))
        nn.init.normal_(self.W_GD, std=math.sqrt(2 / (5 * inputs)))
        self.start_forget_biases(0.0)

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return `depth` layers, whose initial forget biases depend on their places. The arguments are as in `Layer`.

        Args:
            inputs: Input width of the first layer.
            width: Width of every layer.
            depth: Number of layers.
            options: Options of the constructor, by name.
        """
        layers = super().stack(inputs, width, depth, **options)
        for index, layer in enumerate(layers):
            layer.start_forget_biases(index / max(1, depth - 1))
        return layers

    def start_forget_biases(self, place: float) -> None:
        """Set b_f to its initial values. `place` is l / (L - 1): 0 for the first layer, 1 for the last."""
        if self.b_G.is_meta:  # there are no values to set then
            return
        K = self.width // self.heads
        share_K = torch.arange(K, dtype=torch.float32, device=self.b_G.device) / max(1, K - 1)
        bias_K = LARGEST_FORGET_BIAS - FORGET_BIAS_RANGE * share_K ** (FIRST_POWER + POWER_RANGE * place)
        self.b_G.data.view(4, self.heads, K)[1] = bias_K

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.W_GD.shape[-1]

    def project_flops(self) -> int:
        return 8 * self.width * self.W_GD.shape[1]  # (10)

    def update_flops(self) -> int:
        return 8 * self.width * self.U_GK.shape[1]  # (10)

    def step_bytes(self, position: int) -> int:
        H, D, K = self.width, self.W_GD.shape[1], self.U_GK.shape[1]
        return (4 * H * (D + K + 1) + 8 * H) * element_bytes(self)  # (11)

    def init_state(self, batch: int) -> SLSTMState:
        h_BH, c_BH, n_BH, m_BH = (self.empty(batch, self.width) for _ in range(4))
        return SLSTMState(h_BH, c_BH, n_BH, m_BH.fill_(-torch.inf))

    def project(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.W_GD, self.b_G)

    def activations(
        self, projected_BG: Tensor, state: SLSTMState
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], SLSTMState]:
        """Return i, f, z and o, each (B, H), and the next state."""
        h_BNK = state.h_BH.unflatten(1, (self.heads, -1))
        U_4NJK = self.U_GK.unflatten(0, (4, self.heads, -1))
        mixed_BG = torch.einsum("bnk,gnjk->bgnj", h_BNK, U_4NJK).flatten(1)
        return _advance(projected_BG + mixed_BG, state)

    def update(self, projected_BG: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        _, after = self.activations(projected_BG, state)
        return after.h_BH, after

    def fuse(self, x_TBD: Tensor, state: SLSTMState) -> tuple[Tensor, SLSTMState]:
        from arch.kernels.training import four_gates, slstm

        weights = (self.W_GD, self.b_G, self._recurrent_weights())
        outputs_TBH, *after = four_gates.scan(_scan_with_full_weights, slstm.KERNELS, x_TBD, *weights, *state)
        return outputs_TBH, SLSTMState(*after)

    def _recurrent_weights(self) -> Tensor:
        """Return U as a matrix (G, H), with zeros for the other heads."""
        N, K = self.heads, self.U_GK.shape[1]
        own_NN = torch.eye(N, dtype=self.U_GK.dtype, device=self.U_GK.device)
        return (self.U_GK.reshape(4, N, K, 1, K) * own_NN.view(N, 1, N, 1)).reshape(4 * N * K, N * K)

    def kernel_obstacle(self, x_BTD: Tensor, state: State | None) -> str | None:
        return "the heads do not divide the width" if self.width % self.heads else None

    def kernel_weights(self) -> tuple[Weight, ...]:
        H, D = self.width, self.inputs
        shapes = {"W_GD": (4 * H, D), "b_G": (4 * H,), "U_GK": (4 * H, H // self.heads)}
        return tuple(Weight(self, name, shape) for name, shape in shapes.items())

    def streaming_spec(self) -> StreamingSpec | None:
        from arch.kernels.streaming.record import LayerStep

        width = self.width
        if width % self.heads:
            return None
        return StreamingSpec(
            kind="cell",
            inputs=self.inputs,
            outputs=width,
            sizes=(self.inputs, width, self.heads),
            weights=self.kernel_weights(),
            workspace=4 * width,
            bind=lambda state, batch, *_: bind_tensors(state, SLSTMState, batch, width),
            cell=LayerStep(_load_step),
        )

    def gates(self, x_BD: Tensor, state: SLSTMState) -> dict[str, Tensor]:
        """Return the shares of old cell and new candidate in c' / n', which add up to 1, and o.

        The stabilised gates of (6) are no shares: they depend on m.
        """
        (i_BH, f_BH, z_BH, o_BH), after = self.activations(self.project(x_BD), state)
        shares = {"input": i_BH / after.n_BH, "forget": f_BH * state.n_BH / after.n_BH}
        return {**shares, "candidate": z_BH, "output": o_BH}


def _advance(sums_BG: Tensor, state: SLSTMState) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], SLSTMState]:
    """Return i, f, z and o, each (B, H), and the next state.

    Args:
        sums_BG: ĩ and f̂, and the sums within the tanh of (3) and the σ of (4), (B, G).
        state: The state before the step.
    """
    log_i, f, z, o = sums_BG.chunk(4, 1)  # (1), (2)
    log_f = functional.logsigmoid(f) + state.m_BH
    m_BH = torch.maximum(log_i, log_f)  # (5)
    i_BH, f_BH = (log_i - m_BH).exp(), (log_f - m_BH).exp()  # (6)
    z_BH, o_BH = z.tanh(), o.sigmoid()  # (3), (4)
    c_BH = f_BH * state.c_BH + i_BH * z_BH  # (7)
    n_BH = f_BH * state.n_BH + i_BH  # (8)
    return (i_BH, f_BH, z_BH, o_BH), SLSTMState(o_BH * c_BH / n_BH, c_BH, n_BH, m_BH)  # (9)


def _scan_with_full_weights(
    x_TBD: Tensor, W_GD: Tensor, b_G: Tensor, U_GH: Tensor, *parts: Tensor
) -> tuple[Tensor, ...]:
    """Return what the kernel returns, in plain torch: outputs (T, B, H), then the parts of the last state.

    Args:
        x_TBD, W_GD, b_G: Inputs and their weights.
        U_GH: U as a matrix, with zeros for the other heads.
        parts: The parts of the initial state, each (B, H).
    """
    state, outputs = SLSTMState(*parts), []
    for projected_BG in functional.linear(x_TBD, W_GD, b_G):
        _, state = _advance(torch.addmm(projected_BG, state.h_BH, U_GH.T), state)
        outputs.append(state.h_BH)
    return torch.stack(outputs), *state


def _load_step() -> Any:
    from arch.kernels.streaming.slstm_step import slstm_step

    return slstm_step
