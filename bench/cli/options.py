"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli import completion

DEFAULT_STORE = Path("carousel-runs")
RUN_HELP = "An id, a unique prefix of an id, `latest` (the run that finished last), or a path."

TableFormat = Literal["table", "markdown", "csv", "latex", "json"]

StoreOption = Annotated[
    Path, typer.Option("--store", metavar="DIR", envvar="CAROUSEL_STORE", help="Folder of runs.", show_default=True)
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

AllowOption = Annotated[
    str | None,
    typer.Option(metavar="FIELD,...", help="Fields in which the runs may differ, such as cpu,torch."),
]

BuildOption = Annotated[
    bool,
    typer.Option(
        "--build",
        help="Measure git revisions with the packages that they pin, in temporary environments (default: with the "
        "packages that are installed here).",
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="OLD=NEW",
        help="Join the cases of an architecture or a task that was renamed, in addition to those that the plans of the "
        "runs name in `renamed`; repeatable.",
    ),
]

FormatOption = Annotated[TableFormat, typer.Option(help="Output format.")]

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help=RUN_HELP, autocompletion=completion.runs)]

PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Python file or folder that adds an architecture or a task, named after the file; repeatable.",
    ),
]

MaxStateOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Choose among architectures whose state of one stream is at most this large, such as 20KiB.",
    ),
]

MaxStepOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="Choose among architectures whose streamed step takes at most this long, such as 5us (units: ns, us, ms, "
        "s).",
    ),
]

MaxParamsOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Choose among architectures with at most this many parameters."),
]
