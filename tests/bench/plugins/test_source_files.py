"""Folders of plugins, imported neighbours, and what counts in a digest."""

from __future__ import annotations

import dataclasses
import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import arch
from bench.commands.run import command_line
from bench.errors import UsageError
from bench.executors.jobs import TrainJob
from bench.executors.training_job import run_training_job
from bench.plugins.loader import Plugin, install, load
from bench.plugins.sanity import PluginError
from results import Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, install_package, write
from tests.bench.tiny import tiny_case

__all__ = ["carousel", "inline"]

FOLDER = {
    "__init__.py": ARCH.replace("import Layer\n", "import Layer\n\nfrom .helpers import half\n").replace(
        "0.5 *", "half() *"
    ),
    "helpers.py": "from .deep.values import HALF\n\n\ndef half():\n    return HALF\n",
    "deep/values.py": "HALF = 0.5\n",
}


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())
    for name in [name for name in sys.modules if name.partition(".")[0] == "extras"]:
        del sys.modules[name]
    assert not any(name.startswith("carousel_plugins.") for name in sys.modules)


def write_folder(folder: Path) -> Path:
    for name, text in FOLDER.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{name}", folder.name), encoding="utf-8")
    return folder


def load_one(path: Path) -> Plugin:
    loaded = load([path])
    assert loaded.disabled == ()
    return loaded.plugins[0]


def test_a_folder_adds_the_architecture_of_its_init_file(tmp_path: Path) -> None:
    plugin = load_one(write_folder(tmp_path / "scaled"))
    assert plugin.name == "scaled" and plugin.sources is not None and plugin.sources.keys() == FOLDER.keys()
    assert arch.get("scaled").summary == "the last step, scaled."
    assert arch.build("scaled", channels=1, outputs=1, width=2, seed=0) is not None


def test_every_file_of_a_folder_counts_in_the_digest(tmp_path: Path) -> None:
    digests = {load_one(write_folder(tmp_path / "scaled")).digest}
    shutil.copytree(tmp_path / "scaled", tmp_path / "elsewhere" / "scaled")
    assert load_one(tmp_path / "elsewhere" / "scaled").digest in digests
    for name, text in FOLDER.items():
        (tmp_path / "scaled" / name).write_text(text.replace("{name}", "scaled") + "\n", encoding="utf-8")
        digests.add(load_one(tmp_path / "scaled").digest)
    (tmp_path / "scaled" / "more.py").write_text("", encoding="utf-8")
    digests.add(load_one(tmp_path / "scaled").digest)
    (tmp_path / "scaled" / "more.py").rename(tmp_path / "scaled" / "other.py")
    digests.add(load_one(tmp_path / "scaled").digest)
    assert len(digests) == 1 + len(FOLDER) + 2


def test_a_worker_runs_all_files_of_a_folder_without_the_folder(tmp_path: Path) -> None:
    plugin = load_one(write_folder(tmp_path / "scaled"))
    install(())
    shutil.rmtree(tmp_path / "scaled")
    job = pickle.loads(pickle.dumps(TrainJob(case=tiny_case("scaled"), plugins=(plugin,))))
    assert run_training_job(job, lambda *_: None).record.status == "ok"
    assert plugin.sources is not None
    damaged = {**plugin.sources, "helpers.py": b"def half():\n    return 0.75\n"}
    with pytest.raises(PluginError, match="its source has the digest"):
        install([dataclasses.replace(plugin, digest="0123456789", sources=damaged)])


def test_an_edited_helper_replaces_the_plugin(tmp_path: Path) -> None:
    before = load_one(write_folder(tmp_path / "scaled"))
    (tmp_path / "scaled" / "deep" / "values.py").write_text("HALF = 0.25\n", encoding="utf-8")
    after = load_one(tmp_path / "scaled")
    assert after.digest != before.digest
    assert sys.modules["carousel_plugins.scaled"].half() == 0.25


def test_an_error_in_a_helper_disables_the_plugin(tmp_path: Path) -> None:
    write_folder(tmp_path / "scaled")
    (tmp_path / "scaled" / "helpers.py").write_text("def half(:\n", encoding="utf-8")
    (disabled,) = load([tmp_path / "scaled"]).disabled
    assert disabled.reason == "SyntaxError at line 1: invalid syntax"
    (tmp_path / "scaled" / "helpers.py").unlink()
    (disabled,) = load([tmp_path / "scaled"]).disabled
    assert disabled.reason == "ModuleNotFoundError at line 8: No module named 'carousel_plugins.scaled.helpers'"


