"""Plugins: loading, refused files, disabled plugins, and the plugins that a run records."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arch
import tasks
from bench.errors import UsageError
from bench.plugins.loader import digests, install, load
from bench.plugins.sanity import PluginError
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, TASK, install_package, write

__all__ = ["carousel", "inline"]

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())
    for name in [name for name in sys.modules if name.partition(".")[0] == "extras"]:
        del sys.modules[name]
    assert "scaled" not in arch.names() and "first_bit" not in tasks.names()


def test_a_file_adds_its_architecture(tmp_path: Path) -> None:
    loaded = load([write(tmp_path, "scaled", ARCH)])
    assert "scaled" in arch.names() and "scaled" not in arch.built_in()
    scaled = arch.get("scaled:start=2")
    assert str(scaled) == "scaled:start=2.0"
    assert scaled.summary == "the last step, scaled."
    model = arch.build("scaled:start=2", channels=1, outputs=2, width=3)
    assert model.layers[0].linear.bias.tolist() == [2, 2, 2]
    assert digests(loaded.plugins) == {"scaled": loaded.plugins[0].digest}


def test_a_file_adds_its_task(tmp_path: Path) -> None:
    load([write(tmp_path, "first_bit", TASK)])
    task = tasks.build("first_bit")
    assert str(task) == "first_bit" and tasks.get("first_bit") is type(task)
    batch = task.sample(tasks.generator(0, "train"), 4, 5)
    assert task.score(task.solve(batch), batch) == 1.0


def test_the_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    (before,) = load([write(tmp_path, "scaled", ARCH)]).plugins
    (again,) = load([write(tmp_path / "elsewhere", "scaled", ARCH)]).plugins
    (changed,) = load([write(tmp_path, "scaled", ARCH + "\n")]).plugins
    assert before == again and before.digest != changed.digest


def test_an_edited_file_replaces_the_plugin(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH)])
    load([write(tmp_path, "scaled", ARCH.replace("start: float = 1.0", "start: float = 7.0"))])
    assert arch.get("scaled").parameters["start"][1] == 7.0
    load([])
    assert "scaled" not in arch.names()


def test_a_worker_gets_the_content_and_checks_its_digest(tmp_path: Path) -> None:
    file = write(tmp_path, "scaled", ARCH)
    (plugin,) = load([file]).plugins
    install(())
    for name in [name for name in sys.modules if name.partition(".")[0] == "extras"]:
        del sys.modules[name]
    assert "scaled" not in arch.names()
    file.unlink()
    install([pickle.loads(pickle.dumps(plugin))])
    assert arch.get("scaled").layer.__name__ == "Scaled"
    message = "scaled does not work in this worker: its source has the digest .*, but the job expects 0123456789:"
    with pytest.raises(PluginError, match=message):
        install([dataclasses.replace(plugin, digest="0123456789")])


def test_a_worker_does_not_reload_a_plugin(tmp_path: Path) -> None:
    (plugin,) = load([write(tmp_path, "scaled", ARCH)]).plugins
    layer = arch.get("scaled").layer
    install([plugin])
    assert arch.get("scaled").layer is layer


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("lstm", ARCH, "architecture 'lstm' already exists"),
        ("parity", TASK, "task 'parity' already exists"),
        ("lstm", "1 / 0", "--plugin lstm.py: ZeroDivisionError at line 1"),
    ],
)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    built_in = arch.get("lstm"), tasks.get("parity")
    with pytest.raises(UsageError) as caught:
        load([write(tmp_path, name, text)])
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert (arch.get("lstm"), tasks.get("parity")) == built_in


def test_two_files_with_one_name_are_refused_but_one_file_may_be_given_twice(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", "same", ARCH), write(tmp_path / "b", "same", TASK)
    assert len(load([first, first]).plugins) == 1
    with pytest.raises(UsageError, match="another plugin is already called 'same'"):
        load([first, second])


@pytest.mark.parametrize("name", ["two words.py", "_hidden.py", "scaled.txt", "1st.py", "missing.py", "folder.py"])
def test_a_file_that_cannot_be_a_plugin_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    if "missing" not in name and "folder" not in name:
        (tmp_path / name).write_text(ARCH, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load([tmp_path / name])
    assert name in str(caught.value) and "\n" not in str(caught.value)


BROKEN = {
    "raises": ("import torch\n\nraise RuntimeError('not today')\n", "RuntimeError at line 3: not today"),
    "exits": ("import sys\nsys.exit(0)\n", "SystemExit at line 2: 0"),
    "syntax": ("class Broken(:\n", "SyntaxError at line 1: invalid syntax"),
    "not text": ("\0", "null bytes"),
    "empty": ("", "it must define exactly one Layer or one Task, but defines none"),
    "module": (
        ARCH.replace("(Layer)", "(nn.Module)"),
        "but defines none: write class Scaled(arch.RecurrentLayer), or derive from arch.Layer",
    ),
    "two": (ARCH + "\n\nclass Other(Scaled):\n    pass\n", "defines 2 Layer and 0 Task classes"),
    "both": (ARCH + "\n\n" + TASK, "defines 1 Layer and 1 Task classes"),
    "abstract": (ARCH.replace("def scan", "def scna"), "Scaled does not define scan: define what is missing"),
    "no step": (
        ARCH.replace("def step", "def forward_step"),
        "Scaled does not define step: define what is missing, or derive it from arch.RecurrentLayer and define project",
    ),
    "abstract task": (TASK.replace("def solve", "def slove"), "FirstBit does not define solve"),
    "option without default": (ARCH.replace("start: float = 1.0", "start: float"), "option 'start' has no default"),
    "constructor": (ARCH.replace("self.width = width", "self.width = widht"), "NameError at line 14: name 'widht'"),
    "no width": (
        ARCH.replace("self.width = width", "raise ValueError('not at this width')"),
        "broken: not at this width",
    ),
    "no dataclass": (TASK.replace("@dataclass(frozen=True, kw_only=True)", ""), "must be a frozen dataclass"),
    "no source": (
        TASK.replace('    source: ClassVar[str] = "this test"\n', ""),
        "must have a class attribute `source`",
    ),
    "wrong kind": (TASK.replace("return Tokens(2)", "return 2"), "inputs must be Tokens or Reals, not 2"),
    "draw": (TASK.replace("generator=generator", "generatr=generator"), "TypeError at line 30: randint"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_disables_only_itself_and_gives_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    loaded = load([write(tmp_path, "broken", text), write(tmp_path, "scaled", ARCH)])
    assert [plugin.name for plugin in loaded.plugins] == ["scaled"]
    (disabled,) = loaded.disabled
    assert reason in disabled.reason and "\n" not in disabled.reason
    assert arch.names() == sorted([*arch.built_in(), "scaled"]) and tasks.names() == tasks.built_in()
    for use in (arch.get, tasks.build):
        with pytest.raises(ValueError, match="the plugin broken is disabled: ") as caught:
            use("broken")
        assert reason in str(caught.value)
    load([])
    with pytest.raises(arch.UnknownName):
        arch.get("broken")


def test_an_error_inside_a_plugin_shows_its_line(tmp_path: Path) -> None:
    load([write(tmp_path, "scaled", ARCH.replace("0.5 * state", "0.5 / none"))])
    layer = arch.build("scaled", channels=1, outputs=1, width=2).layers[0]
    with pytest.raises(NameError) as caught:
        layer.step(torch.zeros(1, 1), layer.init_state(1))
    assert caught.traceback[-1].path and caught.traceback[-1].statement.lines[0].strip().startswith("h_BH = (self")


def test_entry_points_add_names_and_broken_ones_disable_only_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_package(tmp_path, "carousel.archs", {"scaled": ARCH, "sinking": "1 / 0", "lstm": ARCH})
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded = load([])
    assert [plugin.name for plugin in loaded.plugins] == ["scaled"]
    assert arch.get("scaled").layer.__module__ == "extras.scaled"
    assert {plugin.name: plugin.reason for plugin in loaded.disabled} == {
        "lstm": "architecture 'lstm' already exists; rename the plugin",
        "sinking": "ZeroDivisionError: division by zero",
    }
    assert arch.get("lstm").layer.__module__ == "arch.lstm"
    with pytest.raises(UsageError, match="an installed package already declares a plugin 'scaled'"):
        load([write(tmp_path, "scaled", ARCH)])


def test_an_entry_point_must_have_the_same_content_in_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_package(tmp_path, "carousel.tasks", {"first_bit": TASK})
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = load([]).plugins
    assert plugin.sources is None and plugin.module == "extras.first_bit"
    install(())
    (tmp_path / "extras" / "first_bit.py").write_text(TASK + "\n", encoding="utf-8")
    with pytest.raises(PluginError, match=r"extras\.first_bit differs on this machine: its source has the digest"):
        install([plugin])


def test_a_run_trains_plugins_and_records_them(carousel: Carousel, tmp_path: Path, inline: Inline) -> None:
    write(tmp_path, "scaled", ARCH)
    write(tmp_path, "first_bit", TASK)
    write(tmp_path, "broken", "1 / 0")
    words = ["--plugin", "scaled.py", "--plugin", "first_bit.py", "--plugin", "broken.py", "--measure", "accuracy"]
    result = carousel("run", "tiny.toml", *words, "-a", "+scaled", "-t", "first_bit", "--seeds", "1")
    assert result.code == 0, result.err
    assert "the plugin broken is disabled: ZeroDivisionError at line 1" in result.out
    run = Store(tmp_path / "carousel-runs").find("latest")
    file = run.file()
    assert file.plugins.keys() == {"scaled", "first_bit"}
    assert sorted((case.arch, case.task) for case in file.cases) == [
        ("lstm", "first_bit"),
        ("rnn", "first_bit"),
        ("scaled", "first_bit"),
    ]
    assert {record.status for record in run.read()[0].values()} == {"ok"}
    load([])
    assert carousel("show", "latest").code == 0


def test_a_run_is_resumed_only_with_the_same_plugins(carousel: Carousel, tmp_path: Path, inline: Inline) -> None:
    command = ["run", "tiny.toml", "--plugin", "scaled.py", "-a", "scaled", "--dry-run"]
    write(tmp_path, "scaled", ARCH)
    assert carousel(*command[:-1]).code == 0
    run = Store(tmp_path / "carousel-runs").find("latest")
    run.write_file(run.file().model_copy(update={"finished": None}))
    assert "2 done," in carousel(*command).out
    write(tmp_path, "scaled", ARCH + "\n")
    assert "0 done," in carousel(*command).out
    started = carousel(*command[:-1])
    changed = f"plugins changed: plugin {next(iter(run.file().plugins))} "
    assert f"not resuming run {run.id} ({changed}" in started.out
    # Runs that start in the same second have names in random order, so the new run need not be the latest.
    (other,) = (stored for stored in Store(tmp_path / "carousel-runs").runs() if stored.id != run.id)
    assert other.file().plugins != run.file().plugins
    assert all(record.status == "ok" for record in other.read()[0].values())


def test_using_a_disabled_plugin_is_a_usage_error(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "broken", "1 / 0")
    for option in ("-a", "-t"):
        result = carousel("run", "tiny.toml", "--plugin", "broken.py", option, "+broken")
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "carousel: the plugin broken is disabled: ZeroDivisionError at line 1: division by zero\n"
        )


def test_an_unused_plugin_is_mentioned(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "scaled", ARCH)
    write(tmp_path, "first_bit", TASK)
    ended = carousel("run", "tiny.toml", "--plugin", "scaled.py", "--plugin", "first_bit.py", "--dry-run")
    assert "the plan does not use the plugin scaled; add it with -a +scaled" in ended.out
    assert "add it with -t +first_bit" in ended.out


def test_an_unused_compiled_cell_is_mentioned(carousel: Carousel, tmp_path: Path) -> None:
    example = (Path(__file__).parents[3] / "examples" / "light_gru.py").read_text(encoding="utf-8")
    write(tmp_path, "used", example)
    write(tmp_path, "unused", example.replace("gates=2", "gates=3"))
    plugins = ("--plugin", "used.py", "--plugin", "unused.py", "-a", "used", "-a", "unused")
    ended = carousel("run", "tiny.toml", *plugins, "--dry-run")
    told = " ".join(ended.out.split())
    assert "unused is interpreted: its compiled cell is not used: W_GD: the kernel needs a tensor of shape" in told
    assert "used is interpreted" not in told.replace("unused is interpreted", "")


def test_list_and_show_task_include_plugins(carousel: Carousel, tmp_path: Path) -> None:
    write(tmp_path, "scaled", ARCH)
    write(tmp_path, "first_bit", TASK)
    write(tmp_path, "broken", "1 / 0")
    plugins = ["--plugin", "scaled.py", "--plugin", "first_bit.py", "--plugin", "broken.py"]
    archs = {row["name"]: row for row in json.loads(carousel("list", "archs", *plugins, "--json").out)}
    in_block = {"block": "bare", "conv": 0, "expansion": 0}
    assert archs["scaled"]["options"] == {"start": 1.0, **in_block, "dropout": 0.0}
    assert len(archs["scaled"]["plugin"]) == 10 and "plugin" not in archs["lstm"]
    assert archs["broken"]["summary"] == "disabled plugin: ZeroDivisionError at line 1: division by zero"
    listed = carousel("list", "tasks", *plugins).out
    assert "first_bit: Repeat the first bit" in listed and "broken: disabled plugin: Zero" in listed
    assert "first_bit: Repeat the first bit" in carousel("show-task", "first_bit", *plugins).out
    assert "shows more" not in carousel("list", "archs", "broken", *plugins).out


def test_a_stored_command_contains_no_folders_of_plugins() -> None:
    from bench.commands.run import command_line

    words = ["run", "--plugin", "/home/someone/mine.py", "--plugin=../other.py", "/home/someone/plan.toml"]
    assert command_line(words) == "carousel run --plugin mine.py --plugin=other.py plan.toml"


@pytest.mark.slow
def test_commands_that_read_results_import_no_plugin(tmp_path: Path) -> None:
    install_package(tmp_path, "carousel.archs", {"marker": f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"})
    readers = [["show"], ["report"], ["gates"], ["compare", "latest"], ["history"], ["list", "runs"], ["list", "plans"]]
    program = (
        "import pathlib, sys; from bench.cli.main import main\n"
        f"for words in {[*readers, ['list', 'archs']]}:\n"
        "    sys.argv = ['carousel', *words]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        print('>', *words, pathlib.Path('imported').exists())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(HOME)])}
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith(">")]
    assert lines == [f"> {' '.join(words)} False" for words in readers] + ["> list archs True"]


def test_modules_that_read_results_do_not_import_the_loader() -> None:
    importers = {
        str(path.relative_to(HOME))
        for package in ("results", "reports", "bench")
        for path in (HOME / package).rglob("*.py")
        if "bench.plugins" in path.read_text(encoding="utf-8")
    }
    assert "bench/executors/training_job.py" in importers
    assert not importers & {"bench/commands/report.py", "bench/commands/doctor.py", "bench/commands/stored_run.py"}
    assert all(name.startswith("bench/") for name in importers)


@pytest.mark.parametrize("name", sorted(arch.RESERVED_OPTIONS))
@pytest.mark.parametrize("form", ["{name}: float = 0.5, *", "*, {name}: float = 0.5"])
def test_an_option_with_a_reserved_name_is_refused(tmp_path: Path, name: str, form: str) -> None:
    text = ARCH.replace("inputs: int, width: int, *", "one, two, " + form.format(name=name))
    text = text.replace("        self.width", "        inputs, width = one, two\n        self.width")
    (disabled,) = load([write(tmp_path, "scaled", text)]).disabled
    assert disabled.reason == f"its option {name!r} has a name that Carousel uses itself; rename the option"


def test_a_task_option_with_a_reserved_name_is_refused(tmp_path: Path) -> None:
    text = TASK.replace(
        '    source: ClassVar[str] = "this test"\n', '    source: ClassVar[str] = "this test"\n    preset: str = "a"\n'
    )
    (disabled,) = load([write(tmp_path, "first_bit", text)]).disabled
    assert disabled.reason == "its option 'preset' has a name that Carousel uses itself; rename the option"


def test_an_architecture_whose_message_mentions_no_width_is_accepted(tmp_path: Path) -> None:
    text = ARCH.replace(
        "self.width = width",
        "self.width = width\n        if width > 8:\n            raise ValueError('it accepts no width above 8')",
    )
    assert load([write(tmp_path, "scaled", text)]).disabled == ()


def test_a_task_whose_data_is_missing_is_accepted_wherever_it_notices(tmp_path: Path) -> None:
    text = TASK.replace(
        "    @property\n    def inputs",
        "    def __post_init__(self):\n        raise ValueError('no data here')\n\n    @property\n    def inputs",
        1,
    )
    assert load([write(tmp_path, "first_bit", text)]).disabled == ()
    with pytest.raises(ValueError, match="no data here"):
        tasks.build("first_bit")
