"""What the layers with a delta rule, `mlstm` and `rwkv7` can do, how they start, and which options they refuse."""

# Shape suffixes: B batch, T time, N heads, K head width

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import arch
from tests.arch.oracles import close, reals
from tests.arch.subjects import BATCH, model


def layer_of(spec: str) -> Any:
    """Return the layer of a model of depth 1, without its block, in float64."""
    block = model(spec, depth=1).layers[0]
    return getattr(block, "layer", block)


def transition_eigenvalues(spec: str) -> Tensor:
    """Return the eigenvalues of the map from memory to memory of one step, for many inputs and both heads."""
    layer, found = layer_of(spec), []
    empty = layer.init_state(1)
    for x_D in 3 * reals(20, layer.inputs, seed=5):
        base = layer.step(x_D[None], layer.init_state(1))[1].memory_BNKV

        def carried(memory: Tensor, x_D: Tensor = x_D, base: Tensor = base) -> Tensor:
            after = layer.step(x_D[None], empty._replace(memory_BNKV=memory))[1].memory_BNKV
            return (after - base)[..., 0]  # all columns of the memory change alike

        jacobian = torch.autograd.functional.jacobian(carried, empty.memory_BNKV)[..., 0]
        found += [torch.linalg.eigvals(jacobian[0, head, :, 0, head]) for head in range(layer.heads)]  # type: ignore[index]
    return torch.cat(found)


@pytest.mark.parametrize("spec", ["delta_net", "gated_delta_net", "gated_delta_net:decay=channel"])
def test_only_negative_allows_transitions_with_negative_eigenvalues(spec: str) -> None:
    join = "," if ":" in spec else ":"
    standard, negative = (transition_eigenvalues(each) for each in (spec, f"{spec}{join}negative=True"))
    assert standard.imag.abs().max() < 1e-7 and negative.imag.abs().max() < 1e-7
    assert standard.real.min() > 0
    assert negative.real.min() < -0.1
    assert max(standard.abs().max(), negative.abs().max()) < 1 + 1e-9


@pytest.mark.parametrize("name", ["delta_net", "gated_delta_net"])
def test_two_householders_can_rotate_a_memory(name: str) -> None:
    """Check that a product of two reflections has complex eigenvalues, which one reflection never has."""
    eigenvalues = transition_eigenvalues(f"{name}:negative=True,householders=2")
    assert eigenvalues.imag.abs().max() > 0.1
    assert eigenvalues.abs().max() < 1 + 1e-9


def test_a_strength_of_one_replaces_what_the_memory_holds_for_a_key() -> None:
    layer = layer_of("delta_net:conv=0")
    x_BD = reals(BATCH, layer.inputs, seed=3)
    with torch.no_grad():
        layer.strength_ND.copy_(1e3 * x_BD[:1].expand_as(layer.strength_ND))
        _, state = layer.step(x_BD[:1], layer.init_state(1)._replace(memory_BNKV=reals(1, 2, 4, 4, seed=4)))
        _, k_BTNK, v_BTNK, beta, *_ = layer.writes(x_BD[:1, None], layer.init_state(1))
    close(beta, torch.ones_like(beta))
    held = torch.einsum("bnkv,bnk->bnv", state.memory_BNKV, k_BTNK[:, 0])
    torch.testing.assert_close(held, v_BTNK[:, 0], rtol=0, atol=1e-4)  # a key has norm 1 up to ε


@pytest.mark.parametrize(
    ("spec", "width", "message"),
    [
        ("delta_net:householders=0", 8, "householders must be at least 1 step per token, not 0"),
        ("delta_net:heads=0", 8, "heads must be at least 1, not 0"),
        ("delta_net:heads=3", 8, "width 8 is not a multiple of 3, as required by 3 heads; try width 6 or 9"),
        ("gated_delta_net:householders=0", 8, "householders must be at least 1 step per token, not 0"),
        ("gated_delta_net:heads=0", 8, "heads must be at least 1, not 0"),
        ("mlstm:heads=3", 8, "width 8 is not a multiple of 3, as required by 3 heads; try width 6 or 9"),
        ("rwkv7:heads=-1", 8, "heads must be at least 1, not -1"),
        ("delta_net:conv=3", 8, "conv must be 0 or 4, not 3"),
    ],
)
def test_impossible_options_are_refused_in_one_line(spec: str, width: int, message: str) -> None:
    with pytest.raises(ValueError) as error:
        arch.build(spec, channels=1, outputs=1, width=width)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("spec", ["gated_delta_net", "gated_delta_net:decay=channel"])