@pytest.mark.parametrize(
    ("line", "neighbour"),
    [
        ("from helpers import half", "helpers.py"),
        ("import helpers as h", "helpers.py"),
        ("from .helpers import half", "helpers.py"),
        ("from . import helpers", "helpers.py"),
        ("from parts.inner import half", "parts"),
        ("def f():\n    import helpers", "helpers.py"),
    ],
)
def test_a_file_that_imports_a_neighbour_is_refused(tmp_path: Path, line: str, neighbour: str) -> None:
    """Check with the neighbour on the path too, because `python -m bench` has the current folder there."""
    file = write(tmp_path, "scaled", f"{line}\n{ARCH}")
    (tmp_path / "helpers.py").write_text("def half():\n    return 0.5\n", encoding="utf-8")
    (tmp_path / "parts").mkdir()
    with pytest.raises(UsageError) as caught:
        load([file])
    message = f"--plugin {file}: it imports {neighbour} beside it, which would not count in its digest; put both into"
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        with pytest.raises(UsageError, match="would not count in its digest"):
            load([file])


def test_neighbours_that_are_not_imported_do_not_matter(tmp_path: Path) -> None:
    for name in ("math", "helpers", "arch"):
        (tmp_path / f"{name}.py").write_text("1 / 0\n", encoding="utf-8")
    assert load_one(write(tmp_path, "scaled", "import math\n" + ARCH)).name == "scaled"


@pytest.mark.parametrize("name", ["two words", "_hidden", "empty"])
def test_a_folder_that_cannot_be_a_plugin_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "empty" if name == "empty" else write_folder(tmp_path / name)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UsageError) as caught:
        load([folder])
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_every_file_of_an_installed_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ARCH.replace("from arch import Layer\n", "from arch import Layer\nfrom extras.helpers import half\n")
    install_package(tmp_path, "carousel.archs", {"scaled": text})
    (tmp_path / "extras" / "helpers.py").write_text("def half():\n    return 0.5\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = load([]).plugins
    install(())
    (tmp_path / "extras" / "helpers.py").write_text("def half():\n    return 0.75\n", encoding="utf-8")
    with pytest.raises(
        PluginError, match=r"the module extras\.scaled differs on this machine: its source has the digest"
    ):
        install([plugin])


def test_a_run_records_the_digest_of_a_folder(carousel: Carousel, inline: Inline, tmp_path: Path) -> None:
    write_folder(tmp_path / "mine" / "scaled")
    words = ["run", "tiny.toml", "--plugin", "mine/scaled", "-a", "scaled", "--seeds", "1", "--measure", "accuracy"]
    assert carousel(*words).code == 0
    file = Store(tmp_path / "carousel-runs").find("latest").file()
    assert file.plugins == {"scaled": load_one(tmp_path / "mine" / "scaled").digest}
    assert file.command.startswith("carousel run tiny.toml --plugin scaled -a scaled")
    assert carousel("validate", "--plugin", "mine/scaled").out.startswith("scaled (plugin ")


def test_a_stored_command_contains_no_folders_of_folders() -> None:
    words = ["run", "--plugin", "/home/someone/mine/", "--plugin=/home/someone/other", "tiny"]
    assert command_line(words) == "carousel run --plugin mine --plugin=other tiny"


@pytest.mark.parametrize(
    "words",
    [
        ("run", "quick", "-a", "scaled:start=0.5", "--dry-run"),
        ("validate", "scaled"),
        ("show-arch", "scaled"),
        ("show-task", "scaled"),
    ],
)
@pytest.mark.parametrize("name", ["scaled.py", "scaled"])
def test_an_unknown_name_with_a_file_of_its_own_asks_for_the_option(
    carousel: Carousel, tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    if name.endswith(".py"):
        write(tmp_path, "scaled", ARCH)
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(ARCH.format(name=name), encoding="utf-8")
    ended = carousel(*words)
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert ended.err.endswith(f"; to use the plugin in this folder, add --plugin {name}\n")
