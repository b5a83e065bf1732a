"""Sentences and formatted numbers follow from the data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

import pytest

from reports.analysis.groups import group_cases
from reports.analysis.learning_rates import rate_rows
from reports.analysis.memory_share import shared_settings, shares_beyond_training
from reports.analysis.overview import overview_rows
from reports.analysis.ranking import Estimate
from reports.export import comparison
from reports.format import numbers
from reports.html.case_details import case_details
from reports.text.budgets import budget
from reports.text.conclusions import conclusions
from reports.text.context import context, protocols
from reports.text.recommendation import left_out
from results import Measurement, Protocol, Record, RunFile
from results.comparison.compare import compare
from tests.reports import synthetic


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (33.249, "33.2"), (1234.5, "1,230"), (0.04567, "0.0457"), (9.999, "10.0"), (999.9, "1,000")],
)
def test_significant_digits(number: float, text: str) -> None:
    assert numbers.significant(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (640, "640 B"), (1536, "1.5 KiB"), (8 * 2**20, "8.0 MiB"), (300 * 2**10, "300 KiB"), (None, "—")],
)
def test_sizes_in_bytes(number: float | None, text: str) -> None:
    assert numbers.size(number) == text


def test_range_of_sizes_in_bytes() -> None:
    assert numbers.sizes([648, None, 544]) == "544–648 B"
    assert numbers.sizes([640, 640]) == "640 B"
    assert numbers.sizes([640, 2048]) == "640 B–2.0 KiB"
    assert numbers.sizes([None]) == "—"


def test_name_is_shortened_to_one_printable_line() -> None:
    assert numbers.shortened("a\nb\x00c" + "d" * 50, 10) == "a�b�cdddd…"


def findings(run: RunFile, records: list[Record]) -> list[str]:
    return conclusions(group_cases(run, records))


def without_durations(lines: list[str]) -> list[str]:
    """Remove for how long an architecture did not improve, which depends on the noise of the curves."""
    return [
        re.sub(r" and did not improve in the last [\d,]+ steps \(with more steps, learning may still begin\)", "", line)
        for line in lines
    ]


def test_each_task_and_length_has_a_sentence_on_who_uses_the_past(run: RunFile, records: list[Record]) -> None:
    lines = without_durations(findings(run, records))
    assert lines[1] == (
        "first_last at 128: transformer (0.97, 1 of 3 seeds solves it), gru (0.96) and lstm (0.95) use some of the "
        "past; "
        "rnn (0.76) is indistinguishable from the memoryless baseline (0.75)."
    )
    assert lines[3] == (
        "adding at 128: gru (0.90) nearly solves the task; lstm (0.71) and transformer (0.60) use some of the past; "
        "rnn (0.09, 2 of 3 seeds) is indistinguishable from the chance level (0.078)."
    )
    assert lines[5].startswith("copy_memory at 128: transformer (1.00, 2 of 3 seeds) solves the task; ")


def scored(arch: str, task: str, scores: Sequence[float]) -> list[Record]:
    """Return one record per score, with seeds from 0. Each record has its score at length 32 as its only score."""
    records = []
    for seed, score in enumerate(scores):
        sound = synthetic.record(synthetic.case(arch, task, 32, seed))
        measurements = [each for each in sound.measurements if each.metric != "accuracy"]
        measurements.append(Measurement(metric="accuracy", at={"length": 32}, samples=(score,)))
        records.append(sound.model_copy(update={"measurements": tuple(measurements)}))
    return records


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        # Student's intervals: 0.05 to 1.32, 0.40 to 1.33, 0.60 to 1.15, 0.70 to 0.77, 0.65 to 0.71, 0.755 to 0.86.
        (
            (0.9, 0.75, 0.4),
            "lstm (0.68, 0.40 to 0.90): 1 of 3 seeds uses some of the past and 2 are not clearly above the memoryless "
            "baseline (0.75)",
        ),
        (
            (1.0, 0.95, 0.65),
            "lstm (0.87, 0.65 to 1.00): 1 of 3 seeds solves the task, 1 uses some of the past and 1 is not clearly "
            "above the memoryless baseline (0.75)",
        ),
        ((1.0, 0.8, 0.82), "lstm (0.87, 0.80 to 1.00): 1 of 3 seeds solves the task and 2 use some of the past"),
        ((0.72, 0.73, 0.75), "lstm (0.73) is indistinguishable from the memoryless baseline (0.75)"),
        ((0.67, 0.67, 0.69), "lstm (0.68) falls below the memoryless baseline (0.75)"),
        ((0.79, 0.80, 0.83), "lstm (0.81) uses some of the past"),
        ((0.96, 0.97, 0.98), "lstm (0.97) uses some of the past"),
        ((0.97, 0.97, 0.98), "lstm (0.97) nearly solves the task"),
        ((0.985, 0.99, 1.0), "lstm (0.99, 1 of 3 seeds solves it) nearly solves the task"),
        ((1.0, 1.0, 0.999), "lstm (1.00) solves the task"),
        # All seeds are equal, so the interval is that of 3,072 test sequences: ± 0.015.
        ((0.755, 0.755, 0.755), "lstm (0.76) is indistinguishable from the memoryless baseline (0.75)"),
        ((0.745, 0.745, 0.745), "lstm (0.74) is indistinguishable from the memoryless baseline (0.75)"),
        ((0.9,), "by a single seed: lstm (0.90) uses some of the past"),
    ],
)
def test_statement_is_supported_by_the_interval(scores: tuple[float, ...], words: str) -> None:
    records = scored("lstm", "first_last", scores)
    line, *_ = without_durations(findings(synthetic.run([record.case for record in records]), records))
    assert line == f"first_last at 32: {words}."


def test_a_mean_that_is_not_significant_over_the_whole_report_is_not_clearly_above() -> None:
    """Eight test sequences per seed cannot tell 0.9 from 0.75, although Student's interval lies above."""
    protocol = synthetic.PROTOCOL.model_copy(update={"test_sequences": 8})
    records = []
    for record in scored("lstm", "first_last", (1.0, 1.0, 1.0)):
        case = record.case.model_copy(update={"protocol": protocol})
        records.append(record.model_copy(update={"case": case, "key": case.key}))
    others = [synthetic.case("gru", "adding", 32, seed) for seed in range(97)]
    run = synthetic.run([*(record.case for record in records), *others])
    line, *_ = without_durations(findings(run, records))
    assert line == "first_last at 32: lstm (1.00) is not clearly above the memoryless baseline (0.75)."


