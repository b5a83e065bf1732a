"""The page in a real browser: it opens from disk without errors, sorts, filters, folds, prints, and is accessible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page

import reports
from results import Record, RunFile
from tests.browser.conftest import WatchedPage
from tests.reports import second_run, synthetic
from tests.reports.html.test_render import HOSTILE

pytestmark = pytest.mark.slow

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
MIN_PASSES = 20
"""The page must pass more axe rules than this number. An empty page passes fewer."""
MAX_PDF_BYTES = 5_000_000
SCORE = 3
"""The column of the score in a leaderboard."""


def column(page: Page, number: int, table: int | None = None) -> list[str]:
    """Return the sort keys of the visible rows in a leaderboard column, from top to bottom.

    The key of a cell without `data-value` is its text. `table` is the number of a task; None for all tasks.
    """
    where = "" if table is None else f":nth-of-type({table + 1})"
    return page.eval_on_selector_all(
        f"#leaderboards .part{where} tbody:not([hidden]) tr:first-child",
        f"rows => rows.map(row => row.cells[{number}].dataset.value ?? row.cells[{number}].textContent.trim())",
    )


def heading(page: Page, number: int, table: int = 0) -> Locator:
    """Return the button that sorts a leaderboard by a column."""
    head = page.locator("#leaderboards table").nth(table).locator("thead th").nth(number)
    return head.locator("button:not(.about)")


def status_of(page: Page) -> str:
    return page.locator("[data-controls=leaderboards] [role=status]").inner_text()


def numbers(texts: Sequence[str]) -> list[float]:
    return [float(text) for text in texts if text]


def test_page_opens_from_disk_without_errors_or_requests(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.wait_for_load_state("networkidle")
    assert "Carousel: quick" in page.title()
    assert watched.messages == []
    assert watched.external_requests(report) == []
    assert page.locator("figure img").count() == 6
    for image in page.locator("figure img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")


@pytest.mark.parametrize("width", [1280, 400])
def test_page_does_not_scroll_sideways(watched: WatchedPage, report: Path, width: int) -> None:
    page = watched.open(report)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_lines_do_not_break_inside_options(watched: WatchedPage, few_records: list[Record], tmp_path: Path) -> None:
    run = synthetic.run([record.case for record in few_records], command=f"carousel run {'--repeat 4 ' * 40}")
    page = watched.open(reports.write_page(run, few_records, tmp_path / "report.html"))
    for width in (320, 360, 400):
        page.set_viewport_size({"width": width, "height": 900})
        lines = page.eval_on_selector_all(".context .option", "all => all.map(each => each.getClientRects().length)")
        assert lines == [1] * 40
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_heading_sorts_its_table_announces_it_and_restores_the_original_order(
    watched: WatchedPage, report: Path
) -> None:
    page = watched.open(report)
    head = page.locator("#leaderboards table").last.locator("thead th").nth(SCORE)
    before, others = column(page, SCORE, 2), column(page, SCORE, 1)
    heading(page, SCORE, 2).click()
    assert head.get_attribute("aria-sort") == "descending"
    assert numbers(column(page, SCORE, 2)) == sorted(numbers(before), reverse=True) != numbers(before)
    heading(page, SCORE, 2).click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert numbers(column(page, SCORE, 2)) == sorted(numbers(before))
    assert status_of(page) == "copy_memory sorted by score (95% interval), ascending."
    assert column(page, SCORE, 1) == others
    heading(page, SCORE, 2).click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, SCORE, 2) == before
    assert status_of(page) == "copy_memory: original order."
    assert watched.messages == []


def test_button_restores_the_original_order_of_all_tables(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    before = column(page, 0)
    for table in range(3):
        heading(page, 0, table).click()
        assert column(page, 0, table) == sorted(column(page, 0, table))
    assert column(page, 0) != before
    page.locator("[data-controls=leaderboards]").get_by_role("button", name="Original order").click()
    assert column(page, 0) == before
    assert page.locator("#leaderboards [aria-sort]").count() == 0
    assert status_of(page) == "Original order."


def test_missing_values_sort_last_with_their_reasons_below(watched: WatchedPage, run: RunFile, tmp_path: Path) -> None:
    records = [record for record in synthetic.records() if record.case.arch != "gru"]
    page = watched.open(reports.write_page(run, records, tmp_path / "report.html"))
    button = heading(page, SCORE)
    for _ in range(2):
        button.click()
        assert column(page, 0, 0)[-2:] == ["gru"] * 2
        assert column(page, SCORE, 0)[-2:] == [""] * 2
        assert all(column(page, SCORE, 0)[:-2])
        last = page.locator("#leaderboards table").first.locator("tbody").last
        assert "— gru, seeds 0, 1 and 2 missing" in last.inner_text()


def test_keyboard_sorts_filters_and_folds(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.locator("#filter-leaderboard").focus()
    page.keyboard.type("gru adding")
    assert status_of(page) == "2 of 24 shown."
    assert set(column(page, 0)) == {"gru"}
    assert page.locator("#leaderboards h3").filter(visible=True).all_inner_texts() == ["adding"]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Original order"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "about"
    page.keyboard.press("Tab")  # the scrollable region of the table
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "architecture"
    page.keyboard.press("Enter")
    first = page.locator("#leaderboards table").filter(visible=True).locator("thead th").first
    assert first.get_attribute("aria-sort") == "ascending"
    page.locator("#case-list details summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#case-list details").first.evaluate("details => details.open")
    page.keyboard.press("Enter")
    assert not page.locator("#case-list details").first.evaluate("details => details.open")


def test_filter_excludes_words_after_a_minus_sign(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.fill("#filter-leaderboard", "first_last -128 -lstm")
    assert sorted(column(page, 0)) == ["gru", "rnn", "transformer"]
    page.fill("#filter-leaderboard", "")
    assert len(column(page, 0)) == 24


def test_cases_unfold_one_by_one_and_all_together(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.fill("#filter-cases", "rnn adding 128")
    (case,) = [details for details in page.locator("#case-list > details").all() if details.is_visible()]
    case.locator("summary").click()
    text = case.inner_text()
    assert "Seed 1 diverged: the loss was not finite at step 300" in text
    assert "rnn:init=orthogonal" in text
    assert case.locator("polyline").count() == 3
    page.get_by_role("button", name="Open all").click()
    assert page.locator("#case-list details[open]").count() == 1
    page.fill("#filter-cases", "")
    page.get_by_role("button", name="Open all").click()
    assert page.locator("#case-list details[open]").count() == 24
    page.get_by_role("button", name="Close all").click()
    assert page.locator("#case-list details[open]").count() == 0


def test_print_shows_tables_and_no_controls(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.emulate_media(media="print")
    assert not page.locator("#filter-leaderboard").is_visible()
    assert page.locator("#leaderboards table").first.is_visible()
    printed = page.pdf(format="A4", landscape=True)
    assert printed.startswith(b"%PDF-")
    assert 20_000 < len(printed) < MAX_PDF_BYTES


def test_page_without_scripts_shows_all_rows_and_no_controls(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#leaderboards tbody").count() == 24
    assert page.get_by_text("— rnn, seed 1 diverged: the loss was not finite at step 300").is_visible()
    assert not page.locator("#filter-leaderboard").is_visible()
    assert page.locator("thead button:not(.about)").count() == 0
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_page_passes_axe(
    watched: WatchedPage,
    report: Path,
    few_run: RunFile,
    few_records: list[Record],
    tmp_path: Path,
    scheme: str,
    width: int,
) -> None:
    sections = watched.open(report).locator("h2, h3").all_text_contents()
    page = watched.open(reports.write_page(few_run, few_records, tmp_path / "report.html"))
    assert page.locator("h2, h3").all_text_contents() == sections
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#leaderboards thead button").first.click()
    page.locator("#case-list details summary").first.click()
    page.evaluate("document.querySelectorAll('details.numbers').forEach(details => { details.open = true; })")
    page.locator(".about").first.click()
    response = Axe().run(page, options=RULES).response
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:5]) for each in response["violations"]] == []
    assert len(response["passes"]) > MIN_PASSES


def test_page_with_a_baseline_sorts_filters_and_passes_axe(
    watched: WatchedPage, few_run: RunFile, few_records: list[Record], tmp_path: Path
) -> None:
    path = reports.write_page(few_run, few_records, tmp_path / "report.html", baseline=second_run.baseline())
    page = watched.open(path)
    page.fill("#filter-verdicts", "gru adding score 512")
    assert page.locator("#verdict-table tbody:not([hidden])").count() == 1
    page.fill("#filter-pairs", "lstm:forget_bias=1")
    assert {text.split("\t")[0] for text in page.locator("#pair-table tbody:not([hidden])").all_inner_texts()} == {
        "lstm"
    }
    page.fill("#filter-pairs", "")
    page.locator("#pair-table thead button").nth(5).click()
    first = page.locator("#pair-table tbody").last.inner_text().split("\t")
    assert (first[0].strip(), first[5].strip()) == ("gru", "-0.100")
    response = Axe().run(page, context="section:has(#verdict-table)", options=RULES).response
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:5]) for each in response["violations"]] == []
    assert watched.messages == []
    assert watched.external_requests(path) == []


def test_hostile_strings_run_add_and_load_nothing(watched: WatchedPage, tmp_path: Path) -> None:
    page = watched.open(hostile := _page_named(HOSTILE, tmp_path))
    for string in HOSTILE:
        page.fill("#filter-leaderboard", string[:8])
        page.locator("#leaderboards thead button").filter(visible=True).first.click()
        page.get_by_role("button", name="Open all").click()
        page.wait_for_timeout(50)
        assert watched.messages == [], string
        page.fill("#filter-leaderboard", "")
        assert page.locator("body").inner_text().count(string) > 5
    assert watched.external_requests(hostile) == []
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [onmouseover], a[href^=javascript]").count() == 0


def test_policy_stops_what_escaping_would_miss(watched: WatchedPage, report: Path, tmp_path: Path) -> None:
    """Check that the content security policy blocks unescaped scripts, event attributes and remote images."""
    broken = report.read_text(encoding="utf-8").replace(
        "<main>",
        "<main><script>document.title='run'</script><img src='x' onerror=\"document.title='run'\">"
        "<img src='http://localhost:9/x.png'>",
    )
    path = tmp_path / "broken.html"
    path.write_text(broken, encoding="utf-8")
    page = watched.open(path)
    page.wait_for_timeout(50)
    assert page.title() != "run"
    assert len([text for text in watched.messages if "Content Security Policy" in text]) >= 3


def _page_named(names: Sequence[str], folder: Path) -> Path:
    """Write the page of a run with one successful and one crashed case per name, and return its path.

    Each name is an architecture, a task and the reason of a failure. The plan, command, code digest and creation time
    of the run hold all names.
    """
    records = []
    for name in names:
        sound, failed = (
            synthetic.renamed(synthetic.case("gru", "adding", 32, n), arch=name, task=name) for n in (0, 1)
        )
        records += [sound, failed.model_copy(update={"status": "crashed", "reason": name, "measurements": ()})]
    texts = dict.fromkeys(("plan", "command", "code", "created"), " ".join(names))
    return reports.write_page(
        synthetic.run([record.case for record in records], **texts), records, folder / "report.html"
    )
