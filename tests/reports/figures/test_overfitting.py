"""The overfitting figure compares remedies only on the seeds that they all share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as MplFigure

from reports.analysis.groups import group_cases
from reports.figures import overfitting
from reports.figures.drawing.canvas import Figure, finish_figure
from reports.figures.overfitting import COLOURS, overfitting_figure
from results import Record
from tests.reports import inner

PLAIN, DROPPED, DECAYED = range(3)
CLOSE = 1e-12
"""The tolerance for means of a few doubles."""
BOLD = 1.5
"""The line width in points that separates compared seeds (bold) from other seeds (thin)."""
STEPS = 8


def records(seeds: dict[int, tuple[int, ...]]) -> list[Record]:
    """Return records of three ways to train. `seeds` lists the seeds of each way. Higher seeds have larger gaps."""
    made = []
    for planned in inner.cases():
        if planned.arch not in (inner.LSTM, inner.DROPPED):
            continue
        way = DROPPED if planned.arch == inner.DROPPED else DECAYED if planned.protocol.weight_decay else PLAIN
        for seed in seeds[way] if planned.seed == 0 else ():
            record = inner.record(planned.model_copy(update={"seed": seed}))
            assert record.training is not None
            curve = tuple(
                point.model_copy(update={"fit_loss": 0.0, "validation_loss": (1.0 + seed + way / 4) * point.step})
                for point in record.training.curve
            )
            made.append(record.model_copy(update={"training": record.training.model_copy(update={"curve": curve})}))
    return made


@contextmanager
def recorded_panels() -> Iterator[list[Axes]]:
    """Yield an empty list. An overfitting figure drawn within the `with` block adds its two panels to the list."""
    panels: list[Axes] = []

    def record_panels(figure: MplFigure, **texts: str) -> Figure:
        panels.extend(figure.axes)
        return finish_figure(figure, **texts)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overfitting, "finish_figure", record_panels)
        yield panels


def draw(seeds: dict[int, tuple[int, ...]]) -> tuple[Figure, Axes, Axes]:
    made = records(seeds)
    with recorded_panels() as panels:
        figure = overfitting_figure(group_cases(inner.run(), made), task="first_last", length=6)
    assert figure is not None
    left, right = panels
    return figure, left, right


def ends(axes: Axes, way: int, *, bold: bool) -> list[float]:
    """Return the gap at the last step for each line of a way to train. `bold` selects bold or thin lines."""
    colour = COLOURS[way + (way > PLAIN)]  # early stopping has the second row and colour, but no line
    return [
        float(np.asarray(line.get_ydata())[-1])
        for line in axes.lines
        if to_hex(line.get_color()).upper() == colour and (line.get_linewidth() > BOLD) == bold
    ]


def markers(axes: Axes, *, row: int) -> list[tuple[float, bool]]:
    """Return a pair for each seed marker in a row: the score, and whether the marker is filled."""
    return [
        (float(np.asarray(line.get_xdata())[0]), line.get_markerfacecolor() != "none")
        for line in axes.lines
        if np.array_equal(np.asarray(line.get_ydata()), [row]) and line.get_marker() != "|"
    ]


def test_bold_curves_show_the_seeds_that_all_variants_have() -> None:
    figure, left, right = draw({PLAIN: (0, 1, 2), DROPPED: (0,), DECAYED: (0,)})
    assert [ends(left, way, bold=True) for way in (PLAIN, DROPPED, DECAYED)] == [
        pytest.approx([STEPS * (1 + way / 4)], abs=CLOSE) for way in (PLAIN, DROPPED, DECAYED)
    ]
    assert ends(left, PLAIN, bold=False) == pytest.approx([STEPS * 2, STEPS * 3], abs=CLOSE)
    assert ends(left, DROPPED, bold=False) == ends(left, DECAYED, bold=False) == []
    (legend,) = left.get_figure(root=True).legends
    assert legend.get_title().get_text() == "seed 0"
    assert figure.alternative.endswith("; on seed 0, the mean test score is highest for dropout 0.3 (0.940).")
    assert figure.description.endswith(
        "test score of seed 0: plain 0.920; early stopping 0.925; dropout 0.3 0.940; weight decay 0.1 0.930"
    )
    assert [score for score, filled in markers(right, row=0) if filled] == pytest.approx([0.92], abs=CLOSE)
    assert [score for score, filled in markers(right, row=0) if not filled] == pytest.approx([0.93, 0.94], abs=CLOSE)
    assert "Compared on seed 0, the only seed that all rows have." in figure.how_to_read
    assert "Thin lines and hollow markers are seeds 1 and 2, which some rows lack" in figure.how_to_read
    assert "A difference on a single seed may not hold for other seeds." in figure.how_to_read


def test_two_shared_seeds_are_averaged_on_both_sides() -> None:
    figure, left, right = draw({PLAIN: (0, 1, 2), DROPPED: (0, 2), DECAYED: (2, 0, 3)})
    assert ends(left, PLAIN, bold=True) == pytest.approx([STEPS * 2], abs=CLOSE)
    assert ends(left, DECAYED, bold=True) == pytest.approx([STEPS * 2.5], abs=CLOSE)
    assert ends(left, DECAYED, bold=False) == pytest.approx([STEPS * 4.5], abs=CLOSE)
    bars = [float(np.asarray(line.get_xdata())[0]) for line in right.lines if line.get_marker() == "|"]
    assert bars == pytest.approx([0.93, 0.935, 0.95, 0.94], abs=CLOSE)
    assert "Compared on seeds 0 and 2, the 2 seeds that all rows have." in figure.how_to_read
    assert "seeds 1 and 3, which some rows lack" in figure.how_to_read
    assert "single seed" not in figure.how_to_read


def test_without_shared_seeds_nothing_is_compared() -> None:
    figure, left, right = draw({PLAIN: (0, 1), DROPPED: (1,), DECAYED: (2,)})
    assert [ends(left, way, bold=True) for way in (PLAIN, DROPPED, DECAYED)] == [[], [], []]
    assert not [line for line in right.lines if line.get_marker() == "|"]
    assert "they cannot be compared" in figure.how_to_read
    assert "test scores of different seeds, which cannot be compared: plain 0.925;" in figure.description
    assert "they cannot be compared" in figure.alternative
    (legend,) = left.get_figure(root=True).legends
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "dropout 0.3", "weight decay 0.1"]
