"""What must be equal is told: every command and every output form lists all differences between two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from results import Case, Protocol, Store
from tests.bench.carousel import Carousel, carousel
from tests.results.planted import PROTOCOL, case_of, run_of

__all__ = ["carousel"]
OLD = {"python": "3.11.0", "packages": {"numba": "0.60"}, "blas": "mkl 2024.2", "kernels": "znver4", "host": "a"}
NEW = {"python": "3.14.0", "packages": {"numba": "0.68"}, "blas": "openblas", "kernels": "generic", "host": "a"}
EXPECTED = ("numba 0.60 → 0.68", "python 3.11.0 → 3.14.0", "blas mkl 2024.2 → openblas", "kernels znver4 → generic")


def stored(draw: int, *cases: Case, **environment: Any) -> str:
    file, records = run_of(cases or (case_of("rnn"), case_of("lstm")), draw, noise=0.02, **environment)
    run = Store(Path("carousel-runs")).create(file)
    for record in records:
        run.write(record)
    return file.id


def test_every_output_form_lists_all_differences(carousel: Carousel) -> None:
    base, new = stored(1, **OLD), stored(2, **NEW)
    checked = carousel("check", base, new, "--junit", "junit.xml", "--summary", "summary.md")
    carousel("report", base, new, "-o", "page.html")
    texts = {name: carousel("compare", base, new, "--format", name).out for name in ("table", "markdown", "csv")}
    texts |= {"check": checked.out, "summary": Path("summary.md").read_text(encoding="utf-8")}
    texts["page"] = Path("page.html").read_text(encoding="utf-8")
    properties = ElementTree.parse("junit.xml").getroot().iter("property")
    texts["junit"] = "\n".join(each.get("value") or "" for each in properties)
    for name, text in texts.items():
        for difference in EXPECTED:
            assert f"differs: {difference}" in text.replace("\\", ""), (name, difference)
    for options in (("check", "--json"), ("compare", "--json")):
        document = json.loads(carousel(options[0], base, new, *options[1:]).out)
        listed = {f"{each['field']} {each['base']} → {each['new']}" for each in document["reported_differences"]}
        assert listed == set(EXPECTED)
    latex = carousel("compare", base, new, "--format", "latex").out
    assert all(each in latex for each in ("differs: numba 0.60", "3.14.0", "openblas", "generic"))


def test_differences_come_before_missing_cases_and_are_never_cut(carousel: Carousel) -> None:
    cases = [case_of("rnn", seed=seed) for seed in range(30)]
    packages = {f"package{index}": "1" for index in range(20)}
    base, new = stored(1, *cases, packages=packages), stored(2, case_of("rnn"), packages=dict.fromkeys(packages, "2"))
    for text in (carousel("check", base, new).out, carousel("compare", base, new, "--format", "markdown").out):
        positions = [text.index(f"differs: {name} 1 → 2") for name in packages]
        assert max(positions) < text.index("missing in new: ")


def test_a_field_that_no_run_recorded_is_named(carousel: Carousel) -> None:
    base, new = (stored(draw, host=None, threads=1, instructions="AVX2") for draw in (1, 2))
    ended = carousel("check", base, new)
    assert ended.code == 0
    assert "not recorded in either run, so may differ: host" in ended.out
    assert json.loads(carousel("check", base, new, "--json").out)["unknown"] == ["host"]


def test_another_instruction_set_forbids_the_comparison(carousel: Carousel) -> None:
    base, new = stored(1, instructions="AVX512"), stored(2, instructions="DEFAULT")
    ended = carousel("check", base, new)
    assert ended.code == 4
    assert "not comparable: instructions: AVX512 → DEFAULT" in ended.out


@pytest.mark.parametrize("command", [("check", "latest"), ("compare", "latest"), ("history",)])
@pytest.mark.parametrize("field", ["protocol-anything", "protocol-", "protocol", "hosts", ""])
def test_an_unknown_field_is_refused(carousel: Carousel, command: tuple[str, ...], field: str) -> None:
    stored(1)
    ended = carousel(*command, "--allow", field)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert f"unknown field '{field}'; choose from host, cpu" in ended.err
    assert "protocol-batch" in ended.err


@pytest.mark.parametrize("field", ["protocol-train_lengths", "protocol-train-lengths", "task-version"])
def test_known_fields_are_allowed_with_hyphens_or_underscores(carousel: Carousel, field: str) -> None:
    base, new = stored(1), stored(2)
    assert carousel("check", base, new, "--allow", f"host, {field}").code == 0


def test_history_joins_machines_as_check_does(carousel: Carousel) -> None:
    runs = [stored(1, host="a"), stored(2, host="b"), stored(3, host="a")]
    assert carousel("check", runs[0], runs[1]).code == 4
    assert carousel("check", runs[0], runs[1], "--allow", "host").code == 0
    (scores,) = json.loads(carousel("history", "rnn", "--json").out)["series"]
    assert [run["host"] for run in scores["runs"]] == ["a", "b", "a"]
    timings = ("history", "rnn", "--metric", "step_seconds")
    apart = json.loads(carousel(*timings, "--json").out)["series"]
    assert [len(series["runs"]) for series in apart] == [2, 1]
    (joined,) = json.loads(carousel(*timings, "--allow", "host", "--json").out)["series"]
    assert [run["run"] for run in joined["runs"]] == runs
    assert [run["differences"] for run in joined["runs"]] == [
        [],
        [{"field": "host", "base": "a", "new": "b"}],
        [{"field": "host", "base": "b", "new": "a"}],
    ]
    assert "host" not in joined["environment"]
    assert [line.split()[1] for line in carousel(*timings, "--allow", "host").out.splitlines()[-4:-1]] == [
        "a",
        "b",
        "a",
    ]


def test_history_joins_allowed_protocols_and_task_versions(carousel: Carousel) -> None:
    steps = Protocol(**PROTOCOL.model_dump() | {"steps": 200})
    runs = [stored(1, case_of("rnn")), stored(2, case_of("rnn", protocol=steps, task_version=2))]
    assert len(json.loads(carousel("history", "--json").out)["series"]) == 2
    ended = carousel("history", "--allow", "protocol-steps,task-version", "--json")
    (joined,) = json.loads(ended.out)["series"]
    assert [run["run"] for run in joined["runs"]] == runs
    assert {each["field"] for each in joined["runs"][1]["differences"]} == {"task version", "protocol steps"}


def test_history_lists_what_differs_within_a_series(carousel: Carousel) -> None:
    stored(1, **OLD)
    new = stored(2, **NEW)
    shown = carousel("history", "rnn", "-o", "page.html").out
    page = Path("page.html").read_text(encoding="utf-8")
    for difference in EXPECTED:
        assert difference in shown
        assert difference in page
    assert f"from {new}" in shown


def untrained_case() -> Case:
    return case_of("rnn", protocol=Protocol(steps=1, optimizer="none", learning_rate=None))


def test_history_joins_timings_of_trained_and_untrained_models(carousel: Carousel) -> None:
    runs = [stored(1, case_of("rnn")), stored(2, untrained_case())]
    timings = ("history", "rnn", "--metric", "step_seconds")
    assert [len(each["runs"]) for each in json.loads(carousel(*timings, "--json").out)["series"]] == [1, 1]
    (joined,) = json.loads(carousel(*timings, "--allow", "training", "--json").out)["series"]
    assert [run["run"] for run in joined["runs"]] == runs
    assert joined["runs"][1]["differences"] == [{"field": "training", "base": "trained", "new": "untrained"}]
    assert "differs: training trained → untrained" in carousel(*timings, "--allow", "training").out


def test_history_keeps_untrained_models_apart_if_several_trainings_might_be_meant(carousel: Carousel) -> None:
    longer = case_of("rnn", protocol=Protocol(**PROTOCOL.model_dump() | {"steps": 200}))
    timings = ("history", "rnn", "--metric", "step_seconds", "--allow", "training", "--json")
    stored(1, case_of("rnn"))
    stored(2, longer)
    stored(3, untrained_case())
    assert len(json.loads(carousel(*timings).out)["series"]) == 3


def test_history_keeps_untrained_models_of_a_run_apart_from_its_trained_ones(carousel: Carousel) -> None:
    stored(1, case_of("rnn"), untrained_case())
    stored(2, untrained_case())
    timings = ("history", "rnn", "--metric", "step_seconds", "--allow", "training", "--json")
    assert sorted(len(each["runs"]) for each in json.loads(carousel(*timings).out)["series"]) == [1, 2]
