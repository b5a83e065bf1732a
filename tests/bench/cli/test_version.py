"""The version, shell completion, and output on narrow or colourless terminals."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import arch
import tasks
from bench.cli import main
from bench.cli.version import version
from bench.plans.plan import names
from tests.bench.carousel import Carousel, carousel

__all__ = ["carousel"]

HOME = Path(__file__).resolve().parents[3]
NARROW = 40
NO_DETECTION = ("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
"""Environment variable that makes typer use the given shell, not the shell that runs the tests."""
ESCAPE = "\x1b["


def without_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make typer use the given shell. Typer reads the variable when it builds the commands."""
    monkeypatch.setenv(*NO_DETECTION)
    monkeypatch.setattr(main, "commands", main.commands.__wrapped__)


def completed(carousel: Carousel, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Return the completions that bash is offered for the last word."""
    with monkeypatch.context() as patched:
        patched.setenv("_CAROUSEL_COMPLETE", "complete_bash")
        patched.setenv("COMP_WORDS", " ".join(["carousel", *words]))
        patched.setenv("COMP_CWORD", str(len(words)))
        return carousel().out.split()


def test_version_is_that_of_the_project(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def installed(name: str) -> str:
        assert name == project["name"]
        return "7.8.9"

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert carousel("--version") == (0, "carousel 7.8.9\n", "")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert version() == project["version"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_the_shell(
    carousel: Carousel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    without_detection(monkeypatch)
    ended = carousel("--install-completion", shell)
    assert ended.code == 0, ended.err
    assert f"{shell} completion installed in" in ended.out and "restart the terminal" in ended.out
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert any("_CAROUSEL_COMPLETE" in text for text in written)


def test_bash_completes_with_the_printed_script(
    tmp_path: Path, carousel: Carousel, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_detection(monkeypatch)
    (tmp_path / "completion.sh").write_text(carousel("--show-completion", "bash").out, encoding="utf-8")
    program = tmp_path / "carousel"
    start = f"import sys; sys.path.insert(0, {str(HOME)!r}); from bench.cli.main import main"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}; main()"\n', encoding="utf-8")
    program.chmod(0o755)
    completion = "COMP_WORDS=(carousel val); COMP_CWORD=1; _carousel_completion carousel; echo ${COMPREPLY[*]}"
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-euc", f". ./completion.sh; {completion}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "validate\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["val"], ["validate"]),
        (["run", "--pl"], ["--plugin"]),
        (["list", ""], ["archs", "tasks", "plans", "runs"]),
        (["run", "see"], ["seed", "seed-quick"]),
        (["run", "my_own"], []),
        (["run", "quick", "-a", "gr"], ["gru"]),
        (["run", "quick", "-a", "!ls"], ["!lstm"]),
        (["run", "quick", "-t", "+par"], ["+parity"]),
        (["show-task", "rec"], ["recall"]),
        (["show-arch", "tr"], ["transformer"]),
        (["validate", "re"], ["ret_net", "reber", "recall"]),
        (["show", ""], ["latest", "20270101-mine", "20260101-mine"]),
        (["report", "latest", "2027"], ["20270101-mine"]),
        (["check", "--store", "elsewhere", "2"], ["20280101-mine"]),
        (["gates", "--store", "missing", "2"], []),
    ],
)
def test_completion_offers_matching_names(
    carousel: Carousel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], offered: list[str]
) -> None:
    for folder, run in (("carousel-runs", "2026"), ("carousel-runs", "2027"), ("elsewhere", "2028")):
        (tmp_path / folder / f"{run}0101-mine").mkdir(parents=True)
        (tmp_path / folder / f"{run}0101-mine" / "run.json").write_text("{}", encoding="utf-8")
    (tmp_path / "carousel-runs" / "2029-no-run").mkdir()
    assert completed(carousel, monkeypatch, *words) == offered


def test_completion_offers_all_names(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(carousel, monkeypatch, "run", "quick", "-a", "") == arch.built_in()
    assert completed(carousel, monkeypatch, "run", "quick", "-t", "") == tasks.built_in()
    assert completed(carousel, monkeypatch, "run", "") == names()


def test_colour_follows_the_environment_variables(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ESCAPE not in carousel("list", "plans").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[1m" in carousel("list", "plans").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(f"{ESCAPE}{colour}m" in carousel("list", "plans").out for colour in range(30, 48))


@pytest.mark.parametrize(
    "words", [("list", "archs"), ("list", "tasks"), ("list", "plans"), ("--help",), ("run", "--help")]
)
def test_narrow_terminal_loses_no_words(
    carousel: Carousel, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    wide = carousel(*words)
    monkeypatch.setenv("COLUMNS", str(NARROW))
    narrow = carousel(*words)
    assert narrow.code == wide.code == 0
    if "--help" not in words:  # help shortens the summaries of commands
        assert "".join(narrow.out.split()) == "".join(wide.out.split())
    for name in ("transformer", "recall", "quick", "validate", "--plugin"):
        assert (name in narrow.out) == (name in wide.out)