def test_single_seeds_and_missing_scores_are_named() -> None:
    cases = [synthetic.case(arch, "first_last", 32, 0) for arch in synthetic.ARCHS[1:]]
    (low,) = scored("lstm:forget_bias=1", "first_last", [0.6])
    assert without_durations(findings(synthetic.run(cases), [low]))[0] == (
        "first_last at 32: by a single seed: lstm (0.60) falls below the memoryless baseline (0.75); no scores for gru "
        "and transformer."
    )


def test_cost_of_a_step_is_given_with_its_growth(run: RunFile, records: list[Record]) -> None:
    line = next(line for line in findings(run, records) if line.startswith("Cost of a streamed step"))
    assert line.startswith("Cost of a streamed step at position 16,384, inside a compiled loop: rnn ")
    assert line.count("flat from position 1") == 3
    assert "times its cost at position 1; " in line


def test_nothing_is_said_of_growth_if_one_position_was_measured(run: RunFile, records: list[Record]) -> None:
    single = [
        record.model_copy(
            update={"measurements": tuple(m for m in record.measurements if m.at.get("position", 64) == 64)}
        )
        for record in records
    ]
    assert any(record.of("step_seconds") for record in single)
    text = " ".join(findings(run, single))
    assert "Cost of a streamed step at position 64" in text
    for growth in ("flat", "times its cost", "()"):
        assert growth not in text


