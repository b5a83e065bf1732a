"""The options of `carousel report` on figure files: the folder, the format, the width and the choice of figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import reports
from bench.commands.output import format_by_ending, require_folder
from bench.commands.quantities import parse_width
from bench.errors import UsageError

Form = Literal["svg", "pdf", "png"]
FORMS: dict[str, Form] = {".svg": "svg", ".pdf": "pdf", ".png": "png"}
"""The format of a figure by the ending of its file."""
FILE_ENDINGS = (*FORMS, ".eps", ".gif", ".jpeg", ".jpg", ".tif", ".tiff", ".webp")
"""Endings of images. A folder that ends in one of them is probably meant as a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureFiles:
    """The options on figure files, as the user gave them."""

    folder: Path | None = None
    format: Form | None = None
    width: str | None = None
    """A width, such as `3.25in`."""
    only: Sequence[str] = ()
    """Names of figures, each with or without the ending of its file."""

    def options(self) -> reports.FigureOptions:
        """Return the options with their defaults.

        Raises `UsageError` if an option is invalid, if endings and format contradict each other, and if an option is
        given without a folder.
        """
        given = {"--format": self.format, "--width": self.width, "--only": self.only}
        if self.folder is None:
            for option, value in given.items():
                if value:
                    raise UsageError(f"{option} is for figure files: give their folder with --figures DIR")
            return reports.FigureOptions()
        self._require_folder(self.folder)
        forms = {name: format_by_ending(Path(name), FORMS, option="--only") for name in self.only}
        chosen = {form: name for name, form in forms.items() if form is not None}
        if self.format is not None:
            chosen[self.format] = f"--format {self.format}"
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen.values())} name different formats; choose one format")
        return reports.FigureOptions(
            form=next(iter(chosen), "svg"),
            width=None if self.width is None else parse_width("--width", self.width),
            only=tuple(name if form is None else Path(name).stem for name, form in forms.items()),
        )

    def _require_folder(self, folder: Path) -> None:
        require_folder(folder, "--figures")
        ending = folder.suffix.lower()
        if ending in FILE_ENDINGS and not folder.is_dir():
            known = ", ".join(FORMS.values())
            raise UsageError(
                f"--figures takes a folder, not the file {folder}; choose a folder, and --format ({known})"
            )
