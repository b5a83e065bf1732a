"""Check that Python imports Carousel's packages, not others with the same names.

PyPI has an unrelated package that is also imported as `arch`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from bench.errors import UsageError

PACKAGES = ("arch", "tasks", "results", "reports")


def check_installation() -> None:
    """Raise `UsageError` if one of Carousel's packages is missing or belongs to another project.

    The packages are located without importing them. Raises `UsageError` too if the working directory has been removed:
    no library of torch can be loaded there, and no relative path leads anywhere.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise UsageError(
            f"cannot work in the current folder: {error.strerror}; change to a folder that exists"
        ) from None
    home = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None:
            raise UsageError(f"Carousel's package `{package}` is missing; reinstall carousel-bench")
        if origin != home / package / "__init__.py":
            raise UsageError(
                f"`import {package}` finds {origin}, which is not part of Carousel; "
                "install carousel-bench into its own environment (python3 -m venv)"
            )
