"""Test that SIGTERM and SIGHUP end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import time

import pytest

from bench.against.termination import ENDING, interrupted_by_signals, undisturbed

WAIT_SECONDS = 5
"""Longest wait for a signal, which ends the wait."""


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(WAIT_SECONDS)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_interrupts_and_its_handler_is_put_back(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        send(number)
    assert signal.getsignal(number) is before


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
