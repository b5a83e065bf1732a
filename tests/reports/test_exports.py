"""Markdown, CSV, LaTeX, JSON and the terminal: the same rows, safe for whatever reads them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

import reports
from results import Record, RunFile
from tests.reports import synthetic


def hostile(name: str) -> tuple[RunFile, list[Record]]:
    failed = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch=name)
    failed = failed.model_copy(update={"status": "crashed", "reason": name, "measurements": ()})
    return synthetic.run([failed.case]), [failed]


def test_csv_has_one_unrounded_line_a_row(run: RunFile, records: list[Record]) -> None:
    lines = list(csv.DictReader(io.StringIO(reports.as_csv(run, records))))
    rows = reports.leaderboard(run, records)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert float(line["score"]) == row.score
        assert float(line["far_step_seconds"]) == row.far_step_seconds
        assert (int(line["seeds"]), int(line["solved"])) == (row.seeds, row.solved)
        assert tuple(float(score) for score in line["seed_scores"].split()) == row.seed_scores


FORMULAS = ("=1+2", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "=cmd|' /C calc'!A0", "＝1")


@pytest.mark.parametrize("name", FORMULAS)
def test_csv_never_holds_a_formula(name: str) -> None:
    (line,) = csv.DictReader(io.StringIO(reports.as_csv(*hostile(name)), newline=""))
    assert line["arch"] == f"'{name}"
    assert line["problems"] == f"seed 0 crashed: {name}"
    assert line["chance"] == "0.0784"


def test_markdown_is_a_table_with_its_dashes_explained(run: RunFile, records: list[Record]) -> None:
    lines = reports.as_markdown(run, records).splitlines()
    assert {line.count("|") for line in lines[:26]} == {14}
    assert lines[2].startswith("| first_last | 32 | gru | 0.990 (0.990–0.990) |")
    assert "- rnn on adding at 128: seed 1 diverged: the loss was not finite at step 300" in lines


def test_markdown_text_cannot_leave_its_cell_or_become_html() -> None:
    text = reports.as_markdown(*hostile("a|b<script>`x`[l](javascript:1)\nc"))
    assert r"a\|b\<script\>\`x\`\[l\](javascript:1) c" in text
    assert "<script>" not in text.replace(r"\<", "")
    assert len(text.splitlines()) == 7


def test_latex_uses_booktabs_and_escapes(run: RunFile, records: list[Record]) -> None:
    text = reports.as_latex(run, records)
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert text.isascii()
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    assert body.count(r"\\") == 24
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {9}
    assert r"first\_last & 32 & gru & 0.990 (0.990--0.990) & 0.500 & 0/3 & 20,003 & 640 B" in body
    strange = reports.as_latex(*hostile(r"a_b%c\input{x}$&#~^"))
    caption = strange[strange.index("\\caption") : strange.index("\\label")]
    assert r"a\_b\%c\textbackslash{}input\{x\}\$\&\#\textasciitilde{}\textasciicircum{}" in caption
    assert r"\input" not in strange


def test_json_is_one_document_with_all_tables(run: RunFile, records: list[Record]) -> None:
    document = json.loads(reports.as_json(run, records))
    assert document["counts"] == {"cases": 72, "ok": 68, "failed": 3, "missing": 1, "noisy": 0}
    assert len(document["leaderboard"]) == 24
    assert len(document["streaming"]) == 4 * len(synthetic.POSITIONS)
    assert document["specifications"]["lstm"] == "lstm:forget_bias=1"
    assert document["leaderboard"][0]["score"] == reports.leaderboard(run, records)[0].score


def printed(run: RunFile, records: list[Record], width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_terminal_shows_everything_in_80_columns(run: RunFile, records: list[Record]) -> None:
    text = printed(run, records, 80)
    assert "…" not in text
    line = next(line for line in text.splitlines() if line.strip().startswith("rnn") and "0.76" in line)
    assert line.split()[:5] == ["rnn", "0.76", "(0.69–0.83)", "0/3", "20,003"]
    assert "blind to the past             0.75" in text
    assert "— lstm on copy_memory at 128: seed 2 missing" in text
    assert "lstm = lstm:forget_bias=1" in text
    assert text.splitlines()[-1].startswith("72 cases: 68 ok, 3 failed")


def test_terminal_takes_no_markup_from_records() -> None:
    marked, plain = printed(*hostile("[bold]x[/bold]"), 100), printed(*hostile("plain"), 100)
    assert marked.count("[bold]x[/bold]") == plain.count("plain") == 4


def test_terminal_does_not_flood_with_missing_cases(run: RunFile) -> None:
    text = printed(run, [], 80)
    assert text.count("seeds 0, 1 and 2 missing") == 12
    assert "and 12 more, all of them in the report" in text


def test_an_empty_run_exports_sensibly() -> None:
    empty = synthetic.run([])
    assert reports.leaderboard(empty, []) == []
    assert len(reports.as_csv(empty, []).splitlines()) == 1
    assert len(reports.as_markdown(empty, []).splitlines()) == 2
    assert "\\toprule" in reports.as_latex(empty, [])
    assert json.loads(reports.as_json(empty, []))["leaderboard"] == []
    assert printed(empty, [], 80).strip() == "No cases: nothing was planned and nothing was measured."
