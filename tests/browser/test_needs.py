"""The fields for limits: the script gives the same answer as `reports.answer_needs`, and mistakes are named."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

import reports
from reports.analysis.frontier import frontier
from reports.analysis.groups import group_cases
from reports.analysis.overview import overview_rows
from reports.text.needs import answer as text_of_answer
from results import Record, RunFile
from tests.browser.conftest import WatchedPage
from tests.browser.test_page import RULES
from tests.reports import planted, synthetic
from tests.reports.html.test_render import HOSTILE

pytestmark = pytest.mark.slow

STATES = {"": None, "64": 64, "640B": 640, "641 b": 641, "1.25 KiB": 1280, "2kb": 2000, "1 GiB": 2**30}
STEPS = {"": None, "900 ns": 9e-7, "2.3us": 2.3e-6, "2.40 µs": 2.4e-6, "5 μs": 5e-6, "0.02ms": 2e-5, "1s": 1.0}
PARAMETERS = {"": None, "19999": 19_999, "20,000": 20_000}
ANSWERS = """
limits => limits.map(texts => {
  ["state", "step", "params"].forEach((name, index) => {
    const field = document.getElementById(`max-${name}`);
    field.value = texts[index];
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return [...document.querySelectorAll("#needs-answer p")].map(paragraph => paragraph.innerText);
})
"""
"""Script that types limits into the three fields, and returns the answers."""


def planted_records() -> list[Record]:
    return [
        *planted.records("transformer", 0.95, state=2 << 20, microseconds=159),
        *planted.records("gru", 0.8, state=640, microseconds=2.4),
        *planted.records("lstm", 0.6, state=1280, microseconds=2.3, parameters=20_123),
        *planted.records("dear", 0.6, state=1300, microseconds=12.345),
        *planted.records("mine", 0.8, state=700, microseconds=1, is_interpreted=True),
        *planted.records("slim", 0.3, state=80, microseconds=33.36, parameters=9_000),
        *planted.records("rnn", 0.09, state=320, microseconds=1.2),
    ]


def undecided_records() -> list[Record]:
    """Return planted records in which some architectures were still learning, and some limits exclude all of these."""
    learning = {"transformer", "gru", "dear"}
    return [
        changed
        for record in planted_records()
        for changed in (planted.still_learning([record]) if record.case.arch in learning else [record])
    ]


def settled_records() -> list[Record]:
    """Return planted records in which the one that was still learning cannot change the choice."""
    return [
        *planted.records("dominant", 0.99, state=640, microseconds=2.3),
        *planted.still_learning(planted.records("lstm", 0.6, state=1280, microseconds=2.4)),
    ]


def run_of(records: list[Record]) -> RunFile:
    return synthetic.run([record.case for record in records])


def answer_in_page(run: RunFile, records: list[Record], needs: reports.Needs) -> list[str]:
    """Return the answer of the command line without the sentence that the recommendation above has already."""
    return without_left_out(reports.answer_needs(run, records, needs))


def without_left_out(answer: list[str]) -> list[str]:
    return [text for text in answer if not text.startswith("Not considered: ")]


@pytest.fixture(scope="module")
def planted_run() -> RunFile:
    return run_of(planted_records())


@pytest.fixture(scope="module")
def page_file(planted_run: RunFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reports.write_page(planted_run, planted_records(), tmp_path_factory.mktemp("needs") / "report.html")


def answer_on(page: Page) -> list[str]:
    return page.locator("#needs-answer p").all_inner_texts()


@pytest.mark.parametrize(
    ("records", "first_words"),
    [
        (planted_records(), {"Within", "Choose", "Beaten", "Raise", "No", "A"}),
        (undecided_records(), {"Within", "Choose", "Raise", "No", "Provisional", "A"}),
        (settled_records(), {"Within", "Choose", "Beaten", "Raise", "No", "A"}),
        (planted_records()[-3:], {"There"}),
    ],
    ids=["decided", "undecided", "settled", "no memory"],
)
def test_script_answers_as_the_command_line_does(
    watched: WatchedPage, records: list[Record], first_words: set[str], tmp_path: Path
) -> None:
    run = run_of(records)
    page_file = reports.write_page(run, records, tmp_path / "report.html")
    page = watched.open(page_file)
    limits = list(product(STATES, STEPS, PARAMETERS))
    answers = page.evaluate(ANSWERS, limits)
    has_recommendation = page.locator(".recommendation").count() > 0
    groups = group_cases(run, records)
    choice = frontier(groups, overview_rows(groups))
    kinds = set()
    for (state, step, size), answer in zip(limits, answers, strict=True):
        needs = reports.Needs(state_bytes=STATES[state], step_seconds=STEPS[step], parameters=PARAMETERS[size])
        expected = text_of_answer(choice, needs)
        if has_recommendation:
            expected = without_left_out(expected)
        assert answer == expected, (state, step, size)
        kinds |= {sentence.split(" ")[0] for sentence in expected}
    assert kinds - {"Not"} == first_words
    strict = reports.answer_needs(run, records, reports.Needs(parameters=1.0))
    is_any_left_out = any(sentence.startswith("Not considered: ") for sentence in strict)
    assert page.locator(".advice").inner_text().count("Not considered: ") == is_any_left_out
    assert watched.messages == []
    assert watched.external_requests(page_file) == []


def test_mistakes_are_named_at_their_field(watched: WatchedPage, page_file: Path) -> None:
    page = watched.open(page_file)
    for selector, text, message in (
        ("#max-state", "big", "State at most: enter an amount such as 20 KiB, not “big”."),
        ("#max-state", "-1", "State at most: enter an amount such as 20 KiB, not “-1”."),
        ("#max-state", "0", "State at most: enter an amount such as 20 KiB, not “0”."),
        ("#max-step", "5", "Step at most: enter a duration such as 5 µs, not “5”."),
        ("#max-step", "5 KiB", "Step at most: enter a duration such as 5 µs, not “5 KiB”."),
        ("#max-params", "1.5", "Parameters at most: enter a whole number such as 20,000, not “1.5”."),
    ):
        page.fill(selector, text)
        assert answer_on(page) == [message]
        assert page.locator(selector).get_attribute("aria-invalid") == "true"
        page.fill(selector, "")
        assert page.locator(selector).get_attribute("aria-invalid") == "false"
        assert answer_on(page) == []


def test_limits_are_set_by_keyboard_and_announced(watched: WatchedPage, page_file: Path) -> None:
    page = watched.open(page_file)
    page.get_by_label("State at most").focus()
    page.keyboard.type("20 KiB")
    page.keyboard.press("Tab")
    page.keyboard.type("5us")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "max-params"
    assert "Choose by what matters most: gru (78% memory share" in page.get_by_role("status").first.inner_text()


def test_limits_of_the_command_line_are_in_the_fields(
    watched: WatchedPage, planted_run: RunFile, tmp_path: Path
) -> None:
    needs = reports.Needs(state_bytes=1500, step_seconds=5e-6, parameters=20_000)
    path = reports.write_page(planted_run, planted_records(), tmp_path / "report.html", needs=needs)
    page = watched.open(path)
    before = answer_on(page)
    assert before == answer_in_page(planted_run, planted_records(), needs)
    page.locator("#max-params").dispatch_event("input")
    assert answer_on(page) == before
    assert [page.locator(f"#max-{name}").input_value() for name in ("state", "step", "params")] == [
        "1,500 B",
        "5 µs",
        "20,000",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_answers_and_mistakes_pass_axe(watched: WatchedPage, scheme: str, tmp_path: Path) -> None:
    records = planted_records()[:9]
    page = watched.open(reports.write_page(run_of(records), records, tmp_path / "report.html"))
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for text in ("20 KiB", "big"):
        page.fill("#max-state", text)
        violations = Axe().run(page, context=".advice", options=RULES).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:5]) for each in violations] == []


def test_page_without_scripts_has_the_answer_but_no_fields(
    browser: Browser, planted_run: RunFile, tmp_path: Path
) -> None:
    needs = reports.Needs(step_seconds=5e-6)
    path = reports.write_page(planted_run, planted_records(), tmp_path / "report.html", needs=needs)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert answer_on(page) == answer_in_page(planted_run, planted_records(), needs)
    assert not page.locator("#max-state").is_visible()
    context.close()


def test_hostile_names_in_an_answer_are_text(watched: WatchedPage, tmp_path: Path) -> None:
    """Check the answers to limits of which each allows one more name, and recommends it."""
    records = [
        named(record, string)
        for n, string in enumerate(HOSTILE)
        for record in planted.records("gru", 0.5 + 0.05 * n, state=100 << n, microseconds=1 + n)
    ]
    run = run_of(records)
    page = watched.open(reports.write_page(run, records, tmp_path / "report.html"))
    for n, string in enumerate(HOSTILE):
        page.fill("#max-step", f"{n + 1.5} us")
        page.wait_for_timeout(50)
        answer = answer_on(page)
        assert answer == answer_in_page(run, records, reports.Needs(step_seconds=1e-6 * (n + 1.5)))
        assert string.partition(":")[0] in " ".join(answer)  # a label may leave out the options of a spec
        assert watched.messages == [], string
    assert page.locator("script").count() == 1


def named(record: Record, arch: str) -> Record:
    """Return the record under an architecture name that no spec could have."""
    case = record.case.model_copy(update={"arch": arch})
    return record.model_copy(update={"case": case, "key": case.key})
