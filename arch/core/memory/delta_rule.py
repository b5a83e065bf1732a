"""What the layers with a delta rule share: queries and keys of norm 1, values, and the strengths of their writes.

x is the input. A token takes n steps of the memory, each with a key and a value of its own; n is 1 unless stated.

    q, k_1 … k_n, v_1 … v_n = silu(conv(W x))      (1)  the convolution is that of `arch.core.convolution`
    q ← q / |q|,  k_j ← k_j / |k_j|                (2)  per head, |·| as there
    β_j = σ(w_j x), or 2 σ(w_j x)                  (3)  one number per head, in (0, 1) or in (0, 2)

A step replaces the share β of what the memory holds for its key by the value: S' = S - β k (kᵀS) + β k vᵀ. Its
transition I - β k kᵀ has the eigenvalue 1 - β in the direction of k, which is negative for β > 1 (Grazzi et al. 2025).
"""

# Shape suffixes: B batch, T tokens, S = n T steps, L taps, D input width, H width, C channels, N heads, K head width

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from arch.core.backend import Backend, Weight
from arch.core.convolution import activated, convolve_heads
from arch.core.matrix_memory import flops_per_step as memory_flops
from arch.core.memory.heads import HeadLayer, convolution_flops, empty_inputs, uniform, uniform_filters
from arch.core.memory.projection import Part, project
from arch.core.streaming_spec import StreamingSpec
from arch.kernels.runtime.tensors import CONV_STEPS


class DeltaState(NamedTuple):
    """The state of a layer with a delta rule."""

    memory_BNKV: Tensor
    """S, the memory of each head."""
    inputs_BLC: Tensor | None = None
    """The last three inputs of the convolution, oldest first. None if there is no convolution."""


class Writes(NamedTuple):
    """What equations (1) to (3) give for T tokens."""

    q_BTNK: Tensor
    k_BSNK: Tensor
    v_BSNK: Tensor
    beta_BSN1: Tensor
    inputs_BLC: Tensor | None
    """The next inputs of the convolution."""
    others: tuple[Tensor, ...] = ()
    """The products of further weights with the inputs, each (B, T, width)."""


