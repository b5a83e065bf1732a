"""Sentences and written numbers follow from the data."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import pytest

from reports.analysis.groups import group_cases
from reports.analysis.memory_share import shared_settings, shares_beyond_training
from reports.analysis.overview import overview_rows
from reports.export import comparison
from reports.format import numbers
from reports.text.conclusions import conclusions
from reports.text.context import budget, context, protocols
from reports.text.recommendation import choice, exceptions, left_out
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
def test_bytes(number: float | None, text: str) -> None:
    assert numbers.size(number) == text


def test_a_range_of_bytes() -> None:
    assert numbers.sizes([648, None, 544]) == "544–648 B"
    assert numbers.sizes([640, 640]) == "640 B"
    assert numbers.sizes([640, 2048]) == "640 B–2.0 KiB"
    assert numbers.sizes([None]) == "—"


def test_a_name_becomes_one_short_printable_line() -> None:
    assert numbers.shortened("a\nb\x00c" + "d" * 50, 10) == "a�b�cdddd…"


def told(run: RunFile, records: list[Record]) -> list[str]:
    return conclusions(group_cases(run, records))


def test_a_line_per_task_and_length_says_who_uses_the_past(run: RunFile, records: list[Record]) -> None:
    lines = told(run, records)
    assert lines[1] == (
        "first_last at 128: transformer (0.97), gru (0.96) and lstm (0.95) use some of the past; "
        "rnn (0.76) cannot be told from the 0.75 of an answer blind to the past."
    )
    assert lines[3] == (
        "adding at 128: gru (0.90) nearly solves it; lstm (0.71) and transformer (0.60) use some of the past; "
        "rnn (0.09, 2 of 3 seeds) cannot be told from the 0.078 of chance."
    )
    assert lines[5].startswith("copy_memory at 128: transformer (1.00, 2 of 3 seeds) solves it; ")


def scored(arch: str, task: str, scores: Sequence[float]) -> list[Record]:
    """One record a seed, all else as in the synthetic run."""
    made = []
    for seed, score in enumerate(scores):
        sound = synthetic.record(synthetic.case(arch, task, 32, seed))
        kept = [one for one in sound.measurements if one.metric != "accuracy"]
        kept.append(Measurement(metric="accuracy", at={"length": 32}, samples=(score,)))
        made.append(sound.model_copy(update={"measurements": tuple(kept)}))
    return made


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        # Student's intervals: 0.05 to 1.32, 0.42 to 1.28, 0.70 to 0.77, 0.65 to 0.71, 0.755 to 0.86, 0.945 to 0.99.
        ((0.9, 0.75, 0.4), "lstm (0.68) cannot be told from the 0.75 of an answer blind to the past"),
        ((0.95, 0.95, 0.65), "lstm (0.85) cannot be told from the 0.75 of an answer blind to the past"),
        ((0.72, 0.73, 0.75), "lstm (0.73) cannot be told from the 0.75 of an answer blind to the past"),
        ((0.67, 0.67, 0.69), "lstm (0.68) falls below the 0.75 of an answer blind to the past"),
        ((0.79, 0.80, 0.83), "lstm (0.81) uses some of the past"),
        ((0.96, 0.97, 0.98), "lstm (0.97) uses some of the past"),
        ((0.97, 0.97, 0.98), "lstm (0.97) nearly solves it"),
        ((1.0, 1.0, 0.999), "lstm (1.00) solves it"),
        # All seeds tie: the width of zero is no licence, the mean must be clear of the line too.
        ((0.755, 0.755, 0.755), "lstm (0.76) cannot be told from the 0.75 of an answer blind to the past"),
        ((0.745, 0.745, 0.745), "lstm (0.74) cannot be told from the 0.75 of an answer blind to the past"),
        ((0.9,), "one seed, so no interval: lstm (0.90), beside the 0.75 of an answer blind to the past"),
    ],
)
def test_what_is_said_is_what_the_interval_allows(scores: tuple[float, ...], words: str) -> None:
    kept = scored("lstm", "first_last", scores)
    assert told(synthetic.run([record.case for record in kept]), kept)[0] == f"first_last at 32: {words}."


def test_one_seed_and_unmeasured_are_said() -> None:
    cases = [synthetic.case(arch, "first_last", 32, 0) for arch in synthetic.ARCHS[1:]]
    (low,) = scored("lstm:forget_bias=1", "first_last", [0.6])
    assert told(synthetic.run(cases), [low])[0] == (
        "first_last at 32: one seed, so no interval: lstm (0.60), beside the 0.75 of an answer blind to the past; "
        "nothing was measured of gru and transformer."
    )


def test_streaming_is_told_with_its_growth(run: RunFile, records: list[Record]) -> None:
    line = told(run, records)[-1]
    assert line.startswith("A streamed step at position 16,384 costs: rnn ")
    assert line.count("flat from position 1") == 3
    assert "times its cost at position 1)" in line


def test_the_cheapest_of_those_that_remember_nearly_as_much_as_the_best_is_chosen(
    run: RunFile, records: list[Record]
) -> None:
    found = group_cases(run, records)
    rows = overview_rows(found)
    assert [(row.arch, row.chosen) for row in rows] == [
        ("transformer", False),
        ("gru", True),
        ("lstm", False),
        ("rnn", False),
    ]
    chosen = choice(found, rows)
    assert chosen is not None
    assert chosen == (
        "For streaming, choose gru: its step is the cheapest of those that surely use the past and remember at most "
        "10 points less than the best, transformer (88%). "
        "It remembers 82% (78–86%) of what there is to remember at the trained length. "
        "A step costs 56.2 µs and 640 B of state at position 16,384, flat from position 1. "
        "Clearly more is remembered by transformer (88%, 16 times the cost). "
        "Cheaper, but clearly less memory: lstm (65%, 91% of the cost) and rnn (25%, 65% of the cost). "
        "On sequences 4 times as long as those it was trained on, 52% is left."
    )
    assert left_out(found, rows) is None
    assert exceptions(found, rows) == (
        "Setting by setting: transformer clearly remembers more than gru on copy_memory at 32 (100% against 90%) "
        "and copy_memory at 128 (100% against 31%)."
    )


def test_the_remembered_share_is_the_mean_over_settings_and_never_below_nothing() -> None:
    records = [
        *scored("lstm", "first_last", [0.75, 0.875, 1.0]),
        *scored("lstm", "adding", [0.02, 0.03, 0.04]),
        *scored("gru", "first_last", [0.6, 0.5, 0.7]),
        *scored("gru", "adding", [1.0, 1.0, 1.0]),
    ]
    rows = {
        row.arch: row for row in overview_rows(group_cases(synthetic.run([record.case for record in records]), records))
    }
    # Above the 0.75 of first_last lie shares of 0, ½ and 1; scores below the line of adding are shares of 0.
    assert rows["lstm"].share == pytest.approx(0.25)
    assert rows["gru"].share == pytest.approx(0.5)
    assert (rows["gru"].low, rows["gru"].high) == pytest.approx((0.5, 0.5))
    # Half of Student's interval of three values with the standard deviation ½, 4.303 times ½ / √3.
    assert rows["lstm"].high == pytest.approx(0.25 + 4.3027 * 0.5 / 3**0.5 / 2, abs=1e-3)
    assert rows["lstm"].low == 0.0


def chosen_of(*rivals: list[Record]) -> str | None:
    kept = [record for rival in rivals for record in rival]
    return choice(group_cases(synthetic.run([record.case for record in kept]), kept))


def test_no_architecture_is_chosen_where_the_best_interval_does_not_clear_the_line() -> None:
    chosen = chosen_of(scored("lstm", "adding", [0.9, 0.1, 0.1]), scored("gru", "adding", [0.1, 0.1, 0.1]))
    assert chosen is not None
    assert "none is to be preferred" in chosen
    cleared = chosen_of(scored("lstm", "adding", [0.9, 0.8, 0.9]), scored("gru", "adding", [0.1, 0.1, 0.1]))
    assert cleared is not None
    assert cleared.startswith("For streaming, choose lstm: it remembers 86% (70–100%) of what there is to remember")
    assert "and no other comes within 10 points of it." in cleared
    near = chosen_of(scored("lstm", "adding", [0.9, 0.8, 0.9]), scored("transformer", "adding", [0.8, 0.8, 0.81]))
    assert near is not None
    assert "more than any other, and its step is the cheapest of those that surely use the past and come" in near
    unsure = chosen_of(scored("rnn", "adding", [0.9, 0.1, 0.1]), scored("transformer", "adding", [0.4, 0.41, 0.4]))
    assert unsure is not None
    assert "Not told apart from it in memory: rnn (31%, perhaps nothing," in unsure


def test_settings_are_those_that_keep_the_most_and_who_is_left_out_is_said() -> None:
    most = [record for arch in ("lstm", "gru", "rnn") for record in scored(arch, "adding", [0.9, 0.8])]
    pair = [record for arch in ("lstm", "gru") for record in scored(arch, "copy_memory", [0.9, 0.8])]
    lone = scored("transformer", "adding", [1.0])
    # 4 pairs with both tasks, 3 with `adding` alone.
    found = group_cases(synthetic.run([one.case for one in most + pair + lone]), most + pair + lone)
    assert {place: list(row) for place, row in shared_settings(found).items()} == {
        ("adding", 32): ["lstm", "gru"],
        ("copy_memory", 32): ["lstm", "gru"],
    }
    assert left_out(found, overview_rows(found)) == (
        "Left out, without two scored seeds in every one of these settings: rnn and transformer."
    )
    # 3 pairs with `adding` alone, 2 with both.
    few = [record for record in pair if record.case.arch == "gru"]
    found = group_cases(synthetic.run([one.case for one in most + few]), most + few)
    assert {place: list(row) for place, row in shared_settings(found).items()} == {
        ("adding", 32): ["lstm", "gru", "rnn"]
    }


def test_what_is_left_beyond_the_trained_length_is_the_mean_over_settings(run: RunFile, records: list[Record]) -> None:
    found = group_cases(run, records)
    multiple, kept = shares_beyond_training(found, shared_settings(found))
    assert multiple == 4
    rows = [group for group in found if group.arch == "gru"]
    by_hand = [
        (fmean(group.scores(4 * group.length)) - floor) / (1 - floor)
        for group in rows
        for floor in [synthetic.MEMORYLESS.get(group.task, synthetic.CHANCE[group.task])]
    ]
    assert kept["gru"] == pytest.approx(fmean(by_hand), abs=1e-9)
    assert {row.arch: row.beyond for row in overview_rows(found)} == kept
    short = [record for record in records if record.case.length == 32 or record.case.arch != "gru"]
    assert shares_beyond_training(group_cases(run, []), {}) == (None, {})
    assert shares_beyond_training(group_cases(run, short), shared_settings(group_cases(run, short)))[0] == 4


def test_one_seed_chooses_nothing() -> None:
    assert chosen_of(scored("lstm", "adding", [0.9]), scored("gru", "adding", [0.1])) is None
    # A single lucky seed on top is no rival, so there are not two to choose from.
    assert chosen_of(scored("lstm", "adding", [0.99]), scored("gru", "adding", [0.5, 0.5, 0.51])) is None


def test_nothing_is_chosen_where_there_is_no_choice() -> None:
    one = synthetic.case("gru", "adding", 32, 0)
    assert choice(group_cases(synthetic.run([one]), [synthetic.record(one)])) is None
    assert choice(group_cases(synthetic.run([one]), [])) is None


def test_context_names_what_is_needed_to_repeat_the_run(run: RunFile, records: list[Record]) -> None:
    strip = context(run, group_cases(run, records))
    assert strip["machine"] == "Imagined CPU at 2.0 GHz, 2 cores, 8.0 GiB"
    assert strip["lanes"] == "2 lanes of 1 thread"
    assert strip["date"] == "2026-01-01 12:00 UTC"
    assert (strip["seeds"], strip["budget"]) == ("3 (0–2)", "20,000 parameters, 2 layers")
    assert (strip["code"], strip["command"]) == ("0123456789", "carousel run quick")
    assert "plugins" not in strip
    extended = run.model_copy(update={"plugins": {"mine": "aaaaaaaaaa", "other": "bbbbbbbbbb"}})
    assert context(extended, [])["plugins"] == "mine aaaaaaaaaa and other bbbbbbbbbb"


def test_a_comparison_says_which_plugins_are_other_files(run: RunFile) -> None:
    def said(before: dict[str, str], after: dict[str, str]) -> list[str]:
        base, new = (run.model_copy(update={"plugins": plugins}) for plugins in (before, after))
        return comparison.notes(compare((base, []), (new, [])))

    assert said({"mine": "aaaaaaaaaa", "gone": "cccccccccc"}, {"mine": "aaaaaaaaaa", "added": "dddddddddd"}) == []
    assert said({"mine": "aaaaaaaaaa"}, {"mine": "bbbbbbbbbb"}) == [
        "the plugin mine is another version of its file: aaaaaaaaaa against bbbbbbbbbb"
    ]


def test_protocols_are_told_apart() -> None:
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
    assert "stopped early" not in second[1]
    assert budget([]) == ""
    decayed = one.model_copy(update={"protocol": one.protocol.model_copy(update={"weight_decay": 0.1})})
    plain, odd = protocols(group_cases(synthetic.run([one, synthetic.case("rnn", "adding", 32, 0), decayed]), []))
    assert (plain[0], odd[0]) == ("adding at 32", "gru weight_decay=0.1 on adding at 32")
