"""The full name of a variant says which options of the others it leaves at their defaults."""

from __future__ import annotations

import pytest

from reports.analysis.labels import defaults_in_words

PLAIN, BIASED = "lstm:init=orthogonal", "lstm:forget_bias=1.0,init=orthogonal"


@pytest.mark.parametrize(
    ("specification", "others", "text"),
    [
        (PLAIN, [PLAIN, BIASED], "(default forget_bias)"),
        (BIASED, [PLAIN, BIASED], ""),
        ("lstm", ["lstm", BIASED, "gru:reset=before"], "(default forget_bias and init)"),
        ("gru", ["gru", BIASED], ""),
        ("first_last", ["first_last", "first_last:rule=product"], "(default rule)"),
    ],
)
def test_defaults_are_named_if_another_variant_sets_them(specification: str, others: list[str], text: str) -> None:
    assert defaults_in_words(specification, others) == text
