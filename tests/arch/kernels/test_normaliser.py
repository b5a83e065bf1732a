"""Compare the kernel of the divisor of a read with its equations: results, gradients, extremes."""

# Shape suffixes: B batch, T time, N heads, V value width, U = V + 1

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arch.core.memory.normaliser import normalised
from arch.kernels.reference import normaliser as plain
from arch.kernels.training.heads import normaliser as kernel
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree, random, selected

SIZES = [(1, 2, 1, 1), (2, 7, 3, 14), (3, 40, 2, 16), (2, 5, 2, 33)]
"""Batch, steps, heads and values."""
KINDS = ("total", "least")


def drawn(kind: str, sizes: tuple[int, ...]) -> list[Tensor]:
    """Return r and t (B, T, N, U), and e (B, T, N) for the kind `least`. Some totals are below e, others above."""
    (*rows, V), draw = sizes, random(0)
    read_BTNU = draw(*rows, V + 1)
    if kind == "total":
        read_BTNU[..., V] = read_BTNU[..., V].abs() + 0.1
        return [read_BTNU]
    return [read_BTNU, draw(*rows).abs() + 0.1]


def results(given: list[Tensor], backend: Any, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return y, and the gradients of a weighted sum of it."""
    own = [tensor.to(dtype).detach().requires_grad_() for tensor in given]
    y_BTNV = normalised(*own, backend=backend)
    sees_BTNV = random(1)(*y_BTNV.shape).to(dtype)
    return [tensor.detach().float() for tensor in (y_BTNV, *torch.autograd.grad(y_BTNV, own, sees_BTNV))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_results_and_gradients_equal_the_equations(kind: str, sizes: tuple[int, ...]) -> None:
    given = drawn(kind, sizes)
    assert_same(results(given, "fused"), results(given, "reference", torch.float64))


def test_the_gradient_is_shared_where_total_and_least_divisor_are_equal() -> None:
    read_BTNU, least_BTN = drawn("least", (1, 6, 1, 3))
    read_BTNU[0, :, 0, 3] = torch.tensor([0.5, -0.5, 0.0, 2.0, -2.0, 0.1])
    least_BTN[0, :, 0] = torch.tensor([0.5, 0.5, 0.5, 2.0, 1.0, 1.0])
    given = [read_BTNU, least_BTN]
    assert_same(results(given, "fused"), results(given, "reference", torch.float64))


def test_inputs_in_any_layout() -> None:
    given = drawn("least", (3, 7, 2, 5))
    strided = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in given]
    assert_same(results(strided, "fused"), results(given, "fused"))


def test_second_derivatives_use_the_equations() -> None:
    found = []
    for backend in ("fused", "reference"):
        given = [tensor.requires_grad_() for tensor in drawn("least", (2, 5, 2, 3))]
        y_BTNV = normalised(*given, backend=backend)  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(y_BTNV.pow(2).sum(), given[:1], create_graph=True)
        found.append(list(torch.autograd.grad(slope.square().sum(), given)))
    assert_same(*found)


def test_nan_stays_nan() -> None:
    read_BTNU, least_BTN = drawn("least", (1, 3, 1, 4))
    read_BTNU[0, 1, 0, 4] = torch.nan
    y_BTNV = normalised(read_BTNU, least_BTN, backend="fused")
    assert bool(y_BTNV[0, 1].isnan().all()) and bool(y_BTNV[0, ::2].isfinite().all())


@pytest.mark.parametrize("share", [(0, 18), (5, 9)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_write_what_their_plain_versions_write(kind: str, share: tuple[int, int]) -> None:
    (read_BTNU, *least), draw = drawn(kind, (3, 3, 2, 18)), random(2)
    values: dict[str, Any] = {name: draw(3, 3, 2, 18) for name in ("y", "d_y")}
    values |= {"read": read_BTNU, "d_read": draw(3, 3, 2, 19), "V": 18}
    values |= {"least": least[0] if least else None, "d_least": draw(3, 3, 2) if least else None}
    agree(kernel.forward_rows, plain.forward, selected(kernel.Forward, values), share, "y")
    written = "d_read d_least" if least else "d_read"
    agree(kernel.backward_rows, plain.backward, selected(kernel.Backward, values), share, written)
