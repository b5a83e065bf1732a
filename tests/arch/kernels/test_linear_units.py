"""What holds for the kernels of `lru` and `rg_lru` alike: gradients or none, layouts, chunks, second derivatives."""

# Shape suffixes: B batch, T time, D input width, H width

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.arch.fused import assert_same, layer_of

CASES = [
    ("lru", 18, 18),
    ("lru:states=3", 18, 18),
    ("lru:states=21,output=linear", 18, 18),
    ("lru:states=37", 18, 18),
    ("rg_lru", 5, 18),
    ("rg_lru:conv=0", 5, 18),
]
"""Specs, input widths and widths."""
each = pytest.mark.parametrize(("spec", "inputs", "width"), CASES)


def parts_of(state: Any) -> list[Tensor]:
    """Return the tensors of a state."""
    return [part for part in state if part is not None]


@each
def test_outputs_are_the_same_without_gradients(spec: str, inputs: int, width: int) -> None:
    torch.manual_seed(0)
    layer, x_BTD = layer_of(spec, inputs, width), torch.randn(5, 40, inputs)
    with torch.no_grad():
        expected_BTH, expected = layer.scan(x_BTD, layer.init_state(5))
    found_BTH, found = layer.scan(x_BTD, layer.init_state(5))
    assert torch.equal(found_BTH, expected_BTH)
    assert all(torch.equal(one, other) for one, other in zip(parts_of(found), parts_of(expected), strict=True))


@each
def test_inputs_and_weights_in_any_layout(spec: str, inputs: int, width: int) -> None:
    torch.manual_seed(0)
    layer, x_BTD = layer_of(spec, inputs, width), torch.randn(4, 40, inputs)
    strided_BTD = torch.randn(40, inputs, 4).permute(2, 0, 1).copy_(x_BTD).requires_grad_()
    sees_BTH, found = torch.randn(4, width, 40).transpose(1, 2), []
    for given in (x_BTD.requires_grad_(), strided_BTD):
        before = given.detach().clone()
        y_BTH = layer(given)
        found.append([y_BTH.detach(), *torch.autograd.grad(y_BTH, [given, *layer.parameters()], sees_BTH)])
        assert torch.equal(given, before)
        for parameter in layer.parameters():
            if parameter.dim() == 2:
                parameter.data = parameter.data.T.contiguous().T
    assert_same(*found)


@each
def test_sequences_continue_from_states_and_pass_their_gradients_on(spec: str, inputs: int, width: int) -> None:
    torch.manual_seed(1)
    layer, x_BTD, found = layer_of(spec, inputs, width), torch.randn(4, 50, inputs), []
    for sizes in ([50], [1, 2, 47], [25, 25]):
        state, outputs = layer.init_state(4), []
        for part_BTD in x_BTD.split(sizes, 1):
            y_BTH, state = layer.scan(part_BTD, state)
            outputs.append(y_BTH)
        y_BTH = torch.cat(outputs, 1)
        total = torch.stack([part.square().sum() for part in (y_BTH, *parts_of(state))]).sum()
        found.append([y_BTH.detach(), *torch.autograd.grad(total, list(layer.parameters()))])
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


@each
def test_second_derivatives_use_the_equations(spec: str, inputs: int, width: int) -> None:
    torch.manual_seed(0)
    layer, x_BTD, found = layer_of(spec, inputs, width), torch.randn(2, 5, inputs, requires_grad=True), {}
    for backend in ("fused", "reference"):
        layer.backend = backend
        y_BTH, after = layer.scan(x_BTD, layer.init_state(2))
        total = torch.stack([part.square().sum() for part in (y_BTH, *parts_of(after))]).sum()
        (slope_BTD,) = torch.autograd.grad(total, x_BTD, create_graph=True)
        found[backend] = [*torch.autograd.grad(slope_BTD.square().sum(), [x_BTD, *layer.parameters()])]
    assert_same(found["fused"], found["reference"])
