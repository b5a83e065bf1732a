"""Plugins of which one method raises an exception: one line from `run` and from `validate`, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench.errors import FAILED, OK, USAGE
from bench.plugins.loader import install
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, TASK, write
from tests.bench.runs import like_a_worker

__all__ = ["carousel", "inline", "like_a_worker"]

PROPERTIES = ("inputs", "targets", "input_names", "target_names", "data_digest", "min_length")
TASK_METHODS = (
    *PROPERTIES,
    *("for_seed", "draw", "chance", "solve", "solvable", "memoryless_score", "constant_loss", "memoryless_loss"),
    *("collision", "check_length", "supports_length", "answer", "correct", "score", "loss", "metrics", "__str__"),
)
UNUSED_BY_RUNS = ("input_names", "target_names", "solve", "solvable", "collision", "constant_loss", "correct")
"""Methods that a run of a task with classes does not call, or only through another one. `validate` does."""
LAYER_METHODS = (
    *("init_state", "step", "scan", "gates", "parameter_groups", "auxiliary_loss", "streaming_spec"),
    *("step_flops", "scan_flops", "backward_flops", "step_bytes"),
)


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


def everyday(methods: Sequence[str], *often: str) -> list[Any]:
    """Return the methods as parameters, of which only those in `often` are tested every day."""
    return [method if method in often else pytest.param(method, marks=pytest.mark.slow) for method in methods]


def failing(text: str, method: str, error: str) -> str:
    """Return the source of a plugin in which `method` raises an error. It replaces a method of the same name."""
    decorator = "    @property\n" if method in PROPERTIES else ""
    own = f"{decorator}    def {method}(self, *_, **__):\n        raise {error}\n"
    return text + f"\n{own}"


@pytest.mark.parametrize("method", everyday(TASK_METHODS, "data_digest", "for_seed"))
def test_a_task_that_raises_ends_a_run_and_a_validation_in_lines(
    tmp_path: Path, carousel: Carousel, inline: Inline, method: str
) -> None:
    write(tmp_path, "first_bit", failing(TASK, method, "OSError('\\nno such file')"))
    words = ("-t", "first_bit", "-a", "rnn", "--seeds", "1", "--measure", "accuracy,gates", "--plugin", "first_bit.py")
    ran = carousel("run", "tiny.toml", *words)
    for text in (ran.out, ran.err):
        assert "Traceback" not in text and "unexpected error" not in text, text
    assert ran.code in (USAGE, FAILED) or (ran.code == OK and method in UNUSED_BY_RUNS)
    if ran.code == USAGE:
        assert ran.err.count("\n") == 1
        assert "OSError" in ran.err and "no such file" in ran.err
    checked = carousel("validate", "--plugin", "first_bit.py")
    assert checked.code in (USAGE, FAILED), checked.out
    assert "Traceback" not in checked.out + checked.err and "unexpected error" not in checked.err
    assert "OSError" in checked.out + checked.err or method == "supports_length"  # then no length is found to be tried


@pytest.mark.parametrize("method", everyday(LAYER_METHODS, "scan_flops"))
def test_a_layer_that_raises_ends_a_run_and_a_validation_in_lines(
    tmp_path: Path, carousel: Carousel, inline: Inline, method: str
) -> None:
    write(tmp_path, "scaled", failing(ARCH, method, "OSError('\\nno such file')"))
    words = ("-a", "scaled", "--seeds", "1", "--measure", "accuracy,gates", "--plugin", "scaled.py")
    ran = carousel("run", "tiny.toml", *words)
    for text in (ran.out, ran.err):
        assert "Traceback" not in text and "unexpected error" not in text, text
    if ran.code == USAGE:
        assert ran.err.count("\n") == 1
    checked = carousel("validate", "--plugin", "scaled.py")
    assert "Traceback" not in checked.out + checked.err and "unexpected error" not in checked.err
    assert checked.code in (USAGE, FAILED), checked.out


@pytest.mark.parametrize("value", ["5", "b'digest'", "['a']"])
def test_a_digest_that_is_no_text_is_refused_in_one_line(tmp_path: Path, carousel: Carousel, value: str) -> None:
    text = TASK + f"\n    @property\n    def data_digest(self):\n        return {value}\n"
    write(tmp_path, "first_bit", text)
    ended = carousel("run", "tiny.toml", "-t", "first_bit", "--plugin", "first_bit.py", "--dry-run")
    assert (ended.code, ended.err.count("\n")) == (USAGE, 1)
    assert "first_bit: data_digest is " in ended.err and "return a text or None" in ended.err


def test_an_error_in_another_file_of_a_folder_names_the_plugin(tmp_path: Path, carousel: Carousel) -> None:
    folder = tmp_path / "first_bit"
    folder.mkdir()
    text = (
        TASK.replace("{name}", "first_bit") + "\n    @property\n    def data_digest(self):\n        return digest()\n"
    )
    (folder / "__init__.py").write_text(text.replace("import torch\n", "import torch\n\nfrom .data import digest\n", 1))
    (folder / "data.py").write_text("def digest():\n    return open('missing').read()\n")
    ended = carousel("run", "tiny.toml", "-t", "first_bit", "--plugin", "first_bit", "--dry-run")
    assert (ended.code, ended.err.count("\n")) == (USAGE, 1)
    assert ended.err.startswith("carousel: the plugin first_bit fails: FileNotFoundError at line 2")


@pytest.mark.parametrize(
    ("name", "text", "old", "new", "reason"),
    [
        (
            "first_bit",
            TASK,
            "    def chance(",
            "    @property\n    def data_digest(self):\n        raise OSError('\\nno such file')\n\n    def chance(",
            "OSError at line 37: no such file",
        ),
        (
            "first_bit",
            TASK,
            "    def chance(",
            "    def check_length(self, length):\n        return {2: 0}[length]\n\n    def chance(",
            "KeyError at line 36: 4",
        ),
        (
            "scaled",
            ARCH,
            "self.width = width",
            "self.width = width\n        assert width != 4, 'four'",
            "AssertionError at line 15: four",
        ),
    ],
)
def test_an_exception_of_a_plugin_is_a_usage_error_of_a_run(
    carousel: Carousel, tmp_path: Path, name: str, text: str, old: str, new: str, reason: str
) -> None:
    write(tmp_path, name, text.replace(old, new, 1))
    option = "-t" if name == "first_bit" else "-a"
    result = carousel("run", "tiny.toml", "--plugin", f"{name}.py", option, f"+{name}", "--dry-run")
    assert (result.code, result.err) == (2, f"carousel: the plugin {name} fails: {reason}\n")
