"""The house's rules, read off the syntax trees: who imports whom, and how long a file may grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parent.parent
ALLOWED = {
    "arch": set(),
    "tasks": set(),
    "results": set(),
    "reports": {"results"},
    "bench": {"arch", "tasks", "results", "reports"},
}
"""The siblings that each room may import."""
WITHOUT_TORCH = ("reports", "results")
LONGEST_FILE_LINES = 400


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere, by statement or by `import_module` of a constant."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            found.add("a relative import")
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            found |= {str(a.value).partition(".")[0] for a in node.args[:1] if isinstance(a, ast.Constant)}
    return found


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def sources(room: str) -> Iterator[Path]:
    return (HOME / room).rglob("*.py")


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    files = list(sources(room))
    assert files, f"{HOME / room} holds no source"
    siblings = set(ALLOWED) - {room}
    for path in files:
        crossed = imported_packages(path.read_text(encoding="utf-8")) & (siblings | {"tests", "a relative import"})
        assert crossed <= ALLOWED[room], f"{path.relative_to(HOME)} imports {', '.join(sorted(crossed))}"


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_reading_and_showing_results_needs_no_torch(room: str) -> None:
    for path in sources(room):
        heavy = imported_packages(path.read_text(encoding="utf-8")) & {"torch", "numba"}
        assert not heavy, f"{path.relative_to(HOME)} imports {', '.join(sorted(heavy))}"


def test_nothing_outside_bench_imports_bench() -> None:
    for room in set(ALLOWED) - {"bench"}:
        for path in sources(room):
            assert "bench" not in imported_packages(path.read_text(encoding="utf-8")), path.relative_to(HOME)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", {"torch"}),
        ("def f():\n    from bench.plans.plan import load", {"bench"}),
        ("if TYPE_CHECKING:\n    import arch", {"arch"}),
        ("import importlib\nimportlib.import_module('tasks.adding')", {"importlib", "tasks"}),
        ("from . import sibling", {"a relative import"}),
        ("note = 'import torch'", set()),
    ],
)
def test_the_reader_of_imports_sees_every_form(source: str, expected: set[str]) -> None:
    assert imported_packages(source) == expected


def test_no_file_is_too_long() -> None:
    files = [path for room in (*ALLOWED, "tests") for path in sources(room)]
    long = {
        str(path.relative_to(HOME)): lines
        for path in files
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST_FILE_LINES
    }
    assert len(files) > 50
    assert not long
