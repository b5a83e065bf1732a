"""Tests of the `gates` probe on models with known gates, and of the fit and early stopping."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

import arch
import tasks
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.probes import gates, trace_analysis
from bench.probes.subject import ProbeResult, Subject
from bench.training.data import fit_batch
from bench.training.evaluation import evaluate
from bench.training.loop import train
from results import Case, Measurement, Record, Run, Traces, load_traces
from tests.bench.tiny import TINY, tiny_case, write_plan

FLOAT32 = 1e-5
"""Tolerance for float32 models with a few units."""
FORGET = torch.tensor(2.0).sigmoid().item()
LENGTH = 6


def zero_lstm() -> Subject:
    """Build an LSTM with zero weights. Its forget gates are σ(2), and all other gates are σ(0)."""
    case = tiny_case("lstm:bias=False,forget_bias=2", length=LENGTH)
    task = tasks.build(case.task)
    model = arch.build(case.arch, channels=1, outputs=2, width=4, depth=2, seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return Subject(case=case, task=task, model=model)


def samples_of(measurements: list[Measurement], metric: str, **at: int) -> list[tuple[float, ...]]:
    return [one.samples for one in measurements if one.metric == metric and at.items() <= one.at.items()]


def test_constant_gates_give_values_computed_by_hand() -> None:
    measured = gates.measure(zero_lstm()).measurements
    for layer in (0, 1):
        (retention,) = samples_of(measured, "retention", layer=layer)
        assert retention == pytest.approx([FORGET ** (LENGTH - 1)] * 4, rel=FLOAT32)
        (half_lives,) = samples_of(measured, "half_life_steps", layer=layer)
        decay = -torch.tensor(FORGET, dtype=torch.float64).log().item()
        assert half_lives == pytest.approx([torch.tensor(2.0).log().item() / decay] * 4, rel=FLOAT32)
        assert samples_of(measured, "forget_share", layer=layer) == [(1.0,)]
        for role in ("write", "hold", "read"):
            assert samples_of(measured, f"{role}_contrast", layer=layer)[0] == pytest.approx((1.0,), rel=FLOAT32)
            levels = [one.samples[0] for one in measured if one.metric == f"{role}_gate" and one.at["layer"] == layer]
            assert levels == pytest.approx([FORGET if role == "hold" else 0.5] * LENGTH, rel=FLOAT32)
        shares = {
            one.at["from_percent"]: one.samples[0]
            for one in measured
            if one.metric == "hold_histogram" and one.at["layer"] == layer
        }
        assert len(shares) == gates.BINS
        assert shares[85] == pytest.approx(1.0, abs=FLOAT32)
        assert sum(shares.values()) == pytest.approx(1.0, abs=FLOAT32)


def test_contrasts_compare_the_steps_of_each_role_with_the_inner_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that each contrast compares the right steps. With these levels, any wrong step changes a contrast."""
    write_T, hold_T, read_T = (
        [0.9, 0.1, 0.2, 0.3, 0.2, 0.5],
        [0.2, 0.8, 0.6, 0.7, 0.9, 0.3],
        [0.1, 0.4, 0.2, 0.4, 0.2, 0.9],
    )
    levels_T = {"0.input": write_T, "0.forget": hold_T, "0.output": read_T, "1.update": hold_T}
    gates_BTH = {name: torch.tensor(level_T)[None, :, None].expand(2, LENGTH, 3) for name, level_T in levels_T.items()}
    monkeypatch.setattr(gates, "watch_gates", lambda model, inputs: gates_BTH)
    monkeypatch.setattr(gates, "MAX_SEQUENCES", gates.MIN_SEQUENCES)
    measured = gates.measure(zero_lstm()).measurements
    contrasts = {(one.at["layer"], one.metric): one.samples[0] for one in measured if one.metric.endswith("_contrast")}
    assert contrasts == pytest.approx(
        {
            (0, "write_contrast"): 0.9 / 0.2,
            (0, "hold_contrast"): 0.75 / 0.2,
            (0, "read_contrast"): 0.9 / 0.3,
            (1, "hold_contrast"): 0.75 / 0.2,
            (1, "write_contrast"): 0.8 / 0.25,
        },
        rel=FLOAT32,
    )
    levels = {one.at["step"]: one.samples[0] for one in measured if one.metric == "hold_gate" and one.at["layer"] == 0}
    assert [levels[step] for step in range(1, LENGTH + 1)] == pytest.approx(hold_T, rel=FLOAT32)