def test_decays_start_as_in_mamba(spec: str) -> None:
    torch.manual_seed(0)  # the range of 64 draws differs between seeds
    block: Any = arch.build(
        f"{spec},heads=64" if ":" in spec else f"{spec}:heads=64", channels=1, outputs=1, width=128
    ).layers[0]
    layer = block.layer
    rate, A = torch.nn.functional.softplus(layer.rate_A), layer.log_A_N.exp()
    assert 0.001 <= rate.min() < 0.003 and 0.04 < rate.max() <= 0.1001
    assert (1 if "channel" in spec else 0) <= A.min() < 2 and 14 < A.max() <= 16
    (group,) = layer.parameter_groups()
    assert {id(parameter) for parameter in group.parameters} == {id(layer.rate_A), id(layer.log_A_N)}
    assert not group.weight_decay


def test_mlstm_starts_with_long_and_with_short_memories() -> None:
    block: Any = arch.build("mlstm:heads=4", channels=1, outputs=1, width=8).layers[0]
    layer = block.layer
    assert layer.b_if_2N[4:].tolist() == [3.0, 4.0, 5.0, 6.0]
    assert not layer.W_if_2ND.any() and layer.b_if_2N[:4].abs().max() < 0.5


def test_the_output_of_mlstm_does_not_depend_on_the_unit_of_its_memory() -> None:
    """Check that C e^-δ, n e^-δ and m + δ give the same outputs for any δ, as long as no bound of (6) changes."""
    layer = layer_of("mlstm")
    x_BTD, memory = reals(BATCH, 7, layer.inputs, seed=3), reals(BATCH, 2, 4, 5, seed=4)
    m = reals(BATCH, 2, seed=5)
    state = layer.init_state(BATCH)._replace(memory_BNKU=memory, stabiliser_BN=m)
    expected, _ = layer.scan(x_BTD, state)
    for shift in (-3.0, 5.0):
        other = state._replace(memory_BNKU=memory * math.exp(-shift), stabiliser_BN=m + shift)
        close(layer.scan(x_BTD, other)[0], expected)


def test_the_gates_of_mlstm_do_not_depend_on_its_stabiliser() -> None:
    layer = layer_of("mlstm")
    x_BD, memory, m = reals(BATCH, layer.inputs, seed=3), reals(BATCH, 2, 4, 5, seed=4), reals(BATCH, 2, seed=5)
    state = layer.init_state(BATCH)._replace(memory_BNKU=memory, stabiliser_BN=m)
    gates = layer.gates(x_BD, state)
    for shift in (-3.0, 5.0):
        other = state._replace(memory_BNKU=memory * math.exp(-shift), stabiliser_BN=m + shift)
        close(layer.gates(x_BD, other), gates)


def test_the_forget_gate_of_mlstm_is_the_share_that_its_memory_keeps() -> None:
    """Check it without the stabiliser, in which the memory is exp(m) C."""
    layer = layer_of("mlstm")
    x_BD, m_BN, change = reals(BATCH, layer.inputs, seed=3), reals(BATCH, 2, seed=5), reals(BATCH, 2, 4, 5, seed=6)
    state = layer.init_state(BATCH)._replace(stabiliser_BN=m_BN)
    _, after = layer.step(x_BD, state)
    _, moved = layer.step(x_BD, state._replace(memory_BNKU=change))
    kept = (moved.memory_BNKU - after.memory_BNKU) * after.stabiliser_BN.exp()[..., None, None]
    forget_BN = layer.gates(x_BD, state)["forget"]
    close(kept, forget_BN[..., None, None] * m_BN.exp()[..., None, None] * change)


