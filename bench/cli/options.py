"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.cli import completion

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="CAROUSEL_STORE", help="Folder of runs.", show_default=True)
]

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]", help="An id, a unique prefix, `latest`, or a path.", autocompletion=completion.runs
    ),
]

PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="File that adds an architecture or a task under its own name; repeatable."),
]

DEFAULT_STORE = Path("carousel-runs")
