"""Rows that differ keep different names after shortening, and no text becomes markup of Markdown or LaTeX."""

from __future__ import annotations

import io
import itertools

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

import reports
from reports.export import render_comparison
from reports.format.escape import latex_breakable, latex_text, markdown_text
from reports.format.numbers import folded, shortened_apart, wrap_label
from results.comparison import compare
from tests.reports import synthetic
from tests.results.planted import grid, run_of

LONG = "an_architecture_with_a_long_name_that_fills_the_whole_width_of_a_column_of_names:"
PAIRS = [
    (f"{LONG}width=1", f"{LONG}width=2"),
    (f"a{LONG}", f"b{LONG}"),
    (f"{LONG}a{LONG}", f"{LONG}b{LONG}"),
    ("tiny\x00", "tiny\x01"),
    (f"{LONG}\x00", f"{LONG}\x01"),
]


@pytest.mark.parametrize(
    "texts", [*PAIRS, list(itertools.chain(*PAIRS)), [LONG * 9 + str(i) + LONG for i in range(40)]]
)
@pytest.mark.parametrize("limit", [10, 24, 36])
def test_different_texts_stay_different_within_the_limit(texts: list[str], limit: int) -> None:
    short = shortened_apart(texts, limit)
    assert list(short) == list(texts)
    assert len(set(short.values())) == len(texts)
    assert all(len(line) <= limit and line.isprintable() for line in short.values())


def test_a_number_that_a_text_already_ends_in_is_not_used_again() -> None:
    texts = ["tiny\x00", "tiny\x01", "tiny\N{REPLACEMENT CHARACTER}…#1"]
    assert len(set(shortened_apart(texts).values())) == 3


def test_unambiguous_texts_are_cut_at_their_end() -> None:
    assert shortened_apart(["lstm", "abcdefghij"], 6) == {"lstm": "lstm", "abcdefghij": "abcde…"}


@pytest.mark.parametrize("pair", PAIRS[:3])
@pytest.mark.parametrize("width", [80, 400])
def test_rows_of_the_leaderboard_and_of_a_comparison_are_distinct(pair: tuple[str, str], width: int) -> None:
    """Rows are compared without their numbers."""
    records = [synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch=arch) for arch in pair]
    console = Console(file=io.StringIO(), width=width, color_system=None)
    reports.render_terminal(synthetic.run([record.case for record in records]), records, console=console)
    assert isinstance(console.file, io.StringIO)
    names = [line.split()[0] for line in console.file.getvalue().splitlines() if line.startswith(("  a", "  b"))]
    assert len(names) == len(set(names)) == 2
    console = Console(file=io.StringIO(), width=width, color_system=None)
    cases = [case.model_copy(update={"arch": arch}) for arch in pair for case in grid(tasks=1, seeds=2)[:2]]
    base, new = run_of(cases, 1, noise=0.02), run_of(cases, 2, noise=0.02, slower=lambda case, metric: 1.0)
    render_comparison(compare(base, new), console=console)
    assert isinstance(console.file, io.StringIO)
    rows = [line.split("  ")[1] for line in console.file.getvalue().splitlines() if line.startswith(("  a", "  b"))]
    assert rows and len(rows) == len(set(rows))


@pytest.mark.parametrize("text", ["__init__() takes 1", "_x_ is not", "a $x^2$ b", "first_last", "a_ b_", "__a__b__"])
def test_markdown_shows_text_as_it_is(text: str) -> None:
    shown = MarkdownIt("commonmark").render(markdown_text(text))
    assert shown == f"<p>{text}</p>\n"
    assert "$" not in markdown_text(text).replace("\\$", "")


@pytest.mark.parametrize("text", ["[old] run", "*starred"])
def test_latex_reads_no_argument_at_the_start_of_a_row(text: str) -> None:
    assert latex_text(text) == "{}" + text


def test_numbers_are_broken_nowhere() -> None:
    assert latex_breakable("after 8,192 of 16,384,000 steps") == "after 8,192 of 16,384,000 steps"
    assert latex_breakable("8,19,a").count("allowbreak") == 2
    lines = ["at position", "8,192"]
    assert wrap_label("at position 8,192", 14).splitlines() == folded("at position 8,192", 14) == lines
