"""Weights of models: shared parameters are stored, loaded and restored after a test of the best weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
from bench.executors.jobs import TimeJob, TrainingResult, TrainJob
from bench.executors.timing_job import load_subject, run_timing_job
from bench.executors.training_job import run_training_job
from bench.plugins.loader import Plugin, install, load
from bench.training.model import load_weights, pack_weights
from tests.bench.plugin_files import ARCH, write
from tests.bench.tiny import TIMING, tiny_case

TIED = {
    "one layer twice": "    @classmethod\n    def stack(cls, inputs, width, depth, **options):\n"
    "        layer = cls(width, width, **options)\n"
    "        return [cls(inputs, width, **options), *[layer] * (depth - 1)]\n\n",
    "one weight in two modules": "    @classmethod\n    def stack(cls, inputs, width, depth, **options):\n"
    "        layers = [cls(inputs if i == 0 else width, width, **options) for i in range(depth)]\n"
    "        for layer in layers[2:]:\n            layer.linear.weight = layers[1].linear.weight\n"
    "        return layers\n\n",
}


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


@pytest.fixture(params=TIED.values(), ids=TIED)
def plugins(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Plugin, ...]:
    text = ARCH.replace("    def init_state", request.param + "    def init_state", 1)
    return load([write(tmp_path, "scaled", text)]).plugins


def test_shared_parameters_are_trained_stored_tested_and_timed(plugins: tuple[Plugin, ...]) -> None:
    case = tiny_case("scaled", steps=3, keep_best=True).model_copy(update={"depth": 3})
    result = run_training_job(TrainJob(case=case, plugins=plugins), lambda *_: None)
    assert isinstance(result, TrainingResult) and result.record.status == "ok"
    assert len(result.record.of("early_stopped_accuracy")) == 1
    model = load_subject(case, result.weights, "cpu").model
    assert model.layers[2].linear.weight is model.layers[1].linear.weight
    assert result.record.model is not None
    assert arch.parameter_count(model) == result.record.model.parameters
    job = TimeJob(
        cases=(case,), weights=(result.weights,), probes=("latency", "streaming"), timing=TIMING, plugins=plugins
    )
    (timed,) = run_timing_job(job).values()
    assert {ran.status for ran in timed.probes.values()} == {"ok"}


def test_loaded_weights_equal_the_stored_ones(plugins: tuple[Plugin, ...]) -> None:
    model, other = (arch.build("scaled", channels=1, outputs=2, width=3, depth=3, seed=seed) for seed in (0, 1))
    load_weights(other, pack_weights(model))
    x_BTD = torch.randn(2, 4, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x_BTD), other(x_BTD))


def test_views_of_one_tensor_are_stored() -> None:
    """Buffers may share memory with a part of another tensor, or repeat an element."""
    model = arch.build("rnn", channels=1, outputs=2, width=3, seed=0)
    whole = torch.arange(6.0)
    model.register_buffer("part", whole[2:4])
    model.register_buffer("whole", whole)
    model.register_buffer("repeated", torch.ones(1).expand(5))
    other = arch.build("rnn", channels=1, outputs=2, width=3, seed=1)
    for name, size in (("part", 2), ("whole", 6), ("repeated", 5)):
        other.register_buffer(name, torch.zeros(size))
    load_weights(other, pack_weights(model))
    assert torch.equal(other.get_buffer("part"), whole[2:4]) and torch.equal(other.get_buffer("whole"), whole)
