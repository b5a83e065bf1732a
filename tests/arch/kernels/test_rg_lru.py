"""Compare the kernel of `rg_lru` with its equations and its plain reference: chunks, states, layouts, threads."""

# Shape suffixes: B batch, T time, D input width, H hidden width, K steps of the convolution

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from arch.kernels.reference import rg_lru as plain
from arch.kernels.runtime.tensors import CONV_STEPS
from arch.kernels.training.linear_units import rg_lru as kernel
from arch.kernels.training.linear_units.rg_lru_parts import BEFORE, KEPT, shapes_of_sums
from arch.rg_lru import RGLRUState
from tests.arch.fused import assert_same, layer_of
from tests.arch.kernels import test_reference

SPECS = ["rg_lru", "rg_lru:conv=0"]
SIZES = [(1, 200, 3, 7), (3, 90, 5, 17), (37, 9, 2, 33), (130, 2, 9, 16), (130, 5, 1, 32)]
"""Batch, steps, input width and width. Chunks have many steps, or one, and the last ones fewer than the others."""


def run(spec: str, backend: str, sizes: tuple[int, int, int, int]) -> list[Tensor]:
    """Return outputs and last state, and the gradients of a weighted sum of them, for a random initial state."""
    (B, T, D, H), draw = sizes, test_reference.random(0)
    torch.manual_seed(0)
    layer = layer_of(spec, D, H, backend)
    x_BTD, h_BH, inputs_BKH = (draw(*shape).requires_grad_() for shape in ((B, T, D), (B, H), (B, BEFORE, H)))
    learned = [x_BTD, h_BH, *([inputs_BKH] if spec == "rg_lru" else []), *layer.parameters()]
    y_BTH, after = layer.scan(x_BTD, RGLRUState(h_BH, inputs_BKH if spec == "rg_lru" else None))
    found = [part for part in (y_BTH, *after) if part is not None]
    gradients = torch.autograd.grad(found, learned, [draw(*part.shape) for part in found])
    return [part.detach() for part in (*found, *gradients)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_chunks_and_gradients_equal_the_equations(spec: str, sizes: tuple[int, int, int, int]) -> None:
    assert_same(run(spec, "fused", sizes), run(spec, "reference", sizes))


@pytest.mark.parametrize("spec", SPECS)
def test_two_threads_give_the_same_outputs(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (21, 30, 5, 18)
    expected = run(spec, "fused", sizes)
    monkeypatch.setattr("arch.kernels.runtime.threads.MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = run(spec, "fused", sizes)
    assert all(map(torch.equal, found[:2], expected[:2]))
    assert_same(found, expected)


@pytest.mark.parametrize("share", [(0, 9), (3, 5)], ids=str)
@pytest.mark.parametrize("sizes", [(2, 1, 1, True), (40, 5, 18, True), (40, 16, 16, False), (30, 3, 33, True)], ids=str)
def test_kernels_write_what_their_plain_versions_write(
    sizes: tuple[int, int, int, bool], share: tuple[int, int]
) -> None:
    (T, D, H, has_conv), B, draw = sizes, 9, test_reference.random(0)
    values: dict[str, Any] = {"x": draw(T, B, D), "h_0": draw(B, H), "c": -draw(H).abs() - 0.1}
    values |= {
        "W_vg": draw(2 * H, D) / D**0.5,
        "b_vg": draw(2 * H),
        "W_ri": draw(2 * H, H) / H**0.5,
        "b_ri": draw(2 * H),
    }
    values |= {"W_y": draw(H, H) / H**0.5, "b_y": draw(H), "y": draw(T, B, H), "h": draw(B, H)}
    of_inputs = ("before", "last", "d_before", "d_last")
    values |= {name: draw(B, BEFORE, H) if has_conv else None for name in of_inputs}
    values |= {"w": draw(CONV_STEPS, H) if has_conv else None, "b_c": draw(H) if has_conv else None}
    values |= {
        "kept": draw(T, B, KEPT * H),
        "d_y": draw(T, B, H),
        "d_h": draw(B, H),
        "d_x": draw(T, B, D),
        "T": T,
        "B": B,
        "D": D,
        "H": H,
    }
    values["sums"] = draw(sum(rows * width for rows, width in shapes_of_sums(D, H)))
    forward = test_reference.selected(kernel.Forward, values)
    written = "kept y h" + " last" * has_conv
    test_reference.agree(kernel.forward_rows, plain.forward, forward, share, written)
    backward = test_reference.selected(kernel.Backward, values)
    written = "d_h d_x sums" + " d_before" * has_conv
    test_reference.agree(kernel.backward_rows, plain.backward, backward, share, written)
