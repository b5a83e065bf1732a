"""`carousel list`, `carousel show` and `carousel report`: formats, names of runs, and mistakes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

import arch
import tasks
from bench.plans.grid import cases
from bench.plans.plan import load, names
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import CLAIM, TINY

__all__ = ["carousel", "inline"]


class TestList:
    def test_a_terminal_of_width_0_gets_the_default_width(
        self, carousel: Carousel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "0")
        for words in (["list", "tasks"], ["list", "archs"], ["show-task", "parity"]):
            assert carousel(*words).out.strip()

    def test_archs(self, carousel: Carousel) -> None:
        rows = json.loads(carousel("list", "archs", "--json").out)
        assert [row["name"] for row in rows] == arch.names()
        assert all(row["summary"] for row in rows)
        (lstm,) = [row for row in rows if row["name"] == "lstm"]
        assert lstm["options"]["bias"] is True
        assert lstm["options"]["dropout"] == 0.0

    def test_tasks(self, carousel: Carousel) -> None:
        rows = json.loads(carousel("list", "tasks", "--json").out)
        assert [row["name"] for row in rows] == tasks.names()
        (row,) = [row for row in rows if row["name"] == "first_last"]
        assert row["smallest length"] == 2
        assert row["chance there"] == 0.5
        assert row["parameters"]["rule"] == "sum"
        assert row["source"]

    def test_plans(self, carousel: Carousel) -> None:
        rows = json.loads(carousel("list", "plans", "--json").out)
        assert [row["name"] for row in rows] == names()
        for row in rows:
            assert row["cases"] == sum(case.is_reported for case in cases(load(row["name"])))

    def test_runs(self, tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
        assert json.loads(carousel("list", "runs", "--json").out) == []
        carousel("run", "tiny.toml", "-q", "--measure", "accuracy")
        (row,) = json.loads(carousel("list", "runs", "--json").out)
        (run,) = Store(tmp_path / "carousel-runs").runs()
        assert row == {"name": run.id, "plan": "tiny", "recorded": "4 of 4", "state": "finished"}
        (run.folder / "run.json").write_bytes(b"half")
        (row,) = json.loads(carousel("list", "runs", "--json").out)
        assert row["name"] == run.id
        assert "corrupt" in row["state"]

    def test_glob_selects_names(self, carousel: Carousel) -> None:
        assert [row["name"] for row in json.loads(carousel("list", "archs", "l[s]*", "--json").out)] == ["lstm"]

    def test_table_has_every_name(self, carousel: Carousel) -> None:
        ended = carousel("list", "archs")
        assert ended.code == 0
        for name in arch.names():
            assert name in ended.out


class TestShow:
    @pytest.fixture
    def stored(self, tmp_path: Path, carousel: Carousel, inline: Inline) -> str:
        assert carousel("run", "tiny.toml", "-q").code == 0
        return Store(tmp_path / "carousel-runs").runs()[0].id

    def test_every_format_shows_every_architecture(self, carousel: Carousel, stored: str) -> None:
        shown = {name: carousel("show", "--format", name) for name in ("table", "markdown", "csv", "latex", "json")}
        for ended in shown.values():
            assert (ended.code, ended.err) == (0, "")
            assert "lstm" in ended.out
            assert "rnn" in ended.out
        assert set(json.loads(shown["json"].out)) == {
            "run",
            "leaderboard",
            "records",
            "tuning_records",
            "convergence",
            "unusable",
        }
        (row, *_) = json.loads(shown["json"].out)["leaderboard"]
        assert row["effective"]["longest"] == 8
        assert row["loss"]["name"] == "cross_entropy"
        rows = list(csv.reader(io.StringIO(shown["csv"].out)))
        assert len({len(row) for row in rows}) == 1
        assert len(rows) > 2
        assert shown["markdown"].out.count("|") > 10
        assert "\\begin{tabular}" in shown["latex"].out

    def test_run_is_found_by_latest_id_prefix_and_path(self, carousel: Carousel, stored: str) -> None:
        shown = {carousel("show", *name).out for name in ([], ["latest"], [stored], [stored[:8]])}
        shown.add(carousel("show", f"carousel-runs/{stored}").out)
        shown.add(carousel("show", "latest", "--store", "carousel-runs").out)
        assert len(shown) == 1

    def test_unknown_run_is_reported_with_the_latest(self, carousel: Carousel, stored: str) -> None:
        ended = carousel("show", "nothing")
        assert ended.code == 2
        assert stored in ended.err
        assert len(ended.err.splitlines()) == 1

    def test_damaged_record_is_reported_and_skipped(self, tmp_path: Path, carousel: Carousel, stored: str) -> None:
        damaged = sorted((tmp_path / "carousel-runs" / stored / "records").iterdir())[0]
        damaged.write_bytes(damaged.read_bytes()[:300])
        ended = carousel("show", "--format", "json")
        assert ended.code == 0
        assert len(json.loads(ended.out)["records"]) == 3
        assert damaged.name in ended.err

    def test_report_writes_the_page_and_prints_its_path(self, tmp_path: Path, carousel: Carousel, stored: str) -> None:
        ended = carousel("report")
        assert (ended.code, ended.err) == (0, "")
        page = Path(ended.out.strip())
        assert page == Path("carousel-runs") / stored / "report.html"
        content = page.read_text(encoding="utf-8")
        assert "lstm" in content
        assert carousel("report", stored[:10], "-o", "page.html").out.strip() == "page.html"
        assert (tmp_path / "page.html").read_text(encoding="utf-8").count("lstm") == content.count("lstm")

    def test_report_of_two_runs_compares_the_second_with_the_first(self, carousel: Carousel, stored: str) -> None:
        assert carousel("run", "tiny.toml", "-q", "--measure", "accuracy", "--no-resume").code == 0
        ended = carousel("report", stored, "latest")
        assert (ended.code, ended.err) == (0, "")
        page = Path(ended.out.strip())
        assert page == Path("carousel-runs") / page.parent.name / f"against-{stored}.html"
        assert page.parent.name != stored
        text = page.read_text(encoding="utf-8")
        assert f"Compared with {stored}: 0 regressed, 0 improved" in text
        assert "Scores and step costs in both runs" in text

    def test_claims_of_another_plan_are_judged(self, tmp_path: Path, carousel: Carousel, stored: str) -> None:
        stored_page = Path(carousel("report").out.strip()).read_text(encoding="utf-8")
        assert 'id="claims"' not in stored_page
        (tmp_path / "paper.toml").write_text(TINY + CLAIM, encoding="utf-8")
        ended = carousel("report", "--claims", "paper.toml", "-o", "page.html")
        assert (ended.code, ended.err) == (0, "")
        assert "Everything is learned." in (tmp_path / "page.html").read_text(encoding="utf-8")
        for plan, message in (
            ("smoke", "the plan smoke has no claims; name another plan or omit --claims"),
            ("nope", "no plan 'nope'"),
        ):
            ended = carousel("report", "--claims", plan)
            assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1

    def test_report_of_three_runs_is_refused(self, carousel: Carousel, stored: str) -> None:
        ended = carousel("report", stored, stored, stored)
        assert ended.code == 2
        assert "one run or two, not 3" in ended.err
        assert len(ended.err.splitlines()) == 1
