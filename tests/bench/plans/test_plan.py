"""Shipped plans load and expand, invalid plans are reported in one line, and cases keep their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

import arch
import tasks
from bench.errors import UsageError
from bench.plans.grid import cases
from bench.plans.plan import FOLDER, load, names
from bench.training.model import build_model
from bench.training.optimizer import optimizer_of
from bench.training.schedule import learning_rate_factor, total_steps
from results.specs import Spec
from tests.bench.tiny import TINY, write_plan

GOLDEN_KEY = "lstm.first_last.L4.s1.b3c56b5c6d"
"""Key of the last case of the tiny plan with the bar of its first version, 0.99. This key must never change, because
stores contain such keys."""

MAX_MESSAGE = 1000
"""Maximum length of an error message without the path. The longest one lists the names of all metrics."""


def message_of(path: Path) -> str:
    """Return the one-line error from loading or expanding an invalid plan."""
    with pytest.raises(UsageError) as caught:
        cases(load(str(path)))
    text = str(caught.value)
    assert text.count("\n") == 0, text
    assert len(text) < MAX_MESSAGE + len(str(path))
    return text


@pytest.mark.parametrize("name", names())
def test_every_shipped_plan_expands_to_its_whole_grid(name: str) -> None:
    plan = load(name)
    found = cases(plan)
    grids = plan.grids()
    reported = [case for case in found if case.is_reported]
    sizes = [len(grid.archs) * len(grid.tasks) * len(grid.lengths) for grid in grids]
    trials = 0 if plan.tuning is None else len(plan.tuning.learning_rates) * plan.tuning.seeds
    assert len(reported) == sum(size * grid.seeds for size, grid in zip(sizes, grids, strict=True))
    assert len(found) - len(reported) == sum(sizes) * trials
    assert len({case.key for case in found}) == len(found)
    assert {case.arch for case in found} == {str(arch.get(spec)) for grid in grids for spec in grid.archs}
    assert {case.task for case in found} == {str(tasks.build(spec)) for grid in grids for spec in grid.tasks}
    assert {case.length for case in found} == {length for grid in grids for length in grid.lengths}
    assert {case.seed for case in reported} == set(range(plan.seeds))
    assert {(case.depth, case.params, case.width) for case in found} == {(g.depth, g.params, g.width) for g in grids}
    assert all(case.task_version == tasks.build(case.task).version for case in found)


def test_plan_names_are_the_files_of_the_folder() -> None:
    own = sorted(path.stem for path in FOLDER.iterdir() if path.suffix == ".toml")
    assert names() == own + sorted(f"published/{path.stem}" for path in (FOLDER / "published").iterdir())
    assert {"quick", "smoke"} <= set(names())


def test_quick_plan_has_the_documented_grid() -> None:
    plan = load("quick")
    assert [Spec.parse_stored(spec).name for spec in plan.archs] == ["rnn", "lstm", "gru", "transformer"]
    assert plan.tasks == ("first_last", "adding", "copy_memory")
    assert (len(plan.lengths), plan.seeds, plan.depth, plan.params) == (2, 3, 2, 20_000)
    assert plan.measure == ("accuracy", "latency", "streaming")


def test_seed_plan_has_the_protocol_of_the_study() -> None:
    """Check that the main protocol trains two layers of 128 units for 100 epochs on 5,000 sequences of length 30.

    Gradients are clipped at 1. The learning rate starts at 1e-3 and is halved every 20 epochs.
    """
    planned = cases(load("seed"))
    assert {(case.length, case.width, case.depth, case.params) for case in planned} == {(30, 128, 2, None)}
    main = planned[0].protocol
    fields = ("batch", "train_sequences", "test_sequences", "epochs", "learning_rate", "clip", "steps")
    assert {field: getattr(main, field) for field in fields} == {
        "batch": 64,
        "train_sequences": 5000,
        "test_sequences": 1000,
        "epochs": 100,
        "learning_rate": 1e-3,
        "clip": 1.0,
        "steps": None,
    }
    assert (main.weight_decay, main.warmup_steps, main.train_lengths, main.control) == (0.0, 0, "fixed", "none")
    steps = 79 * 100
    assert total_steps(main) == steps
    at_steps = (0, 79 * 20 - 1, 79 * 20, 79 * 40, 79 * 60, 79 * 80, steps - 1)
    assert [learning_rate_factor(main, step) for step in at_steps] == [1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625]
    variants = [case.protocol for case in planned if case.protocol != main]
    assert variants == [
        main.model_copy(update={"weight_decay": 0.1}),
        main.model_copy(update={"train_sequences": 20_000, "epochs": 25, "halve_every": 5}),
    ]
    assert [total_steps(variant) for variant in variants] == [steps, 313 * 25]


def test_seed_plan_trains_models_of_the_studied_size_with_adam() -> None:
    planned = [case for case in cases(load("seed")) if case.arch == "lstm:bias=False"]
    assert {(case.task, case.seed) for case in planned} == {
        *(("first_last", seed) for seed in range(3)),
        ("first_last:rule=product", 0),
    }
    for case in planned:
        model = build_model(case, tasks.build(case.task))
        assert sum(parameter.numel() for parameter in model.parameters()) == 197_378
        optimizer = optimizer_of(model, case.protocol)
        assert [(group.learning_rate, group.weight_decay) for group in optimizer.groups] == [(1e-3, 0.0)]


def test_case_keys_are_stable(tmp_path: Path) -> None:
    text = TINY.replace("batch = 4", "batch = 4\nsolved_at = 0.99")
    first, second = (cases(load(str(write_plan(tmp_path / folder, text)))) for folder in "ab")
    assert first == second
    assert [case.key for case in first] == [case.key for case in second]
    assert first[-1].key == GOLDEN_KEY


def test_cases_are_ordered_by_task_length_seed_and_architecture(tmp_path: Path) -> None:
    text = TINY.replace("lengths = [4]", "lengths = [4, 8]")
    found = [(case.length, case.seed, case.arch) for case in cases(load(str(write_plan(tmp_path, text))))]
    assert found == [(length, seed, a) for length in (4, 8) for seed in (0, 1) for a in ("rnn", "lstm")]


def test_two_spellings_of_one_case_are_merged(tmp_path: Path) -> None:
    text = TINY.replace('["rnn", "lstm"]', '["rnn", "lstm", "lstm:bias=True", "rnn:nonlinearity=tanh"]')
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


def test_overrides_apply_to_their_tasks_and_lengths_and_the_last_wins(tmp_path: Path) -> None:
    text = TINY.replace('["first_last"]', '["first_last:rule=product", "adding"]').replace("[4]", "[4, 8]")
    found = cases(load(str(write_plan(tmp_path, text + OVERRIDES))))
    seen = {
        (Spec.parse_stored(c.task).name, c.length): (c.protocol.steps, c.protocol.batch, c.protocol.clip) for c in found
    }
    assert seen == {
        ("first_last", 4): (7, 3, 1.0),
        ("first_last", 8): (9, 3, 1.0),
        ("adding", 4): (1, 4, 2.0),
        ("adding", 8): (9, 4, 1.0),
    }


CLAIM = """
[[claims]]
name = "peak"
text = "accuracy peaks"
source = "a study"
what = "accuracy"
quantity = { metric = "accuracy" }
"""

WRONG = {
    "an unknown key": (TINY.replace("seeds = 2", "seeds = 2\nsedes = 3"), ": unknown field 'sedes'; remove it"),
    "an unknown protocol key": (TINY.replace("batch = 4", "batsh = 4"), ": protocol: unknown field 'batsh'; remove it"),
    "an unknown timing key": (TINY + "block = 3\n", "timing.block"),
    "an unknown override key": (TINY + "[[override]]\ntask = ['adding']\nprotocol = {}\n", "field 'override[0].task'"),
    "a wrong value in an override": (
        TINY + "[[override]]\nprotocol = { steps = 'many' }\n",
        "steps must be a whole number, not 'many'",
    ),
    "a string for a number": (TINY.replace("seeds = 2", 'seeds = "2"'), "seeds"),
    "a fraction for a number": (TINY.replace("seeds = 2", "seeds = 2.5"), ": seeds must be a whole number, not 2.5"),
    "a boolean for a number": (TINY.replace("seeds = 2", "seeds = true"), ": seeds must be a whole number, not true"),
    "a date for a string": (TINY.replace('"two architectures', "2020-01-01 #"), "a date or time"),
    "a string for a list": (
        TINY.replace('archs = ["rnn", "lstm"]', 'archs = "rnn"'),
        ": archs must be a list, not 'rnn'",
    ),
    "no architectures": (TINY.replace('["rnn", "lstm"]', "[]"), ": archs must not be empty"),
    "no seeds": (TINY.replace("seeds = 2", ""), ": seeds is missing; add it"),
    "zero seeds": (TINY.replace("seeds = 2", "seeds = 0"), ": seeds must be at least 1, not 0"),
    "an unknown probe": (
        TINY.replace("depth = 1", 'depth = 1\nmeasure = ["guessing"]'),
        "measure[0] must be 'accuracy', ",
    ),
    "NaN": (TINY.replace("batch = 4", "learning_rate = nan"), "learning_rate must be a finite number, not nan"),
    "infinity": (TINY.replace("batch = 4", "clip = inf"), "clip must be a finite number, not inf"),
    "NaN in timing": (TINY.replace("block_seconds = 0.0001", "block_seconds = nan"), "block_seconds"),
    "a negative rate": (TINY.replace("batch = 4", "learning_rate = -1.0"), "learning_rate must be above 0, not -1.0"),
    "a large integer": (TINY.replace("seeds = 2", f"seeds = {10**300}"), "seeds"),
    "a huge integer": (TINY.replace("seeds = 2", f"seeds = {'9' * 5000}"), ""),
    "a huge hexadecimal integer": (TINY.replace("seeds = 2", f"seeds = 0x{'f' * 5000}"), ""),
    "a huge integer in the protocol": (TINY.replace("batch = 4", f"batch = 0x{'f' * 5000}"), ""),
    "deep lists": (TINY.replace("seeds = 2", f"seeds = {'[' * 50_000}"), ""),
    "deep tables": (TINY + "[timing." + "a." * 5000 + "a]\n", ""),
    "deep keys in the protocol": (TINY.replace("batch = 4", "a." * 5000 + "a = 1"), ""),
    "a line break in a key": (TINY.replace("seeds = 2", 'seeds = 2\n"a\\nb" = 1'), ""),
    "a line break in a protocol key": (TINY.replace("batch = 4", '"a\\nb" = 1'), ""),
    "a repeated key": (TINY.replace("seeds = 2", "seeds = 2\nseeds = 3"), "not valid TOML"),
    "JSON": ("{ json }", "not valid TOML"),
    "an empty file": ("", "summary"),
    "no steps": (TINY.replace("steps = 1\nbatch", "batch"), "epochs; given: none of them"),
    "half a fixed set": (TINY.replace("steps = 1\nbatch", "epochs = 2\nbatch"), "train_sequences and epochs"),
    "no steps in a chunk": (TINY + "chunks = [0]\n", "timing.chunks[0] must be at least 1, not 0"),
    "a chunk beyond the longest position": (
        TINY + "chunks = [1, 9]\n",
        "timing: a chunk of 9 steps is longer than the longest position, 8; give shorter chunks or a later position",
    ),
    "a position twice": (
        TINY.replace("positions = [1, 8]", "positions = [8, 1, 8]"),
        "timing.positions: 8 occurs more than once; give each value once",
    ),
    "a chunk twice": (TINY + "chunks = [4, 4]\n", "timing.chunks: 4 occurs more than once; give each value once"),
    "a number of streams twice": (TINY + "streams = [1, 8, 8]\n", "timing.streams: 8 occurs more than once"),
    "a length twice": (TINY.replace("lengths = [4]", "lengths = [4, 4]"), "lengths: 4 occurs more than once"),
    "an architecture twice": (TINY.replace('"lstm"]', '"lstm", "rnn"]'), "archs: 'rnn' occurs more than once"),
    "a task twice": (TINY.replace('["first_last"]', '["first_last", "first_last"]'), "tasks: 'first_last' occurs"),
    "a probe twice": (
        TINY.replace("depth = 1", 'depth = 1\nmeasure = ["latency", "latency"]'),
        "measure: 'latency' occ",
    ),
    "a length twice in an extra": (TINY + "[[extra]]\nlengths = [8, 8]\n", "extra[0].lengths: 8 occurs more than once"),
    "a task twice in an override": (
        TINY + '[[override]]\ntasks = ["adding", "adding"]\nprotocol = { batch = 2 }\n',
        "override[0].tasks: 'adding' occurs more than once",
    ),
    "a test length twice": (
        TINY.replace('["1x", "2x"]', '["1x", "2x", "2x"]'),
        "protocol: evaluate_at: '2x' occurs more than once; give each value once",
    ),
    "a fraction of a nanosecond": (
        TINY + "deadline_seconds = 1.4e-9\n",
        "timing.deadline_seconds: a deadline has whole nanoseconds, not 1.4 of them; round it",
    ),
    "a deadline of no time": (TINY + "deadline_seconds = 0\n", "timing.deadline_seconds must be at least 1e-09, not 0"),
    "steps and a fixed set": (
        TINY.replace("batch = 4", "epochs = 2\ntrain_sequences = 9"),
        "steps, or train_sequences",
    ),
    "steps and half a fixed set": (TINY.replace("batch = 4", "epochs = 2"), "epochs; given: steps and epochs"),
    "a fit without a fixed set": (
        TINY.replace("batch = 4", "batch = 4\nfit_sequences = 100"),
        "fit_sequences (100) needs a fixed training set: give train_sequences and epochs instead of steps, or omit",
    ),
    "a fit on too many sequences": (
        TINY.replace("steps = 1\nbatch", "epochs = 2\ntrain_sequences = 9\nfit_sequences = 10\nbatch"),
        "fit_sequences (10) must be at most train_sequences (9)",
    ),
    "neither params nor width": (TINY.replace("width = 4", ""), "state and step_flops; given: none of them"),
    "params and width": (TINY.replace("width = 4", "width = 4\nparams = 9"), "step_flops; given: params and width"),
    "an unknown architecture": (TINY.replace('"lstm"', '"lsmt"'), "did you mean 'lstm'"),
    "an unknown task": (TINY.replace('"first_last"', '"frist_last"'), "did you mean 'first_last'"),
    "an unknown option": (TINY.replace('"lstm"', '"lstm:forget_offset=1"'), "forget_bias"),
    "a wrong option": (TINY.replace('"lstm"', '"lstm:forget_bias=nan"'), "forget_bias"),
    "an empty name": (TINY.replace('"lstm"', '""'), "archs[1] must not be empty"),
    "a path for a name": (TINY.replace('"lstm"', '"../arch/lstm"'), "no architecture"),
    "too short": (TINY.replace("lengths = [4]", "lengths = [1]"), "at least 2 steps, not 1"),
    "too long": (TINY.replace("lengths = [4]", f"lengths = [{1 << 25}]"), "lengths"),
    "an unknown type of a test length": (
        TINY.replace('["1x", "2x"]', "[true]"),
        "evaluate_at[0] must be a string, or must be a whole number, not true",
    ),
    "a claim without bounds": (TINY + CLAIM, ": claim 'peak': a claim needs at_least, at_most or both"),
    "a claim about an unknown metric": (
        TINY + CLAIM.replace("accuracy", "Acc") + "at_least = 0.5\n",
        "claim 'peak': quantity: unknown metric 'Acc'",
    ),
    "a claim with a wrong bound": (
        TINY + CLAIM + "at_least = 'High'\n",
        "claim 'peak': at_least must be a number, not 'High'",
    ),
    "a claim without a name": (TINY + CLAIM.replace('name = "peak"\n', ""), "claims[0].name is missing"),
    "a claim with an unknown protocol field": (
        TINY + CLAIM + "at_least = 0.5\ncases = { protocol = { lr = 3 } }\n",
        "claim 'peak': a protocol has no field 'lr'",
    ),
    "too narrow for heads": (TINY.replace('"lstm"', '"transformer:heads=3"'), "heads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_invalid_plan_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    text, expected = WRONG[name]
    assert text != TINY
    assert expected in message_of(write_plan(tmp_path, text))


def test_an_invalid_protocol_is_reported_with_the_path_of_the_plan(tmp_path: Path) -> None:
    path = write_plan(tmp_path, TINY.replace("batch = 4", "batch = 0"))
    with pytest.raises(UsageError) as caught:
        load(str(path))
    assert str(caught.value) == f"invalid plan {path}: protocol: batch must be at least 1, not 0"


@pytest.mark.parametrize("size", [(16 << 10) + 1, 10 << 30])
def test_oversized_plan_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Check that a plan above 16 KiB is refused before it is read.

    The TOML parser takes quadratic time for dotted keys, so that a megabyte takes an hour.
    """
    path = tmp_path / "giant.toml"
    with path.open("wb") as file:
        file.truncate(size)

    def read_text(path: Path, **_: object) -> str:
        raise AssertionError("the file was read")

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "at most 16 KiB are read" in message_of(path)


