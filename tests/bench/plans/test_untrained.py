"""Plans of untrained models: what `protocol = "untrained"` means, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.plans.record_size import check_record_size
from bench.progress.work import planned_tests, work_of
from results import Case, Protocol
from tests.bench.tiny import GRID, TINY, write_plan

TABLE = TINY[TINY.index("[protocol]") : TINY.index("[timing]")]
MEASURE = 'measure = ["latency", "streaming"]\n'
UNTRAINED = TINY.replace(TABLE, "").replace("depth = 1\n", f'depth = 1\n{MEASURE}protocol = "untrained"\n')
EXTRA = '\n[[extra]]\narchs = ["rnn"]\nprotocol = "untrained"\n'
MIXED = TINY.replace("depth = 1\n", f"depth = 1\n{MEASURE}") + EXTRA
"""A trained plan with an untrained grid of one architecture."""
NOT_TRAINED = Protocol(optimizer="none", learning_rate=None)


def planned(folder: Path, text: str) -> list[Case]:
    return cases(load(str(write_plan(folder, text))))


def test_the_text_stands_for_a_protocol_without_training(tmp_path: Path) -> None:
    found = planned(tmp_path, UNTRAINED)
    assert {case.protocol for case in found} == {NOT_TRAINED}
    assert len({case.key for case in found}) == len(found) == 4
    assert not NOT_TRAINED.trains
    assert Protocol().trains and Protocol(optimizer="guessing", learning_rate=None).trains


def test_an_untrained_case_has_a_key_of_its_own_which_does_not_change(tmp_path: Path) -> None:
    untrained = planned(tmp_path / "untrained", UNTRAINED)
    assert not {case.key for case in untrained} & {case.key for case in planned(tmp_path / "trained", TINY)}
    assert untrained[0].key == "rnn.first_last.L4.s0.97cfaf449b"
    again = Case.model_validate_json(untrained[0].model_dump_json())
    assert again == untrained[0]


def test_an_untrained_case_has_no_training_no_tests_and_a_record_of_any_size(tmp_path: Path) -> None:
    plan = load(str(write_plan(tmp_path, UNTRAINED)))
    for case in cases(plan):
        assert work_of(case).total == 0
        assert planned_tests(case) == []
    check_record_size(plan, cases(plan), repeat=1)


def test_a_grid_of_a_trained_plan_may_be_untrained(tmp_path: Path) -> None:
    protocols = [case.protocol for case in planned(tmp_path, MIXED)]
    assert protocols.count(NOT_TRAINED) == 2
    assert sum(protocol.trains for protocol in protocols) == 4


def test_a_grid_of_an_untrained_plan_may_be_trained(tmp_path: Path) -> None:
    text = UNTRAINED + '\n[[extra]]\narchs = ["rnn"]\nprotocol = { optimizer = "adam", steps = 1 }\n'
    assert sorted(case.protocol.trains for case in planned(tmp_path, text)) == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"untrained"', '"untraind"', "a protocol is a table such as { steps = 300 }, or 'untrained', not 'untraind'"),
        ('"untrained"', "3", "protocol must be a table, not 3"),
        (
            MEASURE,
            "",
            "measure: accuracy needs trained models, but rnn on first_last at 4 is untrained",
        ),
        (MEASURE, 'measure = ["streaming", "gates"]\n', "measure: gates needs trained models"),
        ("[timing]", "[[override]]\nprotocol = { steps = 3 }\n[timing]", "steps is a setting of training and tests"),
        ('"untrained"', '{ optimizer = "none", evaluate_at = [4] }', "evaluate_at is a setting of training and tests"),
        ("[timing]", f"{GRID}\n[timing]", "rnn on first_last at 4 is untrained and has no learning rate to tune"),
    ],
)
def test_what_contradicts_an_untrained_plan_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in UNTRAINED
    with pytest.raises(UsageError) as caught:
        load(str(write_plan(tmp_path, UNTRAINED.replace(old, new, 1))))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
