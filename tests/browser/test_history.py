"""The history page in a browser: accessible and no wider than the window, in light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from reports.html import history_page
from results import history
from tests.browser.conftest import WatchedPage
from tests.browser.test_page import RULES
from tests.results.planted import case_of, run_of

pytestmark = pytest.mark.slow

RUNS = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cases = [case_of(arch, seed=seed) for arch in ("lstm:forget_bias=1,init=orthogonal", "rnn") for seed in range(2)]
    runs = []
    for number in range(RUNS):
        file, records = run_of(
            cases,
            number + 1,
            noise=0.02,
            slower=lambda case, _, number=number: 0.5 if case.arch == "rnn" and number > 5 else 0.0,  # type: ignore[misc]
            host="ab"[number % 2],
        )
        changes = {"commit": f"{number:040x}", "finished": f"2026-01-{number + 3:02}T00:00:00Z"}
        runs.append((file.model_copy(update=changes), records))
    series = history(runs, metric="step_seconds", allow=frozenset({"host"}))
    assert [len(each.points) for each in series] == [RUNS, RUNS]
    written = tmp_path_factory.mktemp("history") / "history.html"
    written.write_text(history_page(series, {runs[0][0].id: "run/report.html"}), encoding="utf-8")
    return written


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 400)])
def test_history_page_passes_axe_and_fits(watched: WatchedPage, path: Path, scheme: str, width: int) -> None:
    page = watched.open(path)
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert page.locator("path.run").count() == page.locator("tbody tr").count() == 2 * RUNS
    assert page.locator("path.change").count() == 1
    assert page.locator("tbody a").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    response = Axe().run(page, options=RULES).response
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:5]) for each in response["violations"]] == []
    assert len(response["passes"]) > 10
    assert watched.messages == []
    assert watched.external_requests(path) == []