@pytest.mark.parametrize("scale", [0.0, 300.0, -300.0])
@pytest.mark.parametrize("gate", [0, 1], ids=["input", "forget"])
def test_mlstm_is_finite_for_extreme_gates(scale: float, gate: int) -> None:
    """Check outputs and gradients in float32, in which e^89 overflows."""
    built = arch.build("mlstm", channels=3, outputs=2, width=8, seed=0)
    for block in built.layers:
        with torch.no_grad():
            block.layer.b_if_2N[2 * gate : 2 * gate + 2] = scale  # type: ignore[union-attr, index]
    x_BTD = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    outputs = built(x_BTD)
    gradients = torch.autograd.grad(outputs.square().sum(), [x_BTD, *built.parameters()])
    assert all(tensor.isfinite().all() for tensor in (outputs, *gradients))


def test_rwkv7_starts_with_shifts_and_decays_that_depend_on_the_depth() -> None:
    built = arch.build("rwkv7", channels=3, outputs=2, width=16, depth=3, seed=0)
    first, _, last = (block.layer for block in built.layers)  # type: ignore[union-attr]
    channel = torch.arange(16) / 16
    torch.testing.assert_close(first.mu_6D[0], 1 - channel**0.2)  # type: ignore[index]
    torch.testing.assert_close(last.mu_6D[1], 1 - channel ** (0.9 / 3))  # type: ignore[index]
    assert (last.decay_H <= first.decay_H + 1e-6).all()  # type: ignore[operator]
    decays = torch.exp(-math.exp(-0.5) * torch.sigmoid(first.decay_H))  # type: ignore[arg-type]
    assert decays.min() > 0.54 and decays.max() > 0.99


@pytest.mark.parametrize("spec", ["delta_net", "delta_net:negative=True", "gated_delta_net", "mlstm", "rwkv7"])
def test_gates_are_shares(spec: str) -> None:
    layer = layer_of(spec)
    _, state = layer.scan(reals(BATCH, 5, layer.inputs, seed=3), layer.init_state(BATCH))
    gates = layer.gates(reals(BATCH, layer.inputs, seed=4), state)
    assert gates
    for gate in gates.values():
        assert gate.dim() == 2 and len(gate) == BATCH
        assert gate.min() >= 0 and gate.max() <= (2 if "negative" in spec else 1)


def test_transitions_of_rwkv7_cannot_change_a_sign_for_long() -> None:
    """Check that all eigenvalues are real and above 1 / 1.84 - 1, as the remark on its theory says."""
    torch.manual_seed(0)
    layer: Any = arch.get("rwkv7").layer(8, 8, heads=2).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(9).add_(3 * torch.randn_like(parameter))  # so that w and a come near their bounds
        mixed = layer._mix(100 * torch.randn(50, 20, 8, dtype=torch.float64), layer.init_state(50))
    transition = torch.diag_embed(mixed.decay) + mixed.removal.unsqueeze(4) * mixed.kappa.unsqueeze(3)
    eigenvalues = torch.linalg.eigvals(transition)
    assert eigenvalues.imag.abs().max() < 1e-6
    assert -0.46 < eigenvalues.real.min() < -0.3 and eigenvalues.real.max() <= 1 + 1e-9


@pytest.mark.parametrize("spec", ["delta_net:householders=2", "gated_delta_net", "mlstm", "rwkv7"])
def test_a_batch_may_be_empty(spec: str) -> None:
    whole = arch.build(spec, channels=3, outputs=2, width=8, seed=0)
    y_BTO, _ = whole.scan(torch.zeros(0, 4, 3), whole.init_state(0))
    y_BO, _ = whole.step(torch.zeros(0, 3), whole.init_state(0))
    assert (y_BTO.shape, y_BO.shape) == ((0, 4, 2), (0, 2))
