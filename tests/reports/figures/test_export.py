"""Figures as files carry their title, which names the case; on a page the heading beside them does."""

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
from reports.figures import retention as _hold_figure
from reports.figures.canvas import PNG_DOTS_PER_INCH, Figure, finished
from reports.figures.gates import gates_figure
from results import Record, Traces
from tests.reports import inner

SVG = "{http://www.w3.org/2000/svg}"
POINTS_PER_INCH = 72
MAX_SIDEWAYS = 8
"""More labels than this stand upright."""
ROUNDED_POINTS = 0.5
"""A file is a whole number of pixels high."""


@pytest.fixture(scope="module")
def record() -> Record:
    return inner.record(inner.cases()[0])


@pytest.fixture(scope="module")
def drawings(record: Record) -> dict[str, Figure]:
    found = reports.case_figures(inner.run(), [record], record.key, inner.traces(record.case.arch))
    return {drawing.name.partition("-")[0]: drawing for drawing in found}


def texts(svg: bytes | str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def height(svg: bytes | str) -> float:
    return float(ElementTree.fromstring(svg).get("height", "").removesuffix("pt"))


def test_every_title_of_a_case_names_architecture_task_and_seed_once(
    record: Record, drawings: dict[str, Figure]
) -> None:
    arch = next(group.arch for group in group_cases(inner.run(), [record]) if group.records)
    assert {name: drawing.title for name, drawing in drawings.items()} == {
        "learning": f"Learning and fitting, first_last at 6: {arch}, seed 0",
        "gates": f"Gates over the steps, {arch} on first_last, seed 0",
        "holding": f"How the gates hold, first_last at 6: {arch}, seed 0",
        "memory": f"Memory trace: {arch}, seed 0",
        "gradient": f"Gradient trace: {arch}, seed 0",
    }


def heights(svg: bytes | str) -> dict[tuple[str, str, int], float]:
    """How far below the upper edge each upright text is written, by its words and its distance from the left."""
    found: dict[tuple[str, str, int], float] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        if (y := text.get("y")) is not None:
            words, left = "".join(text.itertext()).strip(), text.get("x", "")
            found[words, left, sum(key[:2] == (words, left) for key in found)] = float(y)
    return found


@pytest.mark.parametrize("name", ["gates", "holding"])
def test_a_file_carries_its_title_above_the_panels_and_the_page_does_not(
    name: str, drawings: dict[str, Figure]
) -> None:
    drawing = drawings[name]
    assert drawing.file is not None
    written = drawing.file("svg", drawing.title)
    assert " ".join(texts(written)).count(drawing.title) == 1
    assert ElementTree.fromstring(written).findtext(f"{SVG}title") == drawing.title
    assert drawing.title not in " ".join(texts(drawing.svg))
    added = height(written) - height(drawing.svg)
    before, after = heights(drawing.svg), heights(written)
    ((_, heading),) = [(key, after.pop(key)) for key in list(after) if key[0] == drawing.title]
    assert 0 < heading < added
    assert len(before) > MAX_SIDEWAYS
    assert after == pytest.approx({key: y + added for key, y in before.items()}, abs=ROUNDED_POINTS)
    pixels = image.imread(io.BytesIO(drawing.file("png", drawing.title)))
    assert len(pixels) * POINTS_PER_INCH / PNG_DOTS_PER_INCH == pytest.approx(height(written), abs=ROUNDED_POINTS)
    assert drawing.file("svg", drawing.title) == written


def test_a_long_title_is_broken_into_lines(drawings: dict[str, Figure]) -> None:
    drawing = drawings["gates"]
    assert drawing.file is not None
    words = " ".join(["word"] * 40)
    broken, short = drawing.file("svg", words), drawing.file("svg", "word")
    assert " ".join(texts(broken)).count("word") == 40
    assert height(broken) > height(short)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_lowest_panel_of_each_column_has_its_steps_written(count: int) -> None:
    values = np.full((4, 6, 3), 0.5, np.float32)
    gates = {f"gate{n}": values for n in range(count)}
    drawing = gates_figure(Traces(inputs_STD=np.zeros((4, 6, 1), np.float32), gates=gates), of="x", name="x")
    assert drawing is not None
    found = texts(drawing.svg)
    assert found.count("6") == min(count, 2)
    assert "mean of 3 units, 4 sequences" in found


def test_what_is_kept_is_drawn_by_its_powers_of_ten_down_to_a_floor(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels: list[Axes] = []

    def kept(drawn: MplFigure, *, name: str, title: str, told: str, how_to_read: str) -> Figure:
        panels.extend(drawn.axes)
        return finished(drawn, name=name, title=title, told=told, how_to_read=how_to_read)

    monkeypatch.setattr(_hold_figure, "finished", kept)
    tiny = record.model_copy(
        update={
            "measurements": tuple(
                one.model_copy(update={"samples": (0.0, 0.5, 1e-30, 1e-6)}) if one.metric == "retention" else one
                for one in record.measurements
            )
        }
    )
    drawing = _hold_figure.retention_figure(group_cases(inner.run(), [tiny]), task="first_last", length=inner.LENGTH)
    assert drawing is not None
    retention = panels[1]
    assert retention.get_yscale() == "log"
    assert np.asarray(retention.lines[0].get_ydata()).tolist() == [1e-12, 1e-12, 1e-6, 0.5]
    assert "shares below 10⁻¹² are drawn there" in drawing.how_to_read
