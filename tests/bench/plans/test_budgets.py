"""Budgets in plans and on the command line: amounts with units, one budget at a time, and what records say."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks
from bench.errors import OK, USAGE, UsageError
from bench.plans.amounts import budget_bytes, budget_count
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.training.model import build_model
from results import Budget, Case, Protocol, Record, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import TINY, write_plan

__all__ = ["carousel", "inline"]


def planned(folder: Path, budget: str) -> list[Case]:
    return cases(load(str(write_plan(folder, TINY.replace("width = 4", budget)))))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ('state = "1KiB"', Budget("state", 1024)),
        ('state = "1 kB"', Budget("state", 1000)),
        ("state = 640", Budget("state", 640)),
        ("step_flops = 40000", Budget("step_flops", 40_000)),
        ('step_flops = "4.5k"', Budget("step_flops", 4_500)),
        ("params = 500", Budget("params", 500)),
        ("width = 6", Budget("width", 6)),
    ],
)
def test_a_plan_gives_its_budget_to_every_case(tmp_path: Path, budget: str, expected: Budget) -> None:
    found = planned(tmp_path, budget)
    assert {case.budget for case in found} == {expected}
    assert len({case.key for case in found}) == 4


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ("", "give one of params, width, state and step_flops; given: none of them"),
        ("params = 500\nstep_flops = 500", "give one of params, width, state and step_flops; given: params and step"),
        ("state = 0", "state must be at least 1, not 0"),
        ('state = "0 KiB"', "state must be at least 1, not 0"),
        ('state = "many"', "state: give a number of bytes such as 4096 or 4KiB, not 'many'"),
        ('state = "4KiB or so"', "give a number of bytes"),
        ('state = "4 TiB"', "state must be at most 2,147,483,648, not 4398046511104"),
        ("state = 1.5", "state must be a whole number"),
        ("state = true", "state must be a whole number"),
        ('step_flops = "40 KiB"', "step_flops: give a whole number such as 40000 or 40k, not '40 KiB'"),
        ('step_flops = "0.5"', "give a whole number"),
        ("state = 1", r"rnn has at least 4 bytes of state after 4 steps (at width 1), over the budget of 1"),
    ],
)  # fmt: skip
def test_a_wrong_budget_is_refused_in_one_line(tmp_path: Path, budget: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, budget)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_units_of_budgets() -> None:
    assert [budget_bytes(text) for text in ("4KiB", " 0.5 kib ", "4kB", "123")] == [4096, 512, 4000, 123]
    assert [budget_count(text) for text in ("40k", "1.5M", "2 g", "7")] == [40_000, 1_500_000, 2 * 10**9, 7]
    assert (budget_bytes(5), budget_count(None)) == (5, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--state", "1KiB", "--width", "8"), "--width and --state exclude each other: give one of them"),
        (("--state", "1KiB", "--step-flops", "1k"), "--state and --step-flops exclude each other"),
        (("--state", "0"), "state must be at least 1, not 0"),
        (("--step-flops", "0"), "step_flops must be at least 1, not 0"),
        (("--state", "4 parsecs"), "state: give a number of bytes such as 4096 or 4KiB, not '4 parsecs'"),
        (("--step-flops", "4 KiB"), "step_flops: give a whole number such as 40000 or 40k, not '4 KiB'"),
        (("--state", "1"), "rnn has at least 4 bytes of state after 4 steps (at width 1), over the budget of 1"),
        (("--step-flops", "1"), "rnn has at least"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_trained(
    tmp_path: Path, carousel: Carousel, inline: Inline, words: tuple[str, ...], message: str
) -> None:
    ended = carousel("run", "tiny.toml", *words)
    assert ended.code == USAGE
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert inline.trained == []
    assert not (tmp_path / "carousel-runs").exists()


def test_a_run_by_state_trains_models_of_that_state_and_names_those_that_miss_it(
    tmp_path: Path, carousel: Carousel, inline: Inline
) -> None:
    words = ("run", "tiny.toml", "-a", "lstm", "-a", "transformer", "--state", "1KiB", "--seeds", "1")
    words += ("--measure", "accuracy")
    assert carousel(*words, "-L", "4,40", "--dry-run").code == OK
    ended = carousel(*words, "-L", "4,40")
    assert ended.code == OK, ended.err
    miss = "transformer has 1.2 KiB of state on first_last at 40, 25% over the budget of 1 KiB."
    assert miss in ended.out
    assert ended.out.count("the budget of") == 2  # before training, and in the report
    first_last = tasks.build("first_last")
    (run,) = Store(tmp_path / "carousel-runs").runs()
    records: list[Record] = list(run.read()[0].values())
    models = {(record.case.arch, record.case.length): record.model for record in records}
    sizes = {key: (model.width, model.state_bytes) for key, model in models.items() if model is not None}
    assert sizes == {
        ("lstm", 4): (128, 1024),
        ("lstm", 40): (128, 1024),
        ("transformer", 4): (32, 1024),
        ("transformer", 40): (4, 1280),
    }
    model = models["lstm", 4]
    assert model is not None
    assert model.step_flops == build_model(next(r.case for r in records if r.model is model), first_last).step_flops(4)
    assert miss in (run.folder / "report.html").read_text()


def test_cases_without_the_new_budgets_are_written_as_before() -> None:
    fields = {"arch": "lstm", "task": "adding", "length": 8, "seed": 0, "protocol": Protocol(steps=1)}
    old, new = Case(**fields, width=4), Case(**fields, state=4096)  # type: ignore[arg-type]
    assert not {"state", "step_flops"} & old.model_dump(mode="json").keys()
    assert new.model_dump(mode="json")["state"] == 4096
    assert Case.model_validate_json(new.model_dump_json()) == new
    assert Case(**fields).budget is None  # type: ignore[arg-type]
