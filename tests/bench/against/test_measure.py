"""Test `carousel run --against` on two versions whose timings are drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.errors import FAILED, INTERRUPTED, NOT_COMPARABLE, OK, REGRESSED, USAGE
from bench.executors.jobs import Failure
from bench.machine.provenance import HOME
from results import Case, Store
from tests.bench.against.inline_version import Versions, measured, stored, versions, with_changed_environment
from tests.bench.carousel import Carousel, carousel
from tests.bench.tiny import TINY, write_plan

__all__ = ["carousel", "measured", "versions"]

BASE = str(HOME)


def slow_lstm(case: Case) -> float:
    return 0.05 if case.arch.startswith("lstm") else 0.0


def test_an_unchanged_version_passes_after_eight_pairs(measured: Carousel, versions: Versions) -> None:
    done = measured()
    assert done.code == OK, done.err
    assert "passed: 0 regressed, 0 improved, 0 inconclusive" in done.out
    assert len(versions.timed) == 2 * 2 * 8
    assert versions.open == 0


def test_a_slower_version_fails_and_check_says_the_same(
    measured: Carousel, versions: Versions, carousel: Carousel
) -> None:
    versions.slower = slow_lstm
    done = measured("--json")
    document = json.loads(done.out)
    assert (done.code, document["exit_code"]) == (REGRESSED, REGRESSED)
    assert len(document["failing"]) == 1
    assert document["failing"][0].startswith("lstm on first_last 4: step_seconds")
    (base, _), (new, _) = (stored()[side] for side in ("base", "new"))
    again = carousel("check", base.id, new.id, "--json", "--store", "store")
    assert (again.code, again.out) == (done.code, done.out)


def test_only_undecided_cases_go_on_up_to_the_limit(measured: Carousel, versions: Versions) -> None:
    versions.noise = lambda case: 0.03 if case.arch.startswith("lstm") else 0.005
    measured("--pairs", "12")
    counts = {arch: sum(each == ("new", arch) for each in versions.timed) for arch in ("rnn", "lstm")}
    assert counts["lstm"] == 12
    assert counts["rnn"] == 8
    assert {record.repetitions for _, records in stored().values() for record in records} == {8, 12}
    assert {file.repeat for file, _ in stored().values()} == {12}


def test_processes_alternate_as_the_run_says(measured: Carousel, versions: Versions) -> None:
    measured("-a", "rnn")
    new_first = stored()["new"][0].turns.new_first  # type: ignore[union-attr]
    assert [side for side, _ in versions.timed] == [
        side for first in new_first[:8] for side in (("new", "base") if first else ("base", "new"))
    ]
    assert all(first is not second for first, second in zip(new_first[::2], new_first[1::2], strict=True))


def test_both_processes_of_a_pair_are_started_before_either_is_timed(measured: Carousel, versions: Versions) -> None:
    measured("-a", "rnn")
    pairs = [versions.steps[start : start + 6] for start in range(0, len(versions.steps), 6)]
    assert len(pairs) == 8
    for steps in pairs:
        assert steps[:2] == [("prepare", "base", "rnn"), ("prepare", "new", "rnn")]
        assert steps[2:4] == [("prepared", "base"), ("prepared", "new")]
        assert {step for step, _ in steps[4:]} == {"time"}


def test_neither_process_is_started_early_if_a_version_cannot_do_so(measured: Carousel, versions: Versions) -> None:
    versions.prepare = False
    assert measured("-a", "rnn").code == OK
    assert {step for step, *_ in versions.steps} == {"time"}


def test_two_runs_name_each_other_and_the_new_one_is_the_latest(measured: Carousel, versions: Versions) -> None:
    measured()
    (base, of_base), (new, of_new) = (stored()[side] for side in ("base", "new"))
    assert base.turns is not None and new.turns is not None
    assert (base.turns.other, new.turns.other) == (new.id, base.id)
    assert Store(Path("store")).latest().id == new.id
    assert {record.key for record in of_base} == {record.key for record in of_new}
    assert base.finished is not None and new.finished is not None
    assert "--against" in new.command and BASE not in new.command


def test_other_commands_work_on_both_runs(measured: Carousel, versions: Versions, carousel: Carousel) -> None:
    measured()
    for file, _ in stored().values():
        assert carousel("show", file.id, "--store", "store").code == OK
    assert carousel("verify", "store").code == OK
    assert carousel("list", "runs", "--store", "store").code == OK


def test_fail_on_decides_what_must_be_measured_and_what_fails(measured: Carousel, versions: Versions) -> None:
    versions.slower = slow_lstm
    assert measured("--fail-on", "streaming:10%").code == OK
    assert measured("--fail-on", "accuracy").code == OK
    assert measured("--fail-on", "streaming").code == REGRESSED


def test_a_time_limit_ends_the_pairs(measured: Carousel, versions: Versions) -> None:
    done = measured("--time-limit", "0.001s", "--strict")
    assert "the time limit is reached after 0 pairs" in done.out
    assert versions.timed == []
    assert done.code == FAILED
    assert "missing" in done.out
    assert "the time limit of 0.001s is reached: some cases were not timed at all" in done.out


def test_a_case_that_fails_in_one_version_is_reported_and_not_timed(measured: Carousel, versions: Versions) -> None:
    def failing(side: str, job: object) -> Failure | None:
        is_lstm = "lstm" in str(job) and "TrainJob" in type(job).__name__
        return Failure("crashed", "it fell over") if side == "new" and is_lstm else None

    versions.failing = failing
    done = measured()
    assert done.code == FAILED
    assert "newly failed: lstm" in done.out
    assert {arch for _, arch in versions.timed} == {"rnn"}


def test_a_version_that_cannot_be_compared_is_refused_before_anything_is_stored(
    measured: Carousel, versions: Versions
) -> None:
    versions.change = lambda described: with_changed_environment(described, torch="1.0")
    done = measured()
    assert done.code == NOT_COMPARABLE
    assert "cannot be compared with this version: torch: 1.0 →" in done.err
    assert "--allow torch" in done.err
    assert not Path("store").exists()
    assert measured("--allow", "torch").code == OK


def test_a_version_with_other_cases_is_refused(measured: Carousel, versions: Versions) -> None:
    versions.change = lambda described: replace(
        described, cases=tuple(case.model_copy(update={"task_version": 9}) for case in described.cases)
    )
    done = measured()
    assert done.code == NOT_COMPARABLE
    assert "have no case in common (task_version: 9 → 1)" in done.err
    assert not Path("store").exists()


def test_ctrl_c_keeps_what_was_measured_and_says_how_to_judge_it(measured: Carousel, versions: Versions) -> None:
    def stop(side: str, job: object) -> None:
        if len(versions.timed) == 6:
            raise KeyboardInterrupt

    versions.failing = stop
    done = measured()
    assert done.code == INTERRUPTED
    base, new = (stored()[side][0] for side in ("base", "new"))
    assert f"`carousel check {base.id} {new.id}` judges it; rerun the same command to resume" in done.out
    assert base.finished is None
    assert versions.open == 0


def test_a_plain_run_does_not_resume_an_interrupted_run_in_turns(
    measured: Carousel, versions: Versions, carousel: Carousel
) -> None:
    def stop(side: str, job: object) -> None:
        raise KeyboardInterrupt

    versions.failing = stop
    measured()
    words = ("run", "tiny.toml", "--seeds", "1", "--measure", "accuracy,streaming", "--repeat", "20", "--dry-run")
    assert "resuming" not in carousel(*words, "--store", "store").out


def test_a_dry_run_stores_nothing(measured: Carousel, versions: Versions) -> None:
    done = measured("--dry-run")
    assert done.code == OK
    assert "tiny: 2 cases of this version in turns with the checkout" in done.out
    assert "both versions have the same code" in done.out
    assert not Path("store").exists()


def test_a_check_says_that_both_versions_have_the_same_code(
    measured: Carousel, versions: Versions, carousel: Carousel
) -> None:
    files = ("--summary", "summary.md", "--junit", "check.xml")
    done = measured("--quiet", *files)
    assert done.code == OK, done.err
    documents = [done.out, *(Path(file).read_text(encoding="utf-8") for file in files[1::2])]
    assert all(text.count("both versions have the same code: only noise can differ") == 1 for text in documents)
    (base, _), (new, _) = (stored()[side] for side in ("base", "new"))
    checked = ("check", base.id, new.id, "--store", "store")
    assert "both versions have the same code" in carousel(*checked).out
    assert json.loads(carousel(*checked, "--json").out)["same_code"] is True


def test_a_check_of_different_code_says_nothing_of_it(measured: Carousel, versions: Versions) -> None:
    versions.change = lambda described: replace(described, code="0123456789")
    done = measured("--quiet", "--summary", "summary.md")
    assert done.code == OK, done.err
    assert "same code" not in done.out + Path("summary.md").read_text(encoding="utf-8")
    assert json.loads(measured("--json").out)["same_code"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pairs", "9"), "--pairs must be one of 8, 12, 16, 20, 28, 40, not 9"),
        (("--time-limit", "soon"), "--time-limit takes a duration such as 90s, 10min or 1h, not 'soon'"),
        (("--repeat", "3"), "--against and --repeat exclude each other"),
        (("--scheduler", "tcp://host:1"), "--against and --scheduler exclude each other"),
        (("--allow", "weather"), "--allow: unknown field 'weather'"),
        (("--fail-on", "speed"), "--fail-on: unknown metric 'speed'"),
    ],
)
def test_a_wrong_option_is_refused(measured: Carousel, options: tuple[str, ...], said: str) -> None:
    done = measured(*options)
    assert (done.code, done.out) == (USAGE, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--fail-on", "latency"),
            "--fail-on latency: no probe of the plan (accuracy, streaming) measures it; leave it out, or add the probe "
            "latency to --measure",
        ),
        (
            ("--fail-on", "early_stopped_accuracy"),
            "no case keeps its best weights; leave it out, or add --set keep_best=true",
        ),
        (("--fail-on", "benchmark"), "--fail-on benchmark: only files of pytest-benchmark have this metric"),
    ],
)
def test_a_metric_that_the_plan_does_not_measure_is_refused(
    measured: Carousel, versions: Versions, options: tuple[str, ...], said: str
) -> None:
    for dry_run in ((), ("--dry-run",)):
        done = measured(*options, *dry_run)
        assert (done.code, len(done.err.splitlines())) == (USAGE, 1)
        assert said in done.err
    assert not Path("store").exists()


def test_a_score_of_an_untrained_plan_is_refused(carousel: Carousel, versions: Versions, tmp_path: Path) -> None:
    protocol = TINY[TINY.index("[protocol]") : TINY.index("[timing]")]
    untrained = 'depth = 1\nprotocol = "untrained"\nmeasure = ["streaming"]'
    write_plan(tmp_path, TINY.replace(protocol, "").replace("depth = 1", untrained))
    done = carousel("run", "tiny.toml", "--against", BASE, "--fail-on", "streaming,accuracy:-0.02")
    assert (done.code, done.err) == (
        USAGE,
        "carousel: --fail-on accuracy: no probe of the plan (streaming) measures it; leave it out, since it needs "
        "trained models\n",
    )


@pytest.mark.parametrize(
    ("measure", "metric"),
    [
        ("streaming", "state"),
        ("streaming", "flops"),
        ("streaming", "parameters"),
        ("accuracy", "early_stopped_accuracy"),
    ],
)
def test_a_metric_that_the_plan_measures_is_accepted(
    carousel: Carousel, versions: Versions, measure: str, metric: str
) -> None:
    options = ("--measure", measure, "--set", "keep_best=true", "--fail-on", metric, "--dry-run")
    done = carousel("run", "tiny.toml", "--against", BASE, *options)
    assert done.code == OK, done.err


@pytest.mark.parametrize("options", [("--pairs", "8"), ("--time-limit", "1min"), ("--strict",), ("--allow", "cpu")])
def test_an_option_without_a_base_is_refused(carousel: Carousel, options: tuple[str, ...]) -> None:
    done = carousel("run", "tiny.toml", *options)
    assert done.code == USAGE
    assert f"{options[0]} is for a comparison with a base: add --against BASE" in done.err


def test_noisy_timings_are_inconclusive_and_ask_for_more_pairs(measured: Carousel, versions: Versions) -> None:
    versions.noise = lambda case: 0.05
    done = measured("--pairs", "8")
    assert done.code == OK
    assert "more pairs" in done.out and "--time-limit" not in done.out
    assert done.out.count("base 2") == 1, "the runs are named once"
    assert measured("--pairs", "8", "--strict").code == REGRESSED