def test_all_analyses_read_test_sequences_and_no_training_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = zero_lstm()
    case, task = subject.case, subject.task
    monkeypatch.setattr(gates, "MAX_SEQUENCES", gates.MIN_SEQUENCES)
    expected, trained = (
        task.sample(tasks.generator(case.seed, split), gates.MIN_SEQUENCES, LENGTH, split).inputs
        for split in ("test", "train")
    )
    splits: list[tasks.Split] = []
    read: list[torch.Tensor] = []

    def sample(
        self: tasks.Task, generator: torch.Generator, batch: int, length: int, split: tasks.Split = "train"
    ) -> tasks.Batch:
        splits.append(split)
        return original_sample(self, generator, batch, length, split)

    original_sample = type(task).sample
    monkeypatch.setattr(type(task), "sample", sample)
    for module, name in ((gates, "watch_gates"), (gates, "watch_states"), (trace_analysis, "gradient_trace")):
        original = getattr(module, name)

        def watched(*arguments: Any, original: Any = original) -> Any:
            last = arguments[-1]
            read.append(last.inputs if isinstance(last, tasks.Batch) else last)
            return original(*arguments)

        monkeypatch.setattr(module, name, watched)
    file = gates.measure(subject).artifacts["traces"]
    assert splits == ["test"]
    stored = torch.from_numpy(safetensors.numpy.load(file)["inputs"])
    assert sorted(len(inputs) for inputs in read) == [256, 256, 256, gates.MIN_SEQUENCES]
    for inputs in (*read, stored):
        assert torch.equal(inputs, expected[: len(inputs)])
        assert not (inputs[:, None] == trained[None]).all((2, 3)).any()


def stored(subject: Subject) -> Traces:
    """Return the traces that the probe stores."""
    case = subject.case
    record = Record(key=case.key, case=case, status="ok", artifacts={"traces": "traces.safetensors"})
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "traces.safetensors").write_bytes(gates.measure(subject).artifacts["traces"])
        traces = load_traces(Run(Path(folder)), record)
    assert traces is not None
    return traces


@pytest.mark.parametrize("rule", ["sum", "equal"])
def test_traces_hold_gates_states_and_answers_of_all_layers(rule: str) -> None:
    case = tiny_case("lstm", f"first_last:rule={rule}", length=LENGTH)
    task, H = tasks.build(case.task), gates.STORED_UNITS + 4
    tokens = rule == "equal"
    model = arch.build("lstm", channels=None if tokens else 1, vocabulary=2 if tokens else None, outputs=2, width=H)
    traces = stored(Subject(case=case, task=task, model=model))
    S = gates.STORED_SEQUENCES
    batch = task.sample(tasks.generator(case.seed, "test"), gates.MIN_SEQUENCES, LENGTH, "test")
    assert traces.layers == [0, 1]
    for layer in (0, 1):
        assert set(traces.gates_of(layer)) == {"input", "forget", "candidate", "output"}
        assert set(traces.states_of(layer)) == {"c", "output"}
    with torch.inference_mode():
        hidden = model.encoder(batch.inputs[:S])
        for n, layer in enumerate(model.layers):
            state, cells = layer.init_state(S), []
            for x_BD in hidden.unbind(1):
                _, state = layer.step(x_BD, state)
                cells.append(state.c_BH.clone())
            hidden = layer.scan(hidden, layer.init_state(S))[0]
            expected = {f"{n}.c": torch.stack(cells, 1), f"{n}.output": hidden}
            for name, value in expected.items():
                np.testing.assert_allclose(traces.states[name], value[:, :, : gates.STORED_UNITS], atol=FLOAT32)
        answers = model(batch.inputs[:S]).argmax(-1)
    assert traces.targets_STD is not None and traces.answers_STD is not None and traces.scored_ST is not None
    np.testing.assert_array_equal(traces.scored_ST, batch.mask[:S])
    np.testing.assert_array_equal(traces.answers_STD[:, :, 0], answers)
    np.testing.assert_array_equal(traces.targets_STD[:, :, 0], batch.targets[:S])
    assert (traces.target_names, traces.input_names) == (("no", "yes"), ("0", "1") if tokens else ())


