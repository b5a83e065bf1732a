"""What stands around the commands: the version, completion in a shell, and terminals that are narrow or plain."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bench import _cli_extend
from tests.bench.carousel import Carousel, carousel

__all__ = ["carousel"]

HOME = Path(__file__).resolve().parents[2]
NARROW = 40
ESCAPE = "\x1b["


def started(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell would start it."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'carousel'; from bench._cli import main; main()", *words],
        env=os.environ | {"PYTHONPATH": str(HOME)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_version_is_that_of_the_project(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def installed(name: str) -> str:
        assert name == project["name"]
        return "7.8.9"

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert carousel("--version") == (0, "carousel 7.8.9\n", "")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert _cli_extend.version() == project["version"]


def test_neither_help_nor_version_loads_what_is_heavy() -> None:
    code = "import sys, bench._cli; print([m for m in ('torch', 'pandas', 'scipy', 'matplotlib') if m in sys.modules])"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_where_the_shell_looks(tmp_path: Path, shell: str) -> None:
    where = {"HOME": str(tmp_path), "SHELL": f"/bin/{shell}", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    ran = started("--install-completion", shell, **where)
    assert ran.returncode == 0, ran.stderr
    assert f"{shell} completion installed in" in ran.stdout and "restart the terminal" in ran.stdout
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_CAROUSEL_COMPLETE" in text for text in written)


def test_completion_offers_commands_and_options() -> None:
    offered = started(_CAROUSEL_COMPLETE="complete_bash", COMP_WORDS="carousel val", COMP_CWORD="1").stdout
    assert offered.split() == ["validate"]
    offered = started(_CAROUSEL_COMPLETE="complete_bash", COMP_WORDS="carousel run --pl", COMP_CWORD="2").stdout
    assert offered.split() == ["--plugin"]


def test_colour_is_left_out_where_it_is_not_wanted() -> None:
    coloured = started("list", "plans", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="")
    plain = started("list", "plans", FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b[1m" in coloured.stdout
    assert not any(f"{ESCAPE}{colour}m" in plain.stdout for colour in range(30, 48))
    assert ESCAPE not in started("list", "plans").stdout


@pytest.mark.parametrize(
    "words", [("list", "archs"), ("list", "tasks"), ("list", "plans"), ("--help",), ("run", "--help")]
)
def test_a_narrow_terminal_loses_no_words(words: tuple[str, ...]) -> None:
    narrow, wide = started(*words, COLUMNS=str(NARROW), TERMINAL_WIDTH=str(NARROW)), started(*words, COLUMNS="200")
    assert narrow.returncode == wide.returncode == 0
    if "--help" not in words:  # help shortens the summaries of commands by itself
        assert "".join(narrow.stdout.split()) == "".join(wide.stdout.split())
    for name in ("transformer", "recall", "quick", "validate", "--plugin"):
        assert (name in narrow.stdout) == (name in wide.stdout)
