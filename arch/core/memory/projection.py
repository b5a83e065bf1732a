"""The product of a layer's inputs with its weights, split into the parts that the layer reads.

    p = W x + b                          (1)  the rows of W belong to the parts, one part after the other
    r = p,  σ(p)  or  φ(p) = elu(p) + 1  (2)  per part: its activation

A part of N heads is split into heads. A constant one may follow the numbers of each head: a memory that holds it beside
the values counts what it has seen, as a normaliser must. Instead of an activation, a part may rotate: the pairs of
adjacent numbers of a head are multiplied by complex factors, as rotary positions are.
"""

# Shape suffixes: B batch, T time, D input width, P rows of all parts, N heads, K head width, J = K/2 pairs, R parts
# that rotate

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from arch.core.attention.positions import apply_rotary
from arch.core.backend import Backend, is_fused
from arch.kernels.runtime.parts import MAX_PARTS, Part

__all__ = ["Part", "feature", "project", "project_one"]


def project(
    x_BTD: Tensor,
    W_PD: Tensor,
    b_P: Tensor | None,
    parts: Sequence[Part],
    *,
    rotary_RTJ: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, ...]:
    """Return the parts r of equation (2), each (B, T, width), or (B, T, N, K) if it is split into heads.

    With the one that `counts` asks for, K is width / N + 1.

    Args:
        x_BTD: Inputs.
        W_PD: Weights of all parts.
        b_P: Biases, or None.
        parts: The parts, at most `MAX_PARTS`. Their widths sum to P.
        rotary_RTJ: Complex factors of the parts that rotate, in their order, or None if there are none. Their heads
            have equal widths. The factors get no gradient.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    (P, D), (B, T, _) = W_PD.shape, x_BTD.shape
    assert sum(part.width for part in parts) == P and len(parts) <= MAX_PARTS
    rotating = [part for part in parts if part.rotates]
    shapes = [(x_BTD, (B, T, D)), (W_PD, (P, D)), *([] if b_P is None else [(b_P, (P,))])]
    if rotary_RTJ is not None:
        shapes.append((torch.view_as_real(rotary_RTJ), (len(rotating), T, rotating[0].shape[-1] // 2, 2)))
    if x_BTD.numel() == 0 or not is_fused(backend, shapes, T):
        return by_equations(parts, rotary_RTJ, x_BTD, W_PD, b_P)
    from arch.kernels.training.heads import projection

    def reference(x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None = None) -> tuple[Tensor, ...]:
        return by_equations(parts, rotary_RTJ, x_BTD, W_PD, b_P)

    return projection.project(reference, tuple(parts), rotary_RTJ, x_BTD, W_PD, b_P)


def project_one(x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None = None, *, backend: Backend = "auto") -> Tensor:
    """Return p of equation (1) as one part, (B, T, P). The arguments are those of `project`."""
    (p_BTP,) = project(x_BTD, W_PD, b_P, (Part(len(W_PD)),), backend=backend)
    return p_BTP


def by_equations(
    parts: Sequence[Part], rotary_RTJ: Tensor | None, x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None
) -> tuple[Tensor, ...]:
    """Return what `project` returns, in plain torch."""
    factors = iter(() if rotary_RTJ is None else rotary_RTJ.unsqueeze(2))
    p_BTP = functional.linear(x_BTD, W_PD, b_P)  # (1)
    split = p_BTP.split([part.width for part in parts], -1)
    return tuple(
        _finished(part, part_BTP, next(factors) if part.rotates else None)
        for part, part_BTP in zip(parts, split, strict=True)
    )


def feature(x: Tensor) -> Tensor:
    """Return φ(x) = elu(x) + 1, written so that torch computes it, and its gradient, in half the time."""
    return functional.relu(x) + x.clamp(max=0).exp()


def _finished(part: Part, p_BTP: Tensor, rotary_T1J: Tensor | None) -> Tensor:
    """Return the activated or rotated numbers of one part, split into heads."""
    if part.activation == "sigmoid":
        p_BTP = p_BTP.sigmoid()  # (2)
    elif part.activation == "feature":
        p_BTP = feature(p_BTP)  # (2)
    if part.heads == 0:
        return p_BTP
    p_BTNK = p_BTP.unflatten(-1, (part.heads, -1))
    if rotary_T1J is not None:
        return apply_rotary(p_BTNK.clone(memory_format=torch.contiguous_format), rotary_T1J)  # pairs at even offsets
    return functional.pad(p_BTNK, (0, 1), value=1.0) if part.counts else p_BTNK
