"""The page says if test sets are too small for the differences that count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reports
from reports.analysis.groups import group_cases
from reports.text.sampling import test_set_sentences as sentences
from results import Protocol, sequences_needed
from tests.reports import synthetic

UNTRAINED = Protocol(optimizer="none", learning_rate=None)


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


@pytest.mark.parametrize(("sequences", "is_enough"), [(512, False), (4801, False), (4802, True)])
def test_a_single_seed_needs_4802_sequences(sequences: int, is_enough: bool) -> None:
    protocol = synthetic.PROTOCOL.model_copy(update={"test_sequences": sequences})
    case = synthetic.cases()[0].model_copy(update={"protocol": protocol})
    found = sentences(group_cases(synthetic.run([case]), []))
    assert (found == []) is is_enough
    if sequences == 512:
        assert found == [
            "Test sets of 512 sequences leave an error of up to ±0.061 in the difference of two scores of a single "
            "seed, more than the 0.02 that count; 4,802 sequences would leave 0.02."
        ]


@pytest.mark.parametrize("seeds", [1, 3])
def test_untrained_cases_are_left_out(seeds: int) -> None:
    cases = [case.model_copy(update={"protocol": UNTRAINED}) for case in synthetic.cases()[:seeds]]
    assert sentences(group_cases(synthetic.run(cases), [])) == []


@pytest.mark.parametrize(("seeds", "needed"), [(1, "4,802"), (3, "1,601")])
def test_the_page_has_the_sentence(seeds: int, needed: str) -> None:
    cases = [case for case in synthetic.cases() if case.seed < seeds]
    page = reports.page(synthetic.run(cases), [record for record in synthetic.records() if record.case in cases])
    assert page.count("sequences would leave 0.02.") == 1
    assert f"{needed} sequences would leave 0.02." in page


def test_the_document_has_the_same_numbers() -> None:
    text = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")
    seeds, needed = re.findall(r"^\| (?:seeds|sequences) \|(.*)\|$", text, re.MULTILINE)
    table = dict(zip(map(int, seeds.split("|")), needed.split("|"), strict=True))
    assert 1 in table
    assert {n: text.strip() for n, text in table.items()} == {n: f"{sequences_needed(0.02, n):,}" for n in table}
