"""Test the history of a case over all runs: grouping of runs, values with intervals, and change points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import ruptures

import reports
from reports.figures import history_figure
from reports.html import history_page
from results import Case, Measurement, Record, RunFile, change_points, history, interval_of_scores
from results.comparison import RenameError, locations
from results.statistics.change_points import FALSE_ALARMS, strongest_split
from tests.results.examples import case, record, run_file
from tests.results.planted import case_of
from tests.results.planted import run_of as planted_run

SIMULATED = 1000
MAX_COUNT_OF_ALARMS = 22
"""Maximum number of false alarms in 1,000 series. At a rate of 1%, the probability of more is below 1 in 3,000."""


def run_of(day: int, *seeds: int, score: float = 0.75, torch: str = "2.13.0") -> tuple[RunFile, list[Record]]:
    """Return the run file and the records of a run on one day in January, with one record per seed.

    Args:
        day: Day of the month, from 1.
        *seeds: Seeds of the records.
        score: Accuracy of every record at the trained length.
        torch: Version of torch in the environment of the run.
    """
    first = run_file(f"202601{day:02}-000000-quick-abc123", *(case(seed=seed) for seed in seeds))
    environment = first.environment.model_copy(update={"torch": torch})
    file = first.model_copy(update={"created": f"2026-01-{day:02}T00:00:00Z", "environment": environment})
    measured = [
        Measurement(metric="accuracy", at={"length": 32}, samples=(score,)),
        Measurement(metric="accuracy", at={"length": 64}, samples=(0.5,)),
        Measurement(metric="step_seconds", at={"position": 1}, samples=(9.0,) * 9),
        Measurement(metric="step_seconds", at={"position": 16}, samples=tuple(1.0 + i for i in range(9))),
    ]
    return file, [record(case(seed=seed), measurements=tuple(measured)) for seed in seeds]


def test_runs_are_sorted_by_creation_and_have_the_mean_over_seeds() -> None:
    file, records = run_of(2, 0, 1, 2)
    wide = [
        each.model_copy(update={"measurements": (each.measurements[0].model_copy(update={"samples": (score,)}),)})
        for each, score in zip(records, (0.5, 0.6, 0.7), strict=True)
    ]
    (series,) = history([(file, wide), run_of(1, 0)])
    assert [point.created[:10] for point in series.points] == ["2026-01-01", "2026-01-02"]
    first, second = series.points
    assert (first.value.middle, first.units, second.units) == (0.75, 1, 3)
    assert first.value == interval_of_scores([0.75], 1024)
    assert second.value.middle == pytest.approx(0.6)
    # Student's t for 2 degrees of freedom at 97.5% is 4.30265; the standard error is 0.1/sqrt(3).
    assert second.value.high == pytest.approx(0.6 + 4.30265 * 0.1 / math.sqrt(3), rel=1e-5)
    assert (series.label, series.location) == ("lstm:forget_bias=1/first_last/32", "length 32")


def test_incomparable_runs_are_in_separate_series() -> None:
    both = history([run_of(1, 0), run_of(2, 0, torch="2.14.0"), run_of(3, 0)])
    assert sorted(len(series.points) for series in both) == [1, 2]
    assert {"torch 2.13.0" in series.environment for series in both} == {True, False}


def with_protocol(run: tuple[RunFile, list[Record]], **settings: object) -> tuple[RunFile, list[Record]]:
    """Return a run whose cases have other settings in their protocol."""

    def changed(case: Case) -> Case:
        return case.model_copy(update={"protocol": case.protocol.model_copy(update=settings)})

    file, records = run
    moved = [each.model_copy(update={"case": changed(each.case), "key": changed(each.case).key}) for each in records]
    return file.model_copy(update={"cases": tuple(map(changed, file.cases))}), moved


def test_the_heading_has_the_settings_that_tell_series_apart() -> None:
    runs = [with_protocol(run_of(day, 0), steps=steps, batch=16) for day, steps in ((1, 100), (2, 60), (3, 100))]
    label = "lstm:forget_bias=1/first_last/32"
    assert [each.heading for each in history(runs)] == [f"{label}, steps=100", f"{label}, steps=60"]
    page, figure = history_page(history(runs)), history_figure(history(runs))
    assert "steps=100</h2>" in page and "steps=60</h2>" in page
    assert figure is not None and "steps=100" in figure.description and "steps=60" in figure.description
    (joined,) = history(runs, allow=frozenset({"protocol steps"}))
    assert joined.heading == label
    others = [*runs, with_protocol(run_of(4, 0), steps=60, batch=8)]
    of_batches = history(others, allow=frozenset({"protocol steps"}))
    assert [each.condition for each in of_batches] == ["batch=16", "batch=8"]


def test_the_heading_leaves_out_settings_without_a_value_and_lists_several_values() -> None:
    settings: list[dict[str, object]] = [
        {"steps": None, "epochs": 5, "train_sequences": 64, "evaluate_at": ("2x", "4x")},
        {"steps": 60, "evaluate_at": ("2x",)},
    ]
    runs = [with_protocol(run_of(day, 0), **changes) for day, changes in enumerate(settings, 1)]
    conditions = [each.condition for each in history(runs)]
    assert conditions == ["train_sequences=64, epochs=5, evaluate_at=2x,4x", "steps=60, evaluate_at=2x"]


def test_a_range_is_never_taken_for_a_length() -> None:
    file, records = run_of(1, 0)
    over_range = Measurement(metric="accuracy", at={"from": 40, "to": 256}, samples=(0.9,))
    ranged = [each.model_copy(update={"measurements": (*each.measurements, over_range)}) for each in records]
    (trained,) = history([(file, ranged)])
    (farthest,) = history([(file, [_without_trained_length(each) for each in ranged])])
    (named,) = history([(file, ranged)], at={"from": 40, "to": 256})
    only = [each.model_copy(update={"measurements": (over_range,)}) for each in records]
    (alone,) = history([(file, only)])
    assert [(series.location, series.points[0].value.middle) for series in (trained, farthest, named, alone)] == [
        ("length 32", 0.75),
        ("length 64", 0.5),
        ("length 40..256", 0.9),
        ("length 40..256", 0.9),
    ]


def _without_trained_length(record: Record) -> Record:
    kept = tuple(each for each in record.measurements if each.at != {"length": 32})
    return record.model_copy(update={"measurements": kept})


def test_a_timing_is_taken_at_the_farthest_location_by_default() -> None:
    (series,) = history([run_of(1, 0)], metric="step_seconds")
    assert dict(series.at) == {"position": 16}
    # The 2nd and the 8th of nine sorted samples bound the median with at least 95%.
    assert tuple(series.points[0].value) == (2.0, 5.0, 8.0)
    (near,) = history([run_of(1, 0)], metric="step_seconds", at={"position": 1})
    assert near.points[0].value.middle == 9.0
    assert history([run_of(1, 0)], metric="step_seconds", at={"position": 2}) == []


def test_fresh_processes_are_the_units_of_a_timing() -> None:
    file, (first,) = run_of(1, 0)
    twice = tuple(
        Measurement(metric="step_seconds", at={"position": 4}, samples=(value, value, 99.0), process=process)
        for process, value in enumerate((1.0, 3.0))
    )
    (series,) = history([(file, [first.model_copy(update={"measurements": twice})])], metric="step_seconds")
    # 3 is the median of 1, 1, 99, 3, 3 and 99. Student's t for 1 degree of freedom at 97.5% is 12.7062, and the
    # standard error of 1 and 3 is 1.
    assert tuple(series.points[0].value) == pytest.approx((2 - 12.7062, 3.0, 2 + 12.7062), rel=1e-5)
    assert series.points[0].units == 2


def test_six_processes_bound_the_median() -> None:
    file, (first,) = run_of(1, 0)
    six = tuple(
        Measurement(metric="step_seconds", at={"position": 4}, samples=(1.0 + process,) * 3, process=process)
        for process in range(6)
    )
    (series,) = history([(file, [first.model_copy(update={"measurements": six})])], metric="step_seconds")
    assert (series.points[0].value, series.points[0].units) == ((1.0, 3.5, 6.0), 6)


def test_seeds_of_one_process_are_one_unit() -> None:
    file, records = run_of(1, 0, 1)
    # By process and seed; process 2 was stopped before it timed seed 1.
    timed = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 4.0, (2, 0): 99.0}
    repeated = [
        each.model_copy(
            update={
                "measurements": tuple(
                    Measurement(metric="step_seconds", at={"position": 4}, samples=(value,), process=process)
                    for (process, seed), value in timed.items()
                    if seed == each.case.seed
                )
            }
        )
        for each in records
    ]
    (series,) = history([(file, repeated)], metric="step_seconds")
    (point,) = series.points
    # The medians of the seeds are 3 (of 1, 3 and 99) and 3 (of 2 and 4).
    assert (point.value.middle, point.units) == (3.0, 2)


def test_history_and_leaderboard_agree() -> None:
    """Three seeds, two processes each, and scores whose interval reaches beyond 1."""
    cases = [case_of("lstm", seed=seed) for seed in range(3)]
    file, records = planted_run(cases, 1, processes=2, scored=lambda case, _: (1.0, 1.0, 0.7)[case.seed])
    ill = records[2].model_copy(update={"status": "inconsistent"})
    for of_run in (records, [*records[:2], ill]):
        (row,) = reports.leaderboard(file, of_run)
        (score,), (step,) = history([(file, of_run)]), history([(file, of_run)], metric="step_seconds")
        assert tuple(score.points[0].value) == (row.score_low, row.score, row.score_high)
        assert step.points[0].value.middle == row.far_step_seconds
        assert dict(step.at) == {"position": row.far_position}


def test_runs_are_ordered_by_their_commits_on_request() -> None:
    runs = []
    for day, commit in ((1, "bbb"), (2, "aaa"), (3, "bbb"), (4, "ccc")):
        file, records = run_of(day, 0)
        runs.append((file.model_copy(update={"commit": commit}), records))
    (series,) = history(runs, commits=["aaa", "bbb", "ccc"])
    assert [(point.commit, point.created[8:10]) for point in series.points] == [
        ("aaa", "02"),
        ("bbb", "01"),
        ("bbb", "03"),
        ("ccc", "04"),
    ]


@pytest.mark.parametrize("other", ["ddd", None])
@pytest.mark.parametrize("without", [1, 2, 3])
def test_runs_without_the_metric_may_have_other_commits(without: int, other: str | None) -> None:
    runs = []
    for day, commit in ((1, "bbb"), (2, "aaa"), (3, "ccc")):
        file, records = run_of(day, 0)
        is_without = day == without
        runs.append(
            (file.model_copy(update={"commit": other if is_without else commit}), [] if is_without else records)
        )
    measured = sorted(file.commit or "" for file, records in runs if records)
    (series,) = history(runs, commits=measured)
    assert [point.commit for point in series.points] == measured


def test_renamed_cases_are_one_series_under_the_new_name() -> None:
    older, newer = run_of(1, 0), run_of(2, 0)
    file, records = older
    case_before = records[0].case.model_copy(update={"arch": "memory:forget_bias=1", "task": "ends"})
    old_records = [records[0].model_copy(update={"case": case_before, "key": case_before.key})]
    old = file.model_copy(update={"cases": (case_before,)}), old_records
    assert len(history([old, newer])) == 2
    names = {"memory": "lstm", "ends": "first_last"}
    (series,) = history([old, newer], renamed=names)
    assert (series.label, len(series.points)) == ("lstm:forget_bias=1/first_last/32", 2)
    planned = newer[0].model_copy(update={"renamed": names}), newer[1]
    for glob in ("memory", "lstm"):
        (series,) = history([old, planned], glob=glob)
        assert series.points[0].run == file.id
    assert locations([old, planned], glob="lstm", metric="step_seconds") == {
        "step_seconds": [{"position": 1}, {"position": 16}]
    }


@pytest.mark.parametrize("glob", ["*", "lstm*", "lstm", "lstm:forget_bias=1", "lstm/*", "*/first_last/32", "*.L32.*"])
def test_a_glob_matches_the_names_of_a_case(glob: str) -> None:
    assert len(history([run_of(1, 0)], glob=glob)) == 1


@pytest.mark.parametrize("glob", ["gru*", "*/adding/*", "lstm/first_last/64", "forget"])
def test_a_glob_excludes_other_cases(glob: str) -> None:
    assert history([run_of(1, 0)], glob=glob) == []


def test_a_change_is_detected_at_its_index() -> None:
    low, high = [0.9 + 0.001 * (i % 3) for i in range(8)], [0.8 + 0.001 * (i % 3) for i in range(7)]
    assert change_points([*low, *high]) == (8,)
    (series,) = history([run_of(1 + i, 0, score=score) for i, score in enumerate([*low, *high])])
    assert series.changes == (8,)


def test_two_changes_are_detected() -> None:
    noise = np.random.default_rng(3).normal(0, 0.02, 36)
    assert change_points(np.repeat([1.0, 1.3, 0.9], 12) + noise) == (12, 24)


def test_few_equal_or_outlying_values_are_not_a_change() -> None:
    assert change_points([]) == ()
    assert change_points([1.0]) == ()
    assert change_points([1.0] * 30) == ()
    assert change_points([1, 1, 1, 2, 2, 2]) == ()
    outlier = [1.0, 1.1] * 10
    outlier[7] = 50.0
    assert change_points(outlier) == ()


def test_the_strongest_split_equals_that_of_an_exhaustive_search() -> None:
    generator = np.random.default_rng(5)
    for count in (4, 5, 9, 20, 33):
        values = generator.normal(size=count)
        expected = ruptures.Dynp(model="l2", min_size=2, jump=1).fit(values).predict(1)[0]
        assert strongest_split(values)[0] == expected


NOISE: dict[str, Callable[[np.random.Generator], Iterable[float]]] = {
    "normal": lambda generator: generator.normal(1, 0.05, 20),
    "log-normal": lambda generator: generator.lognormal(0, 1, 20),
    "outliers": lambda generator: generator.normal(1, 0.05, 20) + 5 * (generator.random(20) < 0.05),
    "two modes": lambda generator: generator.normal(1, 0.01, 20) + 0.2 * (generator.random(20) < 0.5),
}


@pytest.mark.parametrize("noise", NOISE)
def test_the_rate_of_false_alarms_is_at_most_the_stated_one(noise: str) -> None:
    generator = np.random.default_rng(11)
    alarms = sum(bool(change_points(list(NOISE[noise](generator)))) for _ in range(SIMULATED))
    assert FALSE_ALARMS == 0.01
    assert alarms <= MAX_COUNT_OF_ALARMS


def test_a_change_of_20_per_cent_is_detected_in_twelve_runs() -> None:
    generator = np.random.default_rng(13)
    slower = np.repeat([1.0, 1.2], 6)
    detected = sum(bool(change_points(slower * generator.normal(1, 0.05, 12))) for _ in range(200))
    assert detected >= 180


def test_names_of_a_plan_that_join_two_cases_are_refused_with_the_run_that_gives_them() -> None:
    both, newer = planted_run([case_of("lstm"), case_of("rnn")], 1), planted_run([case_of("rnn")], 2)
    planned = newer[0].model_copy(update={"renamed": {"lstm": "rnn"}}), newer[1]
    with pytest.raises(RenameError) as refused:
        history([both, planned])
    assert "which would become one by the names in the plan of the run" in str(refused.value)
    assert f"{newer[0].id}; move one of the two runs out of the store" in str(refused.value)
    with pytest.raises(RenameError, match="leave out this renaming"):
        history([both, newer], renamed={"lstm": "rnn"})