def test_memory_share_is_the_mean_over_settings_and_can_be_negative() -> None:
    records = [
        *scored("lstm", "first_last", [0.75, 0.875, 1.0]),
        *scored("lstm", "adding", [0.02, 0.03, 0.04]),
        *scored("gru", "first_last", [0.6, 0.5, 0.7]),
        *scored("gru", "adding", [1.0, 1.0, 1.0]),
    ]
    rows = {
        row.arch: row for row in overview_rows(group_cases(synthetic.run([record.case for record in records]), records))
    }
    # On first_last, the shares above 0.75 are 0, ½ and 1. On adding, a mean score of 0.03 lies below chance, 0.0784.
    below = (0.03 - 0.0784) / (1 - 0.0784)
    assert rows["lstm"].share == pytest.approx((0.5 + below) / 2)
    assert rows["gru"].share == pytest.approx((-0.6 + 1.0) / 2)
    # Half of Student's interval for three values with standard deviation ½: 4.303 times ½ / √3.
    half = 4.3027 * 0.5 / 3**0.5 / 2
    assert rows["lstm"].high == pytest.approx(rows["lstm"].share + half, abs=2e-3)
    assert rows["lstm"].low == pytest.approx(rows["lstm"].share - half, abs=2e-3)
    # On adding, all seeds of the GRU agree, so only their test sets leave an error there.
    on_first_last = Estimate.of([-0.6, -1.0, -0.2])
    assert rows["gru"].high - rows["gru"].share == pytest.approx((on_first_last.interval().high + 0.6) / 2, abs=1e-3)


def test_settings_maximise_pairs_and_left_out_architectures_are_named() -> None:
    most = [record for arch in ("lstm", "gru", "rnn") for record in scored(arch, "adding", [0.9, 0.8])]
    pair = [record for arch in ("lstm", "gru") for record in scored(arch, "copy_memory", [0.9, 0.8])]
    lone = scored("transformer", "adding", [1.0])
    # Both tasks together give 4 pairs of architecture and setting; `adding` alone gives 3.
    run_groups = group_cases(synthetic.run([record.case for record in most + pair + lone]), most + pair + lone)
    assert {setting: list(row) for setting, row in shared_settings(run_groups).items()} == {
        ("adding", 32): ["lstm", "gru"],
        ("copy_memory", 32): ["lstm", "gru"],
    }
    assert left_out(run_groups, overview_rows(run_groups)) == (
        "Left out, with fewer than two scored seeds in one of these settings: rnn and transformer."
    )
    # `adding` alone gives 3 pairs; both tasks together give 2.
    few = [record for record in pair if record.case.arch == "gru"]
    run_groups = group_cases(synthetic.run([record.case for record in most + few]), most + few)
    assert {setting: list(row) for setting, row in shared_settings(run_groups).items()} == {
        ("adding", 32): ["lstm", "gru", "rnn"]
    }


def test_memory_share_beyond_the_trained_length_is_the_mean_over_settings(run: RunFile, records: list[Record]) -> None:
    run_groups = group_cases(run, records)
    multiple, shares = shares_beyond_training(run_groups, shared_settings(run_groups))
    assert multiple == 4
    rows = [group for group in run_groups if group.arch == "gru"]
    by_hand = [
        (fmean(group.scores(4 * group.length)) - floor) / (1 - floor)
        for group in rows
        for floor in [synthetic.MEMORYLESS.get(group.task, synthetic.CHANCE[group.task])]
    ]
    assert shares["gru"].mean == pytest.approx(fmean(by_hand), abs=1e-9)
    means = {arch: estimate.mean for arch, estimate in shares.items()}
    assert {row.arch: row.beyond for row in overview_rows(run_groups)} == means
    short = [record for record in records if record.case.length == 32 or record.case.arch != "gru"]
    assert shares_beyond_training(group_cases(run, []), {}) == (None, {})
    assert shares_beyond_training(group_cases(run, short), shared_settings(group_cases(run, short)))[0] == 4


