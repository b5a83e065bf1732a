"""Fixtures for browser tests: a headless Chromium, and a page that records its errors, messages and requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import reports
from results import Case, Record, RunFile
from tests.reports import second_run, synthetic

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE = {"width": 1280, "height": 900}


@dataclass
class WatchedPage:
    """A page with its messages, including errors and dialogs, and with its requests."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: Path) -> Page:
        """Open a file and return the page. The messages and requests of the page are recorded."""
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.messages.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        return self.page

    def external_requests(self, path: Path) -> list[str]:
        """Return the requests for anything other than the page and its embedded data."""
        return [url for url in self.requests if url != path.as_uri() and not url.startswith("data:")]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium. If Chromium is missing, skip the test, or fail in continuous integration."""
    executable = next((path for name in NAMES if (path := shutil.which(name))), None)
    if executable is None:
        reason = f"none of {', '.join(NAMES)} is installed; run apt-get install chromium"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[WatchedPage]:
    page = browser.new_page(viewport=WIDE)  # type: ignore[arg-type]
    yield WatchedPage(page)
    page.close()


@pytest.fixture(scope="session")
def run() -> RunFile:
    return synthetic.run()


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return synthetic.records()


@pytest.fixture(scope="session")
def few_records() -> list[Record]:
    """Return one record or gap of each kind, for checks whose time grows with the number of rows."""
    return [record for record in synthetic.records() if _is_one_of_few(record.case)]


@pytest.fixture(scope="session")
def few_run() -> RunFile:
    return synthetic.run([case for case in synthetic.cases() if _is_one_of_few(case)])


def _is_one_of_few(case: Case) -> bool:
    settings = {failed[:3] for failed in (synthetic.DIVERGED, synthetic.TIMEOUT, synthetic.REFUSED, synthetic.MISSING)}
    return (case.arch, case.task, case.length) in settings | {second_run.BETTER}


@pytest.fixture(scope="session")
def report(run: RunFile, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_page(run, records, tmp_path_factory.mktemp("page") / "report.html")
