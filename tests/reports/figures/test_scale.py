"""Figure files contain their caption on a page, and have the format of a slide at the scale of a slide."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import image
from PIL import Image

import reports
from reports.figures.drawing.scale import SLIDE_INCHES, drawn_at, figure_inches
from results import Record
from tests.reports import inner
from tests.reports.figures.test_export import texts

SIXTEEN_TO_NINE = 16 / 9
FORMAT = 0.002
"""The tolerance of the aspect ratio of a slide. Its height is a whole number of pixels."""


@pytest.fixture(scope="module")
def record() -> Record:
    return inner.record(inner.cases()[0])


def drawn(record: Record, scale: reports.Scale, view: reports.GatesView | None = None) -> dict[str, reports.Figure]:
    traces = inner.traces(record.case.arch)
    made = reports.case_figures(inner.run(), [record], record.key, traces, view, scale)
    return {figure.name.partition("-lstm")[0]: figure for figure in made}


def rendered(figure: reports.Figure, form: str) -> bytes:
    return figure.render_file(form, figure.title)  # type: ignore[arg-type]


def words(svg: bytes) -> str:
    return " ".join(" ".join(texts(svg)).split())


def test_file_for_a_page_shows_its_caption_below_the_panels(record: Record) -> None:
    for figure in drawn(record, "page").values():
        svg = rendered(figure, "svg")
        assert " ".join(figure.how_to_read.split()) in words(svg)
        root = ElementTree.fromstring(svg)
        lowest = max(float(text.get("y", 0)) for text in root.iter("{http://www.w3.org/2000/svg}text"))
        assert lowest < float(root.get("height", "").removesuffix("pt"))
        assert figure.how_to_read not in words(figure.svg.encode())


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["page", "slide"])
def test_texts_travel_with_the_file(record: Record, scale: reports.Scale) -> None:
    figure = drawn(record, scale)["gates"]
    svg = ElementTree.fromstring(rendered(figure, "svg"))
    assert figure.how_to_read in (svg.findtext("{http://www.w3.org/2000/svg}desc") or "")
    with Image.open(io.BytesIO(rendered(figure, "png"))) as png:
        assert png.info["Title"] == figure.title
        assert png.info["Description"] == f"{figure.alternative} {figure.how_to_read}"


def test_slide_has_its_format_and_a_caption_of_one_sentence(record: Record) -> None:
    figures = drawn(record, "slide")
    assert set(figures) == {"learning", "gates", "retention", "memory-trace", "gradient-trace"}
    for figure in figures.values():
        height, width = image.imread(io.BytesIO(rendered(figure, "png"))).shape[:2]
        assert width == pytest.approx(1920, abs=2)
        assert width / height == pytest.approx(SIXTEEN_TO_NINE, rel=FORMAT)
        shown = words(rendered(figure, "svg"))
        assert " ".join(figure.alternative.split()) in shown
        assert figure.how_to_read not in shown


def test_scale_holds_within_its_block_only() -> None:
    assert figure_inches(8.0, 2.0) == (8.0, 2.0)
    with pytest.raises(KeyError), drawn_at("slide"):
        assert figure_inches(8.0, 2.0) == SLIDE_INCHES
        raise KeyError
    assert figure_inches(8.0, 2.0) == (8.0, 2.0)


def test_views_have_files_of_their_own(record: Record) -> None:
    usual, second = (drawn(record, "page", view) for view in (None, reports.GatesView(layer=2)))
    assert "gates" in usual and "gates-layer-2" in second and "gates" not in second
    assert second["gates-layer-2"].title.startswith("Inside layer 2 of")


def test_slide_of_hold_gates_names_its_rows_without_overlap(record: Record) -> None:
    """The label of a row of panels is no longer than its panels are high."""
    assert "share of activations" not in words(rendered(drawn(record, "slide")["retention"], "svg"))
    assert "share of activations" in words(rendered(drawn(record, "page")["retention"], "svg"))


def test_steps_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner, "LENGTH", 4)
    figures = drawn(inner.record(inner.cases()[0]), "page")
    for name in ("memory-trace", "gradient-trace"):
        shown = texts(figures[name].svg.encode())
        assert "2" in shown and not {"1.5", "2.5", "3.5"} & set(shown), name


def test_figures_of_a_run_can_be_drawn_for_slides(record: Record, tmp_path: Path) -> None:
    run, records = inner.run(), [inner.record(case) for case in inner.cases()]
    options = reports.FigureOptions(form="png", scale="slide")
    written = reports.write_figures(run, records, tmp_path, None, options)
    assert len(written) > 3
    for path in written:
        height, width = image.imread(path).shape[:2]
        assert width / height == pytest.approx(SIXTEEN_TO_NINE, rel=FORMAT), path.name
