"""Optional hooks of a layer: groups of parameters, auxiliary losses, unlike layers, and complex parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import run_timing_job
from bench.executors.training_job import run_training_job
from bench.plugins.loader import Plugin, install, load
from bench.training.loop import train
from bench.training.optimizer import optimizer_of, training_loss
from results import Protocol
from tests.bench.plugin_files import ARCH, write
from tests.bench.tiny import TIMING, subject, tiny_case
from tests.bench.validation.test_layers import COMPLEX

GROUPS = """    def parameter_groups(self):
        return [
            ParameterGroup([self.linear.bias], learning_rate=0.1, weight_decay=False),
            ParameterGroup([self.linear.weight], learning_rate=2.0),
        ]

    def init_state"""
WITH_GROUPS = ARCH.replace("import Layer", "import Layer, ParameterGroup").replace("    def init_state", GROUPS)

AUXILIARY = ARCH.replace(
    "    def init_state",
    "    def auxiliary_loss(self):\n        return 3.0 * self.linear.bias.square().sum()\n\n    def init_state",
)

HYBRID = '''"""{name}: a GRU, then a Transformer, and so on."""

import arch


class Hybrid(arch.get("gru").layer):
    @classmethod
    def stack(cls, inputs, width, depth):
        kinds = [arch.get("gru").layer, arch.get("transformer").layer]
        return [kinds[i % 2](inputs if i == 0 else width, width) for i in range(depth)]

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width)
'''


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def plugins(tmp_path: Path, text: str) -> tuple[Plugin, ...]:
    loaded = load([write(tmp_path, "scaled", text)])
    assert loaded.disabled == ()
    return loaded.plugins


def test_groups_scale_the_learning_rate_and_drop_the_weight_decay(tmp_path: Path) -> None:
    plugins(tmp_path, WITH_GROUPS)
    model = subject("scaled", depth=2).model
    protocol = Protocol(steps=1, learning_rate=0.01, weight_decay=0.5)
    groups = optimizer_of(model, protocol).groups
    rates = {
        id(parameter): (group.learning_rate, group.weight_decay) for group in groups for parameter in group.parameters
    }
    assert len(rates) == len(list(model.parameters()))
    for layer in model.layers:
        assert rates[id(layer.linear.bias)] == (0.001, 0.0) and rates[id(layer.linear.weight)] == (0.02, 0.5)
    assert rates[id(model.readout.weight)] == (0.01, 0.5)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_training_uses_the_groups(tmp_path: Path, schedule: str) -> None:
    """Adam's first step changes every parameter by its learning rate, so the changes show the factors."""
    plugins(tmp_path, WITH_GROUPS)
    built = subject("scaled", schedule=schedule, learning_rate=1e-3)
    before = {name: value.clone() for name, value in built.model.state_dict().items()}
    train(built.model, built.task, built.case)
    change = {name: (value - before[name]).abs().max().item() for name, value in built.model.state_dict().items()}
    assert change["layers.0.linear.bias"] == pytest.approx(1e-4, rel=1e-2)
    assert change["layers.1.linear.weight"] == pytest.approx(2e-3, rel=1e-2)
    assert change["readout.weight"] == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_built_in_models_have_one_group(name: str, weight_decay: float) -> None:
    model = subject(name).model
    (group,) = optimizer_of(model, Protocol(steps=1, learning_rate=0.01, weight_decay=weight_decay)).groups
    assert all(a is b for a, b in zip(group.parameters, model.parameters(), strict=True))
    assert (group.learning_rate, group.weight_decay) == (0.01, weight_decay)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.1", "0.0", "Scaled.parameter_groups: learning_rate is 0.0; give a positive factor"),
        ("[self.linear.weight]", "[self.linear.bias]", "a parameter is in two groups; put it into one"),
        ("[self.linear.weight]", "[nn.Parameter(torch.ones(1))]", "a parameter is not the layer's; leave it out"),
    ],
)
def test_invalid_groups_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (disabled,) = load([write(tmp_path, "scaled", WITH_GROUPS.replace(old, new))]).disabled
    assert message in disabled.reason


def test_the_auxiliary_loss_of_every_layer_is_added_in_training(tmp_path: Path) -> None:
    plugins(tmp_path, AUXILIARY)
    built = subject("scaled", depth=2)
    batch = built.task.sample(torch.Generator().manual_seed(0), 4, 4)
    model = built.model
    plain = built.task.loss(model(batch.inputs), batch)
    expected = plain + sum(3.0 * layer.linear.bias.square().sum() for layer in model.layers)
    assert training_loss(model, built.task, batch).item() == pytest.approx(expected.item(), rel=1e-6)
    training = train(model, built.task, dataclasses.replace(built, model=model).case)
    assert training.curve[0].train_loss is not None and training.curve[0].train_loss > 20  # 2 layers, 4 biases of 1


def test_an_auxiliary_loss_without_a_scalar_is_refused(tmp_path: Path) -> None:
    plugins(tmp_path, AUXILIARY.replace(".sum()\n", "\n"))
    with pytest.raises(ValueError, match=r"Scaled\.auxiliary_loss has the shape \(4,\); return a scalar"):
        arch.auxiliary_loss(subject("scaled").model)


def test_models_without_an_auxiliary_loss_have_none() -> None:
    assert arch.auxiliary_loss(subject("lstm").model) is None


@pytest.mark.parametrize("text", [WITH_GROUPS, AUXILIARY, HYBRID, COMPLEX], ids=["groups", "loss", "hybrid", "complex"])
def test_plugins_with_hooks_are_trained_and_timed(tmp_path: Path, text: str) -> None:
    loaded = plugins(tmp_path, text)
    case = tiny_case("scaled", "adding", length=8, steps=3, keep_best=True).model_copy(update={"depth": 2})
    result = run_training_job(TrainJob(case=case, probes=("accuracy", "gates"), plugins=loaded), lambda *_: None)
    assert (result.record.status, result.record.reason) == ("ok", None)
    assert {ran.status for ran in result.record.probes.values()} == {"ok"}
    job = TimeJob(
        cases=(case,), weights=(result.weights,), probes=("latency", "streaming"), timing=TIMING, plugins=loaded
    )
    (timed,) = run_timing_job(job).values()
    assert {ran.status for ran in timed.probes.values()} == {"ok"}