def test_context_has_what_is_needed_to_repeat_the_run(run: RunFile, records: list[Record]) -> None:
    strip = context(run, group_cases(run, records))
    assert strip["machine"] == "Imagined CPU at 2.0 GHz, 2 cores, 8.0 GiB"
    assert strip["workers"] == "2, 1 thread each"
    assert strip["date"] == "2026-01-01 12:00 UTC"
    assert (strip["seeds"], strip["budget"]) == ("3 (0–2)", "20,000 parameters, 2 layers")
    assert (strip["code"], strip["command"]) == ("0123456789", "carousel run quick")
    assert "plugins" not in strip
    extended = run.model_copy(update={"plugins": {"mine": "aaaaaaaaaa", "other": "bbbbbbbbbb"}})
    assert context(extended, [])["plugins"] == "mine aaaaaaaaaa and other bbbbbbbbbb"


def test_comparison_notes_changed_plugins(run: RunFile) -> None:
    def notes(before: dict[str, str], after: dict[str, str]) -> list[str]:
        base, new = (run.model_copy(update={"plugins": plugins, "cases": ()}) for plugins in (before, after))
        lines = comparison.notes(compare((base, []), (new, [])))
        return [line for line in lines if not line.startswith("not recorded in either run")]

    assert notes({"mine": "aaaaaaaaaa", "gone": "cccccccccc"}, {"mine": "aaaaaaaaaa", "added": "dddddddddd"}) == []
    assert notes({"mine": "aaaaaaaaaa"}, {"mine": "bbbbbbbbbb"}) == ["differs: plugin mine aaaaaaaaaa → bbbbbbbbbb"]


def test_different_protocols_are_listed_with_their_cases() -> None:
    one = synthetic.case("gru", "adding", 32, 0)
    fixed = Protocol(train_sequences=5_000, epochs=100, schedule="halving", solved_after=None, weight_decay=0.1)
    other = one.model_copy(update={"task": "copy_memory", "length": 64, "protocol": fixed})
    ((everywhere, words),) = protocols(group_cases(synthetic.run([one]), []))
    assert everywhere == "All cases"
    assert words.startswith("At most 800 steps on fresh batches of 32; Adam, learning rate 0.001 (cosine)")
    first, second = protocols(group_cases(synthetic.run([one, other]), []))
    assert (first[0], second[0]) == ("adding at 32", "copy_memory at 64")
    assert "100 epochs over 5,000 fixed sequences in batches of 32" in second[1]
    assert "halved every 20 epochs" in second[1]
    assert "weight decay 0.1" in second[1]
    assert "early stop" not in second[1]
    assert budget([]) == ""
    decayed = one.model_copy(update={"protocol": one.protocol.model_copy(update={"weight_decay": 0.1})})
    plain, odd = protocols(group_cases(synthetic.run([one, synthetic.case("rnn", "adding", 32, 0), decayed]), []))
    assert (plain[0], odd[0]) == ("adding at 32", "gru weight_decay=0.1 on adding at 32")


def test_guessing_is_described_without_a_learning_rate() -> None:
    trained = synthetic.case("gru", "adding", 32, 0)
    guess = Protocol(steps=800, optimizer="guessing", learning_rate=None, guess_range=10.0)
    guessed = synthetic.case("rnn", "adding", 32, 0).model_copy(update={"protocol": guess})
    (first, second) = protocols(group_cases(synthetic.run([trained, guessed]), []))
    assert "Adam, learning rate 0.001 (cosine); gradients clipped at 1; " in first[1]
    assert second[1].startswith(
        "At most 800 steps on fresh batches of 32; random weight guessing, every step with new weights from -10 to 10; "
        "validation on 256 sequences every 100 steps;"
    )
    groups = group_cases(synthetic.run([trained, guessed]), [])
    assert [row.arch for row in rate_rows(groups, [])] == ["gru"]
    configurations = [dict(details.configuration) for details in case_details(groups)]
    assert configurations[1]["learning rate"] == "none, because weights are guessed"
    assert "optimizer=guessing" in configurations[1]["protocol"]
