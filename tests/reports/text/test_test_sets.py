"""The page says if test sets are too small for the differences that count."""

from __future__ import annotations

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.text.sampling import test_set_sentences as sentences
from tests.reports import synthetic


@pytest.mark.parametrize(("sequences", "is_enough"), [(512, False), (1600, False), (1601, True)])
def test_three_seeds_need_1601_sequences_for_a_difference_of_2_percent(sequences: int, is_enough: bool) -> None:
    protocol = synthetic.PROTOCOL.model_copy(update={"test_sequences": sequences})
    cases = [case.model_copy(update={"protocol": protocol}) for case in synthetic.cases()[:6]]
    found = sentences(group_cases(synthetic.run(cases), []))
    assert (found == []) is is_enough
    if sequences == 512:
        assert found == [
            "Test sets of 512 sequences leave an error of up to ±0.035 in the difference of two means over 3 seeds, "
            "more than the 0.02 that count; 1,601 sequences would leave 0.02."
        ]


def test_single_seeds_are_left_out_and_the_page_has_the_sentence() -> None:
    single = synthetic.cases()[:1]
    assert sentences(group_cases(synthetic.run(single), [])) == []
    assert "1,601 sequences would leave 0.02." in reports.page(synthetic.run(), synthetic.records())
