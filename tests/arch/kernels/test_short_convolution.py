"""Compare the kernel of the short convolution with its equations: results, gradients, layouts, chunks and refusals."""

# Shape suffixes: X, Y batch and time in either order, B batch, T time, L taps, C channels

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import arch
from arch.core.convolution import convolve, convolve_heads
from arch.kernels.reference import short_convolution as plain
from arch.kernels.training import short_convolution as kernel
from tests.arch.fused import RELATIVE_TOLERANCE, assert_same
from tests.arch.kernels.test_reference import agree

SIZES = [(1, 1, 1, 1, 1), (1, 2, 2, 3, 1), (2, 3, 3, 16, 2), (3, 7, 5, 17, 3), (9, 5, 3, 35, 0), (2, 40, 4, 8, 4)]
"""Batch, steps, heads, channels per head, and number of heads that are scaled to norm 1."""
SMALLEST_SCALE = 0.1
"""Smallest scale of a tensor for the tolerance. The gradient of a unit vector of one number is a difference of equal
numbers."""


def inputs(batch: int, steps: int, channels: int, *, bias: bool, seed: int = 0) -> list[Tensor]:
    """Return x (B, T, C), the inputs before (B, 3, C), the filters (4, C), and the bias (C,) if there is one."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, steps, channels), (batch, 3, channels), (4, channels), (channels,)]
    drawn = (torch.randn(shape, generator=generator) for shape in shapes[: 3 + bias])
    return [tensor.requires_grad_() for tensor in drawn]


def assert_close(actual: list[Tensor], expected: list[Tensor]) -> None:
    """Compare as `assert_same`, but with at least `SMALLEST_SCALE` as the scale of a tensor."""
    for one, other in zip(actual, expected, strict=True):
        tolerance = RELATIVE_TOLERANCE * max(float(other.abs().max()), SMALLEST_SCALE)
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def widths_of(heads: int, parts: int, head_width: int) -> list[int]:
    """Return the channels of up to so many parts: one head each, and all others in the last part."""
    alone = min(parts, heads) - 1
    return [*[head_width] * alone, (heads - alone) * head_width]


def results(
    backend: str, arguments: list[Tensor], head_width: int, unit_heads: int, parts: int, heads: int
) -> list[Tensor]:
    """Return the parts, last inputs, and the gradients of a weighted sum of them with respect to all inputs."""
    split, last_BLC = convolve_heads(
        *arguments,
        widths=widths_of(heads, parts, head_width),
        unit_channels=unit_heads * head_width,
        head_width=head_width,
        backend=backend,  # type: ignore[arg-type]
    )
    found = [*split, last_BLC]
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(tensor.shape, generator=generator).to(tensor.dtype) for tensor in found]
    gradients = torch.autograd.grad(found, arguments, weights)
    return [tensor.detach() for tensor in (*found, *gradients)]


def compare(
    batch: int, steps: int, heads: int, head_width: int, unit_heads: int, *, parts: int, bias: bool, seed: int = 0
) -> None:
    """Compare the kernel in float32 with the equations in float64."""
    single, form = (
        inputs(batch, steps, heads * head_width, bias=bias, seed=seed),
        (head_width, unit_heads, parts, heads),
    )
    double = [tensor.detach().double().requires_grad_() for tensor in single]
    assert_close(results("fused", single, *form), [tensor.float() for tensor in results("reference", double, *form)])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("parts", [1, 3])
def test_results_and_gradients_equal_the_equations(
    sizes: tuple[int, int, int, int, int], bias: bool, parts: int
) -> None:
    compare(*sizes, parts=parts, bias=bias)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data(), batch=st.integers(1, 20), steps=st.integers(1, 9), heads=st.integers(1, 5), bias=st.booleans())
def test_random_sizes(data: st.DataObject, batch: int, steps: int, heads: int, bias: bool) -> None:
    head_width, unit_heads = data.draw(st.integers(2, 40)), data.draw(st.integers(0, heads))
    compare(batch, steps, heads, head_width, unit_heads, parts=data.draw(st.integers(1, 3)), bias=bias, seed=heads)


@pytest.mark.parametrize("chunks", [[1, 10], [2, 2, 7], [5, 6]], ids=str)
def test_chunks_carry_the_last_inputs_and_their_gradient(chunks: list[int]) -> None:
    arguments = inputs(3, 11, 15, bias=False)
    before, found = arguments[1], []
    for x_BTC in arguments[0].split(chunks, 1):
        split, before = convolve_heads(
            x_BTC, before, arguments[2], widths=[5, 5, 5], unit_channels=10, head_width=5, backend="fused"
        )
        found.append(torch.cat(split, 2))
    whole = torch.cat(found, 1)
    weights = torch.randn(whole.shape, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad(whole, arguments, weights)
    (expected,), _ = convolve_heads(*arguments, widths=[15], unit_channels=10, head_width=5, backend="reference")
    assert_same([whole.detach(), *gradients], [expected.detach(), *torch.autograd.grad(expected, arguments, weights)])


def test_inputs_in_any_layout() -> None:
    arguments = inputs(4, 6, 30, bias=False)
    views = [
        arguments[0].detach()[:, ::2, ::3].requires_grad_(),
        arguments[1].detach()[..., ::3],
        arguments[2].detach()[:, ::3],
    ]
    views = [view.requires_grad_() for view in views]
    assert not any(view.is_contiguous() for view in views)
    assert_close(results("fused", views, 5, 1, 2, 2), results("reference", views, 5, 1, 2, 2))


def test_second_derivatives_use_the_equations() -> None:
    arguments, found = inputs(2, 5, 12, bias=True), {}
    for backend in ("fused", "reference"):
        split, _ = convolve_heads(
            *arguments,
            widths=[3, 9],
            unit_channels=6,
            head_width=3,
            backend=backend,  # type: ignore[arg-type]
        )
        slopes = torch.autograd.grad(torch.cat(split, 2).pow(3).sum(), arguments, create_graph=True)
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        found[backend] = [*(slope.detach() for slope in slopes), *torch.autograd.grad(total, arguments)]
    assert_same(found["fused"], found["reference"])


def test_the_last_inputs_have_their_own_memory() -> None:
    x_BTC, before_BLC, w_LC = (tensor.detach() for tensor in inputs(2, 7, 4, bias=False))
    _, after_BLC = convolve(x_BTC, before_BLC, w_LC)
    assert torch.equal(after_BLC, x_BTC[:, -3:]) and after_BLC.untyped_storage().nbytes() == 2 * 3 * 4 * 4


def test_the_kernel_refuses_what_it_cannot_read() -> None:
    arguments = [tensor.double() for tensor in inputs(2, 5, 4, bias=False)]
    with pytest.raises(ValueError, match="backend=fused cannot run here: the kernel needs dense float32 tensors"):
        convolve(*arguments, backend="fused")


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("activates", [False, True], ids=["sums", "activated"])
def test_layouts_and_plain_sums_equal_the_equations(activates: bool, time: int) -> None:
    for B, T, C in ((1, 1, 1), (2, 3, 16), (9, 7, 17)):
        inputs_BTC, *others = inputs(B, T, C, bias=True)
        u_XYC = (inputs_BTC if time else inputs_BTC.transpose(0, 1)).detach().clone().requires_grad_()
        arguments, found = [u_XYC, *others], []
        for backend in ("fused", "reference"):
            results = convolve(*arguments, time=time, activates=activates, backend=backend)  # type: ignore[arg-type]
            draw = torch.Generator().manual_seed(1)
            weights = [torch.randn(result.shape, generator=draw) for result in results]
            found.append([*(one.detach() for one in results), *torch.autograd.grad(results, arguments, weights)])
        assert all(result.is_contiguous() for result in found[0][:2])
        assert_same(*found)


def test_the_convolution_is_that_of_torch() -> None:
    u_BTC, before_BLC, w_LC, b_C = (tensor.detach() for tensor in inputs(2, 9, 5, bias=True))
    seen_BCT = torch.cat([before_BLC, u_BTC], 1).mT
    expected_BTC = torch.nn.functional.conv1d(seen_BCT, w_LC.T[:, None], b_C, groups=5).mT
    for backend in ("fused", "reference"):
        c_BTC, last_BLC = convolve(u_BTC, before_BLC, w_LC, b_C, backend=backend)  # type: ignore[arg-type]
        torch.testing.assert_close(c_BTC, expected_BTC)
        assert torch.equal(last_BLC, u_BTC[:, -3:])


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


@pytest.mark.parametrize("time", [0, 1])
@pytest.mark.parametrize("unit_heads", [0, 2])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_kernels_write_what_their_plain_versions_write(unit_heads: int, time: int, parts: int) -> None:
    B, T, K, C = 5, 6, 7, 21
    widths = widths_of(3, parts, K)
    missing = [None] * (kernel.MAX_PARTS - len(widths))
    generator = torch.Generator().manual_seed(3)
    u, before, w, *b = (tensor.detach() for tensor in inputs(B, T, C, bias=unit_heads == 0))
    steps, bias_C = (B, T) if time else (T, B), b[0] if b else None
    u = u if time else u.transpose(0, 1).contiguous()
    strides = (T, 1) if time else (1, B)
    form = kernel.Form(time, time == 0 or unit_heads > 0, unit_heads * K, K, tuple(widths))
    sizes = kernel.Sizes(*form[1:4], T, C, *strides, *widths, *[0] * len(missing))
    written = " ".join(f"n_{part}" for part in range(len(widths))) + (" scales" if unit_heads else "")
    for share in ((0, 5), (2, 4)):
        n, gradients = ([torch.randn(*steps, width, generator=generator) for width in widths] for _ in range(2))
        scales = torch.randn(B, T, unit_heads, generator=generator) if unit_heads else None
        forward = kernel.Forward(u, before, w, bias_C, *n, *missing, scales, *sizes)
        agree(kernel.forward_rows, plain.forward, forward, share, written)
        plain.forward(forward, 0, B)
        d_u = torch.randn(*steps, C, generator=generator)
        d_before, sums = torch.randn(B, 3, C, generator=generator), torch.randn(5, C, generator=generator)
        kept = [*n, *missing] if unit_heads else [None] * kernel.MAX_PARTS
        given = (u, before, w, bias_C, *kept, scales, *gradients, *missing)
        backward = kernel.Backward(*given, d_u, d_before, sums, *sizes)
        agree(kernel.backward_rows, plain.backward, backward, share, "d_u d_before sums")
