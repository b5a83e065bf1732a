"""Test that docs/published.md is written from the newest stored record of each case of a plan."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from types import ModuleType

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
    spec = importlib.util.spec_from_file_location("write_published", HOME / "docs" / "write_published.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def store(folder: Path, id: str, records: list[Record]) -> str:
    run = Store(folder).create(run_file(id, *(record.case for record in records), plan=PLAN))
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
    assert "All 12 cases were measured. 4 claims: 4 reproduced" in section(page)


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
