"""Budgets of the layers' parameters, without embedding and readout, and the warning if these take most of a budget."""

from __future__ import annotations

from pathlib import Path

import pytest

import arch
import reports
import tasks
from bench.commands.run_warnings import budget_warnings
from bench.errors import OK, USAGE, UsageError
from bench.plans.grid import cases
from bench.plans.plan import load
from bench.training.model import build_model, describe_on_meta
from results import Budget, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import TINY, write_plan

__all__ = ["carousel", "inline"]

LARGE = TINY.replace('["first_last"]', '["recall:vocabulary=4096"]').replace("[4]", "[32]")


def test_the_budget_of_the_layers_does_not_count_embedding_and_readout(tmp_path: Path) -> None:
    text = LARGE.replace("width = 4", 'params = 2000\nparams_of = "layers"')
    for case in cases(load(str(write_plan(tmp_path, text)))):
        model = build_model(case, tasks.build(case.task))
        layers = sum(parameter.numel() for parameter in model.layers.parameters())
        assert case.budget == Budget("layer_params", 2000)
        assert abs(layers - 2000) < 200
        described = describe_on_meta(case, tasks.build(case.task))
        assert (described.layer_parameters, described.parameters) == (layers, arch.parameter_count(model))
        assert described.meets(Budget("layer_params", 2000)) and not described.meets(Budget("params", 2000))
        assert reports.planned_misses([(case, described)]) == []


def test_a_budget_that_embedding_and_readout_eat_up_is_warned_about(tmp_path: Path) -> None:
    plan = load(str(write_plan(tmp_path, LARGE.replace("width = 4", "params = 50000"))))
    (line,) = budget_warnings(plan)
    assert line.startswith("embedding and readout take most of the parameters in 2 of 2 settings, such as 100% of rnn")
    assert "add --params-of layers" in line
    assert budget_warnings(plan.model_copy(update={"params_of": "layers"})) == []
    assert budget_warnings(load(str(write_plan(tmp_path, TINY.replace("width = 4", "params = 5000"))))) == []


def test_layers_without_parameters_cannot_have_such_a_budget(tmp_path: Path) -> None:
    text = TINY.replace('"rnn", "lstm"', '"esn"').replace("width = 4", 'params = 2000\nparams_of = "layers"')
    with pytest.raises(UsageError, match="esn has 0 parameters in its layers at every width; choose another kind"):
        cases(load(str(write_plan(tmp_path, text))))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--params-of", "layers"), "--params-of says what a number of parameters counts: add --params"),
        (("--params", "2k", "--params-of", "heads"), "params_of must be 'model' or 'layers', not 'heads'"),
    ],
)
def test_a_wrong_part_is_refused_in_one_line(
    carousel: Carousel, inline: Inline, words: tuple[str, ...], message: str
) -> None:
    ended = carousel("run", "tiny.toml", *words)
    assert (ended.code, ended.err.count("\n")) == (USAGE, 1)
    assert message in ended.err
    assert inline.trained == []


def test_a_plan_without_parameters_cannot_say_what_they_count(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="params_of = 'layers' needs params; add params, or remove params_of"):
        load(str(write_plan(tmp_path, TINY.replace("width = 4", 'width = 4\nparams_of = "layers"'))))


def test_the_command_line_budgets_the_layers(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    ended = carousel("run", "tiny.toml", "--params", "2k", "--params-of", "layers", "--measure", "accuracy")
    assert ended.code == OK, ended.err
    (run,) = Store(tmp_path / "carousel-runs").runs()
    records = list(run.read()[0].values())
    assert {record.case.budget for record in records} == {Budget("layer_params", 2000)}
    assert "2,000 parameters in layers" in (run.folder / "report.html").read_text()


def test_a_width_of_a_plan_that_budgets_layers_is_a_plain_width(
    tmp_path: Path, carousel: Carousel, inline: Inline
) -> None:
    write_plan(tmp_path, TINY.replace("width = 4", 'params = 2000\nparams_of = "layers"'))
    ended = carousel("run", "tiny.toml", "--width", "4", "--measure", "accuracy")
    assert ended.code == OK, ended.err
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert {case.params_of for case in run.file().cases} == {"model"}
