"""The synthetic run and its records, built once per session."""

import pytest

from results import Record, RunFile
from tests.reports import synthetic


@pytest.fixture(scope="session")
def run() -> RunFile:
    return synthetic.run()


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return synthetic.records()
