"""Absent, unfinished, damaged and unreadable records are told apart, and none of them passes a check."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.commands.output import print_json
from results import Case, Measurement, Record, Run, RunFile, Store
from tests.bench.carousel import Carousel, carousel
from tests.results.planted import grid, run_of

__all__ = ["carousel"]
CASES = grid(tasks=1, seeds=2)
STORE = Path("carousel-runs")


def stored(planted: tuple[RunFile, list[Record]]) -> Run:
    file, records = planted
    run = Store(STORE).create(file)
    for record in records:
        run.write(record)
    return run


def slow_lstm(case: Case, metric: str) -> float:
    return math.log(1.3) if case.arch == "lstm" and metric == "step_seconds" else 0.0


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "damaged"),
    "a folder": (replace_by_folder, "unreadable"),
    "never written": (Path.unlink, "not run yet"),
}


@pytest.mark.slow
@pytest.mark.parametrize("side", ["base", "new"])
@pytest.mark.parametrize("way", WAYS)
def test_a_case_without_a_usable_record_fails_the_check_in_every_output(
    carousel: Carousel, side: str, way: str
) -> None:
    runs = {"base": stored(run_of(CASES, 1, noise=0.02)), "new": stored(run_of(CASES, 2, noise=0.02))}
    spoil, state = WAYS[way]
    spoil(runs[side].record_path(CASES[0].key))
    pair = runs["base"].id, runs["new"].id
    expected = f"missing in {side}: {state}"
    for strict in ((), ("--strict",)):
        ended = carousel("check", *pair, *strict, "--junit", "x.xml", "--summary", "x.md")
        assert ended.code == 3
        assert f"1 missing in {side}" in ended.out.splitlines()[0]
        assert expected in ended.out
        assert expected in Path("x.md").read_text(encoding="utf-8")
        errors = [error.get("message") or "" for error in ElementTree.parse("x.xml").iter("error")]
        assert [message.startswith(expected) for message in errors] == [True]
        ended = carousel("check", *pair, *strict, "--json")
        document = json.loads(ended.out)
        assert (ended.code, document["exit_code"], document["passed"]) == (3, 3, False)
        (missing,) = document["missing"]
        assert (missing["run"], missing["seed"], missing["reason"].startswith(state)) == (side, 0, True)
    for written_as in ("table", "markdown", "latex"):
        assert expected in carousel("compare", *pair, "--format", written_as).out
    rows = list(csv.DictReader(io.StringIO(carousel("compare", *pair, "--format", "csv").out)))
    assert [row["reason"].startswith(state) for row in rows if row["verdict"] == f"missing in {side}"] == [True]
    assert carousel("report", *pair, "-o", "page.html").code == 0
    assert expected in Path("page.html").read_text(encoding="utf-8")


def test_truncating_the_regressed_record_of_the_base_does_not_pass(carousel: Carousel) -> None:
    cases = [case for case in CASES if case.arch == "lstm" and case.seed == 0]
    base, new = stored(run_of(cases, 1, noise=0.02)), stored(run_of(cases, 2, noise=0.02, slower=slow_lstm))
    assert carousel("check", base.id, new.id).code == 1
    truncate(base.record_path(cases[0].key))
    ended = carousel("check", base.id, new.id)
    assert ended.code == 3
    assert "missing in base: damaged" in ended.out
    assert "only in the new run" not in ended.out


def test_an_interrupted_base_does_not_pass(carousel: Carousel) -> None:
    file, records = run_of(CASES, 1, noise=0.02)
    base = stored((file.model_copy(update={"finished": None}), records[:1]))
    ended = carousel("check", base.id, stored(run_of(CASES, 2, noise=0.02)).id)
    assert ended.code == 3
    assert ended.out.count("missing in base: not run yet") == 3
    assert "not finished: the base run" in ended.out


@pytest.mark.parametrize("side", ["base", "new"])
def test_a_case_that_is_trained_but_not_timed_is_missing(carousel: Carousel, side: str) -> None:
    base, new = run_of(CASES, 1, noise=0.02), run_of(CASES, 2, noise=0.02)
    _, records = {"base": base, "new": new}[side]
    scores = tuple(each for each in records[0].measurements if each.metric == "accuracy")
    probes = {"accuracy": records[0].probes["accuracy"]}
    records[0] = records[0].model_copy(update={"measurements": scores, "probes": probes})
    ended = carousel("check", stored(base).id, stored(new).id)
    assert ended.code == 3
    assert f"missing in {side}: streaming not run yet" in ended.out
    assert f"missing in {side}: latency not run yet" in ended.out


def test_an_unreadable_folder_of_records_makes_every_case_unreadable(carousel: Carousel) -> None:
    base, new = stored(run_of(CASES, 1, noise=0.02)), stored(run_of(CASES, 2, noise=0.02))
    (base.folder / "records").rename(base.folder / "moved")
    (base.folder / "records").write_text("not a folder")
    ended = carousel("check", base.id, new.id)
    assert ended.code == 3
    assert ended.out.count("missing in base: unreadable") == len(CASES)
    assert carousel("verify").code == 3


def test_a_run_is_not_compared_with_itself(carousel: Carousel) -> None:
    run = stored(run_of(CASES, 1))
    for command in (["check", "latest"], ["check", run.id], ["compare", "latest", str(run.folder)]):
        ended = carousel(*command)
        assert (ended.code, len(ended.err.splitlines()), ended.out) == (2, 1, "")
        assert "the same run" in ended.err
    assert carousel("report", run.id, "latest").code == 2


def test_an_empty_store_is_not_sound(carousel: Carousel) -> None:
    Path("empty").mkdir()
    ended = carousel("verify", "empty")
    assert (ended.code, ended.out) == (5, "no runs in empty: nothing was verified\n")
    ended = carousel("verify", "empty", "--json")
    assert (ended.code, json.loads(ended.out)["sound"]) == (5, False)


def test_a_record_lost_from_a_finished_run_is_reported_by_verify(carousel: Carousel) -> None:
    run = stored(run_of(CASES, 1))
    run.record_path(CASES[0].key).unlink()
    ended = carousel("verify")
    assert ended.code == 3
    assert "the run has finished, but this case has no record" in ended.out


def test_an_unreadable_store_is_not_an_empty_one(carousel: Carousel) -> None:
    Path("file").write_text("")
    ended = carousel("history", "--store", "file")
    assert ended.code == 2
    assert "Not a directory" in ended.err


def test_a_damaged_record_is_named_by_show(carousel: Carousel) -> None:
    run = stored(run_of(CASES, 1))
    truncate(run.record_path(CASES[0].key))
    assert "missing: damaged (corrupt" in carousel("show", run.id).out
    document = json.loads(carousel("show", run.id, "--format", "json").out)
    assert list(document["unusable"]) == [CASES[0].key]


@pytest.mark.parametrize("way", ["truncated", "a folder"])
def test_unusable_records_do_not_count_as_recorded_cases(carousel: Carousel, way: str) -> None:
    run = stored(run_of(CASES, 1))
    (row,) = json.loads(carousel("list", "runs", "--json").out)
    assert (row["recorded"], row["state"]) == ("4 of 4", "finished")
    WAYS[way][0](run.record_path(CASES[0].key))
    (row,) = json.loads(carousel("list", "runs", "--json").out)
    assert row["recorded"] == "3 of 4"
    assert row["state"] == "finished; 1 record damaged or unreadable, see `carousel verify`"


def test_a_run_whose_records_cannot_be_read_is_not_listed_as_empty(carousel: Carousel) -> None:
    run = stored(run_of(CASES, 1))
    (run.folder / "records").rename(run.folder / "moved")
    (run.folder / "records").write_text("not a folder")
    (row,) = json.loads(carousel("list", "runs", "--json").out)
    assert (row["recorded"], row["state"]) == ("", "finished; records cannot be read: Not a directory")


def test_a_copy_of_a_run_is_the_same_run(carousel: Carousel) -> None:
    run = stored(run_of(CASES, 1))
    shutil.copytree(run.folder, "baseline")
    for command in ("check", "compare"):
        ended = carousel(command, "baseline", run.id)
        assert (ended.code, ended.out) == (2, "")
        assert "the same run" in ended.err


def test_a_size_that_was_0_has_no_infinite_effect(carousel: Carousel) -> None:
    def of_size(draw: int, size: float) -> str:
        file, records = run_of(CASES, draw, noise=0.02)
        state = Measurement(metric="state_bytes", at={"position": 16}, samples=(size,))
        return stored(
            (file, [each.model_copy(update={"measurements": (*each.measurements[:-1], state)}) for each in records])
        ).id

    base, new = of_size(1, 0.0), of_size(2, 512.0)
    ended = carousel("check", base, new, "--json")
    assert ended.code == 1
    assert "Infinity" not in ended.out
    effects = [row for row in json.loads(ended.out)["rows"] if row["metric"] == "state_bytes"]
    assert {(row["verdict"], row["effect"], row["reason"]) for row in effects} == {
        ("regressed", None, "exact count; the base is 0, so no ratio exists")
    }
    assert "from 0" in carousel("check", base, new).out


def test_printed_json_is_finite(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"values": (math.inf, -math.inf, math.nan, 1.5), "inner": [{"x": math.inf}]})
    assert json.loads(capsys.readouterr().out) == {"values": [None, None, None, 1.5], "inner": [{"x": None}]}
