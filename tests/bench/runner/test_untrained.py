"""Runs of untrained models: they are built, checked and timed, but neither trained nor tested."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from rich.console import Console

import tasks
from bench.errors import NOT_COMPARABLE, OK, REGRESSED, USAGE
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.machine.provenance import HOME
from bench.runner.run import describe
from bench.training.model import build_model
from results import Record, Store
from tests.bench.against.inline_version import Versions, versions
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plans.test_untrained import MEASURE, MIXED, NOT_TRAINED, UNTRAINED
from tests.bench.runs import like_a_worker, request_for, run_quietly
from tests.bench.tiny import TINY, tiny_case, write_plan

__all__ = ["carousel", "inline", "like_a_worker", "versions"]

CHANGES: dict[str, Any] = {"measure": ("latency", "streaming"), "protocol": {"optimizer": "none"}}


def test_a_run_times_the_initial_weights_and_states_it(tmp_path: Path, inline: Inline) -> None:
    outcome = run_quietly(request_for(tmp_path, **CHANGES))
    assert outcome.complete
    assert len(inline.timed) == len(outcome.records) == 4
    for record in outcome.records:
        assert (record.status, record.training, record.reference_scores) == ("ok", None, ())
        assert record.case.protocol == NOT_TRAINED
        assert set(record.probes) == {"latency", "streaming"}
        assert record.model is not None and record.model.parameters > 0
        assert not record.of("accuracy") and not record.of("cross_entropy")
        assert record.of("step_seconds") and record.of("train_step_seconds")
        weights = safetensors.torch.load_file(outcome.run.folder / record.artifacts["weights"])
        initial = build_model(record.case, tasks.build(record.case.task).for_seed(record.case.seed)).state_dict()
        assert all(torch.equal(weights[name], value) for name, value in initial.items())


def test_an_interrupted_run_is_resumed(tmp_path: Path, inline: Inline) -> None:
    def interrupt(job: Any) -> None:
        if job.work == "timing":
            raise KeyboardInterrupt

    inline.failing = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_quietly(request_for(tmp_path, **CHANGES))
    inline.failing = lambda job: None
    outcome = run_quietly(request_for(tmp_path, **CHANGES))
    assert outcome.complete
    assert (len(Store(tmp_path / "runs").runs()), len(inline.trained)) == (1, 4)


def test_a_run_of_trained_cases_is_not_resumed_by_an_untrained_plan(tmp_path: Path, inline: Inline) -> None:
    inline.failing = lambda job: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(request_for(tmp_path))
    inline.failing = lambda job: None
    out = io.StringIO()
    describe(request_for(tmp_path, **CHANGES), Console(file=out, width=500))
    assert "4 untrained cases, 0 done, 4 to run" in out.getvalue()
    run_quietly(request_for(tmp_path, **CHANGES))
    assert len(Store(tmp_path / "runs").runs()) == 2


def test_a_model_that_breaks_its_contract_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = tiny_case().model_copy(update={"protocol": NOT_TRAINED})
    monkeypatch.setattr("bench.executors.training_job.arch.built_in", lambda: frozenset())
    monkeypatch.setattr("bench.executors.training_job.inconsistency", lambda subject: "step and scan differ")
    result = run_training_job(TrainJob(case=case), lambda *_: None)
    assert (result.record.status, result.record.reason) == ("inconsistent", "step and scan differ")


def test_the_command_line_refuses_what_needs_training(carousel: Carousel) -> None:
    write_plan(Path(), UNTRAINED)
    for options, message in (
        (("--measure", "accuracy,streaming"), "measure: accuracy needs trained models"),
        (("--learning-rates", "1e-3,1e-2"), "is untrained and has no learning rate to tune"),
        (("--tuning-seeds", "2"), "--tuning-seeds needs a grid"),
    ):
        done = carousel("run", "tiny.toml", *options, "--store", "store")
        assert (done.code, done.err.count("\n")) == (USAGE, 1), done.err
        assert message in done.err
    assert not Path("store").exists()


def test_every_output_says_untrained_and_shows_no_scores(carousel: Carousel, inline: Inline) -> None:
    write_plan(Path(), UNTRAINED)
    done = carousel("run", "tiny.toml", "--store", "store", "--seeds", "1")
    assert done.code == OK, done.err
    assert "All models are untrained" in done.out
    assert "score" not in done.out.replace("there are no scores", "")
    for form in ("table", "markdown", "latex"):
        text = carousel("show", "latest", "--format", form, "--store", "store").out
        assert "untrained" in text
        assert "score" not in text.replace("there are no scores", "")
    page = next(Path("store").glob("*/report.html")).read_text(encoding="utf-8")
    assert "rnn on first_last at 4: untrained" in page
    for absent in ("seeds solved", "Score against", "Reference scores.", "convergence", "Learning rates"):
        assert absent not in page, absent
    assert carousel("gates", "latest", "--store", "store").code == USAGE
    document = json.loads(carousel("show", "latest", "--format", "json", "--store", "store").out)
    assert {row["score"] for row in document["leaderboard"]} == {None}
    assert {row["trained"] for row in document["leaderboard"]} == {False}


def test_trained_and_untrained_cases_of_one_run_are_told_apart(carousel: Carousel, inline: Inline) -> None:
    write_plan(Path(), MIXED)
    done = carousel("run", "tiny.toml", "--store", "store", "--seeds", "1")
    assert done.code == OK, done.err
    assert "rnn untrained is untrained: initial weights were timed, and there are no scores." in done.out
    rows = [line for line in done.out.splitlines() if line.startswith("  rnn")]
    assert sorted(row.count("untrained") for row in rows) == [0, 2]


def test_a_trained_and_an_untrained_run_are_not_comparable_unless_the_user_allows_it(
    carousel: Carousel, inline: Inline
) -> None:
    write_plan(Path(), TINY.replace("depth = 1\n", f"depth = 1\n{MEASURE}"))
    carousel("run", "tiny.toml", "--store", "store", "--seeds", "1")
    base = Store(Path("store")).latest().id
    write_plan(Path(), UNTRAINED)
    carousel("run", "tiny.toml", "--store", "store", "--seeds", "1")
    new = Store(Path("store")).latest().id
    refused = carousel("check", base, new, "--store", "store")
    assert refused.code == NOT_COMPARABLE
    assert "training: trained → untrained" in refused.out
    assert "protocol" not in refused.out
    allowed = carousel("check", base, new, "--allow", "training", "--store", "store", "--json")
    document = json.loads(allowed.out)
    assert allowed.code == OK
    assert document["counts"]["not comparable"] == 0
    assert {row["metric"] for row in document["rows"]} >= {"step_seconds", "train_step_seconds"}


def test_two_versions_are_measured_in_turns_without_training(carousel: Carousel, versions: Versions) -> None:
    write_plan(Path(), UNTRAINED)
    done = carousel("run", "tiny.toml", "--seeds", "1", "--against", str(HOME), "--store", "store")
    assert done.code == OK, done.err
    assert "2 untrained cases" in done.out
    records: list[Record] = [record for run in Store(Path("store")).runs() for record in run.read()[0].values()]
    assert {record.training for record in records} == {None}
    assert {record.repetitions for record in records} == {8}
    versions.slower = lambda case: 0.2
    slower = carousel("run", "tiny.toml", "--seeds", "1", "--against", str(HOME), "--store", "store")
    assert slower.code == REGRESSED
