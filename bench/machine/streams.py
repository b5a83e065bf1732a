"""Standard streams that outlive their reader and can print any text.

A reader such as `head` may go away before a command ends. Its absence must not change what the command does. An
encoding such as cp1252 lacks characters that Carousel prints.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from bench.errors import UsageError

SIMILAR = {"–": "-", "—": "-", "−": "-", "…": "~", "µ": "u", "×": "x", "•": "*", "·": "*", "→": ">", "±": "~"}
SIMILAR |= {bar: str(height) for height, bar in enumerate("▁▂▃▄▅▆▇█", start=1)}
"""ASCII characters printed in place of characters that an encoding lacks. Equal widths keep tables aligned."""
REPLACEMENT = "?"
"""The character printed in place of any other character that an encoding lacks."""
ERRORS = "carousel.similar"
"""Name of the error handler that prints `SIMILAR` characters."""
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""File descriptors, which child processes inherit."""


def similar_characters(error: UnicodeError) -> tuple[str, int]:
    """Return similar ASCII characters for those that cannot be encoded, and the position behind them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(SIMILAR.get(character, REPLACEMENT) for character in lacking), error.end


codecs.register_error(ERRORS, similar_characters)


class _Descriptor(io.FileIO):
    """A file descriptor for output. After its reader has gone away, output is discarded."""

    def __init__(self, descriptor: int, *, is_essential: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._is_essential, self._is_lost = is_essential, False

    def write(self, data: bytes, /) -> int | None:  # type: ignore[override]
        """Write bytes. Raises `UsageError` if essential output cannot be written although its reader is still there."""
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True  # otherwise the interpreter would fail again when it exits
                if self._is_essential and not isinstance(error, BrokenPipeError):
                    raise UsageError(
                        f"cannot write to standard output: {error.strerror}; free space or choose another target"
                    ) from None
        return memoryview(data).nbytes


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Make standard output and standard error outlive their readers within a `with` block.

    Characters that an encoding lacks are replaced. A closed stream discards its output.
    """
    before = sys.stdout, sys.stderr
    handlers = [getattr(stream, "errors", None) for stream in before]
    sys.stdout, sys.stderr = _lasting(sys.stdout, is_essential=True), _lasting(sys.stderr, is_essential=False)
    try:
        yield
    finally:
        with contextlib.suppress(UsageError):  # `flush_streams` would have reported it
            flush_streams()
        lasting = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        for stream, other, handler in zip(before, lasting, handlers, strict=True):
            if stream is None:
                other.close()
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=handler)


@contextmanager
def only_documents_on_standard_output(is_active: bool) -> Iterator[None]:
    """Send whatever is printed within a `with` block to standard error, also by child processes that start there.

    A plugin may print, and its text would make a JSON document invalid. If `is_active` is false, do nothing.
    """
    if not is_active:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # one of the streams is closed
            before = os.dup(STANDARD_OUTPUT)
            stack.callback(os.close, before)
            os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
            stack.callback(os.dup2, before, STANDARD_OUTPUT)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def flush_streams() -> None:
    """Write what standard output and standard error hold back. Raises `UsageError` if this is impossible."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _lasting(stream: TextIO | None, *, is_essential: bool) -> TextIO:
    """Return a stream to the same target that discards output without a reader.

    Without a stream, everything is discarded. Writing raises `UsageError` if essential output cannot be written.
    """
    if stream is None:
        return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    stream.reconfigure(errors=ERRORS)
    try:
        if stream.isatty():
            return stream
        descriptor = _Descriptor(stream.fileno(), is_essential=is_essential)
    except (OSError, ValueError):  # a stream of a test has no file descriptor
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(descriptor),  # type: ignore[type-var]  # `write` takes fewer types than typeshed says
        encoding=stream.encoding,
        errors=ERRORS,
        line_buffering=stream.line_buffering or not is_essential,  # a process may end at once after its last words
        write_through=stream.write_through,
    )
