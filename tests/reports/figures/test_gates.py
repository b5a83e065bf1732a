"""The figure of gates shows the chosen layer, sequence and units, the answer, the state and the scored steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.patches import Rectangle

from reports import GatesView, ViewError
from reports.figures import gates as module
from reports.figures.drawing.canvas import Figure, finish_figure
from reports.figures.drawing.sequences import MAX_NAMED, SCORED, answers_in_words
from reports.figures.gates import SHOWN_UNITS, gates_figure
from results import Traces

S, T, U = 3, 5, 12


def values(layer: int, kind: int) -> np.ndarray:
    """Return values in (0, 1) that tell layer, kind, sequence, step and unit."""
    index = np.arange(S * T * U, dtype=np.float32).reshape(S, T, U) / (S * T * U)
    return (index + layer + 2 * kind).astype(np.float32) / 16


def traces() -> Traces:
    scored = np.zeros((S, T), bool)
    scored[:, [1, 2, 4]] = True
    targets = np.tile(np.array([0, 1, 2, 3, 4], np.float32)[None, :, None], (S, 1, 1))
    answers = targets.copy()
    answers[1, 4] = 0
    return Traces(
        inputs_STD=np.arange(S * T * 2, dtype=np.float32).reshape(S, T, 2),
        gates={f"{layer}.{gate}": values(layer, kind) for layer in (0, 2) for kind, gate in enumerate(("forget", "z"))},
        states={f"{n}.{state}": values(n, k + 2) for n in (0, 1, 2) for k, state in enumerate(("c", "output"))},
        targets_STD=targets,
        answers_STD=answers,
        scored_ST=scored,
        target_names=("a", "b", "c", "d", "e"),
    )


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Axes]:
    """Return the panels of the last figure by title."""
    drawn: dict[str, Axes] = {}

    def record_panels(figure: MplFigure, **texts: str) -> Figure:
        drawn.clear()
        drawn.update((axes.get_title(loc="left"), axes) for axes in figure.axes if axes.axison)
        return finish_figure(figure, **texts)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "finish_figure", record_panels)
    return drawn


def draw(view: GatesView | None = None, changed: Traces | None = None) -> Figure:
    figure = gates_figure(changed or traces(), subject="lstm on recall, seed 0", name="lstm", view=view)
    assert figure is not None
    return figure


def lines(axes: Axes, count: int) -> np.ndarray:
    return np.array([line.get_ydata() for line in axes.lines[:count]])


def shaded(axes: Axes, colour: str) -> list[tuple[float, float]]:
    from matplotlib.colors import to_hex

    spans = [
        patch for patch in axes.patches if isinstance(patch, Rectangle) and to_hex(patch.get_facecolor()) == colour
    ]
    return [(span.get_x(), span.get_x() + span.get_width()) for span in spans]


def test_panels_are_input_answer_gates_cell_state_and_output(panels: dict[str, Axes]) -> None:
    figure = draw()
    assert list(panels) == ["input sequence", "answer", "forget gate", "z", "cell state c", "output h"]
    np.testing.assert_array_equal(lines(panels["input sequence"], 2), traces().inputs_STD[0].T)
    for title, name in {"forget gate": "0.forget", "z": "0.z"}.items():
        np.testing.assert_array_equal(lines(panels[title], SHOWN_UNITS), traces().gates[name][0, :, :SHOWN_UNITS].T)
    for title, name in {"cell state c": "0.c", "output h": "0.output"}.items():
        np.testing.assert_array_equal(lines(panels[title], SHOWN_UNITS), traces().states[name][0, :, :SHOWN_UNITS].T)
    assert figure.title == "Inside layer 1 of lstm on recall, seed 0"


def test_view_chooses_layer_sequence_and_units(panels: dict[str, Axes]) -> None:
    view = GatesView(layer=3, sequence=2, units=(12, 1))
    figure = draw(view)
    np.testing.assert_array_equal(lines(panels["forget gate"], 2), traces().gates["2.forget"][1, :, [11, 0]])
    np.testing.assert_array_equal(lines(panels["output h"], 2), traces().states["2.output"][1, :, [11, 0]])
    assert figure.title.startswith("Inside layer 3 of") and "held-out sequence 2 of 3" in figure.how_to_read
    assert "Lines are units 12 and 1." in figure.how_to_read
    assert figure.name == "gates-lstm-layer-3-sequence-2-units-12-1" and view.suffix in figure.name
    assert draw().name == "gates-lstm"


def legend_colours(figure: MplFigure) -> dict[str, object]:
    """Return the colours in the legend of units by name, without the legend above the panels."""
    return {
        text.get_text(): handle.get_color()  # type: ignore[union-attr]
        for legend in figure.legends
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        if text.get_text().startswith("unit ")
    }


def test_legend_names_the_chosen_units(panels: dict[str, Axes]) -> None:
    draw(GatesView(units=(12, 1)))
    colours = [line.get_color() for line in panels["output h"].lines]
    assert legend_colours(panels["z"].figure) == dict(zip(("unit 12", "unit 1"), colours, strict=True))  # type: ignore[arg-type]
    for view in (None, GatesView(units=(3,))):
        draw(view)
        assert legend_colours(panels["z"].figure) == {}  # type: ignore[arg-type]


def test_unit_has_the_same_colour_in_panels_that_lack_other_units(panels: dict[str, Axes]) -> None:
    narrow = replace(traces(), gates=traces().gates | {"0.forget": values(0, 0)[:, :, :4]})
    draw(GatesView(units=(12, 1)), narrow)
    (forget,) = [line for line in panels["forget gate, 1 unit"].lines if line.get_label() != "mean of the units shown"][
        :1
    ]
    np.testing.assert_array_equal(forget.get_ydata(), values(0, 0)[0, :, 0])
    assert forget.get_color() == panels["z, 2 units"].lines[1].get_color()


def test_units_with_one_colour_differ_in_their_dashes(panels: dict[str, Axes]) -> None:
    draw(GatesView(units=tuple(range(1, U + 1))))
    looks = {(line.get_color(), line._unscaled_dash_pattern) for line in panels["output h"].lines}  # type: ignore[attr-defined]
    assert len(looks) == U


def test_edge_of_a_panel_cuts_no_marker(panels: dict[str, Axes]) -> None:
    draw()
    marked = [
        line for axes in panels.values() for line in axes.lines if line.get_marker() not in ("None", "none", "", None)
    ]
    assert len(marked) > 3
    assert not any(line.get_clip_on() for line in marked)


def test_layer_without_gates_shows_state_and_output(panels: dict[str, Axes]) -> None:
    figure = draw(GatesView(layer=2))
    assert list(panels) == ["input sequence", "answer", "cell state c", "output h"]
    assert "the mean size of the output is largest at step 5" in figure.alternative
    assert "grey band" not in figure.how_to_read


def test_scored_steps_and_the_range_of_open_hold_gates_are_shaded(panels: dict[str, Axes]) -> None:
    figure = draw()
    assert all(shaded(axes, SCORED.lower()) == [(1.5, 3.5), (4.5, 5.5)] for axes in panels.values())
    heights = {
        title: [(p.get_y(), p.get_y() + p.get_height()) for p in axes.patches if p.get_y()]  # type: ignore[attr-defined]
        for title, axes in panels.items()
        if title in ("forget gate", "z", "cell state c")
    }
    assert heights == {"forget gate": [(0.8, 1.0)], "z": [], "cell state c": []}
    assert "The grey band is 0.8–1" in figure.how_to_read and "Orange marks the steps" in figure.how_to_read


@pytest.mark.parametrize(("sequence", "wrong"), [(1, []), (2, [5])])
def test_answers_are_right_or_wrong(panels: dict[str, Axes], sequence: int, wrong: list[int]) -> None:
    draw(GatesView(sequence=sequence))
    axes = panels["answer"]
    by_label = {str(line.get_label()): np.asarray(line.get_xdata()).tolist() for line in axes.lines}
    assert by_label["correct answer"] == [2, 3, 5]
    assert by_label["model's answer, right"] == [step for step in (2, 3, 5) if step not in wrong]
    assert by_label.get("model's answer, wrong", []) == wrong
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d", "e"]


def test_answer_is_said_in_words() -> None:
    several = traces()
    assert answers_in_words(several, 1) == "2 of 3 answers are correct"
    assert several.scored_ST is not None
    single = replace(several, scored_ST=several.scored_ST & (np.arange(T) == 4))
    assert answers_in_words(single, 0) == "the answer is e, as is correct"
    assert answers_in_words(single, 1) == "the answer is a, but e is correct"
    assert answers_in_words(replace(single, target_names=()), 0) == answers_in_words(
        replace(single, answers_STD=None), 0
    )
    assert "; the answer is a, but e is correct; the mean" in draw(GatesView(sequence=2), single).alternative


def test_real_answers_and_tokens_are_drawn(panels: dict[str, Axes]) -> None:
    draw(changed=replace(traces(), target_names=(), input_names=("x", "y"), inputs_STD=np.ones((S, T, 1), np.float32)))
    assert {str(line.get_label()) for line in panels["answer"].lines} == {"correct answer", "model's answer"}
    assert [label.get_text() for label in panels["input sequence"].get_yticklabels()] == ["x", "y"]
    names = tuple(str(n) for n in range(MAX_NAMED + 1))
    draw(changed=replace(traces(), input_names=names, target_names=names))
    for title in ("input sequence", "answer"):
        ticks = panels[title].get_yticks()
        assert len(ticks) > 1 and all(float(tick).is_integer() for tick in ticks)


def test_old_traces_have_neither_answer_nor_marks(panels: dict[str, Axes]) -> None:
    old = Traces(inputs_STD=traces().inputs_STD, gates={"0.forget": values(0, 0)})
    assert "Orange" not in draw(changed=old).how_to_read
    assert list(panels) == ["input sequence", "forget gate"]
    assert gates_figure(Traces(inputs_STD=traces().inputs_STD), subject="x", name="x") is None


def test_attention_replaces_outputs_unless_a_layer_is_chosen() -> None:
    weights = np.full((S, 1, T, T), 0.2, np.float32)
    attending = replace(traces(), gates={}, attention={0: weights})
    assert gates_figure(attending, subject="x", name="x") is None
    assert draw(GatesView(layer=1), attending).title == "Inside layer 1 of lstm on recall, seed 0"


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (GatesView(layer=4), "no layer 4: the traces have layers 1 to 3"),
        (GatesView(layer=0), "no layer 0"),
        (GatesView(sequence=0), "no sequence 0: the traces have sequences 1 to 3"),
        (GatesView(sequence=4), "no sequence 4"),
        (GatesView(units=(3, 13)), "no unit 13: the traces have units 1 to 12"),
    ],
)
def test_missing_layer_sequence_or_unit_is_refused(view: GatesView, message: str) -> None:
    with pytest.raises(ViewError, match=message):
        draw(view)
    with pytest.raises(ViewError, match="neither gates nor states"):
        gates_figure(Traces(inputs_STD=traces().inputs_STD), subject="x", name="x", view=view)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (0.54, "; the means of the gates at the first and the last step differ by less than 0.05"),
        (0.3, "; the mean of the forget gate changes most, from 0.50 at the first step to 0.30 at the last"),
    ],
)
def test_only_a_change_that_can_be_seen_is_told(last: float, said: str) -> None:
    gate = np.full((S, T, U), 0.5, np.float32)
    gate[:, -1] = last
    assert said in draw(changed=replace(traces(), gates={"0.forget": gate})).alternative
