"""A second `arch` package, imported from a copy of the folder with changed or added files."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import arch

SOURCE = Path(arch.__file__).parent


@contextmanager
def rebuilt(folder: Path, changes: Mapping[str, str]) -> Iterator[ModuleType]:
    """Import a changed copy of the package `arch` from `folder`, yield it, and restore the original package on exit.

    `changes` maps the names of changed or added files, such as `lstm.py`, to their text. Kernels that are already
    imported are reused, because compiling them again takes long.
    """
    shutil.copytree(SOURCE, folder / "arch")  # with the compiled files of Python, which save most of the import
    for name, text in changes.items():
        (folder / "arch" / name).write_text(text, encoding="utf-8")
    before = _modules()
    for name in before:
        if name.partition(".kernels")[0] != "arch" or name == "arch":
            del sys.modules[name]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        package = importlib.import_module("arch")
        assert Path(package.__file__ or "").parent == folder / "arch"
        yield package
    finally:
        sys.path.remove(str(folder))
        for name in _modules():
            del sys.modules[name]
        sys.modules.update(before)


def _modules() -> dict[str, ModuleType]:
    """Return the imported modules of `arch` by name, including `arch` itself."""
    return {name: module for name, module in sys.modules.items() if name == "arch" or name.startswith("arch.")}