def test_of_long_sequences_fewer_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    per_sequence = LENGTH * 4 * (4 + 2)  # gates and states, of four units each
    for limit, expected in ((4 * per_sequence, 4), (3 * per_sequence, 3), (per_sequence - 1, 1)):
        monkeypatch.setattr(gates, "STORED_NUMBERS", 2 * limit)  # there are two layers
        assert len(stored(zero_lstm()).inputs_STD) == expected


def test_network_with_zero_weights_has_no_memory_and_no_gradients() -> None:
    measured = gates.measure(zero_lstm()).measurements
    assert [samples[0] for samples in samples_of(measured, "memory_trace")] == pytest.approx([0.0] * LENGTH, abs=0.02)
    assert samples_of(measured, "gradient_trace") == [(0.0,)] * LENGTH
    assert all(samples[0] > 0 for samples in samples_of(measured, "initial_gradient_trace"))


def test_update_gate_is_a_hold_gate_and_its_complement_a_write_gate() -> None:
    update_BTH = torch.tensor([[[0.25], [0.5]]])
    roles = gates.roles({"0.update": update_BTH, "0.reset": update_BTH, "1.forget": update_BTH, "1.other": update_BTH})
    assert set(roles) == {(0, "hold"), (0, "write"), (1, "hold")}
    assert roles[0, "write"].flatten().tolist() == [0.75, 0.5]


def test_a_negative_decay_holds_with_its_magnitude() -> None:
    decay_BTH = torch.tensor([[[-0.5], [0.25]]])
    roles = gates.roles({"0.decay": decay_BTH, "0.input": decay_BTH, "1.decay": 3 * decay_BTH, "2.forget": decay_BTH})
    assert set(roles) == {(0, "hold")}, "a share is not negative, and no factor exceeds 1"
    assert roles[0, "hold"].flatten().tolist() == [0.5, 0.25]


@pytest.mark.parametrize("name", arch.names())
@pytest.mark.parametrize("rule", ["sum", "equal"])
def test_every_architecture_can_be_measured(name: str, rule: str) -> None:
    case = tiny_case(name, f"first_last:rule={rule}", length=LENGTH).model_copy(update={"width": 8})
    result = run_training_job(TrainJob(case=case, probes=("accuracy", "gates")), lambda *_: None)
    assert {probe: ran.status for probe, ran in result.record.probes.items()} == {"accuracy": "ok", "gates": "ok"}
    assert [one.at["step"] for one in result.record.of("memory_trace")] == list(range(1, LENGTH + 1))
    assert result.record.of("memory_trace")[0].samples[0] > 0.85  # a state of many numbers is projected
    assert all(one.samples[0] <= 1 for one in result.record.of("memory_trace"))
    assert result.artifacts["traces"]


def test_long_sequence_is_measured_at_a_limited_number_of_steps() -> None:
    case = tiny_case("rnn", length=200)
    model = arch.build("rnn", channels=1, outputs=2, width=4, depth=1, seed=0)
    measured = gates.measure(Subject(case=case, task=tasks.build(case.task), model=model)).measurements
    steps = [one.at["step"] for one in measured if one.metric == "memory_trace"]
    assert len(steps) == gates.MAX_STEPS
    assert (steps[0], steps[-1]) == (1, 200)


