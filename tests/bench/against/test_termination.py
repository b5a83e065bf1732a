"""Test that SIGTERM and SIGHUP end a command as Ctrl-C does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from bench.against.termination import ENDING, interrupted_by_signals, undisturbed
from bench.errors import INTERRUPTED
from bench.machine.provenance import HOME

WAIT_SECONDS = 5
"""Longest wait for a signal, which ends the wait."""

WAIT_ON_A_TERMINAL = """
import fcntl, sys, termios, time
from bench.against.termination import interrupted_by_signals
from bench.errors import INTERRUPTED
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
try:
    with interrupted_by_signals():
        print("ready", flush=True)
        while True:  # a signal that comes just before a sleep does not end it
            time.sleep(0.1)
except KeyboardInterrupt:
    print("stopped", flush=True)
    print("stopped", file=sys.stderr, flush=True)
    sys.exit(INTERRUPTED)
"""


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(WAIT_SECONDS)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_interrupts_and_its_handler_is_put_back(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        send(number)
    assert signal.getsignal(number) is before


def test_messages_after_the_end_of_a_terminal_are_discarded() -> None:
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT_ON_A_TERMINAL],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(HOME)},
    )
    os.close(inner)
    assert os.read(terminal, 100).strip() == b"ready"
    os.close(terminal)
    assert process.wait(60) == INTERRUPTED


def test_the_signals_that_follow_the_first_one_do_not_disturb_the_cleanup() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        try:
            with interrupted_by_signals():
                send(signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            cleaned = True
    assert cleaned


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_nothing_disturbs_a_cleanup(number: int) -> None:
    before = signal.getsignal(number)
    with undisturbed():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
