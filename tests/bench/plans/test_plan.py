"""Plans: what ships loads and expands, what is wrong is one line, and a case keeps its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import arch
import tasks
from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import FOLDER, load, names
from bench.training.model import build_model
from bench.training.optimizer import optimizer_of
from bench.training.schedule import learning_rate_factor, total_steps
from tests.bench.tiny import TINY, write_plan

GOLDEN_KEY = "lstm.first_last.L4.s1.b3c56b5c6d"
"""What the tiny plan's last case has been called in every store so far."""


def message_of(path: Path) -> str:
    """The one line that a wrong plan gives, from loading it or from expanding it."""
    with pytest.raises(UsageError) as caught:
        cases(load(str(path)))
    text = str(caught.value)
    assert text.count("\n") == 0, text
    assert len(text) < 600 + len(str(path))
    return text


@pytest.mark.parametrize("name", names())
def test_every_plan_of_the_folder_expands_to_its_whole_grid(name: str) -> None:
    plan = load(name)
    found = cases(plan)
    grids = plan.grids()
    assert len(found) == sum(len(grid.archs) * len(grid.tasks) * len(grid.lengths) * grid.seeds for grid in grids)
    assert len({case.key for case in found}) == len(found)
    assert {case.arch for case in found} == {str(arch.get(spec)) for grid in grids for spec in grid.archs}
    assert {case.task for case in found} == {str(tasks.build(spec)) for grid in grids for spec in grid.tasks}
    assert {case.length for case in found} == {length for grid in grids for length in grid.lengths}
    assert {case.seed for case in found} == set(range(plan.seeds))
    assert {(case.depth, case.params, case.width) for case in found} == {(plan.depth, plan.params, plan.width)}
    assert all(case.task_version == tasks.build(case.task).version for case in found)


def test_the_plans_are_the_files_of_the_folder() -> None:
    assert names() == sorted(path.stem for path in FOLDER.iterdir() if path.suffix == ".toml")
    assert {"quick", "smoke"} <= set(names())


def test_the_quick_plan_is_the_grid_that_was_promised() -> None:
    plan = load("quick")
    assert [spec.partition(":")[0] for spec in plan.archs] == ["rnn", "lstm", "gru", "transformer"]
    assert plan.tasks == ("first_last", "adding", "copy_memory")
    assert (len(plan.lengths), plan.seeds, plan.depth, plan.params) == (2, 3, 2, 20_000)
    assert plan.measure == ("accuracy", "latency", "streaming")


def test_the_seed_plan_is_the_protocol_of_the_study() -> None:
    """Two layers of 128 units on 5,000 sequences of 30, Adam at 1e-3 halved every 20 of 100 epochs, clipped at 1."""
    planned = cases(load("seed"))
    assert {(case.length, case.width, case.depth, case.params) for case in planned} == {(30, 128, 2, None)}
    usual = planned[0].protocol
    fields = ("batch", "train_sequences", "test_sequences", "epochs", "learning_rate", "clip", "steps")
    assert {field: getattr(usual, field) for field in fields} == {
        "batch": 64,
        "train_sequences": 5000,
        "test_sequences": 1000,
        "epochs": 100,
        "learning_rate": 1e-3,
        "clip": 1.0,
        "steps": None,
    }
    assert (usual.weight_decay, usual.warmup_steps, usual.train_lengths, usual.control) == (0.0, 0, "fixed", "none")
    steps = 79 * 100
    assert total_steps(usual) == steps
    at_steps = (0, 79 * 20 - 1, 79 * 20, 79 * 40, 79 * 60, 79 * 80, steps - 1)
    assert [learning_rate_factor(usual, step) for step in at_steps] == [1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625]
    others = [case.protocol for case in planned if case.protocol != usual]
    assert others == [
        usual.model_copy(update={"weight_decay": 0.1}),
        usual.model_copy(update={"train_sequences": 20_000, "epochs": 25, "halve_every": 5}),
    ]
    assert [total_steps(other) for other in others] == [steps, 313 * 25]


def test_the_seed_plan_trains_a_network_of_the_studys_size_with_adam() -> None:
    planned = [case for case in cases(load("seed")) if case.arch == "lstm:bias=False"]
    assert {(case.task, case.seed) for case in planned} == {
        *(("first_last", seed) for seed in range(3)),
        ("first_last:rule=product", 0),
    }
    for case in planned:
        model = build_model(case, tasks.build(case.task))
        assert sum(parameter.numel() for parameter in model.parameters()) == 197_378
        optimizer = optimizer_of(model, case.protocol)
        assert type(optimizer) is torch.optim.Adam
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-3, (0.9, 0.999))


