"""Tests of the consistency check: a model whose step and scan differ has no timings; all built-in models pass."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import safetensors.torch
import torch

import arch
import tasks
from arch import SequenceModel
from arch.core.compiled.program import MIN_PACKED_STEPS, Program
from bench.executors.jobs import TimeJob, TrainJob
from bench.executors.timing_job import load_subject, run_timing_job
from bench.executors.training_job import run_training_job
from bench.probes import latency
from bench.probes.consistency import (
    CONSISTENCY_TOLERANCE,
    SEGMENT_STEPS,
    TIMED_STREAM,
    consistency_failure,
    largest_differences,
)
from bench.probes.subject import Subject
from bench.training.model import build_model
from results import Measurement
from tests.bench.doubles import Drifting
from tests.bench.tiny import TIMING, tiny_case

FLOAT32 = 1e-5
"""Absolute tolerance for float32 outputs near 1."""


def trained(name: str, *, seed: int = 0, length: int = 20) -> TimeJob:
    case = tiny_case(name, seed=seed, length=length)
    weights = run_training_job(TrainJob(case=case), lambda done, total, score: None).weights
    return TimeJob(cases=(case,), weights=(weights,), probes=("latency", "streaming"), timing=TIMING)


def plant_drift(monkeypatch: pytest.MonkeyPatch, error: float, *, seed: int | None = None) -> None:
    """Make `step` of loaded models add `error` to its outputs. If `seed` is given, only models of that seed do so."""
    original = build_model

    def build(case: object, task: tasks.Task) -> SequenceModel:
        model = original(case, task)  # type: ignore[arg-type]
        if seed is None or case.seed == seed:  # type: ignore[attr-defined]
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


def test_model_with_a_wrong_step_is_refused_and_has_no_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    job = trained("lstm")
    plant_drift(monkeypatch, 0.5)
    (timed,) = run_timing_job(job).values()
    assert timed.measurements == ()
    assert {ran.status for ran in timed.probes.values()} == {"refused"}
    for ran in timed.probes.values():
        assert ran.reason is not None
        assert "step and scan differ by" in ran.reason
        assert "0.001" in ran.reason


def test_layer_that_forgets_its_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job = trained("gru:backend=reference")
    layer = arch.get("gru").layer
    original = layer.step
    monkeypatch.setattr(layer, "step", lambda self, x_BD, state: original(self, x_BD, self.init_state(len(x_BD))))
    (timed,) = run_timing_job(job).values()
    assert timed.measurements == ()
    assert {ran.status for ran in timed.probes.values()} == {"refused"}


def test_other_models_of_the_group_are_timed_if_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = trained("rnn", seed=0), trained("rnn", seed=1)
    plant_drift(monkeypatch, 0.5, seed=1)
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
def test_check_fails_above_its_tolerance(share: float, passes: bool) -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    model.__class__ = Drifting
    model.error = share * CONSISTENCY_TOLERANCE  # type: ignore[assignment]
    inputs = task.sample(tasks.generator(0, "test"), 2, 20).inputs
    with torch.no_grad():
        for parameter in model.readout.parameters():
            parameter.mul_(0.1)  # outputs below 1, so that the difference is not scaled
    assert largest_differences(model, inputs)["step"] == pytest.approx(share * CONSISTENCY_TOLERANCE, abs=FLOAT32)
    assert (consistency_failure(model, inputs) is None) is passes


def test_difference_is_relative_to_large_outputs() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    model.__class__ = Drifting
    model.error = 1.0  # type: ignore[assignment]
    with torch.no_grad():
        model.readout.weight.zero_()  # type: ignore[union-attr]
        model.readout.bias.fill_(250.0)  # type: ignore[union-attr]
    inputs = task.sample(tasks.generator(0, "test"), 2, 9).inputs
    assert largest_differences(model, inputs)["step"] == pytest.approx(1 / 250, rel=1e-4)


def test_difference_after_the_first_segment_is_found() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    original = model.step
    inputs = task.sample(tasks.generator(0, "test"), 1, 2 * SEGMENT_STEPS + 2).inputs

    def step(x: torch.Tensor, state: list[arch.State]) -> tuple[torch.Tensor, list[arch.State]]:
        y_BO, state = original(x, state)
        return (y_BO + 1 if torch.equal(x, inputs[:, -1]) else y_BO), state

    model.step = step  # type: ignore[method-assign]
    assert largest_differences(model, inputs)["step"] > 0.1


@pytest.mark.parametrize("name", arch.names())
def test_scan_with_a_wrong_final_state_fails_the_check(name: str) -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case(name).model_copy(update={"width": 8}), task).eval()
    original = model.scan
    model.scan = lambda x, state: (original(x, state)[0], model.init_state(len(x)))  # type: ignore[method-assign]
    inputs = task.sample(tasks.generator(0, "test"), 2, 3 * SEGMENT_STEPS).inputs
    assert consistency_failure(model, inputs) is not None


def test_first_call_is_timed_before_anything_else_runs_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    job, calls = trained("gru"), []
    for form in ("forward", "scan", "step"):
        original = getattr(SequenceModel, form)

        def counted(self: SequenceModel, *arguments: object, form: str = form, original: Any = original) -> Any:
            calls.append(form)
            return original(self, *arguments)

        monkeypatch.setattr(SequenceModel, form, counted)
    original_measure = latency.measure_first_call

    def measure_first_call(subject: Subject) -> list[Measurement]:
        assert calls == []
        return original_measure(subject)

    monkeypatch.setattr(latency, "measure_first_call", measure_first_call)
    (timed,) = run_timing_job(job).values()
    assert calls[:2] == ["forward", "scan"]
    assert [m.at for m in timed.measurements if m.metric == "first_call_seconds"] == [{"batch": 1}]


def test_nan_outputs_fail_the_check() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("rnn"), task).eval()
    with torch.no_grad():
        model.readout.weight.fill_(float("nan"))  # type: ignore[union-attr]
    inputs = task.sample(tasks.generator(0, "test"), 1, 4).inputs
    assert largest_differences(model, inputs)["step"] == float("inf")
    assert consistency_failure(model, inputs) is not None


def test_timed_weights_are_the_weights_of_the_job() -> None:
    job = trained("rnn")
    loaded = load_subject(job.cases[0], job.weights[0], "cpu").model.state_dict()
    weights = safetensors.torch.load(job.weights[0])
    assert set(loaded) == set(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in loaded)


def test_weights_of_a_training_result_are_the_trained_ones() -> None:
    job = trained("rnn")
    weights = safetensors.torch.load(job.weights[0])
    untrained = build_model(job.cases[0], tasks.build("first_last")).state_dict()
    assert set(weights) == set(untrained)
    assert any(not torch.equal(weights[name], untrained[name]) for name in weights)


@pytest.mark.parametrize("wrong", ["outputs", "state"])
def test_stream_that_differs_from_scan_fails_the_check(wrong: str) -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("lstm"), task).eval()
    original = model.stream

    def stream(
        x: torch.Tensor, state: list[arch.State], times: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[arch.State]]:
        y_BTO, after = original(x, state, times)
        return (y_BTO + 1, after) if wrong == "outputs" else (y_BTO, model.init_state(len(x)))

    inputs = task.sample(tasks.generator(0, "test"), 1, 3 * SEGMENT_STEPS).inputs
    assert consistency_failure(model, inputs) is None
    model.stream = stream  # type: ignore[method-assign, assignment]
    differences = largest_differences(model, inputs)
    assert differences["step"] < FLOAT32 < CONSISTENCY_TOLERANCE < differences["stream"]
    reason = consistency_failure(model, inputs)
    assert reason is not None and reason.startswith("stream and scan differ by")


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "transformer"])
def test_wrong_packed_weights_fail_the_check(name: str) -> None:
    """Zero the packed weights that the timed kernels read, of each architecture that packs its weights.

    A short stream without a clock does not read them.
    """
    task = tasks.build("first_last")
    model = build_model(tiny_case(name), task).eval()
    inputs = task.sample(tasks.generator(0, "test"), 1, 4 * SEGMENT_STEPS).inputs
    programs: list[Program] = []
    original = Program.stream

    def stream(self: Program, *arguments: Any) -> Any:
        programs.append(self)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "stream", stream)
        assert consistency_failure(model, inputs) is None
    packed = [weights for weights, _ in programs[-1].packed]
    assert packed
    with torch.inference_mode():
        for weights in packed:
            weights.zero_()
    differences = largest_differences(model, inputs)
    assert max(differences["step"], differences["stream"]) < FLOAT32
    assert differences[TIMED_STREAM] > CONSISTENCY_TOLERANCE
    assert (consistency_failure(model, inputs) or "").startswith("stream with a clock and scan differ by")


def test_longer_timed_stream_that_is_wrong_from_its_ninth_step_on_fails_the_check() -> None:
    task = tasks.build("first_last")
    model = build_model(tiny_case("lstm"), task).eval()
    original, steps = model.stream, []

    def stream(
        x: torch.Tensor, state: list[arch.State], times: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[arch.State]]:
        y_BTO, after = original(x, state, times)
        if times is not None:
            steps.append(x.shape[1])
            y_BTO[:, SEGMENT_STEPS:] += 1
        return y_BTO, after

    model.stream = stream  # type: ignore[method-assign, assignment]
    inputs = task.sample(tasks.generator(0, "test"), 2, 12).inputs
    assert consistency_failure(model, inputs) is not None
    assert max(steps) == MIN_PACKED_STEPS


def test_every_timed_number_of_streams_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    monkeypatch.setattr(
        "bench.executors.timing_job.consistency_failure", lambda model, inputs: checked.append(len(inputs))
    )
    job = trained("rnn")
    job = dataclasses.replace(job, timing=TIMING.model_copy(update={"streams": (8, 2, 100)}))
    run_timing_job(job)
    assert checked == [1, 2, 8]
    checked.clear()
    run_timing_job(dataclasses.replace(job, probes=("latency",)))
    assert checked == [1]


def test_stream_that_is_wrong_in_a_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    job, original = trained("lstm"), SequenceModel.stream

    def stream(self: SequenceModel, x: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, list[arch.State]]:
        y_BTO, after = original(self, x, *arguments)
        return (y_BTO if len(x) == 1 else y_BTO + 1), after

    monkeypatch.setattr(SequenceModel, "stream", stream)
    (timed,) = run_timing_job(job).values()
    assert {ran.status for ran in timed.probes.values()} == {"refused"}
