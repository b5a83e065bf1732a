"""The figures name their axes, units and lines, hold every label inside, and are the same each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as MplFigure

import reports
from reports.figures.axes import interval_bar, time_axis
from reports.figures.canvas import Figure, plot_styles
from reports.figures.training import mean_curve
from results import Record, RunFile, interval_of_mean
from tests.reports import synthetic

SVG = "{http://www.w3.org/2000/svg}"
DRAW: dict[str, Callable[[RunFile, Sequence[Record]], Figure | None]] = {
    "accuracy-against-length": reports.accuracy_against_length,
    "streaming-cost": reports.streaming_cost,
    "accuracy-against-cost": reports.accuracy_against_cost,
    "training-curves": reports.training_curves,
}
LABELS = {
    "accuracy-against-length": (
        "length at which the trained model is tested (steps)",
        "score (share answered rightly)",
    ),
    "streaming-cost": ("position in the stream (steps)", "time per step (µs)"),
    "accuracy-against-cost": ("time per step at position 16,384, p50 (µs)", "score (share answered rightly)"),
    "training-curves": ("training steps", "score on validation data (share)"),
}
CLIPPED_INCHES = 0.02
"""Antialiasing and the rounding of text extents, about two pixels at 100 a inch."""
CLOSE = 1e-12
"""Means of a few doubles."""


def drawn(name: str, run: RunFile, records: Sequence[Record]) -> Figure:
    drawing = DRAW[name](run, records)
    assert drawing is not None
    return drawing


def texts(svg: str) -> list[str]:
    return ["".join(text.itertext()).strip() for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_names_itself_its_axes_and_every_architecture(name: str, run: RunFile, records: list[Record]) -> None:
    drawing = drawn(name, run, records)
    root = ElementTree.fromstring(drawing.svg)
    assert drawing.name == name
    assert root.findtext(f"{SVG}title") == drawing.title
    assert root.findtext(f"{SVG}desc") == drawing.alternative
    found = texts(drawing.svg)
    assert set(LABELS[name]) <= set(found)
    for arch in ("rnn", "lstm", "gru", "transformer"):
        assert any(text == arch or text.startswith(f"{arch}, ") for text in found)
        assert arch in drawing.alternative
    assert drawing.how_to_read.endswith(".")


@pytest.mark.parametrize("name", ["accuracy-against-length", "accuracy-against-cost", "training-curves"])
def test_chance_and_the_answer_blind_to_the_past_are_named_in_every_panel(
    name: str, run: RunFile, records: list[Record]
) -> None:
    found = texts(drawn(name, run, records).svg)
    assert [found.count(label) for label in ("chance 0.5", "chance 0.078", "chance 0.125")] == [2, 2, 2]
    assert sum("the past 0.75" in text for text in found) == 2


def test_trained_and_longer_lengths_are_on_the_axis_and_in_the_alternative(run: RunFile, records: list[Record]) -> None:
    drawing = drawn("accuracy-against-length", run, records)
    assert {"32", "64", "128", "256", "512"} <= set(texts(drawing.svg))
    assert "first_last trained at 128, transformer: 0.97 at 128, 0.83 at 256, 0.78 at 512" in drawing.alternative


def test_the_legend_of_costs_spans_the_state_of_all_tasks() -> None:
    kept = []
    for task, size in (("adding", 648.0), ("copy_memory", 544.0)):
        sound = synthetic.record(synthetic.case("gru", task, 32, 0))
        others = [one for one in sound.measurements if one.metric != "state_bytes"]
        others += [one.model_copy(update={"samples": (size,)}) for one in sound.of("state_bytes")]
        kept.append(sound.model_copy(update={"measurements": tuple(others)}))
    drawing = drawn("accuracy-against-cost", synthetic.run([record.case for record in kept]), kept)
    assert "gru, 544–648 B of state" in texts(drawing.svg)


@pytest.mark.parametrize("name", DRAW)
def test_the_same_records_give_the_same_bytes(name: str, run: RunFile, records: list[Record]) -> None:
    first, again = drawn(name, run, records), drawn(name, run, records[::-1])
    assert first == again
    assert not re.search(r"<dc:date>|\d{4}-\d\d-\d\dT", first.svg)


@pytest.mark.parametrize("name", DRAW)
@pytest.mark.parametrize("arch", ["", "a_very_long_architecture:with=many,options=that,are="])
def test_no_label_is_clipped(name: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = []
    save = MplFigure.savefig

    def measured(self: MplFigure, *arguments: object, **options: object) -> None:
        save(self, *arguments, **options)  # type: ignore[arg-type]
        extent = self.get_tightbbox(FigureCanvasAgg(self).get_renderer())  # type: ignore[no-untyped-call]
        width, height = self.get_size_inches()
        outside.append(max(-extent.x0, -extent.y0, extent.x1 - width, extent.y1 - height))

    monkeypatch.setattr(MplFigure, "savefig", measured)
    names = {one.arch: arch + one.arch.partition(":")[0] for one in synthetic.cases()} if arch else {}
    kept = [one for one in synthetic.cases() if one.length == 32 or not arch]
    made = [synthetic.renamed(one, arch=names.get(one.arch, one.arch)) for one in kept]
    drawn(name, synthetic.run([one.case for one in made]), made)
    assert outside
    assert max(outside) <= CLIPPED_INCHES


def test_letters_that_mean_something_elsewhere_are_text(run: RunFile) -> None:
    name = r"$\frac{1}{2}$ <script>alert(1)</script> 漢 &amp;"
    one = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch=name, task=name)
    for draw in DRAW:
        drawing = drawn(draw, synthetic.run([one.case]), [one])
        root = ElementTree.fromstring(drawing.svg)
        assert not [element for element in root.iter() if "script" in element.tag]
        assert r"$\frac{1}{2}$ <script>alert" in " ".join(texts(drawing.svg))
        links = [value for element in root.iter() for key, value in element.items() if key.endswith("href")]
        assert all(link.startswith("#") for link in links)


def test_every_architecture_has_a_mark_of_its_own_and_the_first_four_a_fixed_one() -> None:
    names = ["mine", "lstm", "rnn", "transformer", "gru", "lstm:forget_bias=2", *(f"other_{n}" for n in range(6))]
    found = plot_styles(names)
    assert len({(mark.colour, mark.marker, mark.dash) for mark in found.values()}) == len(names)
    assert found["lstm"] == plot_styles(["lstm"])["lstm"]
    assert len({mark.marker for mark in found.values()}) == len(names)


def test_nothing_measured_gives_no_figure(run: RunFile) -> None:
    assert [draw(run, []) for draw in DRAW.values()] == [None] * 4


def test_one_seed_has_no_interval_to_be_drawn() -> None:
    axes = MplFigure().subplots()
    interval_bar(axes, 1.0, interval_of_mean([0.5]), "black")
    assert not axes.lines
    interval_bar(axes, 1.0, interval_of_mean([0.2, 0.9]), "black")
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.lines] == [[0.0, 1.0]]


def test_a_time_axis_spans_a_decade_and_repeats_no_tick() -> None:
    axes = MplFigure().subplots()
    time_axis(axes, "y", [50.0, 55.0])
    low, high = axes.get_ylim()
    assert high / low == pytest.approx(10)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["20", "50", "100"]
    time_axis(axes, "x", [1.5, 4000.0])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["3", "10", "30", "100", "300", "1,000", "3,000"]


def test_mean_curve_keeps_a_solved_seed_and_leaves_out_a_diverged_one() -> None:
    one = synthetic.case("gru", "adding", 32, 0)
    points = synthetic.curve(one, "budget")

    def curve(scores: dict[int, float], stopped: str) -> object:
        kept = tuple(points[0].model_copy(update={"step": n, "validation_score": s}) for n, s in scores.items())
        return synthetic.training(one, "budget").model_copy(update={"curve": kept, "stopped": stopped})

    trainings = [
        curve({0: 0.0, 10: 1.0}, "solved"),
        curve({0: 0.2, 10: 0.4, 20: 0.6}, "budget"),
        curve({0: 0.5, 10: 0.0}, "diverged"),
    ]
    steps, scores = mean_curve(trainings)  # type: ignore[arg-type]
    assert steps.tolist() == [0, 10, 20]
    assert scores.tolist() == pytest.approx([0.1, 0.7, 0.8], abs=CLOSE)


def test_every_figure_is_written_as_the_file_of_its_name(tmp_path: Path, run: RunFile, records: list[Record]) -> None:
    written = reports.write_figures(run, records, tmp_path / "new" / "folder")
    assert [path.name for path in written] == [f"{name}.svg" for name in DRAW]
    for path, draw in zip(written, DRAW.values(), strict=True):
        drawing = draw(run, records)
        assert drawing is not None and path.read_text(encoding="utf-8") == drawing.svg


def test_a_run_without_measurements_has_no_figure_files(tmp_path: Path, run: RunFile) -> None:
    assert reports.write_figures(run, [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []
