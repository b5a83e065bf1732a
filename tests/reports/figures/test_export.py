"""A figure file contains the title of the figure. On a page, a heading shows the title instead."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

import reports
from reports.analysis.groups import group_cases
from reports.figures import retention
from reports.figures.drawing.canvas import Figure, finish_figure
from reports.figures.drawing.scale import DOTS_PER_INCH
from reports.figures.gates import gates_figure
from results import Record, Traces
from tests.reports import inner

SVG = "{http://www.w3.org/2000/svg}"
POINTS_PER_INCH = 72
MIN_UPRIGHT = 8
"""Each tested figure has more upright labels than this number."""
ROUNDED_POINTS = 0.5
"""The tolerance in points for heights, because a PNG file is a whole number of pixels high."""


@pytest.fixture(scope="module")
def record() -> Record:
    return inner.record(inner.cases()[0])


@pytest.fixture(scope="module")
def figures(record: Record) -> dict[str, Figure]:
    made = reports.case_figures(inner.run(), [record], record.key, inner.traces(record.case.arch))
    return {figure.name.partition("-")[0]: figure for figure in made}


def texts(svg: bytes | str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def height(svg: bytes | str) -> float:
    return float(ElementTree.fromstring(svg).get("height", "").removesuffix("pt"))


def test_titles_of_a_case_name_architecture_and_seed_once(record: Record, figures: dict[str, Figure]) -> None:
    arch = next(group.arch for group in group_cases(inner.run(), [record]) if group.records)
    assert {name: figure.title for name, figure in figures.items()} == {
        "learning": f"Learning curves, first_last at 6: {arch}, seed 0",
        "gates": f"Inside layer 1 of {arch} on first_last, seed 0",
        "retention": f"How long units hold their memory, first_last at 6: {arch}, seed 0",
        "memory": f"How well the first input can be read from the memory: {arch}, seed 0",
        "gradient": f"How strongly the loss depends on each input: {arch}, seed 0",
    }


def heights(svg: bytes | str) -> dict[tuple[str, str, int], float]:
    """Return the distance of each upright text from the top of the figure, in points.

    A key is the text, its distance from the left, and its index among texts with equal text and distance.
    """
    tops: dict[tuple[str, str, int], float] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if (y := text.get("y")) is not None:
            words, left = "".join(text.itertext()).strip(), text.get("x", "")
            tops[words, left, sum(key[:2] == (words, left) for key in tops)] = float(y)
    return tops


@pytest.mark.parametrize("name", ["gates", "retention"])
def test_file_has_its_title_above_the_panels_and_the_page_figure_has_none(
    name: str, figures: dict[str, Figure]
) -> None:
    figure = figures[name]
    written = figure.render_file("svg", figure.title)
    assert " ".join(texts(written)).count(figure.title) == 1
    assert ElementTree.fromstring(written).findtext(f"{SVG}title") == figure.title
    assert figure.title not in " ".join(texts(figure.svg))
    before, after = heights(figure.svg), heights(written)
    ((_, heading),) = [(key, after.pop(key)) for key in list(after) if key[0] == figure.title]
    caption = {key: after.pop(key) for key in list(after) if key not in before}
    assert " ".join(words for words, _, _ in sorted(caption, key=lambda key: caption[key])) == figure.how_to_read
    added = min(after.values()) - min(before.values())
    assert 0 < heading < added
    assert max(after.values()) < min(caption.values()) <= max(caption.values()) < height(written)
    assert len(before) > MIN_UPRIGHT
    assert after == pytest.approx({key: y + added for key, y in before.items()}, abs=ROUNDED_POINTS)
    pixels = image.imread(io.BytesIO(figure.render_file("png", figure.title)))
    assert len(pixels) * POINTS_PER_INCH / DOTS_PER_INCH["page"] == pytest.approx(height(written), abs=ROUNDED_POINTS)
    assert figure.render_file("svg", figure.title) == written


def test_long_title_is_broken_into_lines(figures: dict[str, Figure]) -> None:
    figure = figures["gates"]
    words = " ".join(["word"] * 40)
    broken, short = figure.render_file("svg", words), figure.render_file("svg", "word")
    assert " ".join(texts(broken)).count("word") == 40
    assert height(broken) > height(short)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_lowest_panel_of_each_column_has_tick_labels(count: int) -> None:
    values = np.full((4, 6, 3), 0.5, np.float32)
    gates = {f"0.gate{n}": values for n in range(count)}
    figure = gates_figure(Traces(inputs_STD=np.zeros((4, 6, 1), np.float32), gates=gates), subject="x", name="x")
    assert figure is not None
    labels = texts(figure.svg)
    assert labels.count("6") == min(count + 1, 2)  # the input sequence has a panel, too
    assert "mean of 3 units, 4 sequences" in labels


def test_retained_shares_are_drawn_on_a_logarithmic_axis_with_a_floor(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels: list[Axes] = []

    def record_panels(figure: MplFigure, **texts: str) -> Figure:
        panels.extend(figure.axes)
        return finish_figure(figure, **texts)  # type: ignore[arg-type]

    monkeypatch.setattr(retention, "finish_figure", record_panels)
    tiny = record.model_copy(
        update={
            "measurements": tuple(
                measurement.model_copy(update={"samples": (0.0, 0.5, 1e-30, 1e-6)})
                if measurement.metric == "retention"
                else measurement
                for measurement in record.measurements
            )
        }
    )
    figure = retention.retention_figure(group_cases(inner.run(), [tiny]), task="first_last", length=inner.LENGTH)
    assert figure is not None
    middle = panels[1]
    assert middle.get_yscale() == "log"
    assert np.asarray(middle.lines[0].get_ydata()).tolist() == [1e-12, 1e-12, 1e-6, 0.5]
    assert "shares below 10⁻¹² are drawn at that value" in figure.how_to_read
