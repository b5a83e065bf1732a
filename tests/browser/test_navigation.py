"""The way through the page: the first screen, anchors, definitions, filters by name, wide tables, and printing."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import reports
from reports.text.terms import TERMS
from results import Record, RunFile
from tests.browser.conftest import WatchedPage
from tests.browser.test_page import RULES, column, status_of
from tests.reports import inner, synthetic
from tests.reports.analysis.test_noise import disturbed

pytestmark = pytest.mark.slow

SCREENS = [(1300, 800), (400, 850)]
NARROW = 400
LONG = {"gru": "a_gru_with_a_long_name:block=residual,conv=4,expansion=2", "transformer": "min_gru"}
"""Architectures under other names: a long one, and one that ends in the name of another."""


@pytest.fixture(scope="module")
def sound_page(run: RunFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_page(run, synthetic.sound_records(), tmp_path_factory.mktemp("sound") / "report.html")


@pytest.fixture(scope="module")
def renamed_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page with a long name, and with one that ends in the name of another architecture."""
    records = [synthetic.record(case) for case in synthetic.cases()]
    for index, record in enumerate(records):
        if (name := LONG.get(record.case.arch)) is not None:
            records[index] = synthetic.renamed(record.case, arch=name)
    records += [synthetic.renamed(case, arch="gru") for case in synthetic.cases() if case.arch == "gru"]
    run = synthetic.run([record.case for record in records])
    return reports.write_page(run, records, tmp_path_factory.mktemp("renamed") / "report.html")


def bottom(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    assert box["x"] >= 0
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_overview_and_main_figure_are_on_the_first_screen(
    watched: WatchedPage, sound_page: Path, width: int, height: int
) -> None:
    page = watched.open(sound_page)
    page.set_viewport_size({"width": width, "height": height})
    for selector in ("h1", ".verdict", "nav", "#overview-table", "#memory-frontier img"):
        assert bottom(page, selector) <= height, selector
    assert bottom(page, "#memory-frontier") < bottom(page, ".context")
    if width > NARROW:
        for selector in (".recommendation", "#max-state", "#max-step", "#max-params"):
            assert bottom(page, selector) <= height, selector


def test_answer_is_on_the_first_screen_of_a_telephone(watched: WatchedPage, sound_page: Path) -> None:
    page = watched.open(sound_page)
    page.set_viewport_size({"width": NARROW, "height": 800})
    assert page.locator(".recommendation").inner_text().startswith("For streaming, choose")
    assert bottom(page, ".ranking") < bottom(page, ".recommendation") <= 800
    figure = page.locator("#memory-frontier").bounding_box()
    assert figure is not None and bottom(page, ".recommendation") <= figure["y"]
    assert page.locator(".advice").inner_text().startswith("None of them beats another")


def test_scores_stand_beside_the_overview_if_nothing_was_streamed(watched: WatchedPage, tmp_path: Path) -> None:
    records = [
        record.model_copy(update={"measurements": tuple(record.of("accuracy")), "probes": {}})
        for record in synthetic.sound_records()
        if record.case.task == "adding"
    ]
    run = synthetic.run([record.case for record in records])
    page = watched.open(reports.write_page(run, records, tmp_path / "report.html"))
    assert page.locator("section:has(#overview) figure").get_attribute("id") == "accuracy-against-length"
    assert page.locator("#accuracy-against-length").count() == 1


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_links_lead_to_every_section(watched: WatchedPage, report: Path, width: int, height: int) -> None:
    page = watched.open(report)
    page.set_viewport_size({"width": width, "height": height})
    targets = [link.get_attribute("href") for link in page.locator("nav a").all()]
    assert targets == [f"#{heading.get_attribute('id')}" for heading in page.locator("main h2").all()]
    nav = page.locator("nav").bounding_box()
    assert nav is not None and nav["height"] < 50, "the links take one line"
    for target in targets:
        assert target is not None
        page.locator(f"nav a[href='{target}']").focus()
        page.keyboard.press("Enter")
        top = page.locator(target).evaluate("heading => heading.getBoundingClientRect().top")
        is_at_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert nav["height"] <= top <= height / 4 or is_at_end, target
    assert watched.messages == []


def test_definitions_open_by_keyboard_and_close_with_escape(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    buttons = page.locator("#overview-table .about")
    assert buttons.count() == 6
    for index in range(buttons.count()):
        button = buttons.nth(index)
        target = page.locator(f"#{button.get_attribute('popovertarget')}")
        assert not target.is_visible()
        button.focus()
        page.keyboard.press("Enter")
        assert target.is_visible()
        name = (button.get_attribute("aria-label") or "").removeprefix("About ")
        assert target.inner_text().splitlines()[0] == name
        page.keyboard.press("Escape")
        assert not target.is_visible()
        assert button.evaluate("button => button === document.activeElement")
    assert page.locator("abbr, [title]").count() == 0


def test_definitions_open_by_touch_without_scripts(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, has_touch=True, viewport={"width": NARROW, "height": 850})
    page = context.new_page()
    page.goto(report.as_uri())
    page.get_by_role("button", name="About memory share").first.tap()
    definition = page.locator("#about-memory-share")
    assert definition.is_visible()
    box = definition.bounding_box()
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= NARROW
    context.close()


def test_definitions_that_can_be_opened_are_listed(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    used = set(page.eval_on_selector_all(".about", "all => all.map(each => each.getAttribute('popovertarget'))"))
    names = {f"about-{name}": term.name for name, term in TERMS.items()}
    assert len(used) > 10 and used <= set(names)
    assert page.locator("dl.terms dt").all_inner_texts() == [text for name, text in names.items() if name in used]


def test_filters_match_whole_names(watched: WatchedPage, renamed_page: Path) -> None:
    page = watched.open(renamed_page)
    page.fill("#filter-leaderboard", "gru")
    assert set(column(page, 0)) == {"gru"}
    page.fill("#filter-leaderboard", "-gru")
    assert set(column(page, 0)) == {"rnn", "lstm", "min_gru", "a_gru_with_a_long_name"}
    page.fill("#filter-leaderboard", "MIN_GRU adding 32")
    assert (column(page, 0), status_of(page)) == (["min_gru"], "1 of 30 shown.")
    page.fill("#filter-leaderboard", "min")  # no name is `min`, so it is the start of one
    assert set(column(page, 0)) == {"min_gru"}
    page.fill("#filter-leaderboard", "ru")
    assert (column(page, 0), status_of(page)) == ([], "0 of 30 shown.")
    page.fill("#filter-leaderboard", "12")  # the start of 128
    assert set(column(page, 1)) == {"128"}
    page.fill("#filter-cases", "gru first_last 32")
    assert page.locator("#case-list > details").filter(visible=True).count() == 1


def test_filters_match_names_with_options(watched: WatchedPage, tmp_path: Path) -> None:
    """Check that options match in any order, and those too that the label leaves out: here `peepholes=True`."""
    names = {"rnn": "rnn", "lstm": "lstm:forget=none,peepholes=True", "gru": "lstm:forget=two,peepholes=True"}
    cases = [case for case in synthetic.cases() if synthetic.base(case.arch) in names]
    records = [synthetic.renamed(case, arch=names[synthetic.base(case.arch)]) for case in cases]
    run = synthetic.run([record.case for record in records])
    page = watched.open(reports.write_page(run, records, tmp_path / "report.html"))
    labels = {"rnn", "lstm:forget=none", "lstm:forget=two"}
    found = {
        "lstm:forget=none,peepholes=True": {"lstm:forget=none"},
        "lstm:peepholes=True,forget=none": {"lstm:forget=none"},
        "lstm:forget=two, peepholes=True adding, 32": {"lstm:forget=two"},
        "LSTM:peepholes=True": labels - {"rnn"},
        "lstm:peep": labels - {"rnn"},
        "-lstm:forget=none,peepholes=True": labels - {"lstm:forget=none"},
        "lstm:forget=no,peepholes=True": {"lstm:forget=none"},  # no value is `no`, so it is the start of one
        "lstm:forget=none,peepholes=False": set(),
        "rnn:peepholes=True": set(),
    }
    for text, shown in found.items():
        page.fill("#filter-leaderboard", text)
        assert set(column(page, 0)) == shown, text
        page.fill("#filter-cases", text)
        titles = page.locator("#case-list > details > summary").filter(visible=True).all_inner_texts()
        assert {title.split(" on ")[0] for title in titles} == shown, text
    page.fill("#filter-leaderboard", "peepholes=True")
    assert column(page, 0) == [], "the labels do not show this option"


@pytest.mark.parametrize("name", ["renamed_page", "inner_page", "interpreted_page"])
def test_no_table_runs_off_a_wide_window(watched: WatchedPage, name: str, request: pytest.FixtureRequest) -> None:
    page = watched.open(request.getfixturevalue(name))
    page.set_viewport_size({"width": 1300, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    wide = page.eval_on_selector_all(
        ".scroll",
        "frames => frames.filter(each => each.scrollWidth > each.clientWidth + 1)"
        ".map(each => each.getAttribute('aria-label') || each.getAttribute('aria-labelledby'))",
    )
    assert page.locator(".scroll").count() > 5
    assert wide == []


@pytest.fixture(scope="module")
def inner_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page with gates and a ledger of claims."""
    records = [inner.record(case) for case in inner.cases()]
    return reports.write_page(inner.run(), records, tmp_path_factory.mktemp("inner") / "report.html")


@pytest.fixture(scope="module")
def interpreted_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a page on which a step is marked as interpreted and as noisy."""
    records = [synthetic.record(case) for case in synthetic.cases()]
    for index, record in enumerate(records):
        if record.case.arch == "gru":
            interpreted = disturbed(synthetic.interpreted(record), synthetic.POSITIONS, "call_step_seconds")
            renamed = synthetic.renamed(record.case, arch="leaky_integrator:gate=both")
            changes = {"measurements": interpreted.measurements, "probes": interpreted.probes}
            records[index] = renamed.model_copy(update=changes)
    run = synthetic.run([record.case for record in records])
    path = reports.write_page(run, records, tmp_path_factory.mktemp("interpreted") / "report.html")
    assert 'interpreted</span> <span class="soft">noisy' in path.read_text(encoding="utf-8")
    return path


def test_figures_refer_to_their_numbers(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    figures = page.locator("figure")
    assert figures.count() == 6
    for figure in figures.all():
        image = figure.locator("img")
        summary = page.locator(f"#{image.get_attribute('aria-describedby')}")
        numbers = page.locator(f"#{image.get_attribute('aria-details')}")
        assert summary.evaluate("element => element.tagName") == "SUMMARY"
        assert not numbers.is_visible()
        summary.focus()
        page.keyboard.press("Enter")
        assert numbers.is_visible()
        assert numbers.evaluate("element => element.closest('figure').id") == figure.get_attribute("id")
    assert page.locator("figure table").count() == 5  # the training curves have too many points


def test_printed_leaderboards_repeat_their_heads_per_task(watched: WatchedPage, report: Path) -> None:
    page = watched.open(report)
    page.emulate_media(media="print")
    assert page.locator("#leaderboards table").count() == 3
    assert page.locator("#leaderboards h3").all_inner_texts() == ["first_last", "adding", "copy_memory"]
    for head in page.locator("#leaderboards thead").all():
        style = head.evaluate("head => [getComputedStyle(head).display, getComputedStyle(head).breakInside]")
        assert style == ["table-header-group", "avoid"]
        assert "architecture" in head.inner_text()
    displays = page.eval_on_selector_all("thead button", "all => all.map(each => getComputedStyle(each).display)")
    assert set(displays) == {"contents", "none"}  # Chromium does not repeat a head that has the box of a button
    for selector in ("nav", ".about", "details.numbers"):
        assert not page.locator(selector).first.is_visible()
    assert page.locator("dl.terms").is_visible()


def test_printed_tables_fit_the_paper(watched: WatchedPage, report: Path) -> None:
    """The page asks for landscape with margins of 12 mm, which leaves 255 mm of a page of US Letter."""
    page = watched.page
    page.set_viewport_size({"width": round(255 / 25.4 * 96), "height": 700})
    page.emulate_media(media="print")
    watched.open(report)
    edges = page.eval_on_selector_all("table", "all => all.map(each => each.getBoundingClientRect().right)")
    assert edges and max(edges) <= page.evaluate("document.documentElement.clientWidth")
    assert "@page { size: landscape; margin: 12mm; }" in report.read_text(encoding="utf-8")


def test_statuses_have_colours(
    watched: WatchedPage, few_run: RunFile, few_records: list[Record], tmp_path: Path
) -> None:
    """Check that a sound run is green, a failed case amber, and a regression red."""
    slower = [
        record.model_copy(
            update={
                "measurements": tuple(
                    each.model_copy(update={"samples": (0.0,)}) if each.metric == "accuracy" else each
                    for each in record.measurements
                )
            }
        )
        for record in synthetic.sound_records()
    ]
    run = synthetic.run(id="20260102-120000-quick")
    baseline = reports.Baseline(run=synthetic.run(), records=synthetic.sound_records())
    page = watched.open(reports.write_page(run, slower, tmp_path / "slower.html", baseline=baseline))
    kinds = [verdict.get_attribute("class") for verdict in page.locator("header .verdict").all()]
    assert kinds == ["verdict good", "verdict bad"]
    colours = page.eval_on_selector_all(
        "header .verdict", "all => all.map(each => getComputedStyle(each, '::before').backgroundColor)"
    )
    assert len(set(colours)) == 2
    violations = Axe().run(page, context="header", options=RULES).response["violations"]
    assert violations == []
    failed = watched.open(reports.write_page(few_run, few_records, tmp_path / "failed.html"))
    assert failed.locator("header .verdict").get_attribute("class") == "verdict warn"
