"""Format numbers, escape text, and print it on a console."""

from reports.format.console import moves_cursor, new_console, print_labelled, print_lines, print_parts, print_table
from reports.format.numbers import listed, plural, printable

__all__ = [
    "listed",
    "moves_cursor",
    "new_console",
    "plural",
    "print_labelled",
    "print_lines",
    "print_parts",
    "print_table",
    "printable",
]