def test_a_case_keeps_its_key_from_one_day_to_the_next(tmp_path: Path) -> None:
    first, second = (cases(load(str(write_plan(tmp_path / folder)))) for folder in "ab")
    assert first == second
    assert [case.key for case in first] == [case.key for case in second]
    assert first[-1].key == GOLDEN_KEY


def test_the_order_is_task_length_seed_architecture(tmp_path: Path) -> None:
    text = TINY.replace("lengths = [4]", "lengths = [4, 8]")
    found = [(case.length, case.seed, case.arch) for case in cases(load(str(write_plan(tmp_path, text))))]
    assert found == [(length, seed, a) for length in (4, 8) for seed in (0, 1) for a in ("rnn", "lstm")]


def test_two_spellings_of_one_case_are_one_case(tmp_path: Path) -> None:
    text = TINY.replace('["rnn", "lstm"]', '["rnn", "lstm", "lstm", "lstm:bias=True", "rnn:nonlinearity=tanh"]')
    text = text.replace("lengths = [4]", "lengths = [4, 4]")
    plain, repeated = (cases(load(str(write_plan(tmp_path, t)))) for t in (TINY, text))
    assert [case.key for case in repeated] == [case.key for case in plain]


OVERRIDES = """
[[override]]
tasks = ["first_last"]
protocol = { steps = 7, batch = 3 }

[[override]]
lengths = [8]
protocol = { steps = 9 }

[[override]]
tasks = ["adding"]
lengths = [4]
protocol = { clip = 2.0 }
"""


def test_overrides_hold_for_their_tasks_and_lengths_and_the_later_wins(tmp_path: Path) -> None:
    text = TINY.replace('["first_last"]', '["first_last:rule=product", "adding"]').replace("[4]", "[4, 8]")
    found = cases(load(str(write_plan(tmp_path, text + OVERRIDES))))
    seen = {(c.task.partition(":")[0], c.length): (c.protocol.steps, c.protocol.batch, c.protocol.clip) for c in found}
    assert seen == {
        ("first_last", 4): (7, 3, 1.0),
        ("first_last", 8): (9, 3, 1.0),
        ("adding", 4): (1, 4, 2.0),
        ("adding", 8): (9, 4, 1.0),
    }


