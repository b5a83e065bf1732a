"""The main figure draws the frontier of each panel, and interpreted architectures apart."""

from __future__ import annotations

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.analysis.overview import OverviewRow, overview_rows
from reports.figures.drawing.axes import size_axis
from reports.figures.frontier import panel_frontier
from results import Record
from tests.reports import planted, synthetic
from tests.reports.figures.test_figures import texts

LARGE = planted.records("large", 0.95, state=1e6, microseconds=100)
MIDDLE = planted.records("middle", 0.8, state=900, microseconds=200)
SMALL = planted.records("small", 0.6, state=600, microseconds=5)
MINE = planted.records("mine", 0.9, state=1000, microseconds=1, is_interpreted=True)


def rows_of(*rivals: list[Record]) -> list[OverviewRow]:
    records = [record for rival in rivals for record in rival]
    return overview_rows(group_cases(synthetic.run([record.case for record in records]), records))


def figure_of(*rivals: list[Record]) -> reports.Figure:
    records = [record for rival in rivals for record in rival]
    figure = reports.memory_frontier(synthetic.run([record.case for record in records]), records)
    assert figure is not None
    return figure


def test_each_panel_has_its_own_frontier() -> None:
    rows = rows_of(LARGE, MIDDLE, SMALL)
    by_state = panel_frontier(rows, lambda row: row.state_bytes)
    by_step = panel_frontier(rows, lambda row: row.step_seconds)
    assert [row.arch for row in by_state] == ["small", "middle", "large"]
    assert [row.arch for row in by_step] == ["small", "large"]


def test_alternative_text_names_the_frontier_of_all_three() -> None:
    assert figure_of(LARGE, MIDDLE, SMALL).alternative == (
        "Memory share of large, middle and small against state and against time per step; the frontier of all three "
        "has large, middle and small."
    )


def test_interpreted_architectures_are_marked_and_explained() -> None:
    figure = figure_of(LARGE, SMALL, MINE)
    assert "mine (interpreted)" in texts(figure.svg)
    assert "Half-filled markers are interpreted steps" in figure.how_to_read
    assert "mine: 89% memory share, 1,000 B of state, 1.00 µs per interpreted step" in figure.description
    assert "filled" not in figure_of(LARGE, SMALL).how_to_read


def test_an_architecture_without_a_state_stands_at_the_left_edge() -> None:
    stateless = planted.records("stateless", 0.1, state=0, microseconds=1)
    figure = figure_of(LARGE, SMALL, stateless)
    assert "A state of no bytes is drawn at the left edge." in figure.how_to_read
    assert "stateless" in texts(figure.svg) and "0 B of state" in figure.description
    assert "left edge" not in figure_of(LARGE, SMALL).how_to_read
    assert figure_of(stateless).svg


def test_a_step_that_takes_no_time_by_the_clock_stands_at_the_left_edge() -> None:
    instant = planted.records("instant", 0.8, state=900, microseconds=0)
    for draw in (reports.memory_frontier, reports.accuracy_against_cost):
        records = [*LARGE, *instant]
        figure = draw(synthetic.run([record.case for record in records]), records)
        assert figure is not None and any(text.startswith("instant") for text in texts(figure.svg))


def test_architectures_that_cannot_be_recommended_are_pale() -> None:
    forgetful = planted.records("forgetful", 0.1, state=8, microseconds=1)
    figure = figure_of(LARGE, SMALL, forgetful)
    assert "Pale markers are architectures that cannot be recommended." in figure.how_to_read
    assert "opacity: 0.65" in figure.svg
    assert "opacity: 0.65" not in figure_of(LARGE, SMALL).svg


def test_axis_of_sizes_has_few_ticks_at_powers_of_two() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    size_axis(axes, [640, 1024])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["256 B", "512 B", "1 KiB", "2 KiB"]
    size_axis(axes, [640, 8 << 20])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["512 B", "4 KiB", "32 KiB", "256 KiB", "2 MiB"]
    low, high = axes.get_xlim()
    assert low < 640 and high > 8 << 20
    size_axis(axes, [0.0])
    assert axes.get_xlim() == pytest.approx((low, high))
