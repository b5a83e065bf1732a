"""`carousel export` and `carousel show --format json`: choice of metrics, and what a terminal does not get."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from bench.cli import main
from bench.commands import output
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.reports import synthetic

__all__ = ["carousel"]


@pytest.fixture(autouse=True)
def stored(carousel: Carousel, tmp_path: Path) -> None:
    """Store a run of two cases, with a few thousand samples."""
    records = [synthetic.record(synthetic.case("lstm:forget_bias=1", "adding", 32, seed)) for seed in range(2)]
    run = Store(tmp_path / "carousel-runs").create(synthetic.run([record.case for record in records]))
    for record in records:
        run.write(record)


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """Run a command whose standard output is a terminal. Return the exit code and what it printed."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as exited:
        patched.setattr(sys, "argv", ["carousel", *words])
        patched.setattr(sys, "stdout", terminal)
        main.main()
    terminal.seek(0)
    code = exited.value.code
    return (code if isinstance(code, int) else 0), terminal.read()


def metrics_of(text: str) -> set[str]:
    return {row["metric"] for row in csv.DictReader(io.StringIO(text))}


def test_metrics_are_chosen_by_name_and_pattern(carousel: Carousel) -> None:
    everything = metrics_of(carousel("export").out)
    assert {"accuracy", "state_bytes", "step_flops", "step_bytes", "weight_bytes", "step_seconds"} < everything
    assert metrics_of(carousel("export", "--metric", "accuracy").out) == {"accuracy"}
    chosen = metrics_of(carousel("export", "--metric", "step_*", "--metric", "accuracy").out)
    assert chosen == {"step_seconds", "step_flops", "step_bytes", "accuracy"}
    timed = json.loads(carousel("export", "--format", "pytest-benchmark", "--metric", "step_seconds").out)
    assert {each["name"].partition("[")[0] for each in timed["benchmarks"]} == {"step_seconds"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "score"], "that matches 'score'; a score is the metric accuracy; choose from accuracy"),
        (["--metric", "nope"], "measured no metric that matches 'nope'; choose from accuracy, forward_seconds"),
        (["--metric", "accuracy", "--format", "pytest-benchmark"], "timed no metric that matches 'accuracy'"),
    ],
)
def test_unknown_metric_lists_the_known_ones(carousel: Carousel, words: list[str], message: str) -> None:
    ended = carousel("export", *words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (5, "", 1)
    assert message in ended.err


def test_large_export_on_a_terminal_is_refused_unless_asked_for(
    carousel: Carousel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = on_a_terminal(monkeypatch, "export")
    error = capsys.readouterr().err
    assert (code, out, len(error.splitlines())) == (2, "", 1)
    assert "samples are too many for a terminal: give a file with -o FILE, choose metrics with --metric" in error
    assert on_a_terminal(monkeypatch, "export", "--metric", "accuracy")[0] == 0
    assert metrics_of(on_a_terminal(monkeypatch, "export", "-o", "-")[1]) == metrics_of(carousel("export").out)


def test_long_json_on_a_terminal_is_refused(
    carousel: Carousel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert on_a_terminal(monkeypatch, "show", "--format", "json")[0] == 0
    monkeypatch.setattr(output, "MAX_PRINTED", 1_000)
    code, out = on_a_terminal(monkeypatch, "show", "--format", "json")
    assert (code, out) == (2, "")
    assert "as in `carousel show latest --format json > run.json`" in capsys.readouterr().err
    assert carousel("show", "--format", "json").code == 0


def test_json_has_the_rows_of_the_csv(carousel: Carousel) -> None:
    rows = json.loads(carousel("show", "--format", "json").out)["leaderboard"]
    lines = list(csv.DictReader(io.StringIO(carousel("show", "--format", "csv").out)))
    assert len(rows) == len(lines) == 1
    for row, line in zip(rows, lines, strict=True):
        assert set(line) <= set(row)
        for name, text in line.items():
            value = row[name]["mean"] if name == "loss" and row[name] else row[name]
            if value is None:
                assert text == ""
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                assert float(text) == value, name
            elif isinstance(value, str):
                assert text == value, name
    assert rows[0]["arch"] == "lstm"
    assert rows[0]["arch_spec"] == "lstm:forget_bias=1"
    assert (rows[0]["step_flops"], rows[0]["step_bytes"], rows[0]["weight_bytes"]) == (40e3, 80e3, 4.0 * 20_004)


@pytest.mark.parametrize("format", ["csv", "markdown", "latex", "json", "table"])
@pytest.mark.parametrize("words", [[], ["--aggregate"]])
def test_every_export_has_the_full_name_beside_the_label(carousel: Carousel, format: str, words: list[str]) -> None:
    text = carousel("show", "--format", format, *words).out
    bare = text.replace("\\allowbreak{}", "").replace("\\", "")
    assert "lstm:forget_bias=1" in bare
    assert len(bare.replace("lstm:forget_bias=1", "").split("lstm")) > 1


def test_paper_tables_need_the_format_latex(carousel: Carousel) -> None:
    for content in ("score", "step", "state"):
        assert f"tab:carousel-{content}" in carousel("show", "--format", "latex", "--table", content).out
    for words, message in (
        (["--table", "score"], "--table score needs --format latex, not --format table"),
        (["--table", "score", "--aggregate", "--format", "latex"], "--aggregate and --table score exclude each other"),
    ):
        ended = carousel("show", *words)
        assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
        assert message in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "latex", "--table", "score"], "no table of scores: this run has no scores; measure them with"),
        (["--format", "latex", "--table", "step"], "no table of steps: this run has no timed steps; time them with"),
        (["--aggregate"], "nothing to aggregate: this run has no scores"),
        (["--aggregate", "--format", "csv"], "nothing to aggregate: this run has no scores"),
    ],
)
def test_a_summary_without_values_is_refused(
    carousel: Carousel, tmp_path: Path, words: list[str], message: str
) -> None:
    case = synthetic.case("lstm", "adding", 32, 0)
    measured = tuple(each for each in synthetic.record(case).measurements if each.metric == "state_bytes")
    run = Store(tmp_path / "states").create(synthetic.run([case]))
    run.write(synthetic.record(case).model_copy(update={"measurements": measured}))
    ended = carousel("show", "latest", "--store", "states", *words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert message in ended.err


def test_figures_are_chosen_by_name_format_and_width(carousel: Carousel) -> None:
    ended = carousel("report", "--figures", "f", "--only", "streaming-cost.pdf", "--width", "8.25cm")
    assert (ended.code, ended.err) == (0, "")
    assert [path.name for path in Path("f").iterdir()] == ["streaming-cost.pdf"]
    ended = carousel("report", "--figures", "g", "--format", "png", "--only", "streaming-cost", "--only", "chunk-cost")
    assert sorted(path.name for path in Path("g").iterdir()) == ["chunk-cost.png", "streaming-cost.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--figures", "f", "--format", "jpg"], "'jpg' is not one of 'svg', 'pdf', 'png'"),
        (["--figures", "f", "--only", "streaming-cost.jpg"], "ends in .svg or .pdf or .png"),
        (
            ["--figures", "f.jpg"],
            "--figures takes a folder, not the file f.jpg; choose a folder, and --format (svg, pdf, png)",
        ),
        (["--figures", "f", "--only", "nope"], "no figure 'nope' in this run; choose from accuracy-against-length"),
        (["--figures", "f", "--only", "a.pdf", "--format", "svg"], "name different formats; choose one format"),
        (["--figures", "f", "--width", "wide"], "--width takes a width such as 3.25in"),
        (["--figures", "f", "--width", "1in"], "from 2.5 to 20 inches, not '1in'"),
        (["--width", "3in"], "--width is for figure files: give their folder with --figures DIR"),
        (["--only", "x"], "--only is for figure files"),
        (["--scale", "slide"], "--scale is for figure files"),
        (["--figures", "f", "--scale", "slide", "--width", "3in"], "--width and --scale slide exclude each other"),
        (["--format", "pdf"], "--format is for figure files"),
    ],
)
def test_mistakes_in_figure_options_are_one_line_and_write_nothing(
    carousel: Carousel, words: list[str], message: str
) -> None:
    before = sorted(Path().rglob("*"))
    ended = carousel("report", *words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert message in ended.err
    assert sorted(Path().rglob("*")) == before
