"""Figures for a column of a paper have its width, legible fonts, and no clipped or overlapping text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure

import reports
from reports import FigureOptions
from reports.figures.drawing import canvas, paper, scale
from results import Record, RunFile, Traces
from tests.reports import inner, synthetic

SVG = "{http://www.w3.org/2000/svg}"
COLUMN_INCHES = 3.25
MIN_POINTS = 6.5
"""The smallest legible font of a figure that is printed at its width."""
OVERHANG_INCHES = 0.02
FILE_DOTS_PER_INCH = 160
POINTS_PER_INCH = 72
Drawn = tuple[RunFile, list[Record], dict[str, Traces]]


def compared() -> Drawn:
    """Return a run of two architectures on three tasks at two lengths, one seed each."""
    made = [
        synthetic.record(synthetic.case(arch, task, length, 0))
        for arch in ("rnn:init=orthogonal", "transformer")
        for task in synthetic.TASKS
        for length in synthetic.LENGTHS
    ]
    return synthetic.run([record.case for record in made]), made, {}


def many() -> Drawn:
    """Return a run of eight architectures with long names, which need two bands."""
    cases = [synthetic.case("gru", "adding", 32, seed) for seed in range(2)]
    made = [
        synthetic.renamed(case, arch=f"lstm:forget_bias={n},init=orthogonal_{n}") for n in range(8) for case in cases
    ]
    return synthetic.run([record.case for record in made]), made, {}


def inside() -> Drawn:
    """Return a run with gates, attention and two trainings of one architecture; one seed of each has traces."""
    made = [inner.record(case) for case in inner.cases() if case.arch in (inner.LSTM, "rnn", "transformer")]
    traced = [record for record in made if record.case.seed == 0 and record.case.protocol == inner.PLAIN]
    shown = {record.key: traces for record in traced if (traces := inner.traces(record.case.arch)) is not None}
    return inner.run(), made, shown


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MplFigure]]:
    """Yield a list of all figures that are fitted to a column."""
    figures: list[MplFigure] = []

    def fit_and_keep(figure: MplFigure, *, keeps_height: bool = False) -> None:
        paper.fit_panels(figure, keeps_height=keeps_height)
        figures.append(figure)

    monkeypatch.setattr(canvas, "fit_panels", fit_and_keep)
    yield figures


def assert_legible(figure: MplFigure) -> None:
    """Assert that no text of a figure is clipped or too small, and that no labels overlap.

    A file has more dots per inch than a figure, and its letters have other widths.
    """
    figure.set_dpi(FILE_DOTS_PER_INCH)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    width, height = figure.get_size_inches() * figure.dpi
    slack = OVERHANG_INCHES * figure.dpi
    for text in figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and bool(artist.get_text())):
        if not text.get_visible() or text.get_text().strip() == "":
            continue
        if text.axes is not None and not text.axes.axison and text is not text.axes.title:
            continue
        box = text.get_window_extent(renderer)
        if box.width == 0 or not figure_shows(figure, text):
            continue
        assert text.get_fontsize() >= MIN_POINTS, text.get_text()
        assert box.x0 >= -slack and box.x1 <= width + slack, text.get_text()
        assert box.y0 >= -slack and box.y1 <= height + slack, text.get_text()
    for axes in figure.axes:
        for axis, ends in ((axes.xaxis, ("x0", "x1")), (axes.yaxis, ("y0", "y1"))):
            boxes = [tick.label1.get_window_extent(renderer) for tick in shown_ticks(axis)]
            spans = sorted((getattr(box, ends[0]), getattr(box, ends[1])) for box in boxes)
            assert all(second[0] >= first[1] for first, second in pairwise(spans)), axes.get_title(loc="left")
    for text in figure.texts:
        if text.get_rotation():
            box = text.get_window_extent(renderer)
            assert not any(box.overlaps(legend.get_window_extent(renderer)) for legend in figure.legends), text
            assert box.y1 <= max(axes.get_window_extent(renderer).y1 for axes in figure.axes) + slack, text


def shown_ticks(axis):  # type: ignore[no-untyped-def]
    low, high = sorted(axis.get_view_interval())
    return [
        tick
        for tick in axis.get_major_ticks()
        if tick.label1.get_visible() and tick.label1.get_text() and low <= tick.get_loc() <= high
    ]


def figure_shows(figure: MplFigure, text: object) -> bool:
    """Return whether a text is drawn: ticks outside the limits of their axis are not."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if any(text in (tick.label1, tick.label2) for tick in axis.get_major_ticks()):
                return any(text is tick.label1 for tick in shown_ticks(axis))
    return True


@pytest.mark.parametrize(
    ("made", "only"),
    [
        (compared, ("accuracy-against-length", "accuracy-against-cost", "training-curves")),
        pytest.param(inside, (), marks=pytest.mark.slow),
        pytest.param(many, (), marks=pytest.mark.slow),
        pytest.param(compared, (), marks=pytest.mark.slow),
    ],
)
def test_every_figure_fits_a_column(
    made: Callable[[], Drawn], only: tuple[str, ...], drawn: list[MplFigure], tmp_path: Path
) -> None:
    run, records, traces = made()
    options = FigureOptions(form="pdf", width=COLUMN_INCHES, only=only)
    written = reports.write_figures(run, records, tmp_path, traces, options)
    assert len(written) >= 3
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"%PDF")
        box = re.search(rb"/MediaBox \[ ?0 0 ([0-9.]+) ([0-9.]+) ?\]", content)
        assert box is not None and float(box[1]) == pytest.approx(COLUMN_INCHES * POINTS_PER_INCH, abs=0.01)
        assert b"/Type3" not in content  # journals refuse fonts of type 3
    assert len(drawn) >= len(written)
    for figure in drawn:
        assert figure.get_figwidth() == COLUMN_INCHES
        assert_legible(figure)


