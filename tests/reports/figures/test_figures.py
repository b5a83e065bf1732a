"""Figures name their axes, units and lines, clip no label, and are reproducible."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as MplFigure

import reports
from reports.figures.drawing.axes import decades_axis, interval_bar, log_scale, time_axis
from reports.figures.drawing.canvas import Figure, plot_styles
from reports.figures.training import mean_curve
from results import Record, RunFile, StrategyScore, interval_of_mean
from results.specs import Spec
from tests.reports import synthetic

SVG = "{http://www.w3.org/2000/svg}"
DRAW: dict[str, Callable[[RunFile, Sequence[Record]], Figure | None]] = {
    "accuracy-against-length": reports.accuracy_against_length,
    "streaming-cost": reports.streaming_cost,
    "chunk-cost": reports.chunk_cost,
    "accuracy-against-cost": reports.accuracy_against_cost,
    "training-curves": reports.training_curves,
    "memory-frontier": reports.memory_frontier,
}
LABELS = {
    "accuracy-against-length": (
        "test length (steps)",
        "score (share correct)",
    ),
    "streaming-cost": ("position in the stream (steps)", "time per step (µs)"),
    "chunk-cost": ("steps that arrive at once", "time per step (µs)", "time until the answer (µs)"),
    "accuracy-against-cost": ("time per step at position 16,384, p50 (µs)", "score (share correct)"),
    "training-curves": ("training steps", "validation score (share correct)"),
    "memory-frontier": (
        "state of one stream",
        "time per step, p50 (µs)",
        "at position 16,384",
        "memory share",
    ),
}
CLIPPED_INCHES = 0.02
"""The allowed overhang: about two pixels at 100 dots per inch, for antialiasing and rounded text extents."""
CLOSE = 1e-12
"""The tolerance for means of a few doubles."""


def draw(name: str, run: RunFile, records: Sequence[Record]) -> Figure:
    figure = DRAW[name](run, records)
    assert figure is not None
    return figure


def is_one_sentence(text: str) -> bool:
    return text.endswith(".") and not re.search(r"[.!?]\s", text)


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAW)
def test_figure_names_itself_its_axes_and_every_architecture(name: str, run: RunFile, records: list[Record]) -> None:
    figure = draw(name, run, records)
    root = ElementTree.fromstring(figure.svg)
    assert figure.name == name
    assert root.findtext(f"{SVG}title") == figure.title
    assert root.findtext(f"{SVG}desc") == figure.description
    labels = texts(figure.svg)
    assert set(LABELS[name]) <= set(labels)
    for arch in ("rnn", "lstm", "gru", "transformer"):
        assert any(text == arch or text.startswith(f"{arch}, ") for text in labels)
        assert arch in figure.alternative
        assert arch in figure.description
    assert figure.how_to_read.endswith(".")
    assert is_one_sentence(figure.alternative)


@pytest.mark.parametrize("name", ["accuracy-against-length", "accuracy-against-cost", "training-curves"])
def test_every_panel_names_chance_and_the_memoryless_baseline(name: str, run: RunFile, records: list[Record]) -> None:
    labels = texts(draw(name, run, records).svg)
    assert [labels.count(label) for label in ("chance 0.5", "chance 0.078", "chance 0.125")] == [2, 2, 2]
    assert sum("baseline 0.75" in text for text in labels) == 2


def test_trained_and_longer_lengths_are_on_the_axis_and_in_the_description(run: RunFile, records: list[Record]) -> None:
    figure = draw("accuracy-against-length", run, records)
    assert {"32", "64", "128", "256", "512"} <= set(texts(figure.svg))
    assert "first_last trained at 128, transformer: 0.97 at 128, 0.83 at 256, 0.78 at 512" in figure.description


def test_legend_of_costs_spans_the_state_sizes_of_all_tasks() -> None:
    records = []
    for task, size in (("adding", 648.0), ("copy_memory", 544.0)):
        sound = synthetic.record(synthetic.case("gru", task, 32, 0))
        measurements = [m for m in sound.measurements if m.metric != "state_bytes"]
        measurements += [m.model_copy(update={"samples": (size,)}) for m in sound.of("state_bytes")]
        records.append(sound.model_copy(update={"measurements": tuple(measurements)}))
    figure = draw("accuracy-against-cost", synthetic.run([record.case for record in records]), records)
    assert "gru, state 544–648 B" in texts(figure.svg)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
def test_same_records_give_the_same_bytes(name: str, run: RunFile, records: list[Record]) -> None:
    first, again = draw(name, run, records), draw(name, run, records[::-1])
    assert first == again
    assert not re.search(r"<dc:date>|\d{4}-\d\d-\d\dT", first.svg)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("arch", ["", "a_very_long_architecture:with=many,options=that,are="])
def test_no_label_is_clipped(name: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = []
    draw_svg = FigureCanvasSVG.print_svg

    def measured(canvas: FigureCanvasSVG, out: object) -> None:
        draw_svg(canvas, out)  # type: ignore[no-untyped-call]
        figure = canvas.figure
        extent = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())  # type: ignore[no-untyped-call]
        width, height = figure.get_size_inches()
        outside.append(max(-extent.x0, -extent.y0, extent.x1 - width, extent.y1 - height))

    monkeypatch.setattr(FigureCanvasSVG, "print_svg", measured)
    names = {case.arch: arch + Spec.parse_stored(case.arch).name for case in synthetic.cases()} if arch else {}
    cases = [case for case in synthetic.cases() if case.length == 32 or not arch]
    records = [synthetic.renamed(case, arch=names.get(case.arch, case.arch)) for case in cases]
    draw(name, synthetic.run([record.case for record in records]), records)
    assert outside
    assert max(outside) <= CLIPPED_INCHES


def test_markup_in_names_is_drawn_as_text(run: RunFile) -> None:
    label = r"$\frac{1}{2}$ <script>alert(1)</script> 漢 &amp;"
    named = [synthetic.renamed(synthetic.case("gru", "adding", 32, seed), arch=label, task=label) for seed in (0, 1)]
    for name in DRAW:
        figure = draw(name, synthetic.run([record.case for record in named]), named)
        root = ElementTree.fromstring(figure.svg)
        assert not [element for element in root.iter() if "script" in element.tag]
        assert r"$\frac{1}{2}$ <script>alert" in " ".join(texts(figure.svg))
        links = [value for element in root.iter() for key, value in element.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)


def test_every_architecture_has_its_own_style_and_four_have_a_fixed_one() -> None:
    names = ["mine", "lstm", "rnn", "transformer", "gru", "lstm:forget_bias=2", *(f"other_{n}" for n in range(6))]
    styles = plot_styles(names)
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(names)
    assert styles["lstm"] == plot_styles(["lstm"])["lstm"]
    assert len({style.marker for style in styles.values()}) == len(names)


def test_colour_means_an_architecture_and_dash_a_variant() -> None:
    variants = ["lstm", "lstm:forget_bias=2", "lstm:forget_bias=3", "lstm depth 2, width 8"]
    styles = plot_styles(["mine:a=1", *variants, "mine:a=2"])
    for own in (variants, ["mine:a=1", "mine:a=2"]):
        assert len({styles[arch].colour for arch in own}) == 1
        assert len({styles[arch].dash for arch in own}) == len({styles[arch].marker for arch in own}) == len(own)
    assert styles["mine:a=1"].colour != styles["lstm"].colour
    assert styles["mine:a=1"].dash == styles["lstm"].dash == "solid"


def test_run_without_measurements_gives_no_figure(run: RunFile) -> None:
    assert [function(run, []) for function in DRAW.values()] == [None] * len(DRAW)


def test_single_seed_has_no_interval_bar() -> None:
    axes = MplFigure().subplots()
    interval_bar(axes, 1.0, interval_of_mean([0.5]), "black")
    assert not axes.lines
    interval_bar(axes, 1.0, interval_of_mean([0.2, 0.9]), "black")
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[0.0, 1.0]]


def test_time_axis_spans_a_decade_and_repeats_no_tick() -> None:
    axes = MplFigure().subplots()
    time_axis(axes, "y", [50.0, 55.0])
    low, high = axes.get_ylim()
    assert high / low == pytest.approx(10)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["20", "50", "100"]
    time_axis(axes, "x", [1.5, 4000.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3", "10", "30", "100", "300", "1,000", "3,000"]


@pytest.mark.parametrize("value", [1e6 * 1e-7, 0.1, 1.0, 1000.0, np.nextafter(0.01, 0), np.nextafter(8.0, 0)])
def test_logarithmic_axes_have_room_around_a_single_value(value: float) -> None:
    axes = MplFigure().subplots(1, 2)
    for panel, base in zip(axes, (2, 10), strict=True):
        panel.plot([value], [value])
        for which, limits in (("x", panel.get_xlim), ("y", panel.get_ylim)):
            log_scale(panel, which, base)
            low, high = limits()
            assert low <= value / 2 and high >= 2 * value
    for which in ("x", "y"):
        panel = MplFigure().subplots()
        panel.plot([value], [value])
        time_axis(panel, which, [value])
    for other in (0.0, -1.0):
        panel = MplFigure().subplots()
        panel.plot([1, 2], [other, value])
        log_scale(panel, "y")
        assert panel.get_ylim()[0] <= value / 2 and panel.get_ylim()[1] >= 2 * value


def test_decades_axis_without_positive_values_stays_linear() -> None:
    first, second = MplFigure().subplots(1, 2, sharey=True)
    first.plot([1, 2], [0, 0])
    decades_axis(first)
    assert first.get_yscale() == "linear"
    second.plot([1, 2], [0.0, 1e-3])
    decades_axis(second)
    assert first.get_yscale() == second.get_yscale() == "log"
    assert 0 < first.get_ylim()[0] < 1e-3 < first.get_ylim()[1]


def test_mean_curve_keeps_a_solved_seed_and_leaves_out_a_diverged_one() -> None:
    case = synthetic.case("gru", "adding", 32, 0)
    points = synthetic.curve(case, "budget")

    def curve(scores: dict[int, float], stopped: str) -> object:
        changed = tuple(points[0].model_copy(update={"step": n, "validation_score": s}) for n, s in scores.items())
        return synthetic.training(case, "budget").model_copy(update={"curve": changed, "stopped": stopped})

    trainings = [
        curve({0: 0.0, 10: 1.0}, "solved"),
        curve({0: 0.2, 10: 0.4, 20: 0.6}, "budget"),
        curve({0: 0.5, 10: 0.0}, "diverged"),
    ]
    steps, scores = mean_curve(trainings)  # type: ignore[arg-type]
    assert steps.tolist() == [0, 10, 20]
    assert scores.tolist() == pytest.approx([0.1, 0.7, 0.8], abs=CLOSE)


@pytest.mark.slow
def test_every_figure_is_written_to_a_file_with_its_name(tmp_path: Path, run: RunFile, records: list[Record]) -> None:
    written = reports.write_figures(run, records, tmp_path / "new" / "folder")
    assert [path.name for path in written] == [f"{name}.svg" for name in DRAW]
    for path, function in zip(written, DRAW.values(), strict=True):
        figure = function(run, records)
        assert figure is not None and path.read_text(encoding="utf-8") == figure.svg


def test_run_without_measurements_has_no_figure_files(tmp_path: Path, run: RunFile) -> None:
    assert reports.write_figures(run, [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_partial_strategies_have_lines_with_names_unless_another_line_is_near(
    run: RunFile, records: list[Record]
) -> None:
    near, far = StrategyScore(name="any shown", score=0.51), StrategyScore(name="the first sign", score=0.625)
    planted = [
        record.model_copy(
            update={
                "reference_scores": tuple(
                    each.model_copy(update={"strategies": (near, far)}) for each in record.reference_scores
                )
            }
        )
        for record in records
        if record.case.task == "first_last"
    ]
    for name in ("accuracy-against-length", "accuracy-against-cost", "training-curves"):
        figure = draw(name, run, planted)
        labels = texts(figure.svg)
        assert "sign 0.625" in labels and not any("shown" in label for label in labels)
        assert "A pale dotted line is a partial strategy" in figure.how_to_read
        assert "pale dotted line" not in draw(name, run, records).how_to_read


def test_caption_explains_points_beside_their_length_if_there_are_several(run: RunFile, records: list[Record]) -> None:
    single = [record for record in records if record.case.arch == records[0].case.arch]
    assert "side by side" in draw("accuracy-against-length", run, records).how_to_read
    assert "side by side" not in draw("accuracy-against-length", run, single).how_to_read
