"""Compare the kernels of `rwkv7` before and after its memory with the equations: results, gradients, refusals."""

# Shape suffixes: B batch, T time, D input width, H width, R rows

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from arch.kernels.reference import bonus as plain_bonus
from arch.kernels.reference import token_mix as plain_mix
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.vector import LANES
from arch.kernels.training.heads import bonus, token_mix
from arch.rwkv7 import mixed, with_bonus
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree, random, selected

SIZES = [(1, 1, 1, 1, 1), (2, 7, 3, 6, 2), (3, 70, 24, 24, 2), (9, 5, 19, 40, 1), (2, 66, 33, 51, 3)]
"""Batch, steps, input width, width and heads. The third and the last have more steps than one block."""
WIDTHS = (5, 18)
"""R and G."""


def drawn(batch: int, steps: int, inputs: int, width: int) -> list[Tensor]:
    """Return x (B, T, D), the input before it (B, D), and the weights in the order of `token_mix.Weights`."""
    draw, (R, G), D, H = random(0), WIDTHS, inputs, width
    shapes = [(H, D), (R, D), (H, D), (H, D), (R, D), (G, D), (H, R), (H, R), (H, G)]
    weights = [draw(*shape) / shape[1] ** 0.5 for shape in shapes]
    return [draw(batch, steps, D), draw(batch, D), draw(6, D).sigmoid(), *weights, *(draw(H) for _ in range(4))]


def mixes(given: list[Tensor], heads: int, runs_kernel: bool, dtype: torch.dtype) -> list[Tensor]:
    """Return the results of a mix, and the gradients of all inputs of a weighted sum of them."""
    own = [tensor.to(dtype).detach().requires_grad_() for tensor in given]
    equations: Any = partial(mixed, heads)
    if runs_kernel:
        found = token_mix.mix(equations, heads, own[0], own[1], token_mix.Weights._make(own[2:]))
    else:
        found = equations(*own)
    draw = random(1)
    sees = [draw(*tensor.shape).to(dtype) for tensor in found]
    return [tensor.detach().float() for tensor in (*found, *torch.autograd.grad(found, own, sees))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_mixes_and_gradients_equal_the_equations(sizes: tuple[int, int, int, int, int]) -> None:
    *shape, heads = sizes
    given = drawn(*shape)
    assert_same(mixes(given, heads, True, torch.float32), mixes(given, heads, False, torch.float64))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (70, 24, 2), (9, 51, 3), (5, 40, 1)], ids=str)
def test_bonus_and_gradients_equal_the_equations(sizes: tuple[int, int, int]) -> None:
    (rows, width, heads), draw, found = sizes, random(0), []
    given, sees_RH = [*(draw(rows, width) for _ in range(5)), draw(width)], draw(rows, width)
    for dtype in (torch.float32, torch.float64):
        own = [tensor.to(dtype).requires_grad_() for tensor in given]
        equations: Any = partial(with_bonus, heads)
        o_RH = bonus.add_bonus(equations, heads, *own) if dtype is torch.float32 else equations(*own)[0]
        gradients = torch.autograd.grad(o_RH, own, sees_RH.to(dtype))
        found.append([tensor.detach().float() for tensor in (o_RH, *gradients)])
    assert_same(*found)


def test_inputs_in_any_layout_stay_unchanged() -> None:
    given = drawn(4, 6, 5, 12)
    strided = [
        given[0].transpose(0, 1).contiguous().transpose(0, 1),
        *(tensor.T.contiguous().T if tensor.dim() == 2 else tensor for tensor in given[1:]),
    ]
    before = [tensor.clone() for tensor in strided]
    assert not strided[0].is_contiguous()
    assert_same(mixes(strided, 2, True, torch.float32), mixes(given, 2, True, torch.float32))
    assert all(torch.equal(*pair) for pair in zip(before, strided, strict=True))


def test_second_derivatives_use_the_equations() -> None:
    found = []
    for backend in ("fused", "reference"):
        torch.manual_seed(0)
        layer = arch.get("rwkv7").layer(5, 6, backend=backend)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
        x_BTD = torch.randn(2, 5, 5).requires_grad_()
        output_BTH, _ = layer.scan(x_BTD, layer.init_state(2))
        (slope_BTD,) = torch.autograd.grad(output_BTH.pow(2).sum(), [x_BTD], create_graph=True)
        learned = [x_BTD, *layer.parameters()]
        found.append([slope_BTD.detach(), *torch.autograd.grad(slope_BTD.square().sum(), learned, allow_unused=True)])
    assert_same(*([tensor for tensor in one if tensor is not None] for one in found))


def test_large_inputs_saturate() -> None:
    given = drawn(2, 8, 5, 12)
    given[0] *= 1e4
    found = mixes(given, 2, True, torch.float32)
    assert all(bool(tensor.isfinite().all()) for tensor in found)
    expected = mixes(given, 2, False, torch.float64)
    for one, other in zip(found[:7], expected[:7], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


@pytest.mark.parametrize("share", [(0, 9), (2, 5)], ids=str)
@pytest.mark.parametrize("sizes", [(9, 7, 19, 40, 2), (9, 66, 3, 6, 1)], ids=str)
def test_mixes_write_what_their_plain_versions_write(
    sizes: tuple[int, int, int, int, int], share: tuple[int, int]
) -> None:
    (B, T, D, H, N), draw = sizes, random(2)
    names = ("x", "before", *token_mix.Weights._fields)
    values: dict[str, Any] = dict(zip(names, drawn(B, T, D, H), strict=True))
    results = ["r", "w", "kappa", "q", "k", "v", "g"]
    values |= {name: draw(B, T, H) for name in (*results, *(f"d_{name}" for name in results))}
    values |= {"d_x": draw(B, T, D), "d_before": draw(B, D), "T": T, "D": D, "H": H, "N": N}
    R, G = WIDTHS
    width = max(panels_of(count) for count in (D, H, R, G)) * LANES
    values |= {"R": R, "G": G, "sums": torch.zeros(sum(token_mix.rows_of_sums(D, R, G)), width)}
    agree(token_mix.forward_rows, plain_mix.forward, selected(token_mix.Forward, values), share, " ".join(results))
    backward = selected(token_mix.Backward, values)
    agree(token_mix.backward_rows, plain_mix.backward, backward, share, "d_x d_before sums")


@pytest.mark.parametrize("share", [(0, 9), (2, 5)], ids=str)
def test_the_bonus_writes_what_its_plain_version_writes(share: tuple[int, int]) -> None:
    R, H, K, draw = 9, 38, 19, random(3)
    names = ("n", "r", "k", "v", "g", "o", "d_o", "d_n", "d_r", "d_k", "d_v", "d_g")
    values: dict[str, Any] = {name: draw(R, H) for name in names}
    values |= {"rho": draw(H), "sums": draw(H), "H": H, "K": K}
    agree(bonus.forward_rows, plain_bonus.forward, selected(bonus.Forward, values), share, "o")
    backward = selected(bonus.Backward, values)
    agree(bonus.backward_rows, plain_bonus.backward, backward, share, "d_n d_r d_k d_v d_g sums")


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    given, threads, found = drawn(16, 100, 24, 24), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(mixes(given, 2, True, torch.float32))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found[0][:8], found[1][:8], strict=True):  # the results, and the gradient of x
        assert torch.equal(one, other)
    assert_same(found[0][8:], found[1][8:])
