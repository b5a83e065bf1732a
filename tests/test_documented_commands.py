"""Commands and code in the documents: every command line is accepted, and the Python code runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.cli.main import CommandLineError
from bench.plugins.loader import install, load
from bench.validation.checker import validate_arch
from tests.results.examples import stored
from tests.test_documents import HOME, PAGES

EXAMPLES = [path for path in (HOME / "examples").rglob("*.[pty]*") if path.suffix != ".pyc"]
SOURCES = sorted({*PAGES, *EXAMPLES})
TYPED = re.compile(r"^(?:    | {10}|#   |\$ )?(?:run: )?(carousel -?-?[a-z].*)$", re.MULTILINE)
INLINE = re.compile(r"`(carousel [^`\n]+)`")
NAMED_ONLY = re.compile(r"carousel [a-z-]+(?: --[a-z-]+)?")
"""A command that is only named in a sentence. Such a command may lack required arguments."""
EXPLANATION = re.compile(r"(?: {3,}| +# )\S.*$")
"""Text after a command, separated by spaces or written as a comment."""


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a text, without explanations. Commands that a sentence only names are left out."""
    for found in TYPED.findall(text):
        yield EXPLANATION.sub("", found).strip()
    for found in INLINE.findall(text):
        if not NAMED_ONLY.fullmatch(found):
            yield found


def names_of_commands(text: str) -> Iterator[str]:
    """Yield the names of the commands that a text mentions in backquotes."""
    return (found.split()[1] for found in INLINE.findall(text) if not found.split()[1].startswith("-"))


def rejection(command: str) -> str | None:
    """Return the reason why the command line rejects a command, or None if the command is accepted.

    Nothing is run: options that act when they are parsed, such as --install-completion, are only looked up.
    """
    _, name, *words = shlex.split(command)
    group: Any = main.commands()
    if name.startswith("-"):
        return None if any(name in option.opts for option in group.params) else f"no option {name!r}"
    if name not in group.commands:
        return f"no command {name!r}"
    try:
        group.commands[name].make_context(name, words).close()
    except CommandLineError as error:
        return str(error.format_message())  # type: ignore[attr-defined]
    return None


@pytest.mark.parametrize("page", SOURCES, ids=lambda page: page.relative_to(HOME).as_posix())
def test_every_documented_command_is_accepted(page: Path) -> None:
    for command in commands(page.read_text(encoding="utf-8")):
        assert rejection(command) is None, command
    for name in names_of_commands(page.read_text(encoding="utf-8")):
        assert rejection(f"carousel {name}") != f"no command {name!r}"


def test_documents_contain_commands() -> None:
    found = {page: list(commands(page.read_text(encoding="utf-8"))) for page in SOURCES}
    readme = found[HOME / "README.md"]
    assert "carousel compare BASE NEW" in readme and "carousel run quick -a lstm -a gru -L 64,256" in readme
    assert sum(map(len, found.values())) > 40


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("    carousel run --archs lstm    trains", "No such option: --archs"),
        ("say `carousel shw latest`", "no command 'shw'"),
        ("    carousel run --seeds many", "'--seeds'"),
        ("    carousel --verison", "no option '--verison'"),
        ("    carousel compare", "BASE"),
        ("    carousel show latest --format markdown         also: table, csv", None),
        ("`carousel compare` needs two", None),
    ],
)
def test_wrong_commands_are_rejected(text: str, reason: str | None) -> None:
    reasons = [found for command in commands(text) if (found := rejection(command)) is not None]
    assert reasons == [] if reason is None else reason in reasons[0]


def blocks(title: str) -> list[str]:
    """Return the blocks of Python code in a section of the README."""
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    section = readme.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_architecture_of_the_readme_passes_every_check(tmp_path: Path) -> None:
    (code,) = blocks("Your own architecture")
    name = code.partition('"""')[2].partition(":")[0]
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    try:
        assert [plugin.name for plugin in load([tmp_path / f"{name}.py"]).plugins] == ["indrnn"]
        verdict = validate_arch("indrnn:keep=0.9")
        assert verdict.failed == [] and verdict.state == "state constant: 16 bytes per stream at width 4"
    finally:
        install(())


def test_python_session_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("Reference")
    stored(tmp_path / "carousel-runs", 0, 1)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["scores"].shape == (8, 32, 2)  # type: ignore[attr-defined]
    assert [len(names[name]) for name in ("cases", "frame", "samples")] == [2, 6, 10]  # type: ignore[arg-type]
