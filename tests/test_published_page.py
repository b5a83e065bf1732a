"""Test that docs/published.md is written from the newest stored record of each case of a plan."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.plans.grid import reported_cases
from bench.plans.plan import load
from results import Record, Store
from tests.results.claims.test_judge import scored
from tests.results.examples import run_file

PLAN = "published/householders"
HOME = Path(__file__).resolve().parent.parent


@functools.cache
def writer() -> ModuleType:
    """Import docs/write_published.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HOME / "docs")
        return importlib.import_module("write_published")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the writer use files in `tmp_path`, and return that of the page."""
    monkeypatch.setattr(writer(), "RESULTS", tmp_path / "published.json")
    monkeypatch.setattr(writer(), "PAGE", tmp_path / "published.md")
    return tmp_path / "published.md"


SOLVING = "delta_net:conv=0,householders=2,negative=True"
"""The architecture that learns the task of the plan, by its source."""


def results(*, solves: bool) -> list[Record]:
    """Return a record for each case of the plan, in which `SOLVING` has learned the task or nothing has."""
    return [
        scored(case, 1.0 if solves and case.arch == SOLVING else 0.3, length=40)
        for case in (planned.case for planned in reported_cases(load(PLAN)))
    ]


def store(folder: Path, id: str, records: list[Record], *, plan: str = "householders") -> str:
    """Write a run, whose file has the name of the plan without its folder, and return the folder of the store."""
    run = Store(folder).create(run_file(id, *(record.case for record in records), plan=plan))
    for record in records:
        run.write(record)
    return str(folder)


def section(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition(f"## {PLAN}\n")[2].partition("\n## ")[0]


def test_the_page_in_the_repository_is_written_from_the_stored_results() -> None:
    written = (HOME / "docs" / "published.md").read_text(encoding="utf-8")
    assert written == writer().page(), "run: python3 docs/write_published.py"


def test_verdicts_stand_beside_the_values_with_the_run_they_come_from(tmp_path: Path, page: Path) -> None:
    writer().main([store(tmp_path / "runs", "20260102-030405-a-abc123", results(solves=True))])
    text = section(page)
    assert "All 12 cases were measured. 4 claims: 4 reproduced." in text
    assert "- Run `20260102-030405-a-abc123`, 2026-" in text
    assert "| at least 0.99 | 1.000 (" in text and "3 seeds | reproduced |" in text
    assert text.count("Our protocol differs: ") == 1, "a remark that all claims share stands once"
    overview = page.read_text(encoding="utf-8").partition(f"[`{PLAN}`](#publishedhouseholders)")[2]
    assert overview.startswith(" | Siems et al. 2025 | 2026-01-02 | 4 reproduced |")


def test_the_newest_record_of_each_case_counts_and_other_plans_keep_their_results(tmp_path: Path, page: Path) -> None:
    new = [each for each in results(solves=True) if each.case.arch == SOLVING]
    first = store(tmp_path / "first", "20260102-030405-a-abc123", results(solves=False))
    second = store(tmp_path / "second", "20260103-030405-b-abc123", new)
    writer().main([second, first])
    text = section(page)
    assert "4 claims: 4 reproduced." in text and "`20260102-" in text and "`20260103-" in text
    writer().main([first])
    assert "3 reproduced, 1 not reproduced." in section(page)
    before = page.read_text(encoding="utf-8")
    writer().main([store(tmp_path / "empty", "20260104-030405-c-abc123", [])])
    assert page.read_text(encoding="utf-8") == before


def test_cases_without_a_result_are_counted(tmp_path: Path, page: Path) -> None:
    failed = results(solves=True)
    failed[0] = failed[0].model_copy(update={"status": "timeout", "reason": "too slow", "measurements": ()})
    writer().main([store(tmp_path / "runs", "20260102-030405-a-abc123", failed)])
    assert "11 of 12 cases were measured." in section(page)


def test_a_plan_can_be_run_in_parts_whose_stores_are_thrown_away(tmp_path: Path, page: Path) -> None:
    solving, others = (
        [each for each in results(solves=True) if (each.case.arch == SOLVING) is wanted] for wanted in (True, False)
    )
    writer().main([store(tmp_path / "first", "20260102-030405-a-abc123", others)])
    assert "9 of 12 cases were measured. 4 claims: 3 reproduced, 1 not measured." in section(page)
    writer().main([store(tmp_path / "second", "20260103-030405-b-abc123", solving)])
    text = section(page)
    assert "All 12 cases were measured. 4 claims: 4 reproduced." in text
    assert "`20260102-" in text and "`20260103-" in text
    writer().main([store(tmp_path / "third", "20260104-030405-c-abc123", others[:3])])
    assert "All 12 cases were measured. 4 claims: 4 reproduced." in section(page)
    assert "`20260104-" not in section(page), "one seed replaces no row with three"


def first_seeds(records: list[Record], seeds: int = 1) -> list[Record]:
    return [record for record in records if record.case.seed < seeds]


FULL, LATER = "20260102-030405-a-abc123", "20260103-030405-b-abc123"


@pytest.mark.parametrize("names_cases", [True, False])
def test_rows_with_more_seeds_stay_unless_they_are_to_be_replaced(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str], names_cases: bool
) -> None:
    writer().main([store(tmp_path / "full", FULL, results(solves=True))])
    if not names_cases:
        edit_stored(tmp_path, lambda stored: stored.pop("measured"))
    before, _ = section(page), capsys.readouterr()
    later = store(tmp_path / "later", LATER, first_seeds(results(solves=False)))
    writer().main([later])
    assert section(page) == before
    printed = capsys.readouterr().out
    assert f"{PLAN}: 0 of 4 claims updated; 12 of 12 cases measured\n" in printed
    assert f"{PLAN}: 4 of 4 claims keep their stored rows, which have more seeds" in printed and "--replace" in printed
    assert "no result was updated" in printed
    writer().main([later, "--replace"])
    text = section(page)
    assert "4 of 12 cases were measured. 4 claims: 3 reproduced, 1 not reproduced; 4 verdicts not robust." in text
    assert LATER in text and FULL not in text
    assert capsys.readouterr().out == f"{PLAN}: 4 of 4 claims updated; 4 of 12 cases measured\n"


def test_seeds_are_compared_claim_by_claim(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer().main([store(tmp_path / "full", FULL, results(solves=False))])
    later = [each for each in results(solves=True) if each.case.arch == SOLVING or each.case.seed == 0]
    writer().main([store(tmp_path / "later", LATER, later)])
    text = section(page)
    assert "All 12 cases were measured. 4 claims: 4 reproduced." in text and FULL in text and LATER in text
    printed = capsys.readouterr().out
    assert f"{PLAN}: 1 of 4 claims updated" in printed and f"{PLAN}: 3 of 4 claims keep" in printed
    assert "no result" not in printed
    two_seeds = [each for each in first_seeds(results(solves=False), 2) if each.case.arch == SOLVING]
    writer().main([store(tmp_path / "last", "20260104-030405-c-abc123", two_seeds), "--replace"])
    assert "11 of 12 cases were measured. 4 claims: 3 reproduced, 1 not reproduced" in section(page)


def test_cases_count_as_measured_if_a_row_rests_on_them(tmp_path: Path, page: Path) -> None:
    writer().main([store(tmp_path / "first", FULL, first_seeds(results(solves=True), 2))])
    later = [each for each in results(solves=True) if each.case.arch == SOLVING or each.case.seed == 2]
    writer().main([store(tmp_path / "later", LATER, later)])
    text = section(page)
    assert "9 of 12 cases were measured." in text and text.count("2 seeds of 3") == 3


def test_a_case_without_a_value_counts_as_a_seed(tmp_path: Path, page: Path) -> None:
    """A number of sequences until a task is solved exists for some seeds only, and the others were measured too."""
    writer().main([store(tmp_path / "full", FULL, results(solves=False))])
    later = [
        record if record.case.seed == 0 else record.model_copy(update={"measurements": ()})
        for record in results(solves=True)
    ]
    writer().main([store(tmp_path / "later", LATER, later)])
    assert "1 seed of 3 | reproduced" in section(page) and FULL not in section(page)


def test_rows_of_an_earlier_protocol_stay_until_their_claims_are_measured(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer().main([store(tmp_path / "full", FULL, results(solves=False))])
    edit_stored(tmp_path, lambda stored: stored.update(measured=[f"{key}0" for key in stored["measured"]]))
    new = [each for each in first_seeds(results(solves=True)) if each.case.arch == SOLVING]
    writer().main([store(tmp_path / "later", LATER, new)])
    text = section(page)
    assert "1 of 12 cases were measured. 4 claims: 4 reproduced" in text and FULL in text and LATER in text
    printed = capsys.readouterr().out
    assert f"{PLAN}: the stored rows of 1 of 4 claims are of an earlier protocol and are replaced\n" in printed
    assert "more seeds" not in printed


def edit_stored(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the stored results of the plan in `folder`."""
    path = folder / "published.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    edit(stored[PLAN])
    path.write_text(json.dumps(stored), encoding="utf-8")


