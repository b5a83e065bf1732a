"""Learning curves show means, the range over seeds, the best epoch and the right reference line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as MplFigure

from reports.analysis.groups import group_cases
from reports.figures import learning
from reports.figures.drawing.canvas import Figure, finish_figure
from reports.figures.learning import BEST_MARKER, FITTED, HELD_OUT, learning_figure
from results import EvalPoint, Record
from tests.reports import inner

STEPS_PER_EPOCH = 2  # 64 sequences in batches of 32


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    drawn: list[Axes] = []

    def record_panels(figure: MplFigure, **texts: str) -> Figure:
        drawn[:] = figure.axes
        return finish_figure(figure, **texts)  # type: ignore[arg-type]

    monkeypatch.setattr(learning, "finish_figure", record_panels)
    return drawn


def records(scores: Sequence[Sequence[float]], *, is_fitted: bool = True, memoryless: bool = True) -> list[Record]:
    """Return one record per seed, with one evaluation per step and the given held-out scores."""
    made = []
    for seed, own in enumerate(scores):
        case = next(case for case in inner.cases() if case.arch == "rnn").model_copy(update={"seed": seed})
        record = inner.record(case)
        assert record.training is not None
        curve = tuple(
            EvalPoint(
                step=step,
                train_loss=1.0 - 0.1 * seed,
                validation_loss=0.5 + 0.1 * seed,
                validation_score=score,
                fit_loss=0.3 if is_fitted else None,
                fit_score=0.9 if is_fitted else None,
            )
            for step, score in enumerate(own, 1)
        )
        references = tuple(
            each if memoryless else each.model_copy(update={"memoryless_score": None})
            for each in record.reference_scores
        )
        changes = {
            "training": record.training.model_copy(update={"curve": curve, "steps": len(curve)}),
            "reference_scores": references,
        }
        made.append(record.model_copy(update=changes))
    return made


def draw(made: list[Record], *, needs_fit: bool = True) -> Figure | None:
    run = inner.run().model_copy(update={"cases": tuple(record.case for record in made)})
    return learning_figure(group_cases(run, made), task="first_last", length=inner.LENGTH, needs_fit=needs_fit)


def band(axes: Axes, index: int) -> np.ndarray:
    """Return the rows (epoch, lowest, highest) of a band."""
    bands = [collection for collection in axes.collections if isinstance(collection, PolyCollection)]
    corners = bands[index].get_paths()[0].vertices
    epochs = sorted({x for x, _ in corners})
    return np.array([[x, min(y for a, y in corners if a == x), max(y for a, y in corners if a == x)] for x in epochs])


def test_band_spans_the_seeds_and_the_star_is_the_best_epoch(panels: list[Axes]) -> None:
    figure = draw(records([[0.5, 0.9, 0.8], [0.7, 0.7, 0.9]]))
    assert figure is not None
    _, scores = panels
    expected = [[0.5, 0.5, 0.7], [1.0, 0.7, 0.9], [1.5, 0.8, 0.9]]
    assert band(scores, 1) == pytest.approx(np.array(expected))
    held_out = scores.lines[1]
    assert np.asarray(held_out.get_ydata()) == pytest.approx([0.6, 0.8, 0.85])
    (star,) = [line for line in scores.lines if line.get_marker() == BEST_MARKER]
    assert (np.asarray(star.get_xdata()).tolist(), np.asarray(star.get_ydata()).tolist()) == (
        [1.5],
        [pytest.approx(0.85)],
    )
    assert "its best epoch is 1.50, with 0.85" in figure.description
    assert "bands span the lowest to the highest seed" in figure.how_to_read
    assert "The star is the best epoch, with the highest mean held-out score." in figure.how_to_read


def test_first_of_equal_epochs_is_the_best_and_a_single_seed_has_no_band(panels: list[Axes]) -> None:
    figure = draw(records([[0.6, 0.9, 0.9]]))
    assert figure is not None and "its best epoch is 1, with 0.90" in figure.description
    assert "bands" not in figure.how_to_read
    assert np.ptp(band(panels[1], 1)[:, 1:], axis=1).tolist() == [0, 0, 0]


def test_seed_that_stopped_earlier_keeps_its_last_value(panels: list[Axes]) -> None:
    assert draw(records([[0.6, 0.8], [0.6, 0.7, 0.7, 0.7]])) is not None
    assert np.asarray(panels[1].lines[1].get_ydata()) == pytest.approx([0.6, 0.75, 0.75, 0.75])


def test_loss_of_training_batches_stands_in_for_the_fit(panels: list[Axes]) -> None:
    made = records([[0.6, 0.8], [0.6, 0.9]], is_fitted=False)
    assert draw(made) is None
    figure = draw(made, needs_fit=False)
    assert figure is not None
    losses, scores = panels
    assert np.asarray(losses.lines[0].get_ydata()) == pytest.approx([0.95, 0.95])
    assert HELD_OUT in {line.get_color() for line in scores.lines}
    assert FITTED not in {line.get_color() for line in scores.lines}
    assert "the best held-out score is 0.85 for rnn." in figure.alternative
    assert "training batches" in figure.alternative and "on the training set" not in figure.description


@pytest.mark.parametrize(("memoryless", "name"), [(True, "the memoryless baseline"), (False, "chance")])
def test_reference_line_has_its_name(panels: list[Axes], memoryless: bool, name: str) -> None:
    figure = draw(records([[0.6, 0.8]], memoryless=memoryless))
    assert figure is not None and figure.how_to_read.endswith(f"The horizontal line is {name}.")
    assert name.removeprefix("the ") in figure.svg


def test_trainings_with_random_batches_count_steps(panels: list[Axes]) -> None:
    made = records([[0.6, 0.8]])
    changed = []
    for record in made:
        fields = {"train_sequences": None, "epochs": None, "steps": 2, "fit_sequences": 0, "keep_best": False}
        case = record.case.model_copy(update={"protocol": record.case.protocol.model_copy(update=fields)})
        changed.append(record.model_copy(update={"case": case, "key": case.key}))
    figure = draw(changed)
    assert figure is not None and "its best step is 2, with 0.80" in figure.description
    assert ">training steps<" in figure.svg and ">best step<" in figure.svg
