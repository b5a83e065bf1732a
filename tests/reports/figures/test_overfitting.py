"""Remedies against overfitting are compared on the seeds that all of them have, and on no others."""

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
from reports.figures.canvas import Figure, finished
from reports.figures.overfitting import COLOURS, overfitting_figure
from results import Record
from tests.reports import inner

PLAIN, DROPPED, DECAYED = range(3)
CLOSE = 1e-12
"""Means of a few doubles."""
BOLD = 1.5
"""Points across: what is compared is drawn broader than this, what is not thinner."""
STEPS = 8


def records(kept: dict[int, tuple[int, ...]]) -> list[Record]:
    """Plain, with dropout and with weight decay, each with the seeds of `kept`; the gap of seed n is n steeper."""
    made = []
    for one in inner.cases():
        if one.arch not in (inner.LSTM, inner.DROPPED):
            continue
        way = DROPPED if one.arch == inner.DROPPED else DECAYED if one.protocol.weight_decay else PLAIN
        for seed in kept[way] if one.seed == 0 else ():
            case = one.model_copy(update={"seed": seed})
            found = inner.record(case)
            assert found.training is not None
            curve = tuple(
                point.model_copy(update={"fit_loss": 0.0, "validation_loss": (1.0 + seed + way / 4) * point.step})
                for point in found.training.curve
            )
            made.append(found.model_copy(update={"training": found.training.model_copy(update={"curve": curve})}))
    return made


@contextmanager
def watched() -> Iterator[list[Axes]]:
    """The two panels of the figure that is drawn meanwhile."""
    seen: list[Axes] = []

    def kept(drawn: MplFigure, *, name: str, title: str, told: str, how_to_read: str) -> Figure:
        seen.extend(drawn.axes)
        return finished(drawn, name=name, title=title, told=told, how_to_read=how_to_read)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overfitting, "finished", kept)
        yield seen


def drawn(kept: dict[int, tuple[int, ...]]) -> tuple[Figure, Axes, Axes]:
    made = records(kept)
    with watched() as panels:
        drawing = overfitting_figure(group_cases(inner.run(), made), task="first_last", length=6)
    assert drawing is not None
    left, right = panels
    return drawing, left, right


def ends(axes: Axes, way: int, *, bold: bool) -> list[float]:
    """The gap at the last step of every bold, or every thin, line of one way to train."""
    colour = COLOURS[way + (way > PLAIN)]  # early stopping has the second row and colour, and no line
    return [
        float(np.asarray(line.get_ydata())[-1])
        for line in axes.lines
        if to_hex(line.get_color()).upper() == colour and (line.get_linewidth() > BOLD) == bold
    ]


def marks(axes: Axes, *, row: int) -> list[tuple[float, bool]]:
    """The scores in a row, each with whether its mark is filled."""
    return [
        (float(np.asarray(line.get_xdata())[0]), line.get_markerfacecolor() != "none")
        for line in axes.lines
        if np.array_equal(np.asarray(line.get_ydata()), [row]) and line.get_marker() != "|"
    ]


def test_the_bold_curves_are_of_the_seeds_that_all_have() -> None:
    drawing, left, right = drawn({PLAIN: (0, 1, 2), DROPPED: (0,), DECAYED: (0,)})
    assert [ends(left, way, bold=True) for way in (PLAIN, DROPPED, DECAYED)] == [
        pytest.approx([STEPS * (1 + way / 4)], abs=CLOSE) for way in (PLAIN, DROPPED, DECAYED)
    ]
    assert ends(left, PLAIN, bold=False) == pytest.approx([STEPS * 2, STEPS * 3], abs=CLOSE)
    assert ends(left, DROPPED, bold=False) == ends(left, DECAYED, bold=False) == []
    legend = left.get_legend()
    assert legend is not None and legend.get_title().get_text() == "seed 0"
    assert drawing.alternative.endswith(
        "test score of seed 0: plain 0.920; early stopping 0.925; dropout 0.3 0.940; weight decay 0.1 0.930"
    )
    assert [score for score, filled in marks(right, row=0) if filled] == pytest.approx([0.92], abs=CLOSE)
    assert [score for score, filled in marks(right, row=0) if not filled] == pytest.approx([0.93, 0.94], abs=CLOSE)
    assert "Compared on seed 0, the only one that all rows have." in drawing.how_to_read
    assert "Thin lines and hollow marks, seeds 1 and 2, are of some rows only" in drawing.how_to_read
    assert "A single seed shows a difference" in drawing.how_to_read


def test_two_shared_seeds_are_averaged_on_both_sides() -> None:
    drawing, left, right = drawn({PLAIN: (0, 1, 2), DROPPED: (0, 2), DECAYED: (2, 0, 3)})
    assert ends(left, PLAIN, bold=True) == pytest.approx([STEPS * 2], abs=CLOSE)
    assert ends(left, DECAYED, bold=True) == pytest.approx([STEPS * 2.5], abs=CLOSE)
    assert ends(left, DECAYED, bold=False) == pytest.approx([STEPS * 4.5], abs=CLOSE)
    bars = [float(np.asarray(line.get_xdata())[0]) for line in right.lines if line.get_marker() == "|"]
    assert bars == pytest.approx([0.93, 0.935, 0.95, 0.94], abs=CLOSE)
    assert "Compared on seeds 0 and 2, the 2 that all rows have." in drawing.how_to_read
    assert "seeds 1 and 3, are of some rows only" in drawing.how_to_read
    assert "single seed" not in drawing.how_to_read


def test_where_no_seed_is_shared_nothing_is_compared() -> None:
    drawing, left, right = drawn({PLAIN: (0, 1), DROPPED: (1,), DECAYED: (2,)})
    assert [ends(left, way, bold=True) for way in (PLAIN, DROPPED, DECAYED)] == [[], [], []]
    assert not [line for line in right.lines if line.get_marker() == "|"]
    assert "none can be compared with another" in drawing.how_to_read
    assert "test scores of different seeds, which are no comparison: plain 0.925;" in drawing.alternative
    legend = left.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["plain", "dropout 0.3", "weight decay 0.1"]
