"""Print text on a console exactly as it is.

Names, paths and reasons come from other people. Rich would read `[red]` in a string as a style and `:tada:` as an
emoji, so everything is printed as `rich.text.Text`, or on a console of `new_console`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from reports.format.numbers import printable

MEASURING_WIDTH = 1_000
"""The console width in characters for measuring a table; no row is wider."""

DEFAULT_WIDTH = 80
"""The console width in characters if the environment gives none."""


def new_console(*, stderr: bool = False) -> Console:
    """Return a console on standard output or standard error that interprets no text.

    It is a terminal only if the stream is one. The environment variable `FORCE_COLOR` gives colours to any stream, but
    neither cursor movements nor the width of a terminal.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    forces_color = bool(os.environ.get("FORCE_COLOR")) and not os.environ.get("NO_COLOR")
    console = Console(
        stderr=stderr,
        force_terminal=None if is_terminal else False,
        color_system="standard" if forces_color and not is_terminal else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )
    if console.width < 1:  # some tools set COLUMNS to 0
        console.width = DEFAULT_WIDTH
    return console


def moves_cursor(console: Console) -> bool:
    """Return whether a console is a terminal that can redraw lines, whatever the environment variables say."""
    return console.is_terminal and not console.is_dumb_terminal and console.file.isatty()


def print_lines(lines: Iterable[object], console: Console, *, style: str = "") -> None:
    """Print each object as one unwrapped line. `style` applies to every line."""
    for line in lines:
        console.print(Text(printable(str(line)), style=style), soft_wrap=True)


def print_labelled(label: str, text: str, console: Console, *, style: str = "bold") -> None:
    """Print a label and a text as one unwrapped line.

    Args:
        label: The first part of the line.
        text: The rest of the line.
        console: The console to print on.
        style: The style of the label.
    """
    print_parts([(label, style), (text, "")], console)


def print_parts(parts: Iterable[tuple[str, str]], console: Console) -> None:
    """Print texts, each with its style, as one unwrapped line."""
    console.print(Text.assemble(*((printable(text), style) for text, style in parts)), soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """Print a table within the width of a terminal. Elsewhere, the table is as wide as its content."""
    if not console.is_terminal:
        table.width = Measurement.get(console, console.options.update(width=MEASURING_WIDTH), table).maximum
    console.print(table, soft_wrap=not console.is_terminal)