def test_every_value_in_the_repository_states_its_number_of_seeds() -> None:
    stored = json.loads((HOME / "docs" / "published.json").read_text(encoding="utf-8"))
    values = [
        finding["value"] for of_plan in stored.values() for row in of_plan["claims"] for finding in row["findings"]
    ]
    pattern = sys.modules[writer().merged.__module__].SEEDS
    assert values and [value for value in values if not pattern.search(value)] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stores"], "unrecognized arguments: --stores"),
        (["absent"], "absent does not exist; give the folder of `carousel run --store`"),
        (["file"], "file is not a folder; give the folder of `carousel run --store`"),
        (["empty"], "no runs in empty; give the folder of `carousel run --store`"),
        (["other"], "no runs in other; give the folder of `carousel run --store`"),
        (["runs", "absent"], "absent does not exist; give the folder of `carousel run --store`"),
        ([f"runs/{FULL}"], f"runs/{FULL} is a single run; give its store, "),
    ],
)
def test_wrong_arguments_are_named_before_a_file_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("empty").mkdir()
    Path("other/folder").mkdir(parents=True)
    store(Path("runs"), FULL, results(solves=True)[:1])
    with pytest.raises(SystemExit) as ended:
        writer().main(arguments)
    assert ended.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]
    assert not page.exists() and not Path("published.json").exists()


