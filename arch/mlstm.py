"""mLSTM: an LSTM with a matrix memory, exponential input gates and a normaliser, without recurrent weights.

The source is Beck et al. 2024, "xLSTM", in the form of Beck et al. 2025, "xLSTM 7B", whose layer has no convolution and
no up-projection. x is the input. Per head, with the memory C of keys times values and the normaliser n:

    q = W_q x + b_q,  k = (W_k x + b_k) / √K,  v = W_v x + b_v         (1)
    ĩ = w_i x + b_i,  f̃ = w_f x + b_f                                  (2)
    m' = max(log σ(f̃) + m, ĩ)                                          (3)  running stabiliser
    f  = exp(log σ(f̃) + m - m'),  i = exp(ĩ - m')                      (4)  both in [0, 1]
    C' = f C + i k vᵀ,  n' = f n + i k                                 (5)
    h  = C'ᵀ q / max(|n'·q|, exp(-m'))                                 (6)
    y  = W_y (σ(W_o x + b_o) ⊙ norm(h)) + b_y                          (7)  group norm per head

Without m, the memory would be exp(m) C, the gates exp(ĩ) and σ(f̃), and (6) would divide by max(|n·q|, 1). So h does not
depend on m, whose only role is that no exponential overflows. Over a chunk, (3) is
m_t = F_t + max(m_0, max over s ≤ t of (ĩ_s - F_s)), with F the cumulative sum of log σ(f̃). n is the last column of the
memory: the values have a constant one as their last number.

Gate weights start at zero. b_f starts evenly spaced from 3 to 6 over the heads, so their rates of forgetting differ.

    FLOPs per step: 2 D (4 H + 2 N) for the projections; 4 H (K + 1) for (5) and (6); 2 H² for W_y     (8)
    numbers moved per step: all weights; H (K + 1) + N numbers of state, read and written              (9)
"""

# Shape suffixes: B batch, T time, D input width, H width, N heads, K head width, U = K + 1, G = 2N

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core import matrix_memory
from arch.core.backend import Backend, Weight, is_fused
from arch.core.layer import BlockOptions, require_steps
from arch.core.memory.heads import HeadLayer, gated_norm, uniform
from arch.core.memory.normaliser import normalised
from arch.core.memory.projection import Part, project, project_one
from arch.core.streaming_spec import StreamingSpec
from arch.kernels.runtime.tensors import MIN_STABILISER

INPUT_BIAS_DEVIATION = 0.1
"""Standard deviation of b_i at the start, as in the authors' code."""
FIRST_FORGET_BIAS, LAST_FORGET_BIAS = 3.0, 6.0
"""b_f of the first and of the last head at the start."""


class MLSTMState(NamedTuple):
    """The state of an mLSTM layer."""

    memory_BNKU: Tensor
    """C, with n as its last column."""
    stabiliser_BN: Tensor
    """m."""


