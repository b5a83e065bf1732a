"""Compare the kernel of split projections with its equations: parts, gradients, layouts and refusals."""

# Shape suffixes: B batch, T time, D input width, P rows of all parts

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arch.core.memory.projection import Part, feature, project, project_one
from arch.kernels.reference import projection as plain
from arch.kernels.runtime.parts import MAX_PARTS
from arch.kernels.simd.matmul import panels_of
from arch.kernels.simd.vector import LANES
from arch.kernels.training.heads import projection as kernel
from arch.kernels.training.residual_mlp import whole_tiles
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree

FORMS = {
    "one": (Part(3),),
    "split": (Part(14, "feature", 2), Part(14, "sigmoid", 2), Part(14, heads=2, counts=True), Part(5)),
    "wide": (
        Part(40, heads=1, counts=True),
        Part(1, "feature"),
        Part(70),
        Part(2, "none", 2),
        Part(17, "sigmoid"),
    ),
    "rotating": (Part(9), Part(36, heads=2, rotates=True), Part(4, "sigmoid"), Part(18, heads=1, rotates=True)),
}
"""Parts narrower and wider than vectors, with and without heads, ones, rotations and activations, up to the largest
number."""
SIZES = [(1, 1, 1), (2, 5, 19), (3, 50, 28)]
"""Batch, steps and input width."""


def drawn(name: str, sizes: tuple[int, int, int], *, bias: bool) -> list[Tensor]:
    """Return x (B, T, D), W (P, D), and b (P,) if there is one."""
    (B, T, D), P, generator = sizes, sum(part.width for part in FORMS[name]), torch.Generator().manual_seed(0)
    shapes = [(B, T, D), (P, D), (P,)]
    return [torch.randn(shape, generator=generator) for shape in shapes[: 2 + bias]]


