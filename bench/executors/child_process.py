"""Start a child process whose imports and error messages do not depend on its parent's surroundings.

The child finds installed modules before files in the working directory. Its standard error is collected, so that the
reason for its death can be stored, and so that a child that is stopped leaves no traceback on the terminal.
"""

from __future__ import annotations

import collections
import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

from bench.machine.import_path import IMPORT_PATH, SAFE_PATH, order_import_path, without_working_directory

STANDARD_ERROR = 2
MAX_LINES = 100
"""Number of lines that are kept. A process that writes more loses its first lines."""
MAX_LINE = 300
"""Maximum length of the last line in characters."""
PATIENCE_SECONDS = 1.0
"""Longest wait for the last lines of a dead process. Its own children may keep the pipe open."""

_starting = threading.Lock()
"""Held while a child starts, because the environment and the standard error are those of the whole process."""


class ErrorOutput:
    """The last lines that a child process has written to its standard error, and that have not been shown."""

    def __init__(self, pipe: int | None = None) -> None:
        """Collect lines from the reading end of a pipe until the pipe is closed. None collects nothing."""
        self._lines: collections.deque[str] = collections.deque(maxlen=MAX_LINES)
        self._thread = None if pipe is None else threading.Thread(target=self._collect, args=(pipe,), daemon=True)
        if self._thread is not None:
            self._thread.start()

    def show(self) -> None:
        """Write the collected lines to this process's standard error, and forget them."""
        while self._lines:
            line = self._lines.popleft()
            if sys.stderr is not None:
                print(line, file=sys.stderr, flush=True)

    def last_line(self) -> str:
        """Return the last line of a process that has ended, or "" if it wrote none."""
        if self._thread is not None:
            self._thread.join(PATIENCE_SECONDS)
        for line in reversed(list(self._lines)):
            text = "".join(character if character.isprintable() else " " for character in line).strip()
            if any(character.isalnum() for character in text):
                return text[:MAX_LINE]
        return ""

    def _collect(self, pipe: int) -> None:
        with io.open(pipe, encoding="utf-8", errors="replace") as lines:  # noqa: UP020  (pathlib opens no descriptor)
            for line in lines:
                self._lines.append(line.rstrip("\n"))


def start_child(process: BaseProcess) -> ErrorOutput:
    """Start a process of the method `spawn`, and return its error output."""
    with _starting, _safe_imports(), _collected() as output:
        process.start()
    return output


@contextlib.contextmanager
def _safe_imports() -> Iterator[None]:
    order_import_path()  # the child receives this path after it has started, with every folder of `PYTHONPATH`
    before = {name: os.environ.get(name) for name in (SAFE_PATH, IMPORT_PATH)}
    os.environ[SAFE_PATH] = "1"
    if (import_path := before[IMPORT_PATH]) is not None:
        os.environ[IMPORT_PATH] = without_working_directory(import_path)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _collected() -> Iterator[ErrorOutput]:
    """Connect the standard error to a pipe while a child inherits it. The child inherits nothing else of the pipe."""
    if sys.platform == "win32":  # a child does not inherit the standard error of the C library
        yield ErrorOutput()
        return
    resource_tracker.ensure_running()  # the first child would start it, and it would keep the pipe open
    reading, writing = os.pipe()
    output = ErrorOutput(reading)
    try:
        saved = os.dup(STANDARD_ERROR)
    except OSError:  # this process has no standard error
        saved = None
    os.dup2(writing, STANDARD_ERROR)
    os.close(writing)
    try:
        yield output
    finally:
        if saved is None:
            os.close(STANDARD_ERROR)
        else:
            os.dup2(saved, STANDARD_ERROR)
            os.close(saved)
