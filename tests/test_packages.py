"""The structure of the packages: imports, and limits on the size of files and folders.

import-linter checks the layers declared in `pyproject.toml`. The other tests read the source files.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

HOME = Path(__file__).resolve().parent.parent
PACKAGES = ("arch", "tasks", "bench", "results", "reports")
MAX_FILE_LINES = 400
MAX_FOLDER_FILES = 20
MAX_CROSS_PACKAGE_DEPTH = 2
"""Maximum number of parts in the name of a module imported from another package, such as `results.comparison`."""


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (HOME / folder).rglob("*.py")


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Yield each import as (module, name). The name is empty for a plain `import module`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name) for alias in node.names)


def relative(path: Path) -> str:
    return path.relative_to(HOME).as_posix()


def test_layers_are_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOME)
    assert lint_imports(config_filename="pyproject.toml", no_cache=True) == 0


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "examples"])
def test_no_private_name_is_imported(folder: str) -> None:
    for path in sources(folder):
        for module, name in imports(path.read_text(encoding="utf-8")):
            parts = [*module.split("."), name]
            if parts[0] in PACKAGES:
                private = [part for part in parts if part.startswith("_") and not part.startswith("__")]
                assert not private, f"{relative(path)} imports {module}.{name}"


def private_uses(source: str) -> Iterator[str]:
    """Yield each private name of a Carousel module that a source file uses, as `module._name`."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (HOME / node.module.replace(".", "/") / f"{alias.name}.py").exists():
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            named = (alias for alias in node.names if alias.asname and alias.name.partition(".")[0] in PACKAGES)
            modules |= {str(alias.asname): alias.name for alias in named}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.value.id in modules and node.attr.startswith("_") and not node.attr.startswith("__"):
            yield f"{modules[node.value.id]}.{node.attr}"


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "examples"])
def test_no_private_name_is_used_through_its_module(folder: str) -> None:
    for path in sources(folder):
        assert list(private_uses(path.read_text(encoding="utf-8"))) == [], relative(path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from bench.plans import plan\nplan._names()", ["bench.plans.plan._names"]),
        ("import bench.plans.plan as p\np._names", ["bench.plans.plan._names"]),
        ("from bench.plans import plan\nplan.names()", []),
        ("self._names()", []),
    ],
)
def test_private_uses_are_found(source: str, expected: list[str]) -> None:
    assert list(private_uses(source)) == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_other_packages_are_imported_by_their_public_modules(package: str) -> None:
    for path in sources(package):
        for module, _ in imports(path.read_text(encoding="utf-8")):
            assert not module.startswith("."), f"{relative(path)} has a relative import"
            parts = module.split(".")
            if parts[0] in PACKAGES and parts[0] != package:
                assert len(parts) <= MAX_CROSS_PACKAGE_DEPTH, f"{relative(path)} imports {module}"


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_do_not_import_tests(package: str) -> None:
    for path in sources(package):
        modules = {module.partition(".")[0] for module, _ in imports(path.read_text(encoding="utf-8"))}
        assert "tests" not in modules, relative(path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", [("torch.nn", "")]),
        ("def f():\n    from bench.plans import load, names", [("bench.plans", "load"), ("bench.plans", "names")]),
        ("from . import sibling", [(".", "sibling")]),
        ("note = 'import torch'", []),
    ],
)
def test_imports_finds_every_form_of_import(source: str, expected: list[tuple[str, str]]) -> None:
    assert list(imports(source)) == expected


def test_no_file_is_too_long() -> None:
    files = list(sources(*PACKAGES, "tests"))
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert len(lengths) > 200
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_folder_has_too_many_files() -> None:
    folders = {path.parent for path in sources(*PACKAGES)}
    registries = {HOME / "arch", HOME / "tasks"}  # each file there is a name that users know
    counts = {relative(folder): len(list(folder.glob("*.py"))) for folder in folders - registries}
    assert {name: count for name, count in counts.items() if count > MAX_FOLDER_FILES} == {}
