"""The transformer's kernels in training against its equations: same outputs, same gradients, same cache."""

# Shape suffixes: B batch, T time, D model width

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import arch
from arch.kernels import _threads
from arch.transformer import Cache, Transformer
from tests.arch.fused import assert_same

SPECS = [
    "transformer",
    "transformer:heads=1",
    "transformer:heads=3,expansion=2",
    "transformer:positions=none",
    "transformer:positions=alibi,window=3",
    "transformer:positions=rotary,window=4",
]


def block_of(spec: str, width: int) -> Transformer:
    chosen = arch.get(spec)
    torch.manual_seed(0)
    layer = chosen.layer.stack(width, width, 1, **chosen.options)[0]
    assert isinstance(layer, Transformer)
    return layer


def results(layer: Transformer, backend: str, x_BTD: Tensor) -> list[Tensor]:
    """Outputs of two chunks, the cache, and gradients by the input and all that is learned."""
    layer.backend = backend  # type: ignore[assignment]
    assert layer.backend_for(x_BTD) == backend
    first_BTD, cache = layer.scan(x_BTD[:, :4], layer.init_state(len(x_BTD)))
    second_BTD, cache = layer.scan(x_BTD[:, 4:], cache)
    output_BTD = torch.cat([first_BTD, second_BTD], 1)
    weights_BTD = torch.linspace(-1, 1, output_BTD.numel()).view_as(output_BTD)
    gradients = torch.autograd.grad((output_BTD * weights_BTD).sum(), [x_BTD, *layer.parameters()])
    assert isinstance(cache, Cache)
    return [output_BTD.detach(), cache.keys_BNSK.detach(), cache.values_BNSK.detach(), *gradients]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("sizes", [(1, 5, 6), (3, 9, 12), (2, 7, 36), (5, 6, 96)], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_and_gradients_are_the_equations(
    spec: str, sizes: tuple[int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "LEAST_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    batch, steps, width = sizes
    heads = int(arch.get(spec).options.get("heads", 2))
    layer = block_of(spec, width - width % (2 * heads))
    x_BTD = torch.randn(steps, batch, layer.width, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    x_BTD.requires_grad_()
    assert_same(results(layer, "fused", x_BTD), results(layer, "reference", x_BTD))


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_of_gradients_come_from_the_equations(spec: str) -> None:
    layer, found = block_of(spec, 12), {}
    x_BTD = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for backend in ("fused", "reference"):
        layer.backend = backend
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the others have no second derivative
            (slope_BTD,) = torch.autograd.grad(layer(x_BTD).pow(3).sum(), x_BTD, create_graph=True)
        found[backend] = [slope_BTD.detach(), *torch.autograd.grad(slope_BTD.square().sum(), [x_BTD])]
    assert_same(found["fused"], found["reference"])


def test_fused_is_refused_where_it_cannot_be() -> None:
    layer = block_of("transformer", 8).double()
    assert layer.backend_for(torch.randn(1, 3, 8, dtype=torch.float64)) == "reference"
    layer.backend = "fused"
    with pytest.raises(ValueError, match="backend=fused cannot run here"):
        layer(torch.randn(1, 3, 8, dtype=torch.float64))
