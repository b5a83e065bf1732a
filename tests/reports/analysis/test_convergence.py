"""Architectures that were still learning are undecided: in ranks, in the recommendation and in words."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

import reports
from reports.analysis.convergence import is_undecided, possible_rise, still_learning
from reports.analysis.frontier import frontier
from reports.analysis.groups import Group, group_cases
from reports.analysis.health import health
from reports.analysis.leaderboard import leaderboard_of
from reports.analysis.overview import overview_rows
from reports.export.leaderboard import as_csv, as_markdown
from reports.figures.training import training_curves
from reports.text.conclusions import conclusions
from reports.text.convergence import undecided_sentence
from reports.text.recommendation import recommendation
from results import Measurement, Record
from tests.reports import synthetic

EXACT = 1e-12


def scored(arch: str, scores: Sequence[float], *, learning: int = 0) -> list[Record]:
    """Return one record per score on `adding` at 32; the first `learning` seeds were still learning."""
    records = []
    for seed, score in enumerate(scores):
        sound = synthetic.record(synthetic.case(arch, "adding", 32, seed))
        measurements = [each for each in sound.measurements if each.metric != "accuracy"]
        measurements.append(Measurement(metric="accuracy", at={"length": 32}, samples=(score,)))
        training = synthetic.training(sound.case, "budget")
        points = tuple(
            point.model_copy(
                update={
                    "validation_score": 0.5 * point.step / training.steps if seed < learning else 0.5,
                    "validation_loss": 1.0,
                }
            )
            for point in training.curve
        )
        records.append(
            sound.model_copy(
                update={
                    "measurements": tuple(measurements),
                    "training": training.model_copy(update={"curve": points}),
                }
            )
        )
    return records


def groups_of(*rivals: list[Record]) -> list[Group]:
    records = [record for rival in rivals for record in rival]
    return group_cases(synthetic.run([record.case for record in records]), records)


def test_possible_rise_is_the_distance_to_1_of_the_seeds_that_were_still_learning() -> None:
    (group,) = groups_of(scored("lstm", [0.4, 0.8, 0.1], learning=2))
    assert possible_rise(group) == pytest.approx((0.6 + 0.2) / 3, abs=EXACT)
    assert possible_rise(group, [-0.5, 0.5, -1.0]) == pytest.approx((1.5 + 0.5) / 3, abs=EXACT)
    (row,) = still_learning([group])
    assert (row.arch, row.seeds, row.scored, row.steps, row.undecided) == ("lstm", 2, 3, 800, True)


def test_seeds_that_cannot_change_the_rank_leave_it_decided() -> None:
    (group,) = groups_of(scored("lstm", [0.97, 0.97, 0.97], learning=1))
    assert not is_undecided(group)
    (group,) = groups_of(scored("lstm", [0.9, 0.97, 0.97], learning=1))
    assert is_undecided(group)
    (group,) = groups_of(scored("lstm", [0.1, 0.1, 0.1]))
    assert (possible_rise(group), still_learning([group])) == (0.0, [])


def test_seed_without_a_score_does_not_count() -> None:
    first, *others = scored("lstm", [0.1, 0.1, 0.1], learning=1)
    (group,) = groups_of([first.model_copy(update={"status": "inconsistent"}), *others])
    assert still_learning([group]) == []


def test_undecided_architecture_is_never_ranked_as_worse() -> None:
    good, poor = scored("gru", [0.9, 0.9, 0.9]), scored("rnn", [0.1, 0.1, 0.1])
    rows = {row.arch: row for row in leaderboard_of(groups_of(good, scored("lstm", [0.5, 0.5, 0.5], learning=1), poor))}
    assert {arch: (row.rank_first, row.rank_last, row.ties) for arch, row in rows.items()} == {
        "gru": (1, 2, "a"),
        "lstm": (1, 2, "a"),
        "rnn": (3, 3, "b"),
    }
    assert [(row.still_learning, row.undecided) for row in rows.values()] == [(0, False), (1, True), (0, False)]
    decided = {row.arch: row for row in leaderboard_of(groups_of(good, scored("lstm", [0.5, 0.5, 0.5]), poor))}
    assert (decided["lstm"].rank_first, decided["lstm"].rank_last) == (2, 2)


@pytest.mark.parametrize(
    ("cheap", "dear", "choice"),
    [
        # The Transformer has the dearer step. A cheap architecture that was still learning could come near enough.
        (scored("lstm", [0.5, 0.5, 0.5], learning=3), scored("transformer", [0.9, 0.9, 0.9]), None),
        # One seed that can still rise is enough, since nothing beats the cheap one.
        (scored("lstm", [0.1, 0.1, 0.1], learning=1), scored("transformer", [0.9, 0.9, 0.9]), None),
        # The choice would rest on an undecided architecture.
        (scored("lstm", [0.9, 0.9, 0.9], learning=3), scored("transformer", [0.9, 0.9, 0.9]), None),
        # The dearer one could leave the chosen one behind.
        (scored("lstm", [0.8, 0.8, 0.8]), scored("transformer", [0.8, 0.8, 0.8], learning=3), None),
        # The dearer one could not leave it behind.
        (scored("lstm", [0.99, 0.99, 0.99]), scored("transformer", [0.8, 0.8, 0.8], learning=3), "lstm"),
        # Nothing is chosen at the present shares, and more training could change that.
        (scored("lstm", [0.06, 0.06, 0.06], learning=3), scored("transformer", [0.06, 0.06, 0.06]), None),
    ],
)
def test_no_recommendation_rests_on_an_undecided_architecture(
    cheap: list[Record], dear: list[Record], choice: str | None
) -> None:
    groups = groups_of(cheap, dear)
    text = recommendation(frontier(groups, overview_rows(groups)))
    assert text is not None
    if choice is None:
        assert text.startswith("No architecture is recommended for streaming yet: ")
        assert text.count("still learning") == 1
    else:
        assert text.startswith(f"For streaming, only {choice} can be recommended: ")
        assert text.endswith("More training of transformer (still learning, 78% so far) could not change the choice.")
        assert "indistinguishable" not in text


def test_words_say_who_was_still_learning() -> None:
    weak = scored("lstm", [0.1, 0.1, 0.1], learning=2)
    groups = groups_of(weak, scored("gru", [0.5, 0.5, 0.51], learning=1), scored("rnn", [0.1, 0.1, 0.1]))
    lines = conclusions(groups)
    assert lines[0] == (
        "adding at 32: gru (0.50, still learning) uses some of the past; lstm (0.10) was still learning when its "
        "training ended; rnn (0.10) is hardly above the chance level (0.078) and did not improve in the "
        "last 800 steps (with more steps, learning may still begin)."
    )
    assert lines[1] == (
        "Still learning when training ended, so ranks are undecided: lstm on adding at 32 (2 of 3 seeds) and gru on "
        "adding at 32 (1 of 3 seeds). Give more than 800 steps."
    )
    assert not any("till learning" in line for line in lines[2:])
    assert recommendation(frontier(groups, overview_rows(groups))) == (
        "No architecture is recommended for streaming yet: gru (46% so far) and lstm (2% so far) were still learning "
        "when their training ended, and more steps could change the choice. Give them more steps. Not considered: rnn "
        "(no clear memory by its scores, 2%)."
    )


def test_one_sentence_names_every_architecture_that_was_still_learning() -> None:
    trained = scored("lstm", [0.1, 0.1, 0.1], learning=3)
    cases = [record.case.model_copy(update={"task": "copy_memory"}) for record in trained]
    moved = [
        record.model_copy(update={"case": case, "key": case.key}) for record, case in zip(trained, cases, strict=True)
    ]
    assert undecided_sentence(groups_of(trained, moved, scored("gru", [0.5, 0.5, 0.5], learning=1))) == (
        "Still learning when training ended, so ranks are undecided: lstm in 2 settings and gru on adding at 32 (1 of "
        "3 seeds). Give more than 800 steps."
    )
    assert undecided_sentence(groups_of(scored("gru", [0.5, 0.5, 0.5]))) is None


def test_every_output_marks_what_was_still_learning() -> None:
    records = [*scored("lstm", [0.4, 0.5, 0.6], learning=2), *scored("gru", [0.9, 0.9, 0.91])]
    run = synthetic.run([record.case for record in records])
    lines = as_markdown(run, records).splitlines()
    column = [cell.strip() for cell in lines[0].split("|")].index("seeds still learning")
    assert {line.split("|")[3].strip(): line.split("|")[column].strip() for line in lines[2:]} == {
        "lstm": "2/3",
        "gru": "0/3",
    }
    header, *rows = as_csv(run, records).splitlines()
    assert '"still_learning"' in header and '"undecided"' in header
    assert len(rows) == 2
    assert health(group_cases(run, records)).verdict.endswith("; 2 cases still learning at the end.")
    figure = training_curves(run, records)
    assert figure is not None
    assert "2 were still learning at the end" in figure.alternative


def test_page_and_terminal_mark_what_was_still_learning() -> None:
    weak, good = scored("lstm", [0.4, 0.5, 0.6], learning=2), scored("gru", [0.9, 0.9, 0.91])
    for records, marked in (([*weak, *good], True), (good, False)):
        run = synthetic.run([record.case for record in records])
        html = reports.page(run, records)
        assert ('<span class="mark">still learning</span>' in html) == marked
        assert ("(2 still learning)" in html) == marked
        assert html.count('<td class="word wrap">still learning</td>') == 2 * marked
        console = Console(file=io.StringIO(), width=200)
        reports.render_terminal(run, records, console=console)
        assert isinstance(console.file, io.StringIO)
        table = console.file.getvalue().split("step:")[0]
        assert ("learning" in table) == marked
        assert ("2/3" in table) == marked
