"""Long fault tests by kind. Each module has a dict `CHECKS` of tests by name; `tests/faults.py` runs all of them.

A test takes an empty folder, and returns a summary. It raises `AssertionError` if it fails.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

Check = Callable[[Path], str]


def all_checks() -> dict[str, Check]:
    """Return the tests of all modules in this folder, by name."""
    checks: dict[str, Check] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        added: dict[str, Check] = importlib.import_module(module.name).CHECKS
        assert not checks.keys() & added.keys(), f"a name occurs twice: {checks.keys() & added.keys()}"
        checks |= added
    return checks