class MLSTM(HeadLayer):
    """A layer of matrix memories with exponential gates.

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
        bound = 1 / math.sqrt(inputs)
        self.W_qkvo_4HD = uniform(4 * width, inputs)
        self.b_qkvo_4H = nn.Parameter(torch.empty(4 * width).uniform_(-bound, bound))
        self.W_if_2ND = nn.Parameter(torch.zeros(2 * heads, inputs))
        b_if_2N = torch.empty(2 * heads)
        b_if_2N[:heads] = INPUT_BIAS_DEVIATION * torch.randn(heads)
        b_if_2N[heads:] = torch.linspace(FIRST_FORGET_BIAS, LAST_FORGET_BIAS, heads)
        self.b_if_2N = nn.Parameter(b_if_2N)
        self.gain_H = nn.Parameter(torch.ones(width))
        self.offset_H = nn.Parameter(torch.zeros(width))
        self.W_HH = uniform(width, width)
        self.b_H = nn.Parameter(torch.zeros(width))

    def init_state(self, batch: int) -> MLSTMState:
        N, K = self.heads, self.width // self.heads
        return MLSTMState(self.empty(batch, N, K, K + 1), self.empty(batch, N))

    def scan(self, x_BTD: Tensor, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
        require_steps(x_BTD)
        H, N = self.width, self.heads
        keys = Part(H, heads=N)
        parts = (keys, keys, Part(H, heads=N, counts=True), Part(H), Part(2 * N))
        weights = torch.cat([self.W_qkvo_4HD, self.W_if_2ND]), torch.cat([self.b_qkvo_4H, self.b_if_2N])
        q_BTNK, k_BTNK, v_BTNU, o_BTH, gates_BTG = project(
            x_BTD, *weights, parts, backend=self.backend
        )  # (1), (2); / √K is part of i
        i_BTN, f_BTN, least_BTN, stabiliser_BN = stabilised_gates(gates_BTG, state.stabiliser_BN, backend=self.backend)
        read_BTNU, memory_BNKU = matrix_memory.scan(
            q_BTNK,
            k_BTNK,
            v_BTNU,
            state.memory_BNKU,
            decay=f_BTN.unsqueeze(3),
            strength=(i_BTN / math.sqrt(q_BTNK.shape[3])).unsqueeze(3),
            backend=self.backend,
        )  # (5)
        h_BTNK = normalised(read_BTNU, least_BTN, backend=self.backend)  # (6)
        gated_BTH = gated_norm(h_BTNK, o_BTH, self.gain_H, self.offset_H, gate="sigmoid", backend=self.backend)
        h_BTH = project_one(gated_BTH, self.W_HH, self.b_H, backend=self.backend)  # (7)
        return h_BTH, MLSTMState(memory_BNKU, stabiliser_BN)

    def gates(self, x_BD: Tensor, state: MLSTMState) -> dict[str, Tensor]:
        """Return σ(ĩ) and σ(f̃) as `input` and `forget`, each (B, N), and σ(W_o x + b_o) as `output`, (B, H).

        σ(f̃) is the share that the memory exp(m) C keeps. σ(ĩ) = exp(ĩ) / (exp(ĩ) + 1) compares the weight exp(ĩ) of a
        write with 1, the least divisor of (6) without m. The gates of (4) depend on m, and so on the past.
        """
        H = self.width
        gates_B2N = functional.linear(x_BD, self.W_if_2ND, self.b_if_2N)  # (2)
        input_BN, forget_BN = gates_B2N.sigmoid().chunk(2, 1)
        output_BH = functional.linear(x_BD, self.W_qkvo_4HD[3 * H :], self.b_qkvo_4H[3 * H :]).sigmoid()
        return {"input": input_BN, "forget": forget_BN, "output": output_BH}

    def project_flops(self) -> int:
        return 2 * (self.W_qkvo_4HD.numel() + self.W_if_2ND.numel())

    def flops_per_step(self) -> int:
        K = self.width // self.heads
        return self.project_flops() + matrix_memory.flops_per_step(K, K + 1, self.heads) + 2 * self.width**2  # (8)

    def streaming_spec(self) -> StreamingSpec | None:
        D, H, N = self.inputs, self.width, self.heads
        K = H // N

        def load() -> object:
            from arch.kernels.streaming.heads import mlstm

            return mlstm.step

        return self.head_spec(
            load,
            sizes=(D, H, N),
            weights=(
                Weight(self, "W_qkvo_4HD", (4 * H, D)),
                Weight(self, "b_qkvo_4H", (4 * H,)),
                Weight(self, "W_if_2ND", (2 * N, D)),
                Weight(self, "b_if_2N", (2 * N,)),
                Weight(self, "gain_H", (H,)),
                Weight(self, "offset_H", (H,)),
                Weight(self, "W_HH", (H, H)),
                Weight(self, "b_H", (H,)),
            ),
            state=MLSTMState,
            shapes=((N, K, K + 1), (N,)),
            workspace=5 * H + 3 * N + K + 1,
        )


def stabilised_gates(
    gates_BTG: Tensor, stabiliser_BN: Tensor, *, backend: Backend = "auto"
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return i, f and exp(-m') of (4) and (6), each (B, T, N), and the last m' (B, N).

    Args:
        gates_BTG: ĩ, then f̃, of all heads.
        stabiliser_BN: m before the first step.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    (B, T, _), N = gates_BTG.shape, stabiliser_BN.shape[1]
    shapes = ((gates_BTG, (B, T, 2 * N)), (stabiliser_BN, (B, N)))
    if gates_BTG.numel() == 0 or not is_fused(backend, shapes, T):
        return _stabilised_by_equations(gates_BTG, stabiliser_BN)
    from arch.kernels.training.heads import stabilised_gates as kernel

    i_BTN, f_BTN, least_BTN, last_BN = kernel.stabilised_gates(_stabilised_by_equations, gates_BTG, stabiliser_BN)
    return i_BTN, f_BTN, least_BTN, last_BN


def _stabilised_by_equations(gates_BTG: Tensor, stabiliser_BN: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `stabilised_gates` returns, in plain torch."""
    i_BTN, f_BTN = gates_BTG.chunk(2, 2)
    log_f_BTN = functional.logsigmoid(f_BTN)
    total_BTN = log_f_BTN.cumsum(1)
    highest_BTN = (i_BTN - total_BTN).cummax(1).values
    m_BTN = total_BTN + torch.maximum(stabiliser_BN.unsqueeze(1), highest_BTN)  # (3)
    before_BTN = torch.cat([stabiliser_BN.unsqueeze(1), m_BTN[:, :-1]], 1)
    i_BTN, f_BTN = torch.exp(i_BTN - m_BTN), torch.exp(log_f_BTN + before_BTN - m_BTN)  # (4)
    return i_BTN, f_BTN, torch.exp(-m_BTN.clamp(min=MIN_STABILISER)), m_BTN[:, -1].clone()
