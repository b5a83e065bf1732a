"""Figures of many architectures: bands of lines with legends of their own, and styles that differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest

import reports
from reports.figures.drawing.bands import BACKGROUND, MAX_LINES, in_bands
from reports.figures.drawing.canvas import COLOURS, Figure, plot_styles
from reports.figures.gates import gates_figure
from results import Record, RunFile, Traces
from tests.reports import synthetic
from tests.reports.figures.test_figures import texts

DRAW: dict[str, Callable[[RunFile, Sequence[Record]], Figure | None]] = {
    "accuracy-against-length": reports.accuracy_against_length,
    "streaming-cost": reports.streaming_cost,
    "chunk-cost": reports.chunk_cost,
    "training-curves": reports.training_curves,
}
MANY = 13
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
CONE_LOSS = {
    "usual": np.eye(3),
    "red-blind": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green-blind": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
}
"""How linear RGB values look to readers without one kind of cones (Machado, Oliveira & Fernandes 2009, table 1)."""
MIN_DIFFERENCE = 15
"""Smallest distance of two colours in CIELAB. About 2 is just noticeable for large areas side by side."""
MIN_CONTRAST = 2
"""Smallest ratio of luminances, for marks of some points."""


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Return the records of many architectures on two tasks."""
    cases = [synthetic.case("gru", task, 32, seed) for task in ("adding", "copy_memory") for seed in (0, 1)]
    return [synthetic.renamed(case, arch=f"arch_{n}") for n in range(MANY) for case in cases]


@pytest.mark.parametrize("name", DRAW)
def test_many_architectures_are_drawn_in_bands(name: str, records: list[Record]) -> None:
    figure = DRAW[name](synthetic.run([record.case for record in records]), records)
    assert figure is not None
    labels = texts(figure.svg)
    for n in range(MANY):
        assert labels.count(f"arch_{n}") == 1
    assert figure.how_to_read.endswith(BACKGROUND)


def test_few_architectures_need_no_background(run: RunFile) -> None:
    figure = reports.streaming_cost(run, synthetic.records())
    assert figure is not None and BACKGROUND not in figure.how_to_read


@pytest.mark.parametrize("count", [0, 1, MAX_LINES, MAX_LINES + 1, 12, 13, 25])
def test_bands_are_full_and_about_equal(count: int) -> None:
    names = [str(n) for n in range(count)]
    bands = in_bands(names)
    assert [name for band in bands for name in band] == names
    sizes = [len(band) for band in bands]
    assert max(sizes) <= MAX_LINES and max(sizes) - min(sizes) <= 1
    assert len(bands) == max(1, -(-count // MAX_LINES))


def test_gates_with_different_numbers_of_units_name_them() -> None:
    shapes = {"decay": 2, "write": 8}
    traces = Traces(
        inputs_STD=np.zeros((4, 6, 1), np.float32),
        gates={f"0.{name}": np.full((4, 6, units), 0.5, np.float32) for name, units in shapes.items()},
    )
    figure = gates_figure(traces, subject="x", name="x")
    assert figure is not None
    labels = texts(figure.svg)
    assert {"decay, 2 units", "write, 8 units", "mean of the units shown, 4 sequences"} <= set(labels)


def test_values_beyond_a_gate_have_an_axis_of_their_own() -> None:
    sizes = np.linspace(0, 30, 6, dtype=np.float32)[None, :, None].repeat(4, 0).repeat(2, 2)
    figure = gates_figure(
        Traces(inputs_STD=np.zeros((4, 6, 1), np.float32), gates={"0.step_size": sizes}), subject="x", name="x"
    )
    assert figure is not None
    assert "20" in texts(figure.svg)


def test_styles_of_many_architectures_differ_in_colour_or_marker_and_within_a_band_in_both() -> None:
    names = ["lstm", "gru", *(f"arch_{n}" for n in range(28))]
    styles = plot_styles(names)
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(names)
    for band in in_bands(names):
        assert len({styles[arch].colour for arch in band}) == len({styles[arch].marker for arch in band}) == len(band)


@pytest.mark.parametrize("vision", CONE_LOSS)
def test_colours_differ_for_readers_with_any_usual_colour_vision(vision: str) -> None:
    seen = {colour: lab(CONE_LOSS[vision] @ linear(colour)) for colour in COLOURS}
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in combinations(COLOURS, 2)) > MIN_DIFFERENCE


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_colours_stand_out_against_the_page(page: str) -> None:
    for colour in COLOURS:
        dark, light = sorted(float(TO_XYZ[1] @ linear(each)) for each in (colour, page))
        assert (light + 0.05) / (dark + 0.05) > MIN_CONTRAST, colour


def linear(colour: str) -> np.ndarray:
    """Return the linear RGB values of a colour such as `#0072B2`."""
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return the CIELAB coordinates of linear RGB values, with the white point D65."""
    scaled = TO_XYZ @ rgb.clip(0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
