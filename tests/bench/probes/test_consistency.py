"""The gate: a model whose forms differ is not timed; every architecture as it ships is."""

from __future__ import annotations

from typing import Any

import pytest
import safetensors.torch
import torch

import arch
import tasks
from arch import SequenceModel
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import load_subject, run_timing_job
from bench.executors.training_job import run_training_job
from bench.probes import Subject, latency
from bench.probes.consistency import CONSISTENCY_TOLERANCE, SEGMENT_STEPS, largest_difference, refusal
from bench.training.model import build_model
from results import Measurement
from tests.bench.doubles import Drifting
from tests.bench.tiny import TIMING, tiny_case

FLOAT32 = 1e-5
"""Absolute, for outputs near 1."""


def trained(name: str, *, seed: int = 0, length: int = 20) -> TimeJob:
    case = tiny_case(name, seed=seed, length=length)
    weights = run_training_job(TrainJob(case=case), lambda done, total, score: None).weights
    return TimeJob(cases=(case,), weights=(weights,), probes=("latency", "streaming"), timing=TIMING)


def drift(monkeypatch: pytest.MonkeyPatch, error: float, *, of: int | None = None) -> None:
    """Let `step` be off by `error`; of models with that seed only, where one is given."""
    really = build_model

    def build(case: object, task: tasks.Task) -> SequenceModel:
        model = really(case, task)  # type: ignore[arg-type]
        if of is None or case.seed == of:  # type: ignore[attr-defined]
            model.__class__ = Drifting
            model.error = error  # type: ignore[assignment]
        return model

    monkeypatch.setattr("bench.executors.timing_job.build_model", build)


@pytest.mark.parametrize("name", arch.names())
def test_every_architecture_passes_after_training(name: str) -> None:
    job = trained(name)
    (timed,) = run_timing_job(job).values()
    assert {probe: ran.status for probe, ran in timed.probes.items()} == {"latency": "ok", "streaming": "ok"}
    assert {"step_seconds", "forward_seconds"} <= {measurement.metric for measurement in timed.measurements}


def test_a_model_whose_step_differs_is_refused_and_has_no_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    job = trained("lstm")
    drift(monkeypatch, 0.5)
    (timed,) = run_timing_job(job).values()
    assert timed.measurements == ()
    assert {ran.status for ran in timed.probes.values()} == {"refused"}
    for ran in timed.probes.values():
        assert ran.reason is not None
        assert "step and scan differ by" in ran.reason
        assert "0.001" in ran.reason


def test_a_layer_that_forgets_its_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = trained("gru:backend=reference")
    layer = arch.get("gru").layer
    really = layer.step
    monkeypatch.setattr(layer, "step", lambda self, x_BD, state: really(self, x_BD, self.init_state(len(x_BD))))
    (timed,) = run_timing_job(job).values()
    assert timed.measurements == ()
    assert {ran.status for ran in timed.probes.values()} == {"refused"}


def test_a_refused_model_leaves_the_others_of_its_group_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = trained("rnn", seed=0), trained("rnn", seed=1)
    drift(monkeypatch, 0.5, of=1)
    group = TimeJob(
        cases=first.cases + second.cases,
        weights=first.weights + second.weights,
        probes=("streaming",),
        timing=TIMING,
    )
    timed = run_timing_job(group)
    assert timed[first.cases[0].key].probes["streaming"].status == "ok"
    assert timed[second.cases[0].key].probes["streaming"].status == "refused"
    assert timed[first.cases[0].key].measurements != ()
    assert timed[second.cases[0].key].measurements == ()


@pytest.mark.parametrize(("share", "passes"), [(0.5, True), (2.0, False)])
def test_the_gate_closes_at_its_tolerance(share: float, passes: bool) -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    model.__class__ = Drifting
    model.error = share * CONSISTENCY_TOLERANCE  # type: ignore[assignment]
    inputs = task.sample(tasks.generator(0, "test"), 2, 20).inputs
    with torch.no_grad():
        for parameter in model.readout.parameters():
            parameter.mul_(0.1)  # outputs below 1, so that the difference counts as it is
    assert largest_difference(model, inputs) == pytest.approx(share * CONSISTENCY_TOLERANCE, abs=FLOAT32)
    assert (refusal(model, inputs) is None) is passes


def test_a_difference_is_relative_to_large_outputs() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    model.__class__ = Drifting
    model.error = 1.0  # type: ignore[assignment]
    with torch.no_grad():
        model.readout.weight.zero_()  # type: ignore[union-attr]
        model.readout.bias.fill_(250.0)  # type: ignore[union-attr]
    inputs = task.sample(tasks.generator(0, "test"), 2, 9).inputs
    assert largest_difference(model, inputs) == pytest.approx(1 / 250, rel=1e-4)


def test_a_difference_after_the_first_segment_is_seen() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    really, steps = model.step, iter(range(1000))

    def step(x: torch.Tensor, state: list[arch.State]) -> tuple[torch.Tensor, list[arch.State]]:
        y_BO, state = really(x, state)
        return (y_BO + 1 if next(steps) == 2 * SEGMENT_STEPS + 1 else y_BO), state

    model.step = step  # type: ignore[method-assign]
    inputs = task.sample(tasks.generator(0, "test"), 1, 2 * SEGMENT_STEPS + 2).inputs
    assert largest_difference(model, inputs) > 0.1


@pytest.mark.parametrize("name", arch.names())
def test_a_scan_that_ends_in_a_wrong_state_is_refused(name: str) -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case(name), task).eval()
    really = model.scan
    model.scan = lambda x, state: (really(x, state)[0], model.init_state(len(x)))  # type: ignore[method-assign]
    inputs = task.sample(tasks.generator(0, "test"), 2, 3 * SEGMENT_STEPS).inputs
    assert refusal(model, inputs) is not None


def test_the_first_call_is_timed_before_anything_else_runs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    job, ran = trained("gru"), []
    for form in ("forward", "scan", "step"):
        really = getattr(SequenceModel, form)

        def counted(self: SequenceModel, *given: object, form: str = form, really: Any = really) -> Any:
            ran.append(form)
            return really(self, *given)

        monkeypatch.setattr(SequenceModel, form, counted)
    really_first = latency.first_call

    def first_call(subject: Subject) -> Measurement:
        assert ran == []
        return really_first(subject)

    monkeypatch.setattr(latency, "first_call", first_call)
    (timed,) = run_timing_job(job).values()
    assert ran[:2] == ["forward", "scan"]
    assert [m.at for m in timed.measurements if m.metric == "first_call_seconds"] == [{"batch": 1}]


def test_outputs_that_are_not_numbers_are_refused() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    with torch.no_grad():
        model.readout.weight.fill_(float("nan"))  # type: ignore[union-attr]
    inputs = task.sample(tasks.generator(0, "test"), 1, 4).inputs
    assert largest_difference(model, inputs) == float("inf")
    assert refusal(model, inputs) is not None


def test_the_weights_that_are_timed_are_those_that_travelled() -> None:
    job = trained("rnn")
    timed = load_subject(job.cases[0], job.weights[0], "cpu").model.state_dict()
    travelled = safetensors.torch.load(job.weights[0])
    assert set(timed) == set(travelled)
    assert all(torch.equal(timed[name], travelled[name]) for name in timed)


def test_the_weights_that_travel_are_the_trained_ones() -> None:
    job = trained("rnn")
    again = safetensors.torch.load(job.weights[0])
    untrained = build_model(job.cases[0], tasks.build("first_last")).state_dict()
    assert set(again) == set(untrained)
    assert any(not torch.equal(again[name], untrained[name]) for name in again)
