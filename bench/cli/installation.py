"""The five rooms have plain names, and PyPI has an unrelated package that is also called `arch`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.errors import UsageError

PACKAGES = ("arch", "tasks", "results", "reports")


def check_installation() -> None:
    """Raises `UsageError` where importing a room would find somebody else's package.

    Nothing is imported: the finders are only asked where they would look.
    """
    home = Path(__file__).resolve().parents[2]
    for room in PACKAGES:
        found = importlib.util.find_spec(room)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin is None:
            raise UsageError(f"the package `{room}` of Carousel is missing; install carousel-bench again")
        if origin != home / room / "__init__.py":
            raise UsageError(
                f"`import {room}` finds {origin}, which is not Carousel's; another package is called `{room}` too: "
                "install carousel-bench into an environment of its own (python3 -m venv)"
            )
