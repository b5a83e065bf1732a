"""Imports that do not depend on the folder in which a command is started.

Python searches the working directory first if it runs `python -m` or starts a child process. A file there may have
the name of an installed module, such as `signal.py`. Here the installed module is found first.

This file imports only modules that Python loads before it searches the working directory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable. If it is set, Python adds no working directory to `sys.path` of a new process."""

IMPORT_PATH = "PYTHONPATH"
"""Environment variable with folders for `sys.path`. An empty entry, as in `:/folder`, is the working directory."""

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120
"""Folder of Carousel's packages."""


def order_import_path() -> None:
    """Reorder `sys.path`, so that no file in the working directory replaces an installed module."""
    try:
        working_directory = os.getcwd()  # noqa: PTH109
    except OSError:  # it has been removed
        return
    sys.path[:] = ordered(sys.path, working_directory)


def ordered(path: Sequence[str], working_directory: str) -> list[str]:
    """Return `path` with the standard library first and the working directory last.

    If the working directory contains Carousel, it directly follows the standard library. Then no other package called
    `arch` or `tasks` is found first.
    """
    here = os.path.realpath(working_directory)

    def rank(folder: str) -> int:
        if _is_standard_library(folder):
            return 0
        if folder and os.path.realpath(folder) != here:
            return 2
        return 1 if here == HOME else 3

    return sorted(path, key=rank)


def without_working_directory(import_path: str) -> str:
    """Return the value of `IMPORT_PATH` without the entries that stand for the working directory."""
    here = os.path.realpath("")
    return os.pathsep.join(
        folder for folder in import_path.split(os.pathsep) if folder and os.path.realpath(folder) != here
    )


def _is_standard_library(folder: str) -> bool:
    """Return whether a folder or an archive belongs to the standard library. Its `site-packages` does not."""
    library = os.path.dirname(os.__file__)  # noqa: PTH120
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    extensions = (os.path.join(library, "lib-dynload"), os.path.join(sys.base_prefix, "DLLs"))  # noqa: PTH118
    return folder in (library, *extensions) or os.path.basename(folder) == archive  # noqa: PTH119
