"""The product of a layer's inputs with its weights, split into the parts that the layer reads.

    p = W x + b                          (1)  the rows of W belong to the parts, one part after the other
    r = p,  σ(p)  or  φ(p) = elu(p) + 1  (2)  per part: its activation

A part of N heads is split into heads. A constant one may follow the numbers of each head: a memory that holds it beside
the values counts what it has seen, as a normaliser must.
"""

# Shape suffixes: B batch, T time, D input width, P rows of all parts, N heads, K head width

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from arch.core.backend import Backend, is_fused
from arch.kernels.runtime.parts import MAX_PARTS, Part

__all__ = ["Part", "feature", "project", "project_one"]


def project(
    x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None, parts: Sequence[Part], *, backend: Backend = "auto"
) -> tuple[Tensor, ...]:
    """Return the parts r of equation (2), each (B, T, width), or (B, T, N, K) if it is split into heads.

    With the one that `counts` asks for, K is width / N + 1.

    Args:
        x_BTD: Inputs.
        W_PD: Weights of all parts.
        b_P: Biases, or None.
        parts: The parts, at most `MAX_PARTS`. Their widths sum to P.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    (P, D), (B, T, _) = W_PD.shape, x_BTD.shape
    assert sum(part.width for part in parts) == P and len(parts) <= MAX_PARTS
    shapes = [(x_BTD, (B, T, D)), (W_PD, (P, D)), *([] if b_P is None else [(b_P, (P,))])]
    if x_BTD.numel() == 0 or not is_fused(backend, shapes, T):
        return by_equations(parts, x_BTD, W_PD, b_P)
    from arch.kernels.training.heads import projection

    def reference(x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None = None) -> tuple[Tensor, ...]:
        return by_equations(parts, x_BTD, W_PD, b_P)

    return projection.project(reference, tuple(parts), x_BTD, W_PD, b_P)


def project_one(x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None = None, *, backend: Backend = "auto") -> Tensor:
    """Return p of equation (1) as one part, (B, T, P). The arguments are those of `project`."""
    (p_BTP,) = project(x_BTD, W_PD, b_P, (Part(len(W_PD)),), backend=backend)
    return p_BTP


def by_equations(parts: Sequence[Part], x_BTD: Tensor, W_PD: Tensor, b_P: Tensor | None) -> tuple[Tensor, ...]:
    """Return what `project` returns, in plain torch."""
    p_BTP = functional.linear(x_BTD, W_PD, b_P)  # (1)
    split = p_BTP.split([part.width for part in parts], -1)
    return tuple(_finished(part, part_BTP) for part, part_BTP in zip(parts, split, strict=True))


def feature(x: Tensor) -> Tensor:
    """Return φ(x) = elu(x) + 1, written so that torch computes it, and its gradient, in half the time."""
    return functional.relu(x) + x.clamp(max=0).exp()


def _finished(part: Part, p_BTP: Tensor) -> Tensor:
    """Return the activated numbers of one part, split into heads."""
    if part.activation == "sigmoid":
        p_BTP = p_BTP.sigmoid()  # (2)
    elif part.activation == "feature":
        p_BTP = feature(p_BTP)  # (2)
    if part.heads == 0:
        return p_BTP
    p_BTNK = p_BTP.unflatten(-1, (part.heads, -1))
    return functional.pad(p_BTNK, (0, 1), value=1.0) if part.counts else p_BTNK