def test_trained_case_is_kept_if_the_probe_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(subject: Subject) -> ProbeResult:
        raise RuntimeError("a gate is stuck\nand more")

    monkeypatch.setattr(gates, "measure", fail)
    result = run_training_job(TrainJob(case=tiny_case(), probes=("accuracy", "gates")), lambda *_: None)
    assert result.record.status == "ok"
    assert result.record.of("accuracy")
    assert (result.record.probes["gates"].status, result.record.probes["gates"].reason) == (
        "failed",
        "RuntimeError: a gate is stuck",
    )
    assert result.artifacts == {}


def fixed_case(**protocol: object) -> Case:
    fields = {"steps": None, "train_sequences": 12, "epochs": 3, "fit_sequences": 5, "learning_rate": 0.1}
    return tiny_case("gru", **(fields | protocol))


def test_fit_is_evaluated_on_training_sequences_without_dropout() -> None:
    case = fixed_case()
    task = tasks.build(case.task)
    model = arch.build("gru:dropout=0.5", channels=1, outputs=2, width=4, depth=2, seed=0)
    training = train(model, task, case)
    whole = task.sample(tasks.generator(case.seed, "train"), 12, case.length)
    torch.testing.assert_close(fit_batch(task, case).inputs, whole.inputs[:5])
    evaluation = evaluate(model, task, fit_batch(task, case))
    last = training.curve[-1]
    assert (last.fit_score, last.fit_loss) == (evaluation.score, evaluation.metrics["cross_entropy"])
    assert train(model, task, fixed_case(fit_sequences=0)).curve[-1].fit_score is None


def test_solved_after_zero_never_ends_training() -> None:
    case = tiny_case(steps=5, solved_after=0)
    model = arch.build("rnn", channels=1, outputs=2, width=4, depth=1, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.training.loop.solved_score", lambda *_: -1.0)
        assert (train(model, tasks.build(case.task), case).stopped) == "budget"
        stopping = case.model_copy(update={"protocol": case.protocol.model_copy(update={"solved_after": 2})})
        assert (train(model, tasks.build(case.task), stopping).steps) == 2


def test_early_stopping_tests_the_weights_with_the_best_validation_score() -> None:
    case = fixed_case(keep_best=True, epochs=6, learning_rate=0.5)
    task = tasks.build(case.task)
    result = run_training_job(TrainJob(case=case), lambda *_: None)
    assert result.record.training is not None
    scores = [point.validation_score for point in result.record.training.curve]
    best_step = result.record.training.curve[scores.index(max(scores))].step
    assert best_step < result.record.training.steps
    model = arch.build(case.arch, channels=1, outputs=2, width=4, depth=1, seed=case.seed)

    class BestStepReached(Exception):
        pass

    def stop_there(done: int, total: int, score: float) -> None:
        if done == best_step:
            raise BestStepReached

    with pytest.raises(BestStepReached):
        train(model, task, case, report=stop_there)
    test = task.sample(tasks.generator(case.seed, "test"), 8, case.length, "test")
    (measured,) = result.record.of("early_stopped_accuracy")
    assert measured.samples == (evaluate(model, task, test).score,)
    assert run_training_job(TrainJob(case=fixed_case()), lambda *_: None).record.of("early_stopped_accuracy") == []


EXTRA = TINY.replace("[protocol]", "[protocol]\nweight_decay = 0.0", 1) + (
    '\n[[extra]]\narchs = ["gru"]\nseeds = 1\n\n[[extra]]\narchs = ["rnn"]\nprotocol = { weight_decay = 0.1 }\n'
)


def test_extra_cases_are_added_to_the_grid(tmp_path: Path) -> None:
    planned = cases(load(str(write_plan(tmp_path, EXTRA))))
    assert {(case.arch, case.protocol.weight_decay) for case in planned} == {
        ("rnn", 0.0),
        ("lstm", 0.0),
        ("gru", 0.0),
        ("rnn", 0.1),
    }
    assert len(planned) == 2 + 2 + 1 + 2
