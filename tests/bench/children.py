"""Targets of child processes. They have a module of their own, so that a child imports little."""

from __future__ import annotations

import os
import sys
import warnings
from multiprocessing.connection import Connection


def report_modules(connection: Connection) -> None:
    """Send the files of two modules that a child imports by itself."""
    import signal
    import statistics

    connection.send([signal.__file__, statistics.__file__])


def fail(_: Connection) -> None:
    raise LookupError("the first line\nthe reason")


def abort(_: Connection) -> None:
    os.write(2, b"terminate called\n  what():  \x1b[31mno memory\xff\n\n")
    os.abort()


def warn(connection: Connection) -> None:
    from bench.errors import show_warnings_in_one_line

    show_warnings_in_one_line()
    warnings.warn("something is old\nand more", stacklevel=1)
    print("a plugin's note", file=sys.stderr)
    connection.send("done")
