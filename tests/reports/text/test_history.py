"""The history of a case is shown correctly as a sparkline, in words, as a figure and as a page."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from reports.figures.history import MAX_PANELS, history_figure
from reports.html.history import history_page
from reports.html.sparkline import sparkline
from reports.text.history import MAX_BARS, change_in_words, levels, run_rows, spark, value_with_interval
from results import HistoryPoint, Interval, Series


def series(*values: float, changes: tuple[int, ...] = (), arch: str = "lstm", metric: str = "accuracy") -> Series:
    seen = tuple(
        HistoryPoint(
            run=f"run-{i}",
            created=f"2026-01-{i + 1:02}T00:00:00Z",
            commit=None,
            value=Interval(value - 0.01, value, value + 0.01),
            units=3,
        )
        for i, value in enumerate(values)
    )
    return Series(
        arch=arch,
        task="first_last",
        length=32,
        protocol="0123456789",
        metric=metric,
        at={"length": 32},
        environment="cpu a processor",
        points=seen,
        changes=changes,
    )


def test_sparkline_spans_the_values_and_marks_changes() -> None:
    assert spark(series(0.0, 0.5, 1.0)) == "▁▅█"
    assert spark(series(0.5, 0.5)) == "▁▁"
    assert spark(series(0.0, 0.0, 1.0, 1.0, changes=(2,))) == "▁▁│██"
    long = spark(series(*[0.0] * 60, 1.0))
    assert (len(long), long[0], long[-1]) == (MAX_BARS + 1, "…", "█")


def test_change_is_described_by_the_levels_before_and_after() -> None:
    changed = series(0.9, 0.8, 0.9, 0.5, 0.4, 0.4, 0.7, 0.7, changes=(3, 6))
    assert levels(changed, 3) == (0.9, 0.4)
    assert levels(changed, 6) == (0.4, 0.7)
    assert change_in_words(changed, 3) == "0.900 → 0.400 (−55.6%) from run-3"
    slower = series(1e-5, 1e-5, 2e-5, 2e-5, changes=(2,), metric="step_seconds")
    assert change_in_words(slower, 2) == "10.0 µs → 20.0 µs (+100.0%) from run-2"


def test_infinite_interval_is_left_out() -> None:
    whole = series(0.9)
    assert value_with_interval(whole, 0) == "0.900 (0.890–0.910)"
    alone = whole.points[0].__class__(
        run="r", created="2026", commit=None, value=Interval(-float("inf"), 0.9, float("inf")), units=1
    )
    single = Series(**{name: getattr(whole, name) for name in Series.__slots__ if name != "points"}, points=(alone,))
    assert value_with_interval(single, 0) == "0.900"


def test_figure_names_every_case_and_its_changes() -> None:
    figure = history_figure([series(0.9, 0.9, 0.5, 0.5, changes=(2,)), series(0.1, 0.1, arch="gru")])
    assert figure is not None
    assert ElementTree.fromstring(figure.svg).tag.endswith("svg")
    assert "0.900 → 0.500" in figure.description
    assert "gru/first_last/32, 2 runs: no change" in figure.description
    again = history_figure([series(0.9, 0.9, 0.5, 0.5, changes=(2,)), series(0.1, 0.1, arch="gru")])
    assert again is not None
    assert again.svg == figure.svg
    assert history_figure([]) is None


class Elements(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [f"{name}={value}" for name, value in attrs]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '" onload="alert(1)', "</style><img src=x>"])
def test_page_shows_hostile_text_as_text_and_loads_nothing(hostile: str) -> None:
    plain_page, hostile_page = Elements(), Elements()
    plain_page.feed(history_page([series(0.9, 0.8, arch="lstm")]))
    page = history_page([series(0.9, 0.8, arch=hostile)])
    hostile_page.feed(page)
    assert hostile_page.tags == plain_page.tags
    assert not any(attribute.startswith("on") for attribute in hostile_page.attributes)
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_every_series_has_a_sparkline_and_a_table_of_its_runs() -> None:
    many = [series(0.9, 0.8, arch=f"a{number}") for number in range(MAX_PANELS + 2)]
    page = Elements()
    page.feed(history_page(many))
    assert (page.tags.count("svg"), page.tags.count("table"), page.tags.count("title")) == (26, 26, 1 + 2 * 26)


def test_page_shows_commit_date_host_and_value_of_each_run_with_links() -> None:
    measured = series(0.9, 0.9, 0.5, 0.5, changes=(2,))
    points = [
        dataclasses.replace(point, commit=f"{index}" * 40, host="ab"[index // 2])
        for index, point in enumerate(measured.points)
    ]
    moved = dataclasses.replace(measured, points=tuple(points))
    page = history_page([moved], {"run-1": "../runs/run-1/report.html"})
    assert '<a href="../runs/run-1/report.html">2026-01-02 00:00</a>' in page
    assert page.count("<a ") == 1
    assert "2026-01-03 00:00 · commit 2222222222 · 0.500 (0.490–0.510) · host b · run-2" in page
    assert "machines: a (2 runs), b (2 runs)" in page
    assert "0.900 → 0.500 (−44.4%) from run-2, on another machine" in page
    mixed = dataclasses.replace(moved, points=(*points[:3], dataclasses.replace(points[3], host="a")))
    assert "another machine" not in history_page([mixed])


def test_sparkline_maps_values_intervals_and_changes_to_its_area() -> None:
    """The scale is from 0.19, the lowest end of an interval, to 0.41, and 84% of the height."""
    drawn = sparkline(series(0.2, 0.2, 0.4, 0.3, changes=(2,)))
    bottom, top, step = 92.0, 8.0, 0.01 / 0.22 * 84
    assert [(point.x, point.y) for point in drawn.points] == [
        (12.5, pytest.approx(bottom - step)),
        (37.5, pytest.approx(bottom - step)),
        (62.5, pytest.approx(top + step)),
        (87.5, pytest.approx(50)),
    ]
    assert drawn.changes == (50.0,)
    assert [(left, right) for left, right, _ in drawn.levels] == [(0.0, 50.0), (50.0, 100.0)]
    assert (drawn.smallest, drawn.largest, drawn.bottom, drawn.top) == ("0.200", "0.400", "0.190", "0.410")
    assert (drawn.first, drawn.last) == ("2026-01-01 00:00", "2026-01-04 00:00")
    assert [(point.low, point.high) for point in drawn.points[2:3]] == [(pytest.approx(top + 2 * step), top)]


def test_equal_values_have_intervals_too() -> None:
    for point in sparkline(series(0.5, 0.5)).points:
        assert (point.low, point.y, point.high) == (pytest.approx(92), pytest.approx(50), pytest.approx(8))


def test_one_wide_interval_hides_no_change() -> None:
    measured = series(0.2, 0.2, 0.4, 0.4, changes=(2,))
    wide = dataclasses.replace(measured.points[0], value=Interval(-9.0, 0.2, 9.0))
    drawn = sparkline(dataclasses.replace(measured, points=(wide, *measured.points[1:])))
    assert (drawn.bottom, drawn.top) == ("0.000", "0.600")
    assert drawn.points[0].low == 100.0 and drawn.points[0].high == 0.0, "cut off at the edges"
    assert drawn.points[1].y - drawn.points[2].y == pytest.approx(84 / 3)


@pytest.mark.parametrize(
    ("created", "shown"),
    [
        ("2026-01-31T12:05:09Z", "2026-01-31 12:05"),
        ("2026-01-31T23:30:00-02:00", "2026-02-01 01:30"),
        ("2026-01-31T12:05:09", "2026-01-31 12:05"),
        ("<b>", "<b>"),
    ],
)
def test_dates_have_the_time_in_utc(created: str, shown: str) -> None:
    measured = series(0.5)
    (row,) = run_rows(dataclasses.replace(measured, points=(dataclasses.replace(measured.points[0], created=created),)))
    assert row.date == shown


def test_run_of_edited_code_is_told_apart_from_its_commit() -> None:
    whole = series(0.9, 0.9)
    points = [
        dataclasses.replace(point, commit="0123456789abcdef", is_modified=index == 1)
        for index, point in enumerate(whole.points)
    ]
    rows = run_rows(dataclasses.replace(whole, points=tuple(points)))
    assert [row.commit for row in rows] == ["0123456789", "0123456789, modified"]
