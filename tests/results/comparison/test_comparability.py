"""Test which differences between environments prevent a comparison, and which are only reported."""

from __future__ import annotations

from typing import Any

import pytest

from results import Environment, RunFile
from results.comparison import (
    MACHINE,
    METRIC_FAMILIES,
    REQUIRED_EQUAL,
    Difference,
    compare,
    environment_differences,
    history,
)
from results.comparison.units import COMPARED_METRICS
from tests.results.planted import case_of, grid, run_of

KNOWN: dict[str, Any] = {
    "cpu": "a processor",
    "cores": 2,
    "memory_bytes": 1 << 34,
    "system": "Linux",
    "python": "3.11.0",
    "torch": "2.13.0",
    "device": "cpu",
    "packages": {"numba": "0.60", "numpy": "2.0"},
    "host": "abc",
    "threads": 1,
    "caches": {"L2": 1024},
    "blas": "mkl",
    "onednn": "3.0",
    "instructions": "avx2",
    "governor": "performance",
    "virtual": "none",
    "kernels": "znver4, 16 numbers per vector",
    "numpy_blas": "scipy-openblas 0.3.30",
    "cuda": "12.8, cuDNN 91002",
    "settings": {"NUMBA_OPT": "2"},
}
OTHER = {
    name: value + 1 if isinstance(value, int) else {"L2": 2048} if name == "caches" else f"other {name}"
    for name, value in KNOWN.items()
    if name not in ("packages", "settings")
} | {"settings": {"NUMBA_OPT": "1"}, "packages": {"numba": "0.68", "numpy": "2.0", "scipy": "1.0"}}
ENVIRONMENT = Environment(**KNOWN)


def test_the_examples_have_every_field() -> None:
    assert set(KNOWN) == set(OTHER) == set(Environment.model_fields)


def test_equal_environments_have_no_differences() -> None:
    assert environment_differences(ENVIRONMENT, Environment(**KNOWN)).all == ()


@pytest.mark.parametrize("name", KNOWN)
def test_each_field_either_prevents_a_comparison_or_is_reported(name: str) -> None:
    differences = environment_differences(ENVIRONMENT, Environment(**KNOWN | {name: OTHER[name]}))
    assert bool(differences.forbidding) == (name in REQUIRED_EQUAL)
    assert bool(differences.reported) == (name not in REQUIRED_EQUAL)


def test_packages_and_caches_differ_by_entry() -> None:
    new = Environment(**KNOWN | {"packages": OTHER["packages"], "caches": OTHER["caches"]})
    assert environment_differences(ENVIRONMENT, new).reported == (
        Difference(field="numba", base="0.60", new="0.68"),
        Difference(field="scipy", base="not recorded", new="1.0"),
        Difference(field="L2 cache", base="1024", new="2048"),
    )


@pytest.mark.parametrize("name", ["host", "threads", "instructions"])
def test_a_value_that_could_not_be_determined_prevents_a_comparison(name: str) -> None:
    unknown = Environment(**KNOWN | {name: None})
    for differences in (environment_differences(ENVIRONMENT, unknown), environment_differences(unknown, ENVIRONMENT)):
        assert [each.field for each in differences.forbidding] == [name]
    assert environment_differences(unknown, unknown).all == ()


@pytest.mark.parametrize("name", ["host", "threads", "instructions"])
def test_a_field_that_an_older_file_lacks_is_only_reported(name: str) -> None:
    older = Environment(**{field: value for field, value in KNOWN.items() if field != name})
    differences = environment_differences(older, ENVIRONMENT)
    assert differences.forbidding == ()
    assert [(each.field, each.base) for each in differences.reported] == [(name, "not recorded")]


def test_a_comparison_reports_differences_that_do_not_prevent_it() -> None:
    cases = grid(tasks=1)
    comparison = compare(run_of(cases, 1), run_of(cases, 2, packages={"numba": "0.68"}, python="3.12.0"))
    assert comparison.differences == ()
    assert sorted(map(str, comparison.reported_differences)) == [
        "numba: not recorded → 0.68",
        "python: 3.11.0 → 3.12.0",
    ]
    assert {row.verdict for row in comparison.rows} == {"unchanged"}


@pytest.mark.parametrize("name", REQUIRED_EQUAL)
def test_history_and_comparison_require_the_same_fields(name: str) -> None:
    def run(draw: int, environment: dict[str, Any]) -> tuple[RunFile, Any]:
        return run_of([case_of("rnn")], draw, **environment)

    first, second = run(1, KNOWN), run(2, KNOWN | {name: OTHER[name]})
    rows = compare(first, second).rows
    for metric in ("step_seconds", "accuracy", "state_bytes"):
        is_forbidden = metric == "step_seconds" or name not in MACHINE
        verdicts = {row.verdict for row in rows if row.metric == metric}
        assert ("not comparable" in verdicts) == is_forbidden
        assert len(verdicts) == 1
        assert len(history([first, second], metric=metric)) == 1 + is_forbidden
        assert len(history([first, run(2, KNOWN)], metric=metric)) == 1


def test_the_families_of_metrics_cover_every_compared_metric() -> None:
    assert METRIC_FAMILIES["accuracy"] == ("accuracy", "early_stopped_accuracy")
    assert METRIC_FAMILIES["latency"] == ("forward_seconds", "train_step_seconds")
    assert METRIC_FAMILIES["streaming"] == ("step_seconds", "call_step_seconds")
    assert METRIC_FAMILIES["state"] == ("state_bytes", "model_state_bytes")
    assert METRIC_FAMILIES["flops"] == ("model_step_flops",)
    assert set(COMPARED_METRICS) <= set(METRIC_FAMILIES)
    assert [name for name, metric in COMPARED_METRICS.items() if metric.probe is None] == ["benchmark_seconds"]


def test_another_machine_hides_no_change_of_a_score() -> None:
    base = run_of(grid(tasks=1, seeds=6), 1)
    new = run_of(grid(tasks=1, seeds=6), 2, scored=lambda case, _: 0.5 + 0.01 * case.seed, host="xyz")
    rows = compare(base, new).rows
    assert {row.verdict for row in rows if row.metric == "accuracy"} == {"regressed"}
    assert {row.verdict for row in rows if row.kind == "timing"} == {"not comparable"}
