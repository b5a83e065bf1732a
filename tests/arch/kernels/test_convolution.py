"""Compare the kernel of the short convolution with its equation: outputs, last inputs, gradients, both layouts."""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, K taps, D channels

from __future__ import annotations

import pytest
import torch

import arch
from arch.core.convolution import convolve
from tests.arch.fused import assert_same

SIZES = [(1, 1, 1), (3, 2, 5), (2, 3, 16), (9, 7, 17), (33, 12, 40)]
"""Batch, steps and channels."""
SHAPES = [(2, 9, 5), (2, 3, 5), (4, 5), (5,)]


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_outputs_and_gradients_equal_the_equation(sizes: tuple[int, int, int], time: int) -> None:
    B, T, D = sizes
    generator = torch.Generator().manual_seed(0)
    shapes = [(T, B, D) if time == 0 else (B, T, D), (B, 3, D), (4, D), (D,)]
    inputs = [torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes]
    sees = [torch.randn(shape, generator=generator) for shape in shapes[:2]]
    found = {}
    for is_fused in (False, True):
        results = convolve(*inputs, time=time, is_fused=is_fused)
        assert results[1].is_contiguous()
        gradients = torch.autograd.grad(results, inputs, sees)
        found[is_fused] = [*(result.detach() for result in results), *gradients]
    assert_same(found[True], found[False])


def test_the_convolution_is_that_of_torch() -> None:
    draw = torch.Generator().manual_seed(0)
    u_BTD, before_BKD, w_KD, b_D = (
        torch.randn(shape, generator=draw) for shape in ((2, 9, 5), (2, 3, 5), (4, 5), (5,))
    )
    seen_BDT = torch.cat([before_BKD, u_BTD], 1).mT
    expected_BTD = torch.nn.functional.conv1d(seen_BDT, w_KD.T[:, None], b_D, groups=5).mT
    for is_fused in (False, True):
        c_BTD, last_BKD = convolve(u_BTD, before_BKD, w_KD, b_D, is_fused=is_fused)
        torch.testing.assert_close(c_BTD, expected_BTD)
        assert torch.equal(last_BKD, u_BTD[:, -3:])


def test_a_block_uses_the_kernel_and_falls_back() -> None:
    torch.manual_seed(0)
    model = arch.build("min_gru:block=residual,conv=4,expansion=2", channels=3, outputs=2, width=9, depth=2, seed=0)
    x_BTD = torch.randn(4, 6, 3)
    found = []
    for backend in ("fused", "reference"):
        for layer in model.layers:
            layer.backend = backend  # type: ignore[assignment]
        outputs = model(x_BTD)
        gradients = torch.autograd.grad(outputs.square().sum(), list(model.parameters()))
        found.append([outputs.detach(), *gradients])
    assert_same(*found)