def test_help_names_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        writer().main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "STORE" in printed and "--replace" in printed


def test_without_stores_only_the_page_is_written(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer().main([])
    assert capsys.readouterr().out == "no stores given: writing the page only\n"
    assert page.exists()


def test_records_that_belong_to_no_plan_are_named(
    tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former = results(solves=True)[0].case
    changed = former.model_copy(update={"protocol": former.protocol.model_copy(update={"steps": 7})})
    writer().main([store(tmp_path / "changed", FULL, [scored(changed, 1.0, length=40)])])
    assert capsys.readouterr().out.splitlines() == [
        f"{PLAN}: no record of its present cases in the given stores",
        "no result was updated; the given stores have runs of householders",
    ]
    writer().main([store(tmp_path / "mine", FULL, [scored(changed, 1.0, length=40)], plan="mine")])
    assert capsys.readouterr().out == "no result was updated; the given stores have runs of mine\n"
    mixed = [scored(changed, 1.0, length=40), *results(solves=True)]
    writer().main([store(tmp_path / "mixed", FULL, mixed)])
    assert capsys.readouterr().out.splitlines() == [
        f"{PLAN}: 1 of 13 cases in the given stores are not in the present plan",
        f"{PLAN}: 4 of 4 claims updated; 12 of 12 cases measured",
    ]


def test_unreadable_files_of_a_store_are_named(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    records = results(solves=True)
    store(folder, FULL, records)
    store(folder, LATER, records[:1])
    damaged = folder / FULL / "records" / f"{records[0].key}.json"
    damaged.write_bytes(b"{}")
    (folder / LATER / "run.json").write_bytes(b"{}")
    writer().main([str(folder)])
    run, record, *_ = capsys.readouterr().out.splitlines()
    assert run.startswith(f"run omitted: {folder / LATER / 'run.json'}: ")
    assert record.startswith(f"record omitted: {damaged}: ")
    assert "11 of 12 cases were measured." in section(page)


def test_remarks_name_the_numbers_of_their_claims() -> None:
    claims = [{"remarks": remarks} for remarks in (["a", "b"], ["a"], ["a", "c"], ["b"], ["a"])]
    assert list(writer()._own_remarks(claims, ["c"])) == ["- Claims 1–3, 5: a", "- Claims 1, 4: b"]


def test_stored_results_get_the_texts_that_their_plan_has_now() -> None:
    former = {"name": "two-reflections", "text": "an older text", "verdict": "undecided"}
    dropped = {"name": "not in the plan", "text": "a claim"}
    first, second = writer().as_worded_now(PLAN, {"claims": [former, dropped]})["claims"]
    claim = next(claim for claim in load(PLAN).claims if claim.name == "two-reflections")
    assert (first["text"], first["verdict"]) == (claim.text, "undecided")
    assert f"Tried: {claim.tried}." in first["remarks"]
    assert second == dropped
