"""Cases are found by key, by digest, and by name in a report or a plan. Other text leads to a suggestion."""

from __future__ import annotations

import re

import pytest

from bench.commands.find_case import MAX_LISTED, NamedCase, differences, find_case, find_cases, named_cases
from bench.errors import UsageError
from results import Case, Protocol
from tests.results.examples import record, run_file

FIXED = {"train_sequences": 5000, "epochs": 100, "schedule": "halving"}
OPEN = "lstm:bias=False,forget_bias=1.0,init=orthogonal"
PRODUCT = "first_last:rule=product"


def case(arch: str, task: str = "first_last", seed: int = 0, *, length: int = 30, **protocol: object) -> Case:
    return Case(
        arch=arch, task=task, length=length, width=8, seed=seed, protocol=Protocol.model_validate(FIXED | protocol)
    )


PLANNED = [
    *(case(arch, seed=seed) for arch in ("lstm:bias=False", OPEN, "rnn:bias=False") for seed in (0, 1)),
    *(case(OPEN, PRODUCT, seed) for seed in (0, 1)),
    case(OPEN, weight_decay=0.1),
    case(OPEN, train_sequences=20_000, epochs=25),
    case("transformer:expansion=1", length=1024),
]
DECAYED, MORE = PLANNED[8], PLANNED[9]


@pytest.fixture(scope="module")
def named() -> list[NamedCase]:
    return named_cases(run_file("r", *PLANNED), [record(one) for one in PLANNED])


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        (PLANNED[3].key, [3]),
        (PLANNED[3].digest(), [3]),
        ("transformer", [10]),
        ("transformer at 1,024", [10]),
        ("transformer at 30", []),
        ("lstm", [0, 1]),
        ("lstm, seed 1", [1]),
        ("lstm on first_last, seed 1", [1]),
        ("lstm:forget_bias=1.0,init=orthogonal on first_last", [2, 3]),
        ("lstm:forget_bias=1,init=orthogonal on first_last:rule=product, seed 1", [7]),
        ("lstm:forget_bias=1.0,init=orthogonal weight_decay=0.1", [8]),
        (OPEN, [2, 3, 6, 7, 8, 9]),
        ("lstm:bias=False,forget_bias=1,init=orthogonal", [2, 3, 6, 7, 8, 9]),
        ("lstm:init=orthogonal,forget_bias=1,bias=False on first_last:rule=product", [6, 7]),
        ("rnn:bias=False,nonlinearity=tanh on first_last:rule=sum seed 0", [4]),
        (".first_last_rule=product.", [6, 7]),
    ],
)
def test_case_is_found_by_key_name_and_spec(named: list[NamedCase], text: str, indices: list[int]) -> None:
    if indices:
        assert [case.record.key for case in find_cases(named, text)] == [PLANNED[index].key for index in indices]
    else:
        with pytest.raises(UsageError, match="no case"):
            find_cases(named, text)


def command(digest: str) -> str:
    return f"carousel gates latest {digest} --layer 2"


def test_case_is_found_by_title_and_digest(named: list[NamedCase]) -> None:
    for each in named:
        assert find_case(named, each.title, command) == each.record
        assert find_case(named, each.digest, command) == each.record


def message(named: list[NamedCase], text: str) -> str:
    with pytest.raises(UsageError) as caught:
        find_case(named, text, command)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_ambiguous_name_lists_cases_with_their_digests_and_differences(named: list[NamedCase]) -> None:
    text = message(named, "lstm:bias=False,forget_bias=1,init=orthogonal")
    assert f"matches 6 cases; choose one by its digest, such as `{command(PLANNED[2].digest())}`: " in text
    listed = dict(re.findall(r"([0-9a-f]{10}) \(([^)]*)\)", text))
    assert listed == {
        PLANNED[2].digest(): "first_last, seed 0",
        PLANNED[3].digest(): "first_last, seed 1",
        PLANNED[6].digest(): f"{PRODUCT}, seed 0",
        PLANNED[7].digest(): f"{PRODUCT}, seed 1",
        DECAYED.digest(): "first_last, seed 0, weight_decay=0.1",
        MORE.digest(): "first_last, seed 0, train_sequences=20000, epochs=25",
    }
    assert "(seed 0); " in message(named, "lstm on first_last")


def test_differences_leave_out_values_that_a_case_lacks() -> None:
    wide, small = (
        Case(arch="gru", task="adding", length=32, seed=0, protocol=Protocol(evaluate_at=at), **size)
        for at, size in ((("2x", "4x"), {"width": 8}), (("2x",), {"params": 20_000}))
    )
    texts = differences([wide, small])
    assert texts == ["width 8", "params 20000, evaluate_at=2x"]
    assert differences([small, wide])[1] == "width 8, evaluate_at=2x,4x"


def test_long_list_of_cases_is_shortened_and_counted(named: list[NamedCase]) -> None:
    text = message(named, "first_last")
    assert len(re.findall(r"[0-9a-f]{10} \(", text)) == MAX_LISTED
    assert f"and {len(PLANNED) - MAX_LISTED} more" in text


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("lstm:bias=False,forget_bias=2,init=orthogonal", [OPEN]),
        ("transfomer", ["transformer"]),
        (PLANNED[0].key[:-1] + "x", [PLANNED[0].key]),
        ("unlike any", []),
    ],
)
def test_unknown_case_is_reported_with_the_nearest_names(named: list[NamedCase], text: str, nearest: list[str]) -> None:
    line = message(named, text)
    suggested = re.findall("'([^']*)'", line)[1:]
    assert suggested[: len(nearest)] == nearest
    assert len(suggested) <= (3 if nearest else 0)
    assert line.endswith("`carousel gates RUN --list` lists all cases")
