"""Architectures and tasks are selected by names, globs, additions and exclusions."""

from __future__ import annotations

import pytest

from bench.commands.run_warnings import option_warnings
from bench.errors import NothingSelected
from bench.plans.selection import select

PLANNED = ("rnn:init=orthogonal", "lstm:forget_bias=1", "lstm:forget_bias=2", "transformer")
REGISTERED = ("gru", "lstm", "rnn", "transformer")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], PLANNED),
        (["lstm"], PLANNED[1:3]),
        (["l*"], PLANNED[1:3]),
        (["lstm:forget_bias=2"], PLANNED[2:3]),
        (["*forget*"], PLANNED[1:3]),
        (["?nn"], PLANNED[:1]),
        (["[lr]*"], PLANNED[:3]),
        (["transformer", "rnn"], (PLANNED[3], PLANNED[0])),
        (["rnn", "*"], PLANNED),
        (["gru"], ("gru",)),
        (["g*"], ("gru",)),
        (["lstm:forget_bias=7"], ("lstm:forget_bias=7",)),
        (["lsmt"], ("lsmt",)),
        (["!lstm"], (PLANNED[0], PLANNED[3])),
        (["!*nn", "!lstm:forget_bias=1"], PLANNED[2:]),
        (["l*", "!lstm:forget_bias=1"], PLANNED[2:3]),
        (["!lstm:forget_bias=1", "l*"], PLANNED[2:3]),
        (["*", "!gru"], PLANNED),
        (["nothing*", "rnn"], PLANNED[:1]),
        (["+gru"], (*PLANNED, "gru")),
        (["+gru:reset=before", "rnn"], (PLANNED[0], "gru:reset=before")),
        (["+gru", "!l*"], (PLANNED[0], PLANNED[3], "gru")),
        (["+rnn"], PLANNED),
        (["hybrid:pattern=gru*3+rnn"], ("hybrid:pattern=gru*3+rnn",)),
        (["+hybrid:pattern=gru*3+rnn,conv=4", "rnn"], (PLANNED[0], "hybrid:pattern=gru*3+rnn,conv=4")),
    ],
)
def test_patterns_select_in_the_order_given(patterns: list[str], expected: tuple[str, ...]) -> None:
    assert select("architecture", PLANNED, patterns, lambda: REGISTERED) == expected


def test_a_whole_spec_with_a_star_selects_itself_alone() -> None:
    planned = ("hybrid:pattern=gru*3+rnn", "hybrid:pattern=gru*2+lstm*3+rnn")
    assert select("architecture", planned, [planned[0]], lambda: REGISTERED) == planned[:1]
    assert select("architecture", planned, [f"!{planned[1]}"], lambda: REGISTERED) == planned[:1]


@pytest.mark.parametrize(
    "patterns",
    [["x*"], ["rnn:?,bias=*"], ["!*"], ["lstm", "!l*"], ["!rnn", "!lstm", "!transformer"]],
)
def test_empty_selection_has_its_own_exit_code(patterns: list[str]) -> None:
    with pytest.raises(NothingSelected) as caught:
        select("architecture", PLANNED, patterns, lambda: REGISTERED)
    assert str(caught.value) == f"no architecture matches {' '.join(patterns)}; available: gru, lstm, rnn, transformer"
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "pattern",
    ["lstm", "lstm:*", "gru", "gru:reset=before", "!lstm:forget_bias=2", "lstm:forget_bias=2,init=orthogonal"],
)
def test_spec_that_keeps_the_options_of_the_plan_is_not_warned_about(pattern: str) -> None:
    assert option_warnings(["lstm:forget_bias=1,init=orthogonal", "gru"], [pattern]) == []


@pytest.mark.parametrize("pattern", ["lstm:forget_bias=0", "+lstm:forget_bias=0"])
def test_spec_that_loses_options_of_the_plan_is_named_with_its_remedy(pattern: str) -> None:
    assert option_warnings(["lstm:forget_bias=1,init=orthogonal"], ["lstm", pattern]) == [
        "lstm:forget_bias=0 is used as written, without init=orthogonal of the plan's lstm; to keep that, write "
        "lstm:forget_bias=0,init=orthogonal"
    ]
    assert option_warnings(["lstm:init=orthogonal", "lstm:init=torch"], [pattern]) == []
