"""Sentences and written numbers follow from the data."""

from __future__ import annotations

import pytest

from reports import _numbers as written
from reports._conclusions import choice, conclusions
from reports._context import budget, context, protocols
from reports._series import groups
from results import Protocol, Record, RunFile
from tests.reports import synthetic


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (33.249, "33.2"), (1234.5, "1,230"), (0.04567, "0.0457"), (9.999, "10.0"), (999.9, "1,000")],
)
def test_significant_digits(number: float, text: str) -> None:
    assert written.significant(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (640, "640 B"), (1536, "1.5 KiB"), (8 * 2**20, "8.0 MiB"), (300 * 2**10, "300 KiB"), (None, "—")],
)
def test_bytes(number: float | None, text: str) -> None:
    assert written.size(number) == text


def test_a_name_becomes_one_short_printable_line() -> None:
    assert written.shortened("a\nb\x00c" + "d" * 50, 10) == "a�b�cdddd…"


def told(run: RunFile, records: list[Record]) -> list[str]:
    return conclusions(groups(run, records))


def test_a_line_per_task_and_length_says_who_uses_the_past(run: RunFile, records: list[Record]) -> None:
    lines = told(run, records)
    assert lines[1] == (
        "first_last at 128: transformer (0.97), gru (0.96) and lstm (0.95) nearly solve it; "
        "rnn (0.76) stays at the 0.75 of an answer blind to the past."
    )
    assert lines[3] == (
        "adding at 128: gru (0.90) nearly solves it; lstm (0.71) and transformer (0.60) use some of the past; "
        "rnn (0.09, 2 of 3 seeds) stays at the 0.078 of chance."
    )
    assert lines[5].startswith("copy_memory at 128: transformer (1.00, 2 of 3 seeds) solves it; ")


def test_below_the_line_and_unmeasured_are_said(run: RunFile) -> None:
    cases = [synthetic.case(arch, "first_last", 32, 0) for arch in synthetic.ARCHS[1:]]
    low = synthetic.record(cases[0])
    low = low.model_copy(
        update={"measurements": tuple(one.model_copy(update={"samples": (0.6,)}) for one in low.of("accuracy"))}
    )
    (line,) = told(synthetic.run(cases), [low])
    assert line == (
        "first_last at 32: lstm (0.60) falls below the 0.75 of an answer blind to the past; "
        "nothing was measured of gru and transformer."
    )


def test_streaming_is_told_with_its_growth_and_a_choice(run: RunFile, records: list[Record]) -> None:
    line = told(run, records)[-1]
    assert line.startswith("A streamed step at position 16,384 costs: rnn ")
    assert line.count("flat from position 1") == 3
    assert "times its cost at position 1)" in line
    chosen = choice(groups(run, records))
    assert chosen is not None
    assert chosen.startswith("For streaming, choose gru: within 0.02 of the best score in 4 of the 6 settings")


def test_no_architecture_is_chosen_where_none_uses_the_past() -> None:
    cases = [synthetic.case(arch, "copy_memory", 128, 0) for arch in ("rnn:init=orthogonal", "lstm")]
    kept = [synthetic.record(one) for one in cases]
    chosen = choice(groups(synthetic.run(cases), kept))
    assert chosen is not None
    assert "none is to be preferred" in chosen


def test_nothing_is_chosen_where_there_is_no_choice() -> None:
    one = synthetic.case("gru", "adding", 32, 0)
    assert choice(groups(synthetic.run([one]), [synthetic.record(one)])) is None
    assert choice(groups(synthetic.run([one]), [])) is None


def test_context_names_what_is_needed_to_repeat_the_run(run: RunFile, records: list[Record]) -> None:
    strip = context(run, groups(run, records))
    assert strip["machine"] == "Imagined CPU at 2.0 GHz, 2 cores, 8.0 GiB"
    assert strip["lanes"] == "2 lanes of 1 thread"
    assert strip["date"] == "2026-01-01 12:00 UTC"
    assert (strip["seeds"], strip["budget"]) == ("3 (0–2)", "20,000 parameters, 2 layers")
    assert (strip["code"], strip["command"]) == ("0123456789", "carousel run quick")


def test_protocols_are_told_apart() -> None:
    one = synthetic.case("gru", "adding", 32, 0)
    fixed = Protocol(train_sequences=5_000, epochs=100, schedule="halving", solved_after=None, weight_decay=0.1)
    other = one.model_copy(update={"task": "copy_memory", "length": 64, "protocol": fixed})
    ((everywhere, words),) = protocols(groups(synthetic.run([one]), []))
    assert everywhere == "All cases"
    assert words.startswith("At most 800 steps on fresh batches of 32; Adam, learning rate 0.001 (cosine)")
    first, second = protocols(groups(synthetic.run([one, other]), []))
    assert (first[0], second[0]) == ("adding at 32", "copy_memory at 64")
    assert "100 epochs over 5,000 fixed sequences in batches of 32" in second[1]
    assert "halved every 20 epochs" in second[1]
    assert "weight decay 0.1" in second[1]
    assert "stopped early" not in second[1]
    assert budget([]) == ""
