"""Tests of the analyses of the `gates` probe on small models and synthetic values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import arch
import tasks
from bench.probes import trace_analysis
from bench.probes.recording import MAX_FEATURES, fixed_states, projection, watch_gates, watch_states

EXACT = 1e-12
"""Tolerance for float64 arithmetic on a few numbers."""
RIDGE = 1e-6
"""Tolerance for the R² of a perfect decoding, which the smallest ridge strength lowers slightly."""
FLOAT32 = 1e-5
"""Tolerance for float32 models with a few units."""
SAMPLING = 0.05
"""Largest sampling error of an R² over a few hundred sequences."""
FIT, SELECT = 900, 300


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_retention_of_a_constant_gate_is_its_power() -> None:
    hold_BTH = torch.tensor([0.5, 0.9, 1.0], dtype=torch.float64).expand(4, 7, 3)
    assert trace_analysis.retention(hold_BTH).tolist() == pytest.approx([0.5**7, 0.9**7, 1.0], abs=EXACT)


def test_retention_is_averaged_over_sequences_after_the_product() -> None:
    hold_BTH = torch.tensor([[[1.0], [0.2]], [[0.5], [0.4]]])
    assert trace_analysis.retention(hold_BTH).item() == pytest.approx((0.2 + 0.2) / 2, abs=FLOAT32)


def test_half_life_of_a_constant_gate_equals_the_formula() -> None:
    hold_BTH = torch.tensor([0.5, 0.25, 0.5**0.1, 1.0, 0.0], dtype=torch.float64).expand(2, 3, 5)
    assert trace_analysis.half_life(hold_BTH).tolist() == pytest.approx(
        [1, 0.5, 10, trace_analysis.MAX_HALF_LIFE, 0], rel=EXACT
    )


def test_histogram_and_share_count_every_activation_once() -> None:
    activation = torch.tensor([0.0, 0.24, 0.25, 0.5, 0.8, 1.0, 1.0, 0.79])
    assert trace_analysis.histogram(activation, 4).tolist() == [0.25, 0.125, 0.125, 0.5]
    assert trace_analysis.share_between(activation, 0.8, 1.0) == pytest.approx(3 / 8, abs=FLOAT32)


def test_contrast_is_a_ratio_of_means_and_none_for_a_closed_gate() -> None:
    level_T = torch.tensor([0.9, 0.2, 0.4, 0.6])
    assert trace_analysis.contrast(level_T, 0, slice(1, -1)) == pytest.approx(3.0, abs=FLOAT32)
    assert trace_analysis.contrast(torch.tensor([1.0, 0.0, 0.0]), 0, slice(1, -1)) is None


def test_state_that_contains_the_first_element_is_decoded_perfectly() -> None:
    x_ND = noise(1500, 1)
    state_NF = torch.cat([noise(1500, 1, seed=1), 3 - 2 * x_ND], 1)
    assert trace_analysis.decodability(state_NF, x_ND, fit=FIT, select=SELECT) == pytest.approx(1.0, abs=RIDGE)


def test_state_with_half_noise_gives_half_the_r_squared() -> None:
    x_ND, other_ND = noise(20_000, 1), noise(20_000, 1, seed=1)
    r_squared = trace_analysis.decodability(x_ND + other_ND, x_ND, fit=8_000, select=2_000)
    assert r_squared == pytest.approx(0.5, abs=SAMPLING)


def test_noise_decodes_to_zero_and_a_constant_target_to_none() -> None:
    noise_NF = noise(1500, 300, seed=1)
    r_squared = trace_analysis.decodability(noise_NF, noise(1500, 1), fit=FIT, select=SELECT)
    assert r_squared == pytest.approx(0.0, abs=SAMPLING)
    assert trace_analysis.decodability(noise_NF, torch.ones(1500, 1), fit=FIT, select=SELECT) is None


def test_r_squared_is_computed_on_held_out_sequences() -> None:
    """Check that R² is -3 if the sign of the state is reversed on the test sequences.

    The state equals x_1 on the sequences for fitting and selection, and -x_1 on the test sequences.
    """
    x_ND = noise(1500, 1)
    state_NF = x_ND.clone()
    state_NF[FIT + SELECT :] *= -1
    r_squared = trace_analysis.decodability(state_NF, x_ND, fit=FIT, select=SELECT)
    assert r_squared == pytest.approx(-3.0, abs=SAMPLING)


def linear_network(recurrent: float, readout: float) -> arch.SequenceModel:
    """Build h' = relu(x + u h) with output v h, for u = `recurrent` and v = `readout`.

    The network is linear if the inputs and u are positive.
    """
    model = arch.build("rnn:nonlinearity=relu,bias=False", channels=1, outputs=1, width=1, depth=1)
    layer = model.layers[0]
    with torch.no_grad():
        layer.W_HD.fill_(1.0)
        layer.U_HH.fill_(recurrent)
        model.readout.weight.fill_(readout)
        model.readout.bias.zero_()
    return model


def test_gradient_trace_of_a_linear_network_equals_the_formula() -> None:
    """Check the gradient norm at every step.

    With y = v Σ u^(T-t) x_t and loss (y - z)², the norm at step t is 2 |y - z| v u^(T-t).
    """
    u, v, T = 0.5, 2.0, 6
    task = tasks.build("adding")
    inputs = noise(3, T, 1).abs().float()
    targets, mask = torch.zeros(3, T, 1), torch.zeros(3, T, dtype=torch.bool)
    mask[:, -1] = True
    trace_T = trace_analysis.gradient_trace(
        linear_network(u, v), task, tasks.Batch(inputs=inputs, targets=targets, mask=mask)
    )
    decay_T = u ** torch.arange(T - 1, -1, -1, dtype=torch.float64)
    y_B = v * (inputs[:, :, 0].double() * decay_T).sum(1)
    expected = (2 * y_B.abs() * v).mean() * decay_T
    assert trace_T.tolist() == pytest.approx(expected.tolist(), rel=EXACT)


def test_gradient_trace_of_tokens_is_that_of_their_embeddings() -> None:
    task = tasks.build("first_last:rule=equal")
    model = arch.build("gru", vocabulary=2, outputs=2, width=4, depth=1, seed=0)
    batch = task.sample(tasks.generator(0, "test"), 5, 4)
    trace_T = trace_analysis.gradient_trace(model, task, batch)
    assert trace_T.shape == (4,)
    assert (trace_T > 0).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_network_that_copies_its_first_input_has_a_memory_trace_of_one() -> None:
    """Check that R² is 1 at every step.

    A relu network with u = 1 sums its inputs. All inputs after x_1 are 0, so the state is x_1 at every step.
    """
    inputs = torch.zeros(1500, 5, 1)
    inputs[:, 0, 0] = noise(1500).abs().float()
    states = list(watch_states(linear_network(1.0, 1.0), inputs))
    assert len(states) == 5
    for state_NF in states:
        r_squared = trace_analysis.decodability(state_NF, inputs[:, 0], fit=FIT, select=SELECT)
        assert r_squared == pytest.approx(1.0, abs=RIDGE)


def test_watched_features_are_fixed_states_or_outputs_if_states_grow() -> None:
    inputs = noise(4, 3, 1).float()
    lstm = arch.build("lstm", channels=1, outputs=1, width=3, depth=2, seed=0)
    transformer = arch.build("transformer", channels=1, outputs=1, width=4, depth=2, seed=0)
    assert fixed_states(lstm, inputs) == [True, True]
    assert fixed_states(transformer, inputs) == [False, False]
    (*_, last_BF) = watch_states(lstm, inputs)
    h_and_c = torch.cat([part for layer in lstm.scan(inputs, lstm.init_state(4))[1] for part in layer], 1)
    torch.testing.assert_close(last_BF, h_and_c, rtol=0, atol=FLOAT32)
    (*_, last_BF) = watch_states(transformer, inputs)
    assert last_BF.shape == (4, 2 * 4)
    with torch.no_grad():
        torch.testing.assert_close(transformer.readout(last_BF[:, 4:]), transformer(inputs)[:, -1])


def test_wide_state_is_projected_reproducibly_to_the_maximum_width() -> None:
    wide = arch.build("rnn", channels=1, outputs=1, width=MAX_FEATURES + 8, depth=1, seed=0)
    (state_BF,) = watch_states(wide, noise(2, 1, 1).float())
    (repeated_BF,) = watch_states(wide, noise(2, 1, 1).float())
    assert state_BF.shape == (2, MAX_FEATURES)
    torch.testing.assert_close(state_BF, repeated_BF)


def test_what_varies_in_few_directions_can_be_decoded_from_the_projection() -> None:
    """Check the R² of two hidden numbers that every feature mixes, and of one that only a single large feature has."""
    hidden_N2, lone_N = noise(1500, 2), noise(1500, seed=1)
    state_NF = hidden_N2 @ noise(2, 5 * MAX_FEATURES + 3, seed=2)
    state_NF[:, 7] = 1e3 * lone_N
    projected_NF = projection(state_NF.shape[1], state_NF.device)(state_NF)
    assert projected_NF.shape == (1500, MAX_FEATURES)
    for target_ND in (hidden_N2, lone_N[:, None]):
        r_squared = trace_analysis.decodability(projected_NF, target_ND, fit=FIT, select=SELECT)
        assert r_squared == pytest.approx(1.0, abs=RIDGE)


def test_each_feature_is_in_one_sum_with_a_random_sign() -> None:
    features = 2 * MAX_FEATURES + 5
    map_FK = projection(features, torch.device("cpu"))(torch.eye(features))
    assert ((map_FK != 0).sum(1) == 1).all()
    assert set((map_FK != 0).sum(0).tolist()) == {2, 3}
    assert set(map_FK.sum(1).tolist()) == {-1.0, 1.0}


def test_watched_gates_equal_the_gates_of_each_step() -> None:
    model = arch.build("lstm", channels=1, outputs=1, width=3, depth=1, seed=0)
    inputs = noise(2, 4, 1).float()
    gates = watch_gates(model, inputs)
    state = model.init_state(2)
    with torch.no_grad():
        _, state = model.scan(inputs[:, :3], state)
        for name, gate in model.gates(inputs[:, 3], state).items():
            torch.testing.assert_close(gates[name][:, 3], gate, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize(
    "options", ["", ":positions=alibi", ":window=3", ":positions=alibi,window=2", ":positions=learned"]
)
def test_watched_attention_times_values_equals_the_attended_output(options: str) -> None:
    """Check that the recorded weights, multiplied by the values of all steps, give the layer's own attention output."""
    model = arch.build(f"transformer{options}", channels=1, outputs=1, width=4, depth=1, seed=0)
    layer, inputs = model.layers[0], noise(2, 5, 1).float()
    with torch.no_grad():
        weights_BNTT = watch_gates(model, inputs)["0.attention"]
        assert weights_BNTT.shape == (2, 2, 5, 5)
        x_BTD = model.encoder(inputs)
        if layer.adds_positions:
            x_BTD = x_BTD + layer._added_positions(0, 5, x_BTD)
        qkv = layer._project(x_BTD, layer.init_state(2), None)
        attended_BTD, _ = layer._attend(*qkv, layer.init_state(2), fused=False)
        v_BNTK = qkv[2]
        expected_BTD = (weights_BNTT @ v_BNTK).transpose(1, 2).reshape(2, 5, 4)
    torch.testing.assert_close(expected_BTD, attended_BTD, rtol=0, atol=FLOAT32)
    rows = weights_BNTT.sum(3)
    torch.testing.assert_close(rows, torch.ones_like(rows), rtol=0, atol=FLOAT32)
    assert weights_BNTT.triu(1).abs().max() == 0
    assert math.isfinite(weights_BNTT.sum().item())
