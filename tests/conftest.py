"""Settings of all tests: one torch thread, slow tests first, denormal numbers kept, and a working Ctrl-C.

With one thread, the results of a test do not depend on the number of cores. The other cores are free for other tests.
A shell that starts the tests in the background makes them and their child processes ignore Ctrl-C. The default
handler is restored here.
"""

import signal
from collections.abc import Generator

import pytest
import torch

from bench.machine.denormals import flushes_denormals

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slow tests first, so that at the end no worker waits for one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Check that a test leaves the flushing of denormal numbers off. Later tests of the process depend on it."""
    yield
    if flushes_denormals():
        torch.set_flush_denormal(False)
        pytest.fail("the test leaves the flushing of denormal numbers on: switch it off in a fixture", pytrace=False)