class DeltaLayer(HeadLayer):
    """A layer of heads that write by a delta rule. Key and value widths are equal.

    Args:
        inputs: Input width D.
        width: Output width H.
        heads: Number of heads N.
        negative: Whether β lies in (0, 2) instead of (0, 1).
        householders: Number of steps n per token.
        conv: Number of steps that the short convolution reads, 4, or 0 for none.
        backend: Implementation of `scan` and of a model's `step`.

    Raises `ValueError` if the width does not fit the heads, or if a number is impossible.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int,
        negative: bool,
        householders: int,
        conv: int,
        backend: Backend,
    ) -> None:
        if householders < 1:
            raise ValueError(f"householders must be at least 1 step per token, not {householders}")
        if conv not in (0, CONV_STEPS):
            raise ValueError(f"conv must be 0 or {CONV_STEPS}, not {conv}")
        super().__init__(inputs, width, heads=heads, multiple=heads, backend=backend)
        self.negative, self.householders = negative, householders
        self.W_CD = uniform((1 + 2 * householders) * width, inputs)
        self.filter_LC = uniform_filters((1 + 2 * householders) * width) if conv else None
        self.strength_ND = uniform(householders * heads, inputs)

    @property
    def channels(self) -> int:
        """C, the width of q, all k_j and all v_j together."""
        return (1 + 2 * self.householders) * self.width

    def init_state(self, batch: int) -> DeltaState:
        N, K = self.heads, self.width // self.heads
        inputs_BLC = None if self.filter_LC is None else empty_inputs(self, batch, self.channels)
        return DeltaState(self.empty(batch, N, K, K), inputs_BLC)

    def writes(self, x_BTD: Tensor, state: DeltaState, others: tuple[Tensor, ...] = ()) -> Writes:
        """Return queries, keys, values and strengths of a chunk that follows a state.

        Args:
            x_BTD: Inputs.
            state: The state before them.
            others: Further weights (width, D), whose products with the inputs are returned too: one call of a kernel
                costs less than several.
        """
        (B, T, _), H, N, n = x_BTD.shape, self.width, self.heads, self.householders
        inputs_BLC, weights = None, torch.cat([self.W_CD, self.strength_ND, *others])
        parts = (Part(self.channels), Part(n * N, "sigmoid"), *(Part(len(weight)) for weight in others))
        c_BTC, beta_BTN, *products = project(x_BTD, weights, None, parts, backend=self.backend)  # (1), (3)
        widths = [H, n * H, n * H]
        if self.filter_LC is None:
            q_BTH, k_BTC, v_BTC = activated(c_BTC, (1 + n) * H, H // N).split(widths, 2)  # (1), (2)
        else:
            assert state.inputs_BLC is not None
            (q_BTH, k_BTC, v_BTC), inputs_BLC = convolve_heads(
                c_BTC,
                state.inputs_BLC,
                self.filter_LC,
                widths=widths,
                unit_channels=(1 + n) * H,
                head_width=H // N,
                backend=self.backend,
            )  # (1), (2)
        k_BSNK, v_BSNK = (part_BTC.reshape(B, T * n, N, H // N) for part_BTC in (k_BTC, v_BTC))
        q_BTNK, beta_BSN1 = q_BTH.unflatten(2, (N, -1)), self._in_range(beta_BTN)
        return Writes(q_BTNK, k_BSNK, v_BSNK, beta_BSN1, inputs_BLC, tuple(products))

    def strengths(self, x_BTD: Tensor) -> Tensor:
        """Return β (B, S, N, 1) of equation (3)."""
        return self._in_range(functional.linear(x_BTD, self.strength_ND).sigmoid())

    def _in_range(self, beta_BTN: Tensor) -> Tensor:
        """Return β (B, S, N, 1) of equation (3) from its sigmoid, (B, T, n N)."""
        beta_BTN = 2 * beta_BTN if self.negative else beta_BTN
        B, T, _ = beta_BTN.shape
        return beta_BTN.reshape(B, T * self.householders, self.heads, 1)

    def project_flops(self) -> int:
        return 2 * self.inputs * (len(self.W_CD) + len(self.strength_ND))

    def flops_per_step(self) -> int:
        N, K, n = self.heads, self.width // self.heads, self.householders
        steps = n * memory_flops(K, K, N, corrects=True, reads=False) + 2 * self.width * K
        convolution = 0 if self.filter_LC is None else convolution_flops(self.channels)
        return self.project_flops() + convolution + steps + 2 * self.width**2

    def delta_spec(self, decay: tuple[Weight | None, ...] = (), decays: int = 0) -> StreamingSpec:
        """Return the description of the layer for `Layer.streaming_spec`.

        Args:
            decay: Weights of decay and gate, in the order of the step.
            decays: Number of decays per step of all heads together; 0 if there is no decay.
        """
        D, H, N, n, C = self.inputs, self.width, self.heads, self.householders, self.channels
        K, has_conv = H // N, self.filter_LC is not None

        def load() -> object:
            from arch.kernels.streaming.heads import delta_rule

            return delta_rule.step

        return self.head_spec(
            load,
            sizes=(D, H, N, n, 1 + self.negative, decays),
            weights=(
                Weight(self, "W_CD", (C, D)),
                Weight(self, "filter_LC", (CONV_STEPS, C)) if has_conv else None,
                Weight(self, "strength_ND", (n * N, D)),
                Weight(self, "gain_K", (K,)),
                Weight(self, "W_HH", (H, H)),
                *decay,
            ),
            state=DeltaState,
            shapes=((N, K, K), (CONV_STEPS - 1, C) if has_conv else None),
            workspace=C + n * N + decays + K + 2 * H,
        )