@pytest.mark.parametrize("only", ["accuracy-against-length", "training-curves", "accuracy-against-cost"])
def test_legend_names_the_reference_lines_so_that_no_name_covers_a_line(
    only: str, drawn: list[MplFigure], tmp_path: Path
) -> None:
    run, records, _ = compared()
    reports.write_figures(run, records, tmp_path, None, FigureOptions(width=COLUMN_INCHES, only=(only,)))
    (figure,) = drawn
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == []
    (legend,) = figure.legends
    handles = {text.get_text(): handle for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)}
    assert list(handles)[-2:] == ["chance", "memoryless baseline"]
    dashes = [handle._unscaled_dash_pattern for handle in list(handles.values())[-2:]]
    panel = figure.axes[0]
    assert dashes == [line._unscaled_dash_pattern for line in panel.lines[:2]]


@pytest.mark.parametrize("letters", [18, 20, 22])
def test_legends_of_any_width_are_inside_the_figure(letters: int, drawn: list[MplFigure], tmp_path: Path) -> None:
    cases = [synthetic.case(arch, "adding", 32, seed) for arch in ("gru", "rnn") for seed in range(2)]
    made = [synthetic.renamed(case, arch=f"{case.arch}{'m' * (letters - 3)}") for case in cases]
    run = synthetic.run([record.case for record in made])
    options = FigureOptions(width=COLUMN_INCHES, only=("accuracy-against-length",))
    reports.write_figures(run, made, tmp_path, None, options)
    for figure in drawn:
        assert_legible(figure)


def test_panels_without_room_are_arranged_in_fewer_columns(drawn: list[MplFigure], tmp_path: Path) -> None:
    options = FigureOptions(width=COLUMN_INCHES, only=("accuracy-against-length",))
    reports.write_figures(*compared()[:2], tmp_path, None, options)
    titles = [axes.get_title(loc="left").replace("\n", " ") for axes in drawn[0].axes]
    assert len(titles) == len(set(titles)) == 6
    columns = {round(axes.get_position().x0, 2) for axes in drawn[0].axes}
    assert len(columns) == 2


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_formats_have_the_same_size_and_equal_bytes(form: canvas.Form, tmp_path: Path) -> None:
    options = FigureOptions(form=form, width=COLUMN_INCHES, only=("streaming-cost",))
    run, records, _ = many()
    (first,), (second,) = (reports.write_figures(run, records, tmp_path / name, None, options) for name in ("a", "b"))
    assert first.name == f"streaming-cost.{form}"
    content = first.read_bytes()
    assert content == second.read_bytes()
    if form == "svg":
        width = ElementTree.fromstring(content).get("width", "").removesuffix("pt")
        assert float(width) == pytest.approx(COLUMN_INCHES * POINTS_PER_INCH)
    if form == "png":
        pixels = image.imread(io.BytesIO(content)).shape[1]
        assert pixels == pytest.approx(COLUMN_INCHES * scale.DOTS_PER_INCH["page"], abs=1)


def test_width_changes_no_later_figure(tmp_path: Path) -> None:
    run, records, _ = many()
    before = reports.streaming_cost(run, records)
    reports.write_figures(run, records, tmp_path, None, FigureOptions(width=COLUMN_INCHES, only=("streaming-cost",)))
    after = reports.streaming_cost(run, records)
    assert before is not None and after is not None and before.svg == after.svg


def test_unknown_name_lists_the_known_ones_and_writes_nothing(tmp_path: Path) -> None:
    run, records, _ = many()
    with pytest.raises(
        reports.UnknownFigure, match="no figure 'nope' in this run; choose from accuracy-against-length,"
    ):
        reports.write_figures(run, records, tmp_path / "new", None, FigureOptions(only=("streaming-cost", "nope")))
    assert not (tmp_path / "new").exists()


def test_pattern_chooses_every_figure_that_it_matches(tmp_path: Path) -> None:
    run, records, _ = many()
    written = reports.write_figures(run, records, tmp_path, None, FigureOptions(only=("*-cost", "streaming-*")))
    names = [path.stem for path in written]
    assert "streaming-cost" in names and len(names) > 1
    assert names.count("streaming-cost") == 1 and all("cost" in name for name in names)


def test_figures_with_a_heading_keep_it_except_in_a_column(tmp_path: Path) -> None:
    run, records, _ = inside()
    few = [record for record in records if record.case.arch == "rnn"]
    for width, expected in ((None, 1), (COLUMN_INCHES, 0)):
        options = FigureOptions(width=width, only=("memory-trace",))
        (path,) = reports.write_figures(run, few, tmp_path, {}, options)
        root = ElementTree.fromstring(path.read_bytes())
        texts = ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]
        assert texts.count("How well the first input can be read from the memory") == expected
