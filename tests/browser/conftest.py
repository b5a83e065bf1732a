"""A headless Chromium of the system, and a page in it that notes every error and every request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import reports
from results import Record, RunFile
from tests.reports import synthetic

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE = {"width": 1280, "height": 900}


@dataclass
class Seen:
    """A page, and what happened in it that nobody asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, path: Path) -> Page:
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        return self.page

    def elsewhere(self, path: Path) -> list[str]:
        """Requests for anything but the page and what it holds."""
        return [url for url in self.requests if url != path.as_uri() and not url.startswith("data:")]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Missing on a developer's machine it is a reason to skip; in continuous integration it is a failure."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"none of {', '.join(NAMES)} is installed: apt-get install chromium"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def seen(browser: Browser) -> Iterator[Seen]:
    page = browser.new_page(viewport=WIDE)  # type: ignore[arg-type]
    yield Seen(page)
    page.close()


@pytest.fixture(scope="session")
def run() -> RunFile:
    return synthetic.run()


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return synthetic.records()


@pytest.fixture(scope="session")
def report(run: RunFile, records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_page(run, records, tmp_path_factory.mktemp("page") / "report.html")
