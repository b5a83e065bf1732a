"""End a command by SIGTERM or SIGHUP as Ctrl-C ends it, so that its processes and what is temporary go with it."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from bench.machine.streams import STANDARD_ERROR, STANDARD_OUTPUT

try:
    import termios
except ImportError:  # Windows has no terminals of this kind
    termios = None  # type: ignore[assignment]

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals of a cancelled job and of a closed terminal. Windows lacks the second."""
REPEAT_SECONDS = 10.0
"""Time for which more of these signals are ignored. A closed terminal sends several, and cleaning up takes a while."""

_interrupted_at = -math.inf


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at SIGTERM and SIGHUP within a `with` block. Blocks may be nested.

    A signal that is ignored, as SIGHUP is by nohup, stays ignored. Only the main thread can receive signals, so do
    nothing in another one.
    """
    global _interrupted_at
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                handler = signal.getsignal(number)
                if handler not in (_interrupt, signal.SIG_IGN, None):
                    _interrupted_at = -math.inf
                    signal.signal(number, _interrupt)
                    stack.callback(signal.signal, number, handler)
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP within a `with` block. Processes that it starts ignore them too."""
    with contextlib.ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *ENDING):
                handler = signal.getsignal(number)
                if handler is not None:
                    signal.signal(number, signal.SIG_IGN)
                    stack.callback(signal.signal, number, handler)
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted_at
    before, _interrupted_at = _interrupted_at, time.monotonic()
    if _interrupted_at - before > REPEAT_SECONDS:
        _discard_output_to_a_closed_terminal()
        raise KeyboardInterrupt


def _discard_output_to_a_closed_terminal() -> None:
    """Replace the standard streams of a terminal that is gone. Otherwise the next message would end in an error."""
    for descriptor in (STANDARD_OUTPUT, STANDARD_ERROR):
        if _is_closed_terminal(descriptor):
            discarding = os.open(os.devnull, os.O_WRONLY)
            os.dup2(discarding, descriptor)
            os.close(discarding)


def _is_closed_terminal(descriptor: int) -> bool:
    if termios is None:
        return False
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False
