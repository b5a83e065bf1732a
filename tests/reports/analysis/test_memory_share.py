"""Memory shares are means of what the seeds show, also below the line, and count only what needs the memory."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

import reports
from reports.analysis.frontier import frontier
from reports.analysis.groups import Group, group_cases
from reports.analysis.memory_share import memory_evidence_of, memory_share, range_share, score_evidence_of
from reports.analysis.overview import overview_rows
from reports.format.numbers import memory_share as share_text
from results import Measurement, Record, ReferenceScores, interval_of_mean
from tests.reports import synthetic

CHANCE = 0.125


def records_of(
    task: str,
    scores: Sequence[float],
    *,
    arch: str = "gru",
    memory_scores: Sequence[float] = (),
    memoryless: float | None = None,
    memory_floor: float | None = None,
) -> list[Record]:
    """Return one record per score at length 32, with the given reference scores."""
    made = []
    for seed, score in enumerate(scores):
        sound = synthetic.record(synthetic.case(arch, "copy_memory", 32, seed))
        case = synthetic.case(arch, task, 32, seed)
        measurements = [each for each in sound.measurements if each.metric != "accuracy"]
        measurements.append(Measurement(metric="accuracy", at={"length": 32}, samples=(score,)))
        if memory_scores:
            measurements.append(Measurement(metric="memory_score", at={"length": 32}, samples=(memory_scores[seed],)))
        reference = ReferenceScores(length=32, chance=CHANCE, memoryless_score=memoryless, memory_floor=memory_floor)
        made.append(
            sound.model_copy(
                update={
                    "case": case,
                    "key": case.key,
                    "measurements": tuple(measurements),
                    "reference_scores": (reference,),
                }
            )
        )
    return made


def group_of(records: list[Record]) -> Group:
    (group,) = group_cases(synthetic.run([record.case for record in records]), records)
    return group


def test_seeds_below_the_line_lower_the_mean() -> None:
    """Seeds of a guessing model scatter around the line. Raised to 0, their mean would be above 0."""
    scores = [CHANCE - 0.02, CHANCE, CHANCE + 0.02]
    shares = memory_share(group_of(records_of("copy_memory", scores)))
    assert shares[0] < 0
    assert sum(shares) == pytest.approx(0.0)


def test_a_share_that_is_not_above_0_is_given_by_its_upper_end() -> None:
    assert [share_text(*each) for each in ((0.88, 0.9), (0.006, 0.02), (0.004, 0.0312), (-0.02, 0.01))] == [
        "88%",
        "1%",
        "at most 4%",
        "at most 1%",
    ]
    assert share_text(-0.05, -0.01) == "at most 0%"
    assert share_text(0.0, 0.04) == "at most 4%"


def test_page_and_recommendation_say_at_most() -> None:
    flat = records_of("copy_memory", [CHANCE - 0.005, CHANCE - 0.005, CHANCE - 0.004])
    good = records_of("copy_memory", [0.9, 0.91, 0.9], arch="lstm")
    records = [*flat, *good]
    run = synthetic.run([record.case for record in records])
    page = reports.page(run, records)
    (row,) = [row for row in overview_rows(group_cases(run, records)) if row.arch == "gru"]
    assert row.share < 0 < 0.02 < row.high < 0.03
    assert '<span class="figure">at most 3%</span></td>' in page
    assert "gru (no clear memory by its scores, at most 3%)" in page
    assert "0% (0–0)" not in page and "-0%" not in page and "width:-" not in page


def test_recall_counts_only_what_is_better_than_naming_any_value_shown() -> None:
    """With eight pairs, any value shown is right in an eighth of the queries, far above a share of all values."""
    named = records_of("recall", [0.26, 0.25, 0.24], memory_floor=0.25)
    assert memory_share(group_of(named)) == pytest.approx([0.01 / 0.75, 0.0, -0.01 / 0.75])
    without = records_of("recall", [0.26, 0.25, 0.24])
    assert min(memory_share(group_of(without))) > 0.1
    evidence, memory = score_evidence_of(group_of(named)), memory_evidence_of(group_of(named))
    assert evidence is not None and memory is not None
    assert (evidence.using, memory.using) == (3, 0)  # the past is used, but not the keys


def test_reber_counts_only_the_positions_that_need_the_memory() -> None:
    """A model that knows the inner grammar is right at most positions, and in half of those that need the memory."""
    inner = records_of("reber", [0.96] * 3, memory_scores=[0.5, 0.49, 0.51], memoryless=0.6, memory_floor=0.5)
    assert memory_share(group_of(inner)) == pytest.approx([0.0, -0.02, 0.02])
    learned = records_of("reber", [0.99] * 3, memory_scores=[0.9, 0.95, 1.0], memoryless=0.6, memory_floor=0.5)
    assert memory_share(group_of(learned)) == pytest.approx([0.8, 0.9, 1.0])


def test_the_scores_of_a_plugin_without_a_memory_floor_are_used_as_they_are() -> None:
    shares = memory_share(group_of(records_of("mine", [0.5625] * 2, memory_scores=[0.9, 0.9])))
    assert shares == pytest.approx([0.5, 0.5])


def test_a_range_has_the_interval_of_its_scores_as_shares() -> None:
    reference = ReferenceScores(length=40, last_length=256, chance=0.2)
    records = [
        record.model_copy(
            update={
                "measurements": (Measurement(metric="accuracy", at={"from": 40, "to": 256}, samples=(score,)),),
                "reference_scores": (reference,),
            }
        )
        for record, score in zip(records_of("copy_memory", [0.2] * 3), (0.15, 0.2, 0.19), strict=True)
    ]
    share = range_share(group_of(records), (40, 256))
    assert share is not None
    assert share.middle == pytest.approx((0.18 - 0.2) / 0.8)
    assert share.high == pytest.approx((interval_of_mean([0.15, 0.2, 0.19]).high - 0.2) / 0.8)


def test_an_architecture_that_learns_with_one_seed_is_considered_and_its_seeds_are_counted() -> None:
    bimodal = records_of("copy_memory", [1.0, CHANCE, CHANCE])
    records = [*bimodal, *records_of("copy_memory", [0.13, 0.12, 0.125], arch="lstm")]
    groups = group_cases(synthetic.run([record.case for record in records]), records)
    rows = {row.arch: row for row in overview_rows(groups)}
    assert (rows["gru"].using, rows["gru"].models, rows["gru"].low < 0) == (1, 3, True)
    found = frontier(groups, list(rows.values()))
    assert [row.arch for row in found.candidates] == ["gru"]
    text = reports.page(synthetic.run([record.case for record in records]), records)
    assert "33% memory share, seen in 1 of 3 models, 95% interval includes 0" in text


@pytest.mark.parametrize(
    ("scores", "colour"),
    [
        ((1.0, 1.0, 1.0), "\x1b[32m"),
        ((1.0, CHANCE, CHANCE), None),
        ((0.295, 0.711, 0.260), None),
        ((CHANCE, 0.12, 0.13), "\x1b[31m"),
    ],
)
def test_a_score_is_red_only_if_no_seed_shows_use_of_the_past(scores: tuple[float, ...], colour: str | None) -> None:
    records = records_of("copy_memory", scores)
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system="standard")
    reports.render_terminal(synthetic.run([record.case for record in records]), records, console=console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert {each for each in ("\x1b[32m", "\x1b[31m") if each in text} == ({colour} if colour else set())


def test_the_page_says_of_each_seed_what_its_score_shows() -> None:
    records = records_of("copy_memory", (1.0, 0.3, CHANCE))
    page = reports.page(synthetic.run([record.case for record in records]), records)
    cells = [page.count(f'<td class="word">{shown}</td>') for shown in ("solves", "uses", "not shown")]
    assert cells == [1, 1, 1]
