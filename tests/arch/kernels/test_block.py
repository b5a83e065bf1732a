"""Compare the transformer's training kernels with its equations: outputs, gradients, cache."""

# Shape suffixes: B batch, T time, D model width

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import arch
from arch.core.attention.cache import Cache
from arch.kernels.runtime import threads as _threads
from arch.kernels.training import residual_mlp
from arch.transformer import Transformer
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
    """Return the outputs of two chunks, the final keys and values, and gradients.

    The gradients are those of a weighted sum of the outputs, with respect to the input and the parameters. The
    layer's backend is changed.
    """
    layer.backend = backend  # type: ignore[assignment]
    assert layer.backend_for(x_BTD) == backend
    first = x_BTD.shape[1] - 3  # the last three steps read the cache of the first chunk
    first_BTD, cache = layer.scan(x_BTD[:, :first], layer.init_state(len(x_BTD)))
    second_BTD, cache = layer.scan(x_BTD[:, first:], cache)
    output_BTD = torch.cat([first_BTD, second_BTD], 1)
    weights_BTD = torch.randn(output_BTD.shape, generator=torch.Generator().manual_seed(2))
    gradients = torch.autograd.grad((output_BTD * weights_BTD).sum(), [x_BTD, *layer.parameters()])
    assert isinstance(cache, Cache)
    return [output_BTD.detach(), cache.keys_BNSK.detach(), cache.values_BNSK.detach(), *gradients]


def compare(spec: str, batch: int, steps: int, width: int) -> None:
    heads = int(arch.get(spec).options.get("heads", 2))
    layer = block_of(spec, width - width % (2 * heads))
    x_BTD = torch.randn(steps, batch, layer.width, generator=torch.Generator().manual_seed(1)).transpose(0, 1)
    x_BTD.requires_grad_()
    assert_same(results(layer, "fused", x_BTD), results(layer, "reference", x_BTD))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("sizes", [(1, 5, 6), (3, 9, 12), (2, 7, 36), (5, 6, 96), (2, 83, 32)], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_and_gradients_equal_the_equations(
    spec: str, sizes: tuple[int, int, int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    compare(spec, *sizes)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_repeated_and_retained_backward_passes_are_identical(backend: str) -> None:
    """Check that two forward passes, with two backward passes each, give bit-identical outputs and gradients."""
    layer = block_of("transformer", 32)
    layer.backend = backend  # type: ignore[assignment]
    x_BTD = torch.randn(9, 67, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = []
    for _ in range(2):
        output_BTD = layer(x_BTD)
        for _ in range(2):
            gradients = torch.autograd.grad(output_BTD.square().sum(), [x_BTD, *layer.parameters()], retain_graph=True)
            found.append([output_BTD.detach(), *gradients])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check for bit-identical results of kernels on 1, 2 and 3 threads. torch's own products run on one thread."""
    layer = block_of("transformer", 32)
    x_BTD = torch.randn(9, 67, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = []
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        output_BTD = layer(x_BTD)
        found.append([output_BTD, *torch.autograd.grad(output_BTD.square().sum(), [x_BTD, *layer.parameters()])])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_many_rows_of_the_mlp_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check gradients over several blocks of sums: bit-identical for 1, 2 and 3 threads, and those of torch."""
    draw, D, E, N = torch.Generator().manual_seed(0), 5, 11, 2 * residual_mlp.ROWS_PER_SUM + 70
    shapes = [(D,), (D,), (E, D), (E,), (D, E), (D,), (D,), (D,)]
    weights = residual_mlp.Weights(*(torch.randn(shape, generator=draw) for shape in shapes))
    x_ND, a_ND, d_z_ND = (torch.randn(N, D, generator=draw) for _ in range(3))
    monkeypatch.setattr(_threads, "MIN_WORK", 1)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        y_ND, total_ND, z_ND = residual_mlp.advance(x_ND, a_ND, None, weights)
        d_y_ND, _, of_weights = residual_mlp.go_back(d_z_ND, y_ND, total_ND, weights)
        found.append([z_ND, d_y_ND, *of_weights])
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    leaves = [tensor.double().requires_grad_() for tensor in (x_ND + a_ND, *weights) if tensor is not None]
    y, gain, offset, W_1, b_1, W_2, b_2, *final = leaves
    hidden_NE = torch.nn.functional.gelu(torch.nn.functional.layer_norm(y, (D,), gain, offset) @ W_1.T + b_1)
    expected_ND = torch.nn.functional.layer_norm(y + hidden_NE @ W_2.T + b_2, (D,), *final)
    expected = [expected_ND.detach(), *torch.autograd.grad(expected_ND, leaves, d_z_ND.double())]
    assert_same(found[0], [tensor.float() for tensor in expected])


def test_attention_is_causal() -> None:
    layer = block_of("transformer", 32)
    x_BTD = torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(1))
    before_BTD = layer(x_BTD)
    for step in (8, 13, 31):
        changed_BTD = x_BTD.clone()
        changed_BTD[:, step] *= -100
        after_BTD = layer(changed_BTD)
        assert torch.equal(after_BTD[:, :step], before_BTD[:, :step])
        assert (after_BTD[:, step:] != before_BTD[:, step:]).any(2).all()


@pytest.mark.parametrize("spec", SPECS)
def test_second_derivatives_use_the_equations(spec: str) -> None:
    layer, found = block_of(spec, 12), {}
    x_BTD = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for backend in ("fused", "reference"):
        layer.backend = backend
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # others lack second derivatives
            output_BTD = layer(x_BTD)
        (slope_BTD,) = torch.autograd.grad(output_BTD.pow(3).sum(), x_BTD, create_graph=True)
        found[backend] = [slope_BTD.detach(), *torch.autograd.grad(slope_BTD.square().sum(), [x_BTD])]
    assert_same(found["fused"], found["reference"])


def test_backend_fused_is_refused_if_unsupported() -> None:
    layer = block_of("transformer", 8).double()
    assert layer.backend_for(torch.randn(1, 3, 8, dtype=torch.float64)) == "reference"
    layer.backend = "fused"
    with pytest.raises(ValueError, match="backend=fused cannot run here"):
        layer(torch.randn(1, 3, 8, dtype=torch.float64))
