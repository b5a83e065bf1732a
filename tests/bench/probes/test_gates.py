"""Tests of the `gates` probe on models with known gates, of the fit and early stopping, and of `carousel gates`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from results import Case, Measurement, Store, load_traces
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import CLAIM, TINY, tiny_case, write_plan

__all__ = ["carousel", "inline"]

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


GATED = TINY.replace("width = 4", 'width = 4\nmeasure = ["accuracy", "gates"]')


def test_gates_command_plots_one_case(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED + CLAIM)
    ended = carousel("run", "tiny.toml", "-q")
    assert ended.code == 0, ended.err
    assert "1 claim: 1 reproduced; 1 verdict not robust." in ended.out
    (run,) = Store(tmp_path / "carousel-runs").runs()
    records, _ = run.read()
    assert [claim.name for claim in run.file().claims] == ["learns"]
    ended = carousel("gates", "latest", "-o", "plots", "lstm.first_last.L4.s1")
    written = {Path(line).name for line in ended.out.split()}
    (case,) = (record.case for record in records.values() if record.key.startswith("lstm.first_last.L4.s1"))
    name = f"lstm-first-last-1-{case.digest()}"
    kinds = ("gates", "retention", "memory-trace", "gradient-trace")
    assert written == {f"{kind}-{name}.{suffix}" for kind in kinds for suffix in ("svg", "png")}
    for name in written:
        begin = (tmp_path / "plots" / name).read_bytes()[:5]
        assert begin == (b"\x89PNG\r" if name.endswith("png") else b"<svg ")
    other = carousel("gates", "latest", "-o", "plots", "lstm on first_last, seed 0").out.split()
    assert {path.name for path in (tmp_path / "plots").iterdir()} == written | {Path(path).name for path in other}
    assert not written & {Path(path).name for path in other}
    listed = carousel("gates", "latest", "--list").out.splitlines()
    assert len(listed) == 4
    assert f"{case.digest()}  lstm on first_last at 4, seed 1" in listed
    page = (run.folder / "report.html").read_text()
    assert page.count('id="gates-lstm-first-last-0"') == 1
    assert all(load_traces(run, record) is not None for record in records.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["first_last"], "matches 4 cases; choose one by its digest"),
        (["nobody"], "no case 'nobody' in this run"),
        (["-o", "tiny.toml"], "cannot write into tiny.toml"),
    ],
)
def test_gates_command_reports_unusable_arguments_in_one_line(
    words: list[str], message: str, tmp_path: Path, carousel: Carousel, inline: Inline
) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    ended = carousel("gates", "latest", *words)
    assert ended.code == 2
    assert message in ended.err


def test_gates_command_suggests_a_run_with_traces(carousel: Carousel, inline: Inline) -> None:
    carousel("run", "tiny.toml", "-q", "--measure", "accuracy")
    ended = carousel("gates")
    assert ended.code == 2
    assert "carousel run quick -a lstm -t first_last -L 30 --seeds 1 --measure accuracy,gates" in ended.err


def test_corrupt_traces_are_reported_and_omitted(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    write_plan(tmp_path, GATED)
    carousel("run", "tiny.toml", "-q")
    (run,) = Store(tmp_path / "carousel-runs").runs()
    for path in run.folder.glob("artifacts/lstm*/traces.safetensors"):
        path.write_bytes(b"half")
    ended = carousel("report", "latest")
    assert ended.code == 0
    assert "skipped" in ended.err
    assert 'id="gates-lstm' not in (run.folder / "report.html").read_text()
