"""The table of promises that the trust checks print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

MIN_WIDTH = 120
"""Smallest width of the table in characters."""


@dataclass(frozen=True, slots=True)
class Row:
    """One promise with its required value, its measured value and whether it is kept."""

    promise: str
    required: str
    measured: str
    passed: bool


def print_table(rows: Sequence[Row], console: Console) -> None:
    """Print a table with one row per promise."""
    table = Table("promise", "required", "measured", "kept")
    for row in rows:
        table.add_row(row.promise, row.required, row.measured, "[green]yes[/]" if row.passed else "[red]NO[/]")
    console.print(table)
