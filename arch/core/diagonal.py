"""The diagonal linear recurrence, which several architectures share, and the base class of their layers.

The state h has one number per unit. At each step t, every unit forgets and writes on its own:

    h_t = a_t ⊙ h_(t-1) + b_t                                                 (1)  a_t and b_t do not depend on h

Two such steps are one step of the same form:

    a_2 ⊙ (a_1 ⊙ h + b_1) + b_2  =  (a_2 ⊙ a_1) ⊙ h + (a_2 ⊙ b_1 + b_2)      (2)

`recur` joins the steps of each pair by (2), which gives a recurrence of half the length. It solves that one in the same
way, and then computes the steps between with (1) (Ladner & Fischer 1980, "Parallel prefix computation"). The work is
that of a loop over the steps, in log2 T passes. Products of a_t, |a_t| ≤ 1, never grow, so rounding errors stay small
in float32 at any length. Sums of logarithms, as in Feng et al. 2024, lose digits as they grow.

A complex number is a pair of real tensors: its real part and its imaginary part.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows (a multiple of H), P parts of a number

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from arch.core.backend import Backend, context_obstacle, tensors_obstacle
from arch.core.layer import require_steps
from arch.core.recurrent_layer import RecurrentLayer
from arch.core.state import State

Complex = tuple[Tensor, Tensor]
"""The real part and the imaginary part of complex numbers."""


def recur(a_BTH: Tensor, b_BTH: Tensor, h_BH: Tensor) -> Tensor:
    """Return h_t of equation (1) for all steps, (B, T, H).

    Args:
        a_BTH, b_BTH: a_t and b_t, (B, T, H). The batch and time dimensions of a may be 1 and expanded.
        h_BH: The state before the first step, (B, H).
    """
    return _recur(a_BTH, b_BTH, h_BH, torch.mul)


def recur_complex(a: Complex, b: Complex, h: Complex) -> Complex:
    """Return h_t of equation (1) for complex numbers, as two tensors (B, T, H).

    Args:
        a, b: a_t and b_t, each of two tensors (B, T, H). The batch dimension of a may be 1.
        h: The state before the first step, two tensors (B, H).
    """
    h_BTPH = _recur(torch.stack(a, -2), torch.stack(b, -2), torch.stack(h, -2), _complex_product)
    re_BTH, im_BTH = h_BTPH.unbind(-2)
    return re_BTH, im_BTH


Product = Callable[[Tensor, Tensor], Tensor]
"""The product of two tensors of numbers."""


def _complex_product(one: Tensor, other: Tensor) -> Tensor:
    (re, im), (other_re, other_im) = one.unbind(-2), other.unbind(-2)
    return torch.stack([re * other_re - im * other_im, re * other_im + im * other_re], -2)


def _recur(a: Tensor, b: Tensor, h: Tensor, times: Product) -> Tensor:
    first = times(a[:, :1], h.unsqueeze(1)) + b[:, :1]
    return first if b.shape[1] == 1 else _from_zero(a, torch.cat([first, b[:, 1:]], 1), times)


def _from_zero(a: Tensor, b: Tensor, times: Product) -> Tensor:
    """Return h_t of equation (1) for all steps from h = 0, so that the first a does not count."""
    T = b.shape[1]
    if T == 1:
        return b
    even_a, odd_a = a[:, : T - 1 : 2], a[:, 1::2]
    even_b, odd_b = b[:, : T - 1 : 2], b[:, 1::2]
    odd_h = _from_zero(times(odd_a, even_a), times(odd_a, even_b) + odd_b, times)  # (2): h at steps 1, 3, 5, …
    even_h = torch.cat([b[:, :1], times(a[:, 2::2], odd_h[:, : (T - 1) // 2]) + b[:, 2::2]], 1)  # (1)
    pairs = T // 2
    h = torch.stack([even_h[:, :pairs], odd_h], 2).flatten(1, 2)
    return h if T % 2 == 0 else torch.cat([h, even_h[:, pairs:]], 1)


def positive(n: Tensor) -> Tensor:
    """Return g(n), which keeps the states of Feng et al. 2024 positive: n + 1/2 if n ≥ 0, else σ(n)."""
    return torch.where(n >= 0, n + 0.5, n.sigmoid())


def scan(a_BTH: Tensor, b_BTH: Tensor, h_BH: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Return h_t of equation (1) for all steps, (B, T, H), by the compiled kernel if it can run.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run, or if there are no steps.

    Args:
        a_BTH, b_BTH: a_t and b_t, (B, T, H).
        h_BH: The state before the first step, (B, H).
        backend: The implementation, see `arch.core.backend`.
    """
    require_steps(b_BTH)
    if backend == "reference":
        return recur(a_BTH, b_BTH, h_BH)
    B, T, H = b_BTH.shape
    obstacle = context_obstacle() or tensors_obstacle([(a_BTH, (B, T, H)), (b_BTH, (B, T, H)), (h_BH, (B, H))])
    if obstacle is not None:
        if backend == "fused":
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        return recur(a_BTH, b_BTH, h_BH)
    from arch.kernels.training import diagonal

    def reference(a_TBH: Tensor, b_TBH: Tensor, _: Tensor, h_BH: Tensor) -> tuple[Tensor, ...]:
        h_TBH = recur(a_TBH.transpose(0, 1), b_TBH.transpose(0, 1), h_BH).transpose(0, 1)
        return h_TBH, h_TBH[-1]

    inputs = diagonal.Inputs(projected=a_BTH.transpose(0, 1), values=b_BTH.transpose(0, 1), h_0=h_BH)
    return diagonal.scan(reference, diagonal.PLAIN, inputs)[0].transpose(0, 1)


class DiagonalLayer(RecurrentLayer):
    """A layer around a diagonal linear recurrence.

    A subclass defines `project`, as every recurrent layer does, and `follow`, the equations for all steps at once.
    """

    @abstractmethod
    def follow(self, projected_BTG: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (B, T, H) and the state after the last step, by the equations."""

    def update(self, projected_BG: Tensor, state: State) -> tuple[Tensor, State]:
        outputs_BTH, state = self.follow(projected_BG.unsqueeze(1), state)
        return outputs_BTH.squeeze(1), state

    def update_flops(self) -> int:
        return 0  # the recurrence is element-wise