WRONG = {
    "an unknown key": (TINY.replace("seeds = 2", "seeds = 2\nsedes = 3"), "sedes"),
    "an unknown protocol key": (TINY.replace("batch = 4", "batsh = 4"), "batsh"),
    "an unknown timing key": (TINY + "block = 3\n", "timing.block"),
    "an unknown override key": (TINY + "[[override]]\ntask = ['adding']\nprotocol = {}\n", "override.0"),
    "a wrong value in an override": (TINY + "[[override]]\nprotocol = { steps = 'many' }\n", "steps"),
    "text for a number": (TINY.replace("seeds = 2", 'seeds = "2"'), "seeds"),
    "a fraction for a number": (TINY.replace("seeds = 2", "seeds = 2.5"), "seeds"),
    "a truth for a number": (TINY.replace("seeds = 2", "seeds = true"), "seeds"),
    "a date for a text": (TINY.replace('"two architectures', "2020-01-01 #"), "a date or time"),
    "a text for a list": (TINY.replace('archs = ["rnn", "lstm"]', 'archs = "rnn"'), "archs"),
    "no architectures": (TINY.replace('["rnn", "lstm"]', "[]"), "archs"),
    "no seeds": (TINY.replace("seeds = 2", ""), "seeds"),
    "zero seeds": (TINY.replace("seeds = 2", "seeds = 0"), "seeds"),
    "an unknown probe": (TINY.replace("depth = 1", 'depth = 1\nmeasure = ["guessing"]'), "measure"),
    "NaN": (TINY.replace("batch = 4", "learning_rate = nan"), "learning_rate"),
    "infinity": (TINY.replace("batch = 4", "clip = inf"), "clip"),
    "NaN in timing": (TINY.replace("block_seconds = 0.0001", "block_seconds = nan"), "block_seconds"),
    "a negative rate": (TINY.replace("batch = 4", "learning_rate = -1.0"), "learning_rate"),
    "a large integer": (TINY.replace("seeds = 2", f"seeds = {10**300}"), "seeds"),
    "a huge integer": (TINY.replace("seeds = 2", f"seeds = {'9' * 5000}"), ""),
    "a huge hexadecimal integer": (TINY.replace("seeds = 2", f"seeds = 0x{'f' * 5000}"), ""),
    "a huge integer in the protocol": (TINY.replace("batch = 4", f"batch = 0x{'f' * 5000}"), ""),
    "deep lists": (TINY.replace("seeds = 2", f"seeds = {'[' * 50_000}"), ""),
    "deep tables": (TINY + "[timing." + "a." * 5000 + "a]\n", ""),
    "deep keys in the protocol": (TINY.replace("batch = 4", "a." * 5000 + "a = 1"), ""),
    "a line break in a key": (TINY.replace("seeds = 2", 'seeds = 2\n"a\\nb" = 1'), ""),
    "a line break in a protocol key": (TINY.replace("batch = 4", '"a\\nb" = 1'), ""),
    "a key twice": (TINY.replace("seeds = 2", "seeds = 2\nseeds = 3"), "not TOML"),
    "no TOML": ("{ json }", "not TOML"),
    "nothing": ("", "summary"),
    "no steps": (TINY.replace("steps = 1\nbatch", "batch"), "steps, or train_sequences and epochs"),
    "half a fixed set": (TINY.replace("steps = 1\nbatch", "epochs = 2\nbatch"), "train_sequences and epochs"),
    "steps and a fixed set": (TINY.replace("batch = 4", "epochs = 2\ntrain_sequences = 9"), "steps, or"),
    "steps and half a fixed set": (TINY.replace("batch = 4", "epochs = 2"), "steps, or"),
    "neither params nor width": (TINY.replace("width = 4", ""), "either params or width"),
    "params and width": (TINY.replace("width = 4", "width = 4\nparams = 9"), "either params or width"),
    "an unknown architecture": (TINY.replace('"lstm"', '"lsmt"'), "did you mean 'lstm'"),
    "an unknown task": (TINY.replace('"first_last"', '"frist_last"'), "did you mean 'first_last'"),
    "an unknown option": (TINY.replace('"lstm"', '"lstm:forget=1"'), "forget_bias"),
    "a wrong option": (TINY.replace('"lstm"', '"lstm:forget_bias=nan"'), "forget_bias"),
    "an empty name": (TINY.replace('"lstm"', '""'), "archs"),
    "a path for a name": (TINY.replace('"lstm"', '"../arch/lstm"'), "no architecture"),
    "too short": (TINY.replace("lengths = [4]", "lengths = [1]"), "at least 2 steps, not 1"),
    "too long": (TINY.replace("lengths = [4]", f"lengths = [{1 << 25}]"), "lengths"),
    "too narrow for heads": (TINY.replace('"lstm"', '"transformer:heads=3"'), "heads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_plan_is_one_line_that_names_what_is_wrong(tmp_path: Path, name: str) -> None:
    text, expected = WRONG[name]
    assert text != TINY
    assert expected in message_of(write_plan(tmp_path, text))


@pytest.mark.parametrize("size", [(16 << 10) + 1, 10 << 30])
def test_a_large_plan_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A megabyte of dotted keys takes the reader of TOML an hour: its cost is quadratic."""
    path = tmp_path / "giant.toml"
    with path.open("wb") as file:
        file.truncate(size)

    def read_text(path: Path, **_: object) -> str:
        raise AssertionError("it was read")

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "larger than 16 KiB" in message_of(path)


def test_a_plan_that_is_not_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "not TOML" in message_of(tmp_path / "binary.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "plan.yaml").write_text(TINY)
    for path in (
        tmp_path / "folder.toml",
        tmp_path / "plan.yaml",
        tmp_path / "missing.toml",
        Path("x" * 300 + ".toml"),
    ):
        assert "no plan" in message_of(path)


def test_an_unreadable_plan_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plan(tmp_path)

    def read_text(path: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read_text)
    text = message_of(path)
    assert "Permission denied" in text
    assert str(path) in text


def test_an_unknown_plan_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no plan 'quik'; did you mean 'quick'\?.*smoke"):
        load("quik")
    with pytest.raises(UsageError, match=r"no plan '../plans/quick'"):
        load("../plans/quick")


@pytest.mark.parametrize(
    ("names", "says"), [('tasks = ["nonsense"]', "the task 'nonsense'"), ("lengths = [5]", "the length 5")]
)
def test_an_override_that_no_case_meets_is_refused(tmp_path: Path, names: str, says: str) -> None:
    path = write_plan(tmp_path, TINY + f"\n[[override]]\n{names}\nprotocol = {{ batch = 2 }}\n")
    with pytest.raises(UsageError, match=f"override names {says}, which is not in the plan"):
        load(str(path))
