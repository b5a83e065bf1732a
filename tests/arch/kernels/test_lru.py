"""Compare the kernel of `lru` with its equations and its plain reference: chunks, threads, huge inputs."""

# Shape suffixes: B batch, T time, H width

from __future__ import annotations

from typing import Any

import pytest
import torch

import arch
from arch.kernels.reference import lru as plain
from arch.kernels.training.linear_units import lru as kernel
from arch.kernels.training.linear_units.lru_parts import sizes_of
from tests.arch.fused import layer_of
from tests.arch.kernels import test_reference, test_training

SPECS = ["lru", "lru:states=3", "lru:states=21,output=linear", "lru:states=37"]
SIZES = [(1, 200, 7), (3, 90, 17), (37, 9, 33), (130, 2, 16)]
"""Batch, steps and width. The first two have several chunks of steps, and the last one more rows than a chunk."""


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_chunks_and_gradients_equal_the_equations(spec: str, sizes: tuple[int, int, int]) -> None:
    batch, steps, width = sizes
    test_training.compare(spec, batch, steps, width, width, seed=0)


@pytest.mark.parametrize("spec", SPECS)
def test_two_threads_give_the_same_outputs(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x_BTH = layer_of(spec, 18, 18), torch.randn(21, 30, 18)
    expected = layer.scan(x_BTH, layer.init_state(21))
    monkeypatch.setattr("arch.kernels.runtime.threads.MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    found = layer.scan(x_BTH, layer.init_state(21))
    assert torch.equal(found[0], expected[0]) and all(map(torch.equal, found[1], expected[1]))
    test_training.compare(spec, batch=21, steps=30, inputs=18, width=18, seed=0)


@pytest.mark.parametrize("huge", [1e4, -1e4])
def test_huge_inputs_stay_finite(huge: float) -> None:
    layer, x_BTH = arch.get("lru").layer(20, 20, backend="fused"), torch.full((3, 4, 20), huge, requires_grad=True)
    y_BTH = layer(x_BTH)
    gradients = torch.autograd.grad(y_BTH.sum(), [x_BTH, *layer.parameters()])
    assert all(bool(found.isfinite().all()) for found in (y_BTH, *gradients))


@pytest.mark.parametrize("share", [(0, 9), (3, 5)], ids=str)
@pytest.mark.parametrize("sizes", [(1, 1, True), (18, 21, True), (16, 5, False)], ids=str)
def test_kernels_write_what_their_plain_versions_write(sizes: tuple[int, int, bool], share: tuple[int, int]) -> None:
    (H, N, has_gate), T, B, draw = sizes, 40, 9, test_reference.random(0)
    a_2N, M = draw(2, N), 2 * N
    values: dict[str, Any] = {"x": draw(T, B, H), "a": 0.9 * a_2N / a_2N.norm(dim=0), "E": draw(M, H) / H**0.5}
    values |= {"C": draw(H, M) / M**0.5, "D": draw(H), "re_0": draw(B, N), "im_0": draw(B, N), "h": draw(T, B, M)}
    values |= {"W": draw(2 * H, H) / H**0.5 if has_gate else None, "b": draw(2 * H) if has_gate else None}
    values |= {"v": draw(T, B, H) if has_gate else None, "y": draw(T, B, H), "T": T, "B": B, "H": H, "N": N}
    values |= {"d_y": draw(T, B, H), "d_re": draw(B, N), "d_im": draw(B, N), "d_x": draw(T, B, H)}
    values["sums"] = draw(sum(height * width for height, width in sizes_of(H, N)))
    forward = test_reference.selected(kernel.Forward, values)
    test_reference.agree(kernel.forward_rows, plain.forward, forward, share, "h y" + " v" * has_gate)
    backward = test_reference.selected(kernel.Backward, values)
    test_reference.agree(kernel.backward_rows, plain.backward, backward, share, "d_re d_im d_x sums")
