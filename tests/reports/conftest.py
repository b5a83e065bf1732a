"""The synthetic run, made once."""

import pytest

from results import Record, RunFile
from tests.reports import synthetic


@pytest.fixture(scope="session")
def run() -> RunFile:
    return synthetic.run()


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return synthetic.records()
