"""Choices by `-a`, `-t` and `-L` hold for all grids of a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.commands.run import RunOptions, choose_plan
from bench.errors import NothingSelected, UsageError
from bench.plans.grid import cases, rates_found_by
from bench.plans.plan import Plan, load
from tests.bench.tiny import TINY, write_plan

OWN = TINY.replace('["first_last"]', '["adding"]').replace("lengths = [4]", "lengths = [8]")
GRIDS = """
[[extra]]
archs = ["gru"]
tasks = ["parity"]
lengths = [5, 6]
width = 6
seeds = 1
protocol = { batch = 2 }

[[extra]]
depth = 3

[[extra]]
archs = ["lstm"]
pairs = [{ task = "adding", lengths = [6, 8] }, { task = "recall:pairs=1,vocabulary=4", lengths = [9] }]
"""
"""Grids beside that of `OWN`: rnn and lstm on adding at 8 steps, with one layer of 4 units."""


def chosen(tmp_path: Path, content: str = OWN + GRIDS, **choice: object) -> Plan:
    options = RunOptions(plan=str(write_plan(tmp_path, content)), store=tmp_path, **choice)  # type: ignore[arg-type]
    return choose_plan(options)


def grids(plan: Plan) -> list[str]:
    """Return one line per combination: architecture, task, length, number of layers."""
    found = [f"{case.arch} {case.task} {case.length} {case.depth}" for case in cases(plan) if case.seed == 0]
    return [line.replace("recall:pairs=1,vocabulary=4", "recall") for line in found]


@pytest.mark.parametrize(
    ("archs", "tasks", "expected"),
    [
        (["rnn"], [], ["rnn adding 8 1", "rnn adding 8 3"]),
        ([], ["recall"], ["lstm recall 9 1"]),
        (["gru"], [], ["gru parity 5 1", "gru parity 6 1"]),
        (["lstm"], ["adding"], ["lstm adding 8 1", "lstm adding 8 3", "lstm adding 6 1"]),
        (["!rnn"], ["adding"], ["lstm adding 8 1", "lstm adding 8 3", "lstm adding 6 1"]),
        (["gru", "rnn"], ["adding"], ["gru adding 8 1", "rnn adding 8 1", "gru adding 8 3", "rnn adding 8 3"]),
        (["ind_rnn"], [], ["ind_rnn adding 8 1", "ind_rnn adding 8 3"]),
        (["ind_rnn"], ["parity"], ["ind_rnn parity 5 1", "ind_rnn parity 6 1"]),
        (["+ind_rnn"], ["parity"], [f"{name} parity {length} 1" for length in (5, 6) for name in ("gru", "ind_rnn")]),
        (["rnn"], ["even_pairs"], ["rnn even_pairs 8 1", "rnn even_pairs 8 3"]),
        (["rnn"], ["+even_pairs"], [f"rnn {task} 8 {n}" for n in (1, 3) for task in ("adding", "even_pairs")]),
    ],
)
def test_a_choice_filters_each_grid_and_adds_the_rest_to_one(
    tmp_path: Path, archs: list[str], tasks: list[str], expected: list[str]
) -> None:
    assert grids(chosen(tmp_path, archs=archs, tasks=tasks)) == expected


def test_a_case_of_an_extra_grid_keeps_its_size_protocol_and_seeds(tmp_path: Path) -> None:
    plan = chosen(tmp_path, archs=["gru"])
    assert plan.archs == ()
    assert [(case.width, case.protocol.batch, case.seed) for case in cases(plan)] == [(6, 2, 0)] * 2
    (shipped,) = (grid for grid in load("published/hs1997").grids() if grid.tasks == ("temporal_order:symbols=3",))
    alone = choose_plan(RunOptions(plan="published/hs1997", store=tmp_path, tasks=["temporal_order:symbols=3"]))
    assert cases(alone) == cases(shipped)


def test_lengths_replace_those_of_each_grid(tmp_path: Path) -> None:
    assert grids(chosen(tmp_path, lengths="7,11", archs=["gru"])) == ["gru parity 7 1", "gru parity 11 1"]
    assert {line.split()[2] for line in grids(chosen(tmp_path, lengths="9"))} == {"9"}


def test_a_glob_that_no_grid_combines_with_a_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingSelected) as caught:
        chosen(tmp_path, archs=["g*"], tasks=["a*"])
    assert str(caught.value) == (
        "the plan has no case of gru on adding; choose architectures and tasks that it combines, or name one in full "
        "to add it"
    )


def test_without_a_choice_the_plan_is_unchanged(tmp_path: Path) -> None:
    assert chosen(tmp_path) == load(str(write_plan(tmp_path, OWN + GRIDS)))


def test_a_rate_is_not_said_to_be_found_for_an_architecture_that_joins_an_extra_grid(tmp_path: Path) -> None:
    found = '\n[[override]]\ntasks = ["parity"]\nprotocol = { learning_rate = 0.5 }\nfound_by = "a run"\n'
    own = chosen(tmp_path, OWN + GRIDS + found, tasks=["parity"])
    assert {key.partition(".")[0] for key in rates_found_by(own)} == {"gru"}
    joined = chosen(tmp_path, OWN + GRIDS + found, archs=["+ind_rnn"], tasks=["parity"])
    assert {key.partition(".")[0] for key in rates_found_by(joined)} == {"gru"}


@pytest.mark.parametrize("own", ['archs = ["gru"]\n', ""])
def test_a_plan_without_architectures_needs_some_in_each_extra_grid(tmp_path: Path, own: str) -> None:
    path = write_plan(tmp_path, OWN.replace('["rnn", "lstm"]', "[]") + f"\n[[extra]]\n{own}")
    if own:
        assert grids(load(str(path))) == ["gru adding 8 1"]
        return
    with pytest.raises(UsageError, match=r"archs must not be empty, unless each \[\[extra\]\] grid has its own"):
        load(str(path))


def test_a_depth_applies_to_all_grids(tmp_path: Path) -> None:
    assert {case.depth for case in cases(chosen(tmp_path, depth=4))} == {4}
    with pytest.raises(UsageError, match="--depth must be at least 1, not 0"):
        chosen(tmp_path, depth=0)
