"""Effective lengths and scores over ranges are shown in every form, and a range is never taken for a length."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import pytest
from rich.console import Console

import reports
from reports.analysis.groups import group_cases
from reports.text.lengths import effective_estimate, effective_text, interval_sentence, length_text
from results import EffectiveLength, Measurement, Record, ReferenceScores, RunFile
from tests.reports import synthetic

RANGE = {"from": 40, "to": 256}


def with_lengths(scores: Mapping[int, Sequence[float]], over_range: Sequence[float] = ()) -> list[Record]:
    """Return records of seeds of a GRU trained at 32 on adding.

    `scores` has the scores of the seeds by test length, and `over_range` their scores over `RANGE`.
    """
    records = []
    for seed in range(len(next(iter(scores.values())))):
        sound = synthetic.record(synthetic.case("gru", "adding", 32, seed))
        measurements = [each for each in sound.measurements if each.metric != "accuracy"]
        measurements += [
            Measurement(metric="accuracy", at={"length": length}, samples=(row[seed],))
            for length, row in scores.items()
        ]
        references = [ReferenceScores(length=length, chance=0.5) for length in scores]
        if over_range:
            measurements.append(Measurement(metric="accuracy", at=RANGE, samples=(over_range[seed],)))
            references.append(ReferenceScores(length=40, last_length=256, chance=0.5 + 0.1 * seed))
        changes = {"measurements": tuple(measurements), "reference_scores": tuple(references)}
        records.append(sound.model_copy(update=changes))
    return records


def run_of(records: Sequence[Record]) -> RunFile:
    return synthetic.run([record.case for record in records])


PASSES = {32: (1.0, 1.0, 1.0), 64: (1.0, 1.0, 0.99), 128: (1.0, 0.98, 0.6)}
OVER_RANGE = (0.8, 0.85, 0.9)


def row_of(length: int | None, seeds: tuple[int, ...], low: int | None, high: int | None) -> EffectiveLength:
    return EffectiveLength(length=length, seeds=seeds, longest=128, low=low, high=high, coverage=0.75)


@pytest.mark.parametrize(
    ("effective", "text", "estimate"),
    [
        (row_of(128, (128, 128, 128), 128, 128), "≥ 128", "≥ 128 (every seed)"),
        (row_of(64, (64, 128, 128), 64, 128), "64", "64 (64 to ≥ 128)"),
        (row_of(0, (0, 32, 64), 0, 64), "none", "none (none to 64)"),
        (row_of(0, (32, 32, 32), 32, 32), "none", "none by the mean, 32 by every seed"),
        (row_of(32, (64, 128, 128), 64, 128), "32", "32 by the mean, 64 to ≥ 128 by the seeds"),
        (row_of(None, (64,), None, None), "—", "single seed: 64"),
        (None, "—", "—"),
    ],
)
def test_lengths_in_words(effective: EffectiveLength | None, text: str, estimate: str) -> None:
    assert (effective_text(effective), effective_estimate(effective)) == (text, estimate)


def test_a_length_with_thousands_is_grouped() -> None:
    assert length_text(4096, 8192) == "4,096"


def test_the_sentence_says_how_often_the_interval_covers() -> None:
    few, many = row_of(64, (64, 64, 64), 64, 64), row_of(64, (64,) * 8, 64, 64)
    assert "at least 75%." in interval_sentence([few])
    assert "at least 75% to 95%." in interval_sentence(
        [few, EffectiveLength(length=64, seeds=many.seeds, longest=128, low=64, high=64, coverage=0.95)]
    )
    assert interval_sentence([]) == "A single seed has no interval."


def test_a_group_has_the_effective_length_of_its_scores() -> None:
    records = with_lengths(PASSES)
    (row,) = reports.leaderboard(run_of(records), records)
    assert row.effective is not None
    assert (row.effective.length, row.effective.seeds) == (64, (128, 128, 64))


def test_seeds_without_a_score_are_left_out_and_a_length_that_some_seeds_lack_too() -> None:
    records = with_lengths(PASSES)
    failed = records[2].model_copy(update={"status": "diverged"})
    (row,) = reports.leaderboard(run_of(records), [*records[:2], failed])
    assert row.effective is not None
    assert row.effective.seeds == (128, 128)
    shorter = records[2].model_copy(
        update={"measurements": tuple(each for each in records[2].measurements if each.at != {"length": 128})}
    )
    (row,) = reports.leaderboard(run_of(records), [*records[:2], shorter])
    assert row.effective is not None
    assert (row.effective.longest, row.effective.seeds) == (64, (64, 64, 64))


def test_a_range_has_its_own_score_and_the_reference_scores_of_each_seed() -> None:
    records = with_lengths(PASSES, OVER_RANGE)
    (group,) = group_cases(run_of(records), records)
    (row,) = reports.leaderboard(run_of(records), records)
    assert group.evaluated_lengths() == [32, 64, 128]
    assert row.score == 1.0
    (over,) = row.range_scores
    assert (over.lengths, over.score) == ("40..256", pytest.approx(0.85))
    assert over.share == pytest.approx((0.6 + 0.625 + 2 / 3) / 3)  # chance is 0.5, 0.6 and 0.7


def test_every_form_shows_lengths_and_ranges() -> None:
    records = with_lengths(PASSES, OVER_RANGE)
    run = run_of(records)
    (line,) = csv.DictReader(io.StringIO(reports.as_csv(run, records)))
    names = ("effective_length", "effective_length_low", "effective_length_high", "longest_length")
    assert [line[name] for name in names] == ["64", "64", "128", "128"]
    assert line["range_scores"].startswith("40..256 0.85")
    markdown, page = reports.as_markdown(run, records), reports.page(run, records)
    assert "| 64 (64 to ≥ 128) | 0.850 (0.726–0.974) |" in markdown
    assert "score at 40..256" in markdown
    assert r"64 (64 to $\geq$ 128) & 0.850 (0.726--0.974)" in reports.as_latex(run, records)
    assert "score at 40..256" in page
    assert "≥ 128, ≥ 128, 64" in page
    assert "The effective length is the longest tested length" in page
    console = Console(width=200, file=io.StringIO(), force_terminal=True, color_system=None)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    assert "40..256" in console.file.getvalue()


def test_a_run_that_tested_only_a_range_is_reported() -> None:
    ranged = [
        record.model_copy(
            update={
                "measurements": tuple(each for each in record.measurements if "length" not in each.at),
                "reference_scores": record.reference_scores[-1:],
            }
        )
        for record in with_lengths(PASSES, OVER_RANGE)
    ]
    run = run_of(ranged)
    (row,) = reports.leaderboard(run, ranged)
    assert (row.score, row.effective) == (None, None)
    assert "score at 40..256" in reports.page(run, ranged)
    assert "0.850" in reports.as_markdown(run, ranged)
