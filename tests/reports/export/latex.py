"""Compile LaTeX in tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

RUNS = 2
"""A long table needs a second run to know the widths of its columns."""
PROBLEMS = re.compile(r"Overfull|Float too large|undefined references|Label\(s\) may have changed")


class Compiled(NamedTuple):
    """A document that LaTeX has compiled."""

    pdf: Path
    pages: int
    problems: list[str]
    """The warnings about text that does not fit, and about references."""


def compiled(text: str, folder: Path) -> Compiled:
    """Compile an article that consists of `text` and loads only the packages that a comment in it names.

    If LaTeX is missing, skip the test, or fail in continuous integration.
    """
    latex = shutil.which("pdflatex")
    if latex is None:
        reason = "pdflatex is not installed; run apt-get install texlive-latex-recommended"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    packages = "\n".join(re.findall(r"^% needs (\\usepackage\{[a-z,]+\})$", text, re.MULTILINE))
    source = folder / "table.tex"
    source.write_text(
        f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n{text}\\end{{document}}\n", encoding="ascii"
    )
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", source.name]
    for _ in range(RUNS):
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        assert ended.returncode == 0, ended.stdout[-2000:]
    pages = re.search(r"\((\d+) pages?,", ended.stdout)
    problems = [line for line in ended.stdout.splitlines() if PROBLEMS.search(line)]
    return Compiled(folder / "table.pdf", int(pages[1]) if pages else 0, problems)
