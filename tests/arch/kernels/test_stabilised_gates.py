"""Compare the kernel of the stabilised gates of `mlstm` with its equations: results, gradients, extremes."""

# Shape suffixes: B batch, T time, N heads, G = 2N

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arch.kernels.reference import stabilised_gates as plain
from arch.kernels.training.heads import stabilised_gates as kernel
from arch.mlstm import stabilised_gates
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree, random, selected

SIZES = [(1, 1, 1), (2, 7, 3), (9, 40, 2)]
"""Batch, steps and heads. The last one has a whole vector of heads, and a part of one."""


def drawn(batch: int, steps: int, heads: int, scale: float = 2.0) -> list[Tensor]:
    """Return ĩ and f̃ (B, T, 2N) and m (B, N)."""
    draw = random(0)
    return [scale * draw(batch, steps, 2 * heads), draw(batch, heads)]


def results(given: list[Tensor], backend: Any, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return gates, divisors and last stabiliser, and the gradients of a weighted sum of them."""
    own = [tensor.to(dtype).detach().requires_grad_() for tensor in given]
    found, draw = stabilised_gates(own[0], own[1], backend=backend), random(1)
    sees = [draw(*tensor.shape).to(dtype) for tensor in found]
    return [tensor.detach().float() for tensor in (*found, *torch.autograd.grad(found, own, sees))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gates_and_gradients_equal_the_equations(sizes: tuple[int, int, int]) -> None:
    given = drawn(*sizes)
    assert_same(results(given, "fused"), results(given, "reference", torch.float64))


def test_inputs_in_any_layout() -> None:
    p_BTG, m_BN = drawn(9, 7, 2)
    strided = [p_BTG.transpose(0, 1).contiguous().transpose(0, 1), m_BN.T.contiguous().T]
    assert_same(results(strided, "fused"), results([p_BTG, m_BN], "fused"))


def test_second_derivatives_use_the_equations() -> None:
    found = []
    for backend in ("fused", "reference"):
        p_BTG, m_BN = (tensor.requires_grad_() for tensor in drawn(2, 5, 2))
        outputs = stabilised_gates(p_BTG, m_BN, backend=backend)  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(sum(part.pow(2).sum() for part in outputs), [p_BTG], create_graph=True)  # type: ignore[arg-type]
        found.append(list(torch.autograd.grad(slope.square().sum(), [p_BTG, m_BN])))
    assert_same(*found)


@pytest.mark.parametrize("scale", [50.0, 1e4])
def test_extreme_gates_stay_finite(scale: float) -> None:
    given = drawn(2, 20, 2, scale)
    assert all(bool(tensor.isfinite().all()) for tensor in results(given, "fused"))
    i, f, _, _ = stabilised_gates(given[0], given[1], backend="fused")
    assert bool(((i <= 1) & (f <= 1)).all())


@pytest.mark.parametrize("share", [(0, 18), (16, 17)], ids=str)
def test_kernels_write_what_their_plain_versions_write(share: tuple[int, int]) -> None:
    (B, T, N), draw = (9, 12, 2), random(2)
    values: dict[str, Any] = {name: draw(B, T, N) for name in ("i", "f", "e", "d_i", "d_f", "d_e")}
    values |= {name: draw(B, N) for name in ("m", "m_T", "d_m_T", "d_m")}
    values |= {"p": draw(B, T, 2 * N), "d_p": draw(B, T, 2 * N), "T": T, "N": N}
    agree(kernel.forward_rows, plain.forward, selected(kernel.Forward, values), share, "i f e m_T")
    agree(kernel.backward_rows, plain.backward, selected(kernel.Backward, values), share, "d_p d_m")