def test_binary_or_missing_plan_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    assert "not valid TOML" in message_of(tmp_path / "binary.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "plan.yaml").write_text(TINY)
    for path in (
        tmp_path / "folder.toml",
        tmp_path / "plan.yaml",
        tmp_path / "missing.toml",
        Path("x" * 300 + ".toml"),
    ):
        assert "no plan" in message_of(path)


def test_unreadable_plan_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_plan(tmp_path)

    def read_text(path: Path, **_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read_text)
    text = message_of(path)
    assert "Permission denied" in text
    assert str(path) in text


def test_unknown_plan_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no plan 'quik' \(did you mean 'quick'\?\); choose from .*smoke"):
        load("quik")
    with pytest.raises(UsageError, match=r"no plan '../plans/quick'"):
        load("../plans/quick")


@pytest.mark.parametrize(
    ("names", "message"), [('tasks = ["nonsense"]', "the task 'nonsense'"), ("lengths = [5]", "the length 5")]
)
def test_override_that_applies_to_no_case_is_refused(tmp_path: Path, names: str, message: str) -> None:
    path = write_plan(tmp_path, TINY + f"\n[[override]]\n{names}\nprotocol = {{ batch = 2 }}\n")
    with pytest.raises(UsageError, match=f"override names {message}, which the plan does not have"):
        load(str(path))


@pytest.mark.parametrize(
    ("protocol", "field"),
    [({"steps": 5, "batch": 1}, "batch"), ({"train_sequences": 1, "epochs": 2, "batch": 4}, "train_sequences")],
)
def test_shuffled_targets_need_several_sequences(tmp_path: Path, protocol: dict[str, int], field: str) -> None:
    """With one sequence, a rotated target stays in its own sequence, where the model could find it."""
    fields = {**protocol, "control": '"shuffled_targets"'}
    lines = "\n".join(f"{name} = {value}" for name, value in fields.items())
    grid = 'archs = ["rnn"]\ntasks = ["first_last"]\nlengths = [4]\nseeds = 1\nwidth = 4'
    text = f'summary = "s"\n{grid}\n[protocol]\n{lines}\n'
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=f"'shuffled_targets' needs several sequences, but {field} is 1: give {field}"):
        load(str(path))
    path.write_text(text.replace(f"{field} = 1", f"{field} = 2"), encoding="utf-8")
    assert load(str(path)).seeds == 1


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_bytes(b"\xef\xbb\xbf" + TINY.encode())
    assert load(str(path)) == load(str(write_plan(tmp_path / "plain")))


def test_a_plan_in_utf_16_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-16")
    assert message_of(path).endswith("it is not UTF-8; save it as UTF-8")
