"""Test the aggregates over tasks and seeds, and their tables."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import mannwhitneyu

import reports
from reports.analysis.aggregate import LEVELS, aggregates, improvement
from reports.analysis.groups import Group, group_cases
from reports.analysis.memory_share import memory_share, shared_settings
from results import Record
from tests.reports import synthetic
from tests.reports.export.latex import compiled


@pytest.fixture(scope="module")
def groups() -> list[Group]:
    return group_cases(synthetic.run(), synthetic.records())


def shares_of(groups: list[Group], arch: str) -> dict[tuple[str, int], list[float]]:
    shared = shared_settings(groups)
    return {
        (group.task, group.length): memory_share(group)
        for group in groups
        if group.arch == arch and arch in shared.get((group.task, group.length), {})
    }


def test_the_interquartile_mean_is_the_mean_of_the_middle_half(groups: list[Group]) -> None:
    for each in aggregates(groups):
        runs = sorted(itertools.chain.from_iterable(shares_of(groups, each.arch).values()))
        cut = len(runs) // 4
        assert each.runs == len(runs)
        assert each.iqm.middle == pytest.approx(np.mean(runs[cut : len(runs) - cut]))
        assert each.mean.middle == pytest.approx(np.mean(runs))
        assert [x.middle for x in each.profile] == [pytest.approx(np.mean(np.array(runs) > tau)) for tau in LEVELS]


def test_the_probability_of_improvement_is_that_of_the_rank_test(groups: list[Group]) -> None:
    for each in aggregates(groups):
        own = shares_of(groups, each.arch)
        for other, probability in each.improvement:
            theirs = shares_of(groups, other)
            wins = [
                mannwhitneyu(x, theirs[setting]).statistic / (len(x) * len(theirs[setting]))
                for setting, x in own.items()
            ]
            assert probability.middle == pytest.approx(np.mean(wins))


def test_two_architectures_improve_on_each_other_with_probabilities_of_sum_one(groups: list[Group]) -> None:
    by_arch = {each.arch: dict(each.improvement) for each in aggregates(groups)}
    for one, other in itertools.combinations(by_arch, 2):
        assert by_arch[one][other].middle + by_arch[other][one].middle == pytest.approx(1)


def test_equal_runs_count_half() -> None:
    same = {("task", 4): np.array([[0.5, 0.5]])}
    assert improvement(same, same) == [0.5]


def test_intervals_surround_the_values_and_do_not_change_between_calls(groups: list[Group]) -> None:
    found = aggregates(groups)
    for each in found:
        assert each.iqm.low <= each.iqm.middle <= each.iqm.high
        assert each.mean.low < each.mean.middle < each.mean.high
    assert aggregates(groups) == found
    assert [each.iqm.middle for each in found] == sorted((each.iqm.middle for each in found), reverse=True)


def test_intervals_cover_seeds_and_not_tasks() -> None:
    """Without a difference between seeds, the bootstrap of each task changes nothing, however much tasks differ."""
    records = [equal_seeds(record) for record in synthetic.records()]
    for each in aggregates(group_cases(synthetic.run(), records)):
        assert each.mean.low == pytest.approx(each.mean.middle) == pytest.approx(each.mean.high)


def equal_seeds(record: Record) -> Record:
    """Give all seeds of a setting the same score."""
    measurements = tuple(
        each.model_copy(update={"samples": (0.9,)}) if each.metric == "accuracy" else each
        for each in record.measurements
    )
    return record.model_copy(update={"measurements": measurements})


def test_a_run_of_single_seeds_has_nothing_to_aggregate() -> None:
    run, records = synthetic.run(), [each for each in synthetic.records() if each.case.seed == 0]
    single = run.model_copy(update={"cases": tuple(case for case in run.cases if case.seed == 0)})
    for write in (reports.render_aggregates, reports.aggregates_document):
        with pytest.raises(reports.NothingToShow, match="a single scored seed in each setting"):
            write(single, records)
    for form in ("markdown", "csv", "latex"):
        with pytest.raises(reports.NothingToShow, match="a single scored seed in each setting"):
            reports.aggregates_as(form, single, records)
    with pytest.raises(reports.NothingToShow, match="this run has no scores"):
        reports.aggregates_document(run, [])


def below_chance(record: Record) -> Record:
    """Lower the scores of the rnn below the best score without memory."""
    factor = 0.5 if record.case.arch.startswith("rnn") else 1.0
    measurements = tuple(
        each.model_copy(update={"samples": tuple(factor * score for score in each.samples)})
        if each.metric == "accuracy"
        else each
        for each in record.measurements
    )
    return record.model_copy(update={"measurements": measurements})


def test_negative_shares_have_a_minus_and_an_unambiguous_range() -> None:
    records = [below_chance(record) for record in synthetic.records()]
    (rnn,) = [each for each in aggregates(group_cases(synthetic.run(), records)) if each.arch == "rnn"]
    low, middle, high = (round(100 * value) for value in (rnn.iqm.low, rnn.iqm.middle, rnn.iqm.high))
    assert low < middle < 0
    shown = f"{middle}% ({low} to {high})"
    assert shown in reports.aggregates_as("markdown", synthetic.run(), records)
    latex = reports.aggregates_as("latex", synthetic.run(), records)
    assert f"${middle}\\%$ (${low}$ to " in latex
    body = latex[latex.index("\\begin{tabular}") :]
    assert "$> 10\\%$ & $> 25\\%$" in body
    assert ">" not in re.sub(r"\$> \d+\\%\$", "", body)


@pytest.mark.parametrize("archs", [["lstm", "gru"], [f"gated_delta_net:heads={n},expansion=2" for n in range(19)]])
def test_latex_fits_a_one_column_page(archs: list[str], tmp_path: Path) -> None:
    cases = [synthetic.case("gru", task, 32, seed) for task in ("adding", "copy_memory") for seed in range(2)]
    records = [below_chance(synthetic.renamed(case, arch=arch)) for arch in (*archs, "rnn") for case in cases]
    text = reports.aggregates_as("latex", synthetic.run([record.case for record in records]), records)
    assert len(re.findall(r"^(rnn|gated|lstm|gru)", text, re.MULTILINE)) == 2 * (len(archs) + 1)
    assert compiled(text, tmp_path).problems == []


def test_every_format_has_the_same_numbers(groups: list[Group]) -> None:
    run, records, best = synthetic.run(), synthetic.records(), aggregates(groups)[0]
    shown = f"{best.iqm.middle:.0%} ({100 * best.iqm.low:.0f}–{100 * best.iqm.high:.0f})"
    console = Console(file=io.StringIO(), width=200)
    reports.render_aggregates(run, records, console=console)
    assert shown in console.file.getvalue()  # type: ignore[attr-defined]
    assert shown in reports.aggregates_as("markdown", run, records).replace("\\", "")
    rows = list(csv.DictReader(io.StringIO(reports.aggregates_as("csv", run, records))))
    iqm = next(row for row in rows if row["arch"] == best.arch and row["quantity"] == "iqm")
    assert float(iqm["value"]) == best.iqm.middle
    assert {row["quantity"] for row in rows} == {"iqm", "mean", "improvement", *(f"runs_above_{x}" for x in LEVELS)}
    document = json.loads(json.dumps(reports.aggregates_document(run, records)))
    assert document["aggregates"][0]["iqm"] == list(best.iqm)
    latex = reports.aggregates_as("latex", run, records)
    assert latex.isascii() and latex.count("\\\\\n") == 2 * (len(aggregates(groups)) + 1)
    assert f"{100 * best.iqm.middle:.0f}\\%" in latex
