"""Losses stand beside scores, and no sentence denies memory that a loss shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pytest
from rich.console import Console

import reports
from reports.analysis.frontier import frontier
from reports.analysis.groups import group_cases
from reports.analysis.overview import overview_rows
from reports.text.conclusions import conclusions
from reports.text.losses import loss_note
from reports.text.recommendation import recommendation
from results import Measurement, Record, RunFile
from tests.reports import synthetic

CONSTANT, MEMORYLESS = 1 / 6, 0.16
CHANCE = 0.0784
BY_CHANCE = (0.07, 0.08, 0.085)
"""Scores of three seeds that are indistinguishable from chance."""


def with_losses(
    arch: str,
    scores: Sequence[float],
    losses: Sequence[float],
    *,
    task: str = "adding",
    name: str = "mse",
    constant: float | None = CONSTANT,
    memoryless: float | None = MEMORYLESS,
) -> list[Record]:
    """Return one record per seed, with a score and a loss at length 32.

    Args:
        arch: The architecture.
        scores: One score per seed.
        losses: One loss per seed.
        task: The task.
        name: The metric of the losses.
        constant: Loss of the best constant.
        memoryless: Lowest loss without memory.
    """
    records = []
    for seed, (score, loss) in enumerate(zip(scores, losses, strict=True)):
        sound = synthetic.record(synthetic.case(arch, task, 32, seed))
        measurements = [each for each in sound.measurements if each.metric != "accuracy"]
        measurements.append(Measurement(metric="accuracy", at={"length": 32}, samples=(score,)))
        measurements.append(Measurement(metric=name, at={"length": 32}, samples=(loss,)))
        references = tuple(
            each.model_copy(update={"constant_loss": constant, "memoryless_loss": memoryless})
            for each in sound.reference_scores
        )
        records.append(sound.model_copy(update={"measurements": tuple(measurements), "reference_scores": references}))
    return records


def run_of(records: Sequence[Record]) -> RunFile:
    return synthetic.run([record.case for record in records])


def finding(records: Sequence[Record]) -> str:
    return conclusions(group_cases(run_of(records), records))[0]


NO_SCORE = "but its score is not clearly above the chance level (0.078)."


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        (
            (0.166, 0.167, 0.165),
            "lstm (0.08; mse 0.166; best constant 0.167) is indistinguishable from the chance level (0.078) and did "
            "not improve in the last 100 steps (with more steps, learning may still begin).",
        ),
        (
            (0.100, 0.105, 0.110),
            f"lstm (0.08; mse 0.105; best constant 0.167) uses some of the past by its loss, {NO_SCORE}",
        ),
        (
            (0.055, 0.028, 0.166),
            "lstm (0.08; mse 0.0280 to 0.0550 in 2 of 3 seeds; best constant 0.167) uses some of the past by its loss, "
            f"{NO_SCORE}",
        ),
    ],
)
def test_a_score_at_chance_is_judged_beside_its_error(losses: tuple[float, ...], sentence: str) -> None:
    assert finding(with_losses("lstm", BY_CHANCE, losses)) == f"adding at 32: {sentence}"


def test_without_a_memoryless_error_only_the_constant_is_beaten() -> None:
    records = with_losses("lstm", BY_CHANCE, (0.10, 0.11, 0.10), memoryless=None)
    assert "has a lower loss than the best constant, but its score" in finding(records)


def test_a_score_that_shows_memory_is_stated_as_before() -> None:
    assert finding(with_losses("lstm", (0.9, 0.91, 0.92), (0.01, 0.01, 0.01))) == (
        "adding at 32: lstm (0.91) nearly solves the task."
    )


def test_a_score_below_chance_is_no_lack_of_memory_either() -> None:
    records = with_losses("lstm", (0.01, 0.01, 0.011), (0.10, 0.11, 0.10))
    assert "falls below" not in finding(records)
    assert "uses some of the past by its loss" in finding(records)


def test_cross_entropy_is_compared_with_the_lowest_without_memory() -> None:
    records = with_losses(
        "lstm",
        (0.75, 0.76, 0.75),
        (0.20, 0.19, 0.21),
        task="first_last",
        name="cross_entropy",
        constant=None,
        memoryless=0.288,
    )
    assert finding(records) == (
        "first_last at 32: lstm (0.75; cross-entropy 0.200; at least 0.288 without memory) uses some of the past by "
        "its loss, but its score is not clearly above the memoryless baseline (0.75)."
    )


def test_the_loss_of_the_seed_that_is_the_evidence_is_shown_and_no_class_is_nearly_right() -> None:
    """The mean, 0.326, lies above the bound that one seed is below."""
    records = with_losses(
        "rnn",
        (0.77, 0.6, 0.75),
        (0.248, 0.365, 0.365),
        task="first_last",
        name="cross_entropy",
        constant=None,
        memoryless=0.288,
    )
    evidence = "cross-entropy 0.248 in 1 of 3 seeds; at least 0.288 without memory"
    assert f"rnn (0.71; {evidence}) uses some of the past by its loss, but its score" in finding(records)
    assert loss_note(group_cases(run_of(records), records)) == (
        f"Losses show more than scores for rnn on first_last at 32 ({evidence}): probabilities of classes use the "
        "past, but the most probable class is not clearly more often right."
    )
    real = with_losses("lstm", BY_CHANCE, (0.055, 0.028, 0.166))
    note = loss_note(group_cases(run_of([*records, *real]), [*records, *real])) or ""
    assert note.count("Losses show more than scores for ") == 2
    assert note.index("lstm on adding") < note.index("near enough") < note.index("rnn on first_last")


def test_a_single_seed_states_its_error() -> None:
    assert finding(with_losses("lstm", (0.08,), (0.05,))) == (
        f"adding at 32: by a single seed: lstm (0.08; mse 0.0500; best constant 0.167) uses some of the past by its "
        f"loss, {NO_SCORE}"
    )
    assert (
        "lstm (0.08; mse 0.150; best constant 0.167) is indistinguishable from the chance level (0.078)"
    ) in finding(with_losses("lstm", (0.08,), (0.15,)))


def test_no_recommendation_is_justified_by_a_lack_of_memory_that_the_loss_denies() -> None:
    none = with_losses("lstm", BY_CHANCE, (0.166, 0.167, 0.165)) + with_losses("gru", BY_CHANCE, (0.166, 0.167, 0.165))
    some = with_losses("lstm", BY_CHANCE, (0.055, 0.028, 0.166)) + with_losses("gru", BY_CHANCE, (0.166, 0.167, 0.165))
    for records in (none, some):
        groups = group_cases(run_of(records), records)
        text = recommendation(frontier(groups, overview_rows(groups)))
        assert text is not None
        assert "lstm (no clear memory by its scores, at most 3%)" in text
    assert loss_note(group_cases(run_of(some), some)) == (
        "Losses show more than scores for lstm on adding at 32 (mse 0.0280 to 0.0550 in 2 of 3 seeds; best constant "
        "0.167): answers come near the right numbers, but too rarely near enough to count as right."
    )
    assert loss_note(group_cases(run_of(none), none)) is None
    assert "Losses show more than scores for lstm on adding at 32" in reports.page(run_of(some), some)


def test_every_form_shows_the_error_beside_that_of_the_best_constant() -> None:
    records = with_losses("lstm", BY_CHANCE, (0.055, 0.028, 0.166))
    run = run_of(records)
    (line,) = csv.DictReader(io.StringIO(reports.as_csv(run, records)))
    assert (line["loss_name"], line["loss_shows_past"]) == ("mse", "True")
    assert float(line["loss"]) == pytest.approx(0.083)
    assert float(line["constant_loss"]) == pytest.approx(CONSTANT)
    assert "| 0.0830 (0–0.265) | 0.167 |" in reports.as_markdown(run, records)
    assert "0.0830 (0--0.265) & 0.167" in reports.as_latex(run, records)
    assert "mse (best constant: 0.167)" in reports.page(run, records)
    assert '0.0830 (0–0.265) <span class="soft">[0.167]</span>' in reports.page(run, records)
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system="standard")
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "0.083" in text
    assert "best constant" in text
    assert "\x1b[31m" not in text  # no score is red, since the loss shows memory


def test_a_score_without_memory_is_red_if_the_loss_agrees() -> None:
    records = with_losses("lstm", BY_CHANCE, (0.166, 0.167, 0.165))
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system="standard")
    reports.render_terminal(run_of(records), records, console=console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[31m" in console.file.getvalue()


def test_runs_without_errors_have_no_columns_of_errors(run: RunFile, records: list[Record]) -> None:
    assert "mse" not in reports.as_markdown(run, records)
    assert "mse" not in reports.as_latex(run, records)
