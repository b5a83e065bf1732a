"""Compare the kernel of the memory of `mamba2` with its equations: results, gradients, long and odd sizes."""

# Shape suffixes: B batch, T time, N heads, K states, V head width

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arch.kernels.reference import dual_scan as plain
from arch.kernels.training.heads import dual_scan as kernel
from arch.kernels.training.heads.memory_step import whole_vectors
from arch.mamba2 import recurrence
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree, random

SIZES = [(1, 1, 1, 1, 1), (2, 7, 1, 3, 17), (3, 20, 4, 16, 18), (2, 70, 3, 5, 33), (1, 9, 20, 33, 2), (9, 35, 2, 16, 8)]
"""Batch, steps, heads, states and head width: heads narrower and wider than vectors, several checkpoints."""


def drawn(batch: int, steps: int, heads: int, states: int, width: int) -> list[Tensor]:
    """Return c, d, A, b, D and S."""
    draw = random(0)
    c_BTC, d_BTN = draw(batch, steps, heads * width + 2 * states), draw(batch, steps, heads)
    return [c_BTC, d_BTN, draw(heads), draw(heads) - 1, draw(heads), draw(batch, heads, states, width)]


def results(given: list[Tensor], runs_kernel: bool, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the results and the last memory, and the gradients of all inputs of a weighted sum of both."""
    own, draw = [tensor.to(dtype).detach().requires_grad_() for tensor in given], random(1)
    found = kernel.scan(recurrence, *own) if runs_kernel else recurrence(*own)
    sees = [draw(*tensor.shape).to(dtype) for tensor in found]
    return [tensor.detach().float() for tensor in (*found, *torch.autograd.grad(found, own, sees))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_reads_and_gradients_equal_the_equations(sizes: tuple[int, int, int, int, int]) -> None:
    given = drawn(*sizes)
    assert_same(results(given, True), results(given, False, torch.float64))


def test_inputs_in_any_layout_stay_unchanged() -> None:
    given = drawn(3, 9, 2, 5, 7)
    strided = [tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor for tensor in given]
    before = [tensor.clone() for tensor in strided]
    assert_same(results(strided, True), results(given, True))
    assert all(torch.equal(*pair) for pair in zip(before, strided, strict=True))


def test_second_derivatives_use_the_equations() -> None:
    found = []
    for runs_kernel in (True, False):
        own = [tensor.requires_grad_() for tensor in drawn(2, 5, 2, 3, 4)]
        y_BTE, last_BNKV = kernel.scan(recurrence, *own) if runs_kernel else recurrence(*own)
        (slope_BTC,) = torch.autograd.grad(y_BTE.pow(3).sum() + last_BNKV.pow(3).sum(), own[:1], create_graph=True)
        found.append([slope_BTC.detach(), *torch.autograd.grad(slope_BTC.square().sum(), own)])
    assert_same(*found)


def test_extreme_steps_stay_finite() -> None:
    given = drawn(2, 40, 3, 4, 18)
    given[1] *= 100.0
    given[2] *= 20.0
    found, expected = results(given, True), results(given, False, torch.float64)
    assert all(bool(tensor.isfinite().all()) for tensor in found)
    assert_same(found[:2], expected[:2])


def test_memory_in_training_grows_with_the_root_of_the_length() -> None:
    """Count the numbers that the forward pass keeps beside its inputs."""
    kept = []
    for T in (256, 1024):
        own, sizes = [tensor.requires_grad_() for tensor in drawn(1, T, 1, 16, 16)], list[int]()

        def noted(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
            kernel.scan(recurrence, *own)
        kept.append(sum(sizes) - sum(tensor.numel() for tensor in own))
    assert kept == [16 * 256, 32 * 256]


@pytest.mark.parametrize("share", [(0, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("sizes", [(20, 3, 5, 19), (11, 20, 17, 1)], ids=str)
def test_kernels_write_what_their_plain_versions_write(
    sizes: tuple[int, int, int, int], share: tuple[int, int]
) -> None:
    (T, N, K, V), B, draw, segment = sizes, 3, random(2), 6
    c, d, rate, bias, skip, S_0 = drawn(B, T, N, K, V)
    checkpoints = draw(B, -(-T // segment), K, int(whole_vectors(N * V)))
    given: Any = (c, d, rate, bias, skip)
    results, sizes_of = (draw(B, T, N * V), draw(*S_0.shape)), (T, N, K, V, segment)
    forward = kernel.Forward._make([*given, S_0, *results, checkpoints, *sizes_of])
    agree(kernel.forward_rows, plain.forward, forward, share, "y S_T checkpoints")
    plain.forward(forward, 0, B)
    gradients = (draw(B, T, N * V), draw(*S_0.shape))
    written = (draw(*c.shape), draw(*d.shape), draw(*S_0.shape), draw(3, N))
    backward = kernel.Backward._make([*given, checkpoints, *gradients, *written, *sizes_of])
    agree(kernel.backward_rows, plain.backward, backward, share, "d_c d_d d_S_0 sums")
