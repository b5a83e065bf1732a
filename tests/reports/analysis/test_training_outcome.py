"""What training reached, in the leaderboard's data and in the table of cases."""

from __future__ import annotations

import csv
import io

import pytest

from reports.analysis.leaderboard import leaderboard
from reports.export.leaderboard import as_csv
from results import EvalPoint, Measurement, Record, case_frame
from tests.results.examples import case, record, run_file

CURVES = ((0.5, 0.9), (0.8, 0.7), (0.6, 0.8))
"""The validation scores of three seeds."""
SEQUENCES = (400.0, 800.0, None)
"""Training sequences until each seed solved the task in validation; the last one did not."""
BEST = (0.91, 0.83, 0.84)


def records() -> list[Record]:
    written = []
    for seed, (curve, sequences, best) in enumerate(zip(CURVES, SEQUENCES, BEST, strict=True)):
        whole = record(case(seed=seed))
        points = [
            EvalPoint(step=50 * (i + 1), train_loss=0.1, validation_loss=0.1, validation_score=score)
            for i, score in enumerate(curve)
        ]
        assert whole.training is not None
        new = [Measurement(metric="early_stopped_accuracy", at={"length": 32}, samples=(best,))]
        if sequences is not None:
            new.append(Measurement(metric="sequences_until_solved", samples=(sequences,)))
        training = whole.training.model_copy(update={"curve": tuple(points)})
        written.append(whole.model_copy(update={"training": training, "measurements": (*whole.measurements, *new)}))
    return written


def test_the_leaderboard_has_the_validation_score_the_best_weights_and_the_effort() -> None:
    found = records()
    (row,) = leaderboard(run_file("a", *(each.case for each in found)), found)
    assert row.validation_score == pytest.approx(0.8)
    assert row.early_stopped_score == pytest.approx(0.86)
    assert row.early_stopped_low is not None and row.early_stopped_high is not None
    assert row.early_stopped_low < 0.83 < 0.91 < row.early_stopped_high
    assert (row.until_solved_seeds, row.sequences_until_solved) == (2, 600.0)
    assert row.sequences_until_solved_low == 0.0  # two seeds: 600 ± 2,541, clipped at 0
    assert row.sequences_until_solved_high == pytest.approx(600 + 12.7062 * 200, rel=1e-4)


def test_the_csv_has_a_column_of_each() -> None:
    found = records()
    (row,) = csv.DictReader(io.StringIO(as_csv(run_file("a", *(each.case for each in found)), found)))
    assert float(row["validation_score"]) == pytest.approx(0.8)
    assert float(row["early_stopped_score"]) == pytest.approx(0.86)
    assert (row["until_solved_seeds"], float(row["sequences_until_solved"])) == ("2", 600.0)
    plain = record()
    (row,) = csv.DictReader(io.StringIO(as_csv(run_file("a", plain.case), [plain])))
    assert (row["early_stopped_score"], row["until_solved_seeds"], row["sequences_until_solved"]) == ("", "0", "")


def test_the_table_of_cases_has_the_last_and_the_best_validation_score() -> None:
    found = records()
    table = case_frame(run_file("a", *(each.case for each in found)), {each.key: each for each in found})
    assert list(table["validation_score"]) == [0.9, 0.7, 0.8]
    assert list(table["best_validation_score"]) == [0.9, 0.8, 0.8]
    assert list(table["accuracy length=32"]) == [0.875] * 3
    assert table["sequences_until_solved"].tolist()[:2] == [400.0, 800.0]
