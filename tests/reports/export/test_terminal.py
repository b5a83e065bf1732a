"""The leaderboard on the terminal cuts no name, fits narrow terminals, and explains its colours."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

import reports
from reports.export import render_comparison
from reports.format.numbers import folded
from results import Record, RunFile
from results.comparison import compare
from tests.reports import synthetic
from tests.results.planted import grid, run_of

RATES = (0.001, 0.0015, 0.003)
WIDTHS = (40, 50, 60, 80, 100, 140, 200)


def printed(run: RunFile, records: list[Record], width: int, *, colours: bool = False) -> str:
    file = io.StringIO()
    console = Console(width=width, file=file, force_terminal=True, color_system="standard" if colours else None)
    reports.render_terminal(run, records, console=console)
    return file.getvalue()


def leaderboard_lines(text: str) -> list[str]:
    """Return the lines of the leaderboard, which ends before its caption or the first sentence."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if i > 3 and re.match(r" *(moved:|step|—)", line)), len(lines))
    return [line.rstrip() for line in lines[:end]]


def rate_sweep() -> tuple[RunFile, list[Record]]:
    """Return a run in which one architecture is trained at three rates, so that its labels differ at their ends."""
    cases = [synthetic.case("gru", "adding", 32, seed) for seed in range(2)]
    swept = [
        case.model_copy(update={"protocol": case.protocol.model_copy(update={"learning_rate": rate})})
        for case in cases
        for rate in RATES
    ]
    records = [synthetic.record(synthetic.case("gru", "adding", 32, case.seed)) for case in swept]
    renamed = [
        record.model_copy(
            update={"case": (case := each.model_copy(update={"arch": "conv_rnn:kernel=3"})), "key": case.key}
        )
        for record, each in zip(records, swept, strict=True)
    ]
    return synthetic.run([record.case for record in renamed]), renamed


@pytest.mark.parametrize("width", WIDTHS)
def test_names_that_differ_at_their_end_are_whole_and_every_line_fits(width: int) -> None:
    run, records = rate_sweep()
    lines = leaderboard_lines(printed(run, records, width))
    assert "…" not in "".join(lines)
    assert max(map(len, lines)) <= width
    column = min(found.start() for line in lines if (found := re.search(r"\d\.\d\d \(", line)))
    names = "".join(line[:column] for line in lines).replace(" ", "")
    for rate in RATES:
        assert f"conv_rnnlearning_rate={rate}" in names
    scores = [line for line in lines if re.search(r"\d\.\d\d \(", line)]
    assert len(scores) == len(RATES)


@pytest.mark.parametrize("width", WIDTHS)
def test_whole_leaderboard_fits(width: int, run: RunFile, records: list[Record]) -> None:
    lines = leaderboard_lines(printed(run, records, width))
    assert max(map(len, lines)) <= width
    assert sum(bool(re.search(r"\d\.\d\d \(", line)) for line in lines) == 24


def test_wide_terminal_shows_what_a_step_needs(run: RunFile, records: list[Record]) -> None:
    wide, narrow = printed(run, records, 200), printed(run, records, 80)
    row = next(line for line in wide.splitlines() if line.startswith("  rnn"))
    assert "40,000" in row and "78.1 KiB" in row
    assert "FLOPs" in wide.split("first_last")[0]
    assert "FLOPs" not in narrow.split("first_last")[0]


def test_colours_of_scores_are_explained_only_if_they_are_used(run: RunFile, records: list[Record]) -> None:
    coloured = printed(run, records, 100, colours=True)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert "; in red: no score and no loss shows use of the past" in bare
    assert "scores in" not in printed(run, records, 100)
    best = [record for record in records if record.case.arch == "transformer" and record.case.task == "copy_memory"]
    solved = [record for record in best if record.status == "ok" and record.case.length == 32]
    bare = re.sub(
        r"\x1b\[[0-9;]*m", "", printed(synthetic.run([each.case for each in solved]), solved, 100, colours=True)
    )
    assert "scores in green: every seed solved the task" in bare
    assert "in red" not in bare


@pytest.mark.parametrize("width", [50, 80, 100])
def test_names_in_a_comparison_are_whole(width: int) -> None:
    archs = [f"conv_rnn:kernel=3,learning_rate={rate},initialisation=orthogonal" for rate in RATES]
    cases = grid(archs, tasks=1)
    file = io.StringIO()
    console = Console(width=width, file=file, force_terminal=True, color_system=None)
    slow = run_of(cases, 2, noise=0.02, slower=lambda case, metric: 0.5 if metric == "step_seconds" else 0.0)
    render_comparison(compare(run_of(cases, 1, noise=0.02), slow), console=console)
    text = file.getvalue()
    assert "…" not in text
    shown = "".join(re.split(r"  +\d", line)[0] for line in text.splitlines()).replace(" ", "")
    for arch in archs:
        assert f"{arch}ontask032:step" in shown


@pytest.mark.parametrize("limit", [8, 12, 20])
@pytest.mark.parametrize(
    "text", ["lstm:forget_bias=1,init=orthogonal learning_rate=0.003", "x" * 50, "", "a b", ",,,,a"]
)
def test_folded_text_keeps_every_character(text: str, limit: int) -> None:
    lines = folded(text, limit)
    assert all(len(line) <= limit for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("width", [50, 80, 200])
def test_aggregates_fit_and_cut_no_name(width: int, run: RunFile, records: list[Record]) -> None:
    file = io.StringIO()
    console = Console(width=width, file=file, force_terminal=True, color_system=None)
    reports.render_aggregates(run, records, console=console)
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    table = [line for line in lines if re.search(r"\d%|0\.\d\d|over \d", line) and ":" not in line]
    assert max(map(len, table)) <= width
    assert "…" not in "".join(lines)
    assert "lstm = lstm:forget_bias=1" in lines
    assert ("not shown; see --format csv" in "".join(lines)) == (width < 200)
