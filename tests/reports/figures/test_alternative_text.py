"""Alternative texts name the architecture with the extreme value, or the one that is extreme in the most panels."""

from __future__ import annotations

import pytest

from reports.figures.drawing.alternative_text import extreme, name_all

A, B = {"gru": 0.9, "rnn": 0.5}, {"gru": 0.4, "rnn": 0.8}


@pytest.mark.parametrize(
    ("panels", "text"),
    [
        ([A], "highest for gru (0.900)"),
        ([{"gru": 1.0, "rnn": 1.0}], "highest for gru and rnn (1.000)"),
        ([A, B, A], "highest for gru in 2 of 3 panels"),
        ([A, A], "highest for gru in every panel"),
        ([A, B], "highest for gru and rnn in 1 of 2 panels each"),
        ([{}, A], "highest for gru (0.900)"),
    ],
)
def test_extreme_names_the_winners(panels: list[dict[str, float]], text: str) -> None:
    assert extreme(panels) == text


@pytest.mark.parametrize(
    ("panels", "text"),
    [
        ([{"gru": 0.9}], "0.900 for gru"),
        ([{"gru": 0.9}, {}, {"gru": 0.9}], "0.900 for gru"),
        ([{"gru": 0.9}, {"gru": 0.4}], "between 0.400 and 0.900 for gru"),
    ],
)
def test_single_architecture_is_compared_with_no_other(panels: list[dict[str, float]], text: str) -> None:
    assert extreme(panels) == text


def test_extreme_can_be_the_lowest_value_in_another_format() -> None:
    assert extreme([A], "lowest", choose=min, write=lambda value: f"{value:.0%}") == "lowest for rnn (50%)"


def test_many_names_are_counted() -> None:
    assert name_all(["gru", "rnn", "gru"]) == "gru and rnn"
    assert name_all(str(n) for n in range(6)) == "6 architectures"
