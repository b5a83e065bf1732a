"""The leaderboard has the same rows in every output format, and every format escapes hostile names."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

import reports
from results import METRICS, Record, RunFile
from tests.reports import synthetic
from tests.reports.export.latex import compiled


def hostile(name: str) -> tuple[RunFile, list[Record]]:
    """Return a run of one crashed case, and its record. `name` is both the architecture and the reason."""
    failed = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch=name)
    failed = failed.model_copy(update={"status": "crashed", "reason": name, "measurements": ()})
    return synthetic.run([failed.case]), [failed]


def test_csv_has_one_unrounded_line_per_row(run: RunFile, records: list[Record]) -> None:
    lines = list(csv.DictReader(io.StringIO(reports.as_csv(run, records))))
    rows = reports.leaderboard(run, records)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert float(line["score"]) == row.score
        assert float(line["far_step_seconds"]) == row.far_step_seconds
        assert (int(line["seeds"]), int(line["solved"])) == (row.seeds, row.solved)
        assert tuple(float(score) for score in line["seed_scores"].split()) == row.seed_scores


FORMULAS = ("=1+2", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "=cmd|' /C calc'!A0", "＝1")


@pytest.mark.parametrize("name", [*FORMULAS, "12e4567", "1234567890", "nan", "NA", "true", "1-2"])
def test_csv_contains_no_formula_and_no_text_that_reads_as_a_number(name: str) -> None:
    (line,) = csv.DictReader(io.StringIO(reports.as_csv(*hostile(name)), newline=""))
    assert line["arch"] == f"'{name}"
    assert line["problems"] == f"seed 0 crashed: {name}"
    assert line["chance"] == "0.0784"


def test_markdown_lists_the_reasons_of_dashes_below_the_table(run: RunFile, records: list[Record]) -> None:
    lines = reports.as_markdown(run, records).splitlines()
    assert {line.count("|") for line in lines[:26]} == {21}
    assert lines[2].startswith("| first_last | 32 | gru | 0.990 (0.985–0.993) |")
    assert "- rnn on adding at 128: seed 1 diverged: the loss was not finite at step 300" in lines


def test_tables_without_streaming_have_no_columns_of_costs(run: RunFile, records: list[Record]) -> None:
    unstreamed = []
    for record in records:
        kept = tuple(each for each in record.measurements if METRICS[each.metric].probe != "streaming")
        unstreamed.append(record.model_copy(update={"measurements": kept}))
    costs = re.compile(r"p50|p99|state|µs")
    console = Console(width=200, record=True, file=io.StringIO())
    for some, expected in ((records, True), (unstreamed, False)):
        reports.render_terminal(run, some, console=console)
        head = console.export_text().split("first_last", 1)[0]
        for text in (head, reports.as_markdown(run, some).splitlines()[0], reports.as_latex(run, some)):
            assert bool(costs.search(text)) is expected


def test_markdown_escapes_cells_and_html() -> None:
    text = reports.as_markdown(*hostile("a|b<script>`x`[l](javascript:1)\nc"))
    assert r"a\|b\<script\>\`x\`\[l\](javascript:1) c" in text
    assert "<script>" not in text.replace(r"\<", "")
    assert len(text.splitlines()) == 11


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160])
def test_the_memoryless_baseline_has_its_name_or_a_note_and_costs_no_column(
    run: RunFile, records: list[Record], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(run, records, width)
    is_short = re.search(r"memoryless +0\.75", text) is not None
    assert is_short is ("memoryless: memoryless baseline" in text.splitlines())
    assert is_short or "memoryless baseline " in text
    assert is_short is (width <= 100)
    monkeypatch.setattr("reports.export.terminal.BASELINE", "memoryless")
    short = printed(run, records, width)
    assert [line.split() for line in short.splitlines()[:2]] == [line.split() for line in text.splitlines()[:2]]


def test_latex_says_which_columns_it_leaves_out(run: RunFile, records: list[Record]) -> None:
    comment = next(line for line in reports.as_latex(run, records).splitlines() if line.startswith("% left out"))
    for column in ("learning rate", "seeds scored", "FLOPs of a step", "moved by a step", "weights"):
        assert column in comment
    assert "`carousel show 20260101-120000-quick --format csv`" in comment


def test_latex_uses_booktabs_and_escapes_text(run: RunFile, records: list[Record]) -> None:
    text = reports.as_latex(run, records)
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    assert text.isascii()
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    assert body.count(r"\\") == 24
    assert {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")} == {12}
    scores = r"first\_last & 32 & gru & 0.990 (0.985--0.993) & 0.500 & 0.750"
    assert rf"{scores} & 32 (every seed) & 0/3 & 20,003 & 640 B" in body
    strange = reports.as_latex(*hostile(r"a_b%c\input{x}$&#~^"))
    caption = strange[strange.index("\\caption") : strange.index("\\label")]
    assert r"a\_b\%c\textbackslash{}input\{x\}\$\&\#\textasciitilde{}\textasciicircum{}" in caption
    assert r"\input" not in strange


LATEX_TEXTS = (*FORMULAS, r"a_b%c\input{x}$&#~^", "{", "}}%", "\\", "naïve 模型 \x07")
LATEX = {
    "synthetic": lambda: (synthetic.run(), synthetic.records()),
    "empty": lambda: (synthetic.run([]), []),
    **{f"hostile {n}": lambda name=name: hostile(name) for n, name in enumerate(LATEX_TEXTS)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LATEX)
def test_latex_is_well_formed_and_compiles(name: str, tmp_path: Path) -> None:
    table = reports.as_latex(*LATEX[name]())
    assert_well_formed(table)
    made = compiled(table, tmp_path)
    assert (made.pages, made.problems) == (1, [])


@pytest.mark.parametrize("broken", ["{a", "a}", r"\begin{x}", r"\begin{x}\end{y}", "a & b\n", "a_b", "$x"])
def test_latex_checker_finds_errors(broken: str) -> None:
    with pytest.raises(AssertionError):
        assert_well_formed(f"\\begin{{tabular}}{{ll}}\na & b \\\\\n{broken} \\\\\n\\end{{tabular}}{broken}\n")


def assert_well_formed(text: str) -> None:
    """Assert that LaTeX is ASCII, is balanced, and has the same number of cells in every row of its table.

    Braces, environments and math are balanced. Special characters are escaped, except for the `&` between cells.
    """
    assert text.isascii()
    text = re.sub(r"(?<!\\)%.*", "", text)
    bare = re.sub(r"\\(?:[A-Za-z]+|.)", " ", text)
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[_#^~]", bare)
    body = text[text.index("\\begin{tabular}") : text.index("\\end{tabular}")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in body.splitlines() if line.endswith("\\\\")}) == 1
    assert "&" not in bare[: bare.index("tabular")]


def test_markdown_renders_as_one_table_with_every_row(run: RunFile, records: list[Record]) -> None:
    """Check that CommonMark with tables renders one table with all rows and cells, even if a name contains markup."""
    html = MarkdownIt("commonmark").enable("table").render(reports.as_markdown(run, records))
    assert html.count("<table>") == 1
    assert html.count("<tr>") == 25
    assert html.count("<td") == 24 * 20
    assert html.count("<li>") == 6
    strange = (
        MarkdownIt("commonmark")
        .enable("table")
        .render(reports.as_markdown(*hostile("a|b<script>`x`[l](javascript:1)*_~&amp;")))
    )
    assert strange.count("<td") == 10
    assert not re.search(r"<script|<a |<em|<code", strange)
    assert "a|b&lt;script&gt;`x`[l](javascript:1)*_~&amp;amp;" in strange


def printed(run: RunFile, records: list[Record], width: int, *, terminal: bool = True) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=terminal, color_system=None)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table_of(text: str) -> list[str]:
    """Return the lines of a printed summary before the first problem, which contain the leaderboard."""
    lines = text.splitlines()
    return lines[: next(i for i, line in enumerate(lines) if line.startswith("—"))]


def test_terminal_shows_all_columns_but_one_in_80_characters(run: RunFile, records: list[Record]) -> None:
    text = printed(run, records, 80)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in table_of(text)) <= 80
    line = next(line for line in text.splitlines() if line.strip().startswith("rnn") and "0.76" in line)
    assert line.split()[:5] == ["rnn", "0.76", "(0.69–0.83)", "0/3", "none"]
    assert len(line.split()) == 10
    assert "p99 end" not in text
    assert re.search(r"memoryless +0\.75", text)
    assert "memoryless: memoryless baseline" in text.splitlines()
    assert "— lstm on copy_memory at 128: seed 2 missing" in text
    assert "lstm = lstm:forget_bias=1" in text
    assert text.splitlines()[-1].startswith("72 cases: 68 ok, 3 failed")


def numbers_of_rnn(text: str) -> list[str]:
    return next(line for line in table_of(text) if line.strip().startswith("rnn") and "0.76" in line).split()


@pytest.mark.parametrize(
    ("width", "shown", "dropped"),
    [
        (80, ["solved", "effect.", "params", "state", "step end"], ["p99 end"]),
        (70, ["solved", "effect.", "params", "step end"], ["p99 end", "state"]),
        (60, ["solved", "effect.", "step end"], ["p99 end", "state", "params"]),
        (50, ["solved", "step end"], ["p99 end", "state", "params", "effect."]),
        (40, ["solved"], ["p99 end", "state", "params", "effect.", "step end"]),
    ],
)
def test_narrow_terminal_drops_columns_and_cuts_no_number(
    run: RunFile, records: list[Record], width: int, shown: list[str], dropped: list[str]
) -> None:
    table = table_of(printed(run, records, width))
    heading = " ".join(table[:2])
    assert all(word in heading for word in shown)
    assert not any(word in heading for word in dropped)
    assert "…" not in "".join(table)
    narrow, wide = numbers_of_rnn("\n".join([*table, "—"])), numbers_of_rnn(printed(run, records, 200))
    assert set(narrow) < set(wide)
    assert narrow[:4] == wide[:4]
    assert max(len(line.rstrip()) for line in table if not line.startswith("step")) <= width


def test_file_output_has_every_column_at_any_width(run: RunFile, records: list[Record]) -> None:
    assert numbers_of_rnn(printed(run, records, 40, terminal=False)) == numbers_of_rnn(printed(run, records, 200))


def test_terminal_ignores_markup_in_records() -> None:
    marked, plain = printed(*hostile("[bold]x[/bold]"), 100), printed(*hostile("plain"), 100)
    assert marked.count("[bold]x[/bold]") == plain.count("plain") == 4


def test_terminal_limits_the_list_of_missing_cases(run: RunFile) -> None:
    text = printed(run, [], 80)
    assert text.count("seeds 0, 1 and 2 missing") == 12
    assert "and 12 more; the report lists them all" in text


def test_empty_run_can_be_exported() -> None:
    empty = synthetic.run([])
    assert reports.leaderboard(empty, []) == []
    assert len(reports.as_csv(empty, []).splitlines()) == 1
    assert len(reports.as_markdown(empty, []).splitlines()) == 2
    assert "\\toprule" in reports.as_latex(empty, [])
    assert printed(empty, [], 80).strip() == "No cases: nothing was planned and nothing was measured."