def factors(name: str, steps: int) -> Tensor | None:
    """Return complex factors (R, T, J) of the parts that rotate, or None if there are none."""
    widths = [part.shape[-1] for part in FORMS[name] if part.rotates]
    if not widths:
        return None
    generator = torch.Generator().manual_seed(3)
    return torch.randn(len(widths), steps, widths[0] // 2, dtype=torch.complex64, generator=generator)


def results(name: str, given: list[Tensor], backend: Any, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the parts, and the gradients of all inputs of a weighted sum of the parts."""
    own = [tensor.to(dtype).detach().requires_grad_() for tensor in given]
    rotary_RTJ = factors(name, given[0].shape[1])
    if rotary_RTJ is not None and dtype is torch.float64:
        rotary_RTJ = rotary_RTJ.to(torch.complex128)
    bias = own[2] if len(own) > 2 else None
    found = project(own[0], own[1], bias, FORMS[name], rotary_RTJ=rotary_RTJ, backend=backend)
    generator = torch.Generator().manual_seed(1)
    sees = [torch.randn(tensor.shape, generator=generator).to(dtype) for tensor in found]
    return [tensor.detach().float() for tensor in (*found, *torch.autograd.grad(found, own, sees))]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("name", FORMS)
def test_parts_and_gradients_equal_the_equations(name: str, bias: bool, sizes: tuple[int, int, int]) -> None:
    assert len(FORMS["wide"]) == MAX_PARTS
    given = drawn(name, sizes, bias=bias)
    assert_same(results(name, given, "fused"), results(name, given, "reference", torch.float64))


def test_the_equations_are_those_of_torch() -> None:
    x_BTD, W_PD, b_P = drawn("split", (2, 5, 19), bias=True)
    q, k, v, g = project(x_BTD, W_PD, b_P, FORMS["split"], backend="reference")
    p_BTP = torch.nn.functional.linear(x_BTD, W_PD, b_P)
    torch.testing.assert_close(q.flatten(2), torch.nn.functional.elu(p_BTP[..., :14]) + 1)
    torch.testing.assert_close(feature(p_BTP[..., :14]), q.flatten(2))
    torch.testing.assert_close(k, p_BTP[..., 14:28].sigmoid().view(2, 5, 2, 7))
    assert torch.equal(v[..., :7], p_BTP[..., 28:42].view(2, 5, 2, 7)) and bool((v[..., 7] == 1).all())
    torch.testing.assert_close(g, p_BTP[..., 42:])


def test_inputs_in_any_layout_stay_unchanged() -> None:
    given = drawn("rotating", (4, 6, 19), bias=True)
    strided = [given[0].transpose(0, 1).contiguous().transpose(0, 1), given[1].T.contiguous().T, given[2]]
    before = [tensor.clone() for tensor in strided]
    assert not strided[0].is_contiguous()
    assert_same(results("rotating", strided, "fused"), results("rotating", given, "fused"))
    assert all(torch.equal(*pair) for pair in zip(before, strided, strict=True))


def test_second_derivatives_use_the_equations() -> None:
    found = {}
    for backend in ("fused", "reference"):
        own = [tensor.requires_grad_() for tensor in drawn("split", (2, 5, 3), bias=True)]
        parts = project(own[0], own[1], own[2], FORMS["split"], backend=backend)  # type: ignore[arg-type]
        slopes = torch.autograd.grad(sum(part.pow(3).sum() for part in parts), own, create_graph=True)  # type: ignore[arg-type]
        total = torch.stack([slope.square().sum() for slope in slopes]).sum()
        found[backend] = [*(slope.detach() for slope in slopes), *torch.autograd.grad(total, own)]
    assert_same(found["fused"], found["reference"])


def test_a_part_that_nothing_reads_has_no_gradient() -> None:
    """Compare with the equations if only the last part is read, and if the inputs need no gradient."""
    found = []
    for backend in ("fused", "reference"):
        x_BTD, W_PD = drawn("split", (2, 5, 19), bias=False)
        W_PD.requires_grad_()
        project(x_BTD, W_PD, None, FORMS["split"], backend=backend)[-1].sum().backward()  # type: ignore[arg-type]
        found.append([W_PD.grad])
    assert_same(*found)
    assert found[0][0] is not None and not found[0][0][:42].any()


def test_large_inputs_saturate() -> None:
    x_BTD = torch.tensor([-1e30, -200.0, 0.0, 200.0, 1e30]).view(1, 5, 1)
    parts = (Part(1, "sigmoid"), Part(1, "feature"))
    found = project(x_BTD, torch.ones(2, 1), None, parts, backend="fused")
    expected = project(x_BTD, torch.ones(2, 1), None, parts, backend="reference")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-30)


def test_rotations_that_fit_no_part_are_refused() -> None:
    x_BTD, W_PD = drawn("rotating", (2, 5, 19), bias=False)
    with pytest.raises(ValueError, match="the kernel needs a tensor of shape"):
        project(x_BTD, W_PD, None, FORMS["rotating"], rotary_RTJ=factors("rotating", 4), backend="fused")


@pytest.mark.parametrize("share", [(0, 70), (8, 70), (64, 67)], ids=str)
@pytest.mark.parametrize("name", FORMS)
def test_kernels_write_what_their_plain_versions_write(name: str, share: tuple[int, int]) -> None:
    parts, generator = FORMS[name], torch.Generator().manual_seed(2)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    R, D, P = 70, 19, sum(part.width for part in parts)
    blocks = [max(part.heads, 1) for part in parts]
    form, absent = kernel.form_of(tuple(parts)), [None] * (MAX_PARTS - len(parts))
    results = [draw(R, part.width + many * part.counts) for part, many in zip(parts, blocks, strict=True)]
    names = [f"_{place}" for place in range(len(parts))]
    x, W, T, rotary_RTJ = draw(R, D), draw(P, D), 14, factors(name, 14)
    rotary = None if rotary_RTJ is None else torch.view_as_real(rotary_RTJ)
    forward = kernel.Forward._make([x, W, draw(P), form, rotary, *results, *absent, T, D, P, len(parts)])
    agree(kernel.forward_rows, plain.forward, forward, share, " ".join(f"r{name}" for name in names))
    plain.forward(forward, 0, R)
    gradients, sums = [draw(*r.shape) for r in results], torch.zeros(whole_tiles(D) + 1, panels_of(P) * LANES)
    activated = [None if part.activation == "none" else r for part, r in zip(parts, results, strict=True)]
    given = (x, W, form, rotary, *activated, *absent, *gradients, *absent)
    backward = kernel.Backward._make([*given, draw(R, D), sums, T, D, P, len(parts)])
    agree(kernel.backward_rows, plain.backward, backward, share, "d_x sums")


def test_a_single_step_runs_the_equations_and_refusals_say_why() -> None:
    x_BTD, W_PD = torch.randn(2, 1, 3), torch.randn(4, 3)
    assert torch.equal(project_one(x_BTD, W_PD), torch.nn.functional.linear(x_BTD, W_PD))
    with pytest.raises(ValueError, match="backend=fused cannot run here: the kernel needs dense float32 tensors"):
        project_one(x_BTD.double(), W_PD.double(), backend="fused")
