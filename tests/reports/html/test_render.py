"""The page is complete, self-contained, and safe for any string in a record."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reports
from reports.figures import headline
from reports.figures.headline import MAX_SHOWN
from reports.html import sections
from reports.html.environment import FOLDER, breakable, keep_options_whole
from results import Record, RunFile
from tests.reports import planted, synthetic

MAX_BYTES = 5_000_000
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)' x=\"",
    "javascript:alert(1)",
    "</style><style>@import 'http://example.org/x.css';</style>",
    "{{ 7 * 7 }}{% raw %}",
)
TWINS = {
    string: f"{letter}armless:one" if ":" in string else f"{letter}armless one!"
    for letter, string in zip("abcdef", sorted(HOSTILE), strict=True)
}
"""A harmless text for each hostile string, with the same order and the same kinds of characters.

A case key would replace the space and the exclamation mark.
"""


class Outline(HTMLParser):
    """The elements of a page with their attributes, the levels of its headings, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data: str) -> None:
        self.text += data

    def shape(self) -> set[tuple[str, str]]:
        return {(tag, name) for tag, attributes in self.elements for name in ["", *attributes]}

    def images(self) -> list[str]:
        sources = [attributes["src"] or "" for tag, attributes in self.elements if tag == "img"]
        return [base64.b64decode(source.split(",", 1)[1]).decode() for source in sources]


@pytest.fixture(scope="module")
def text(run: RunFile, records: list[Record]) -> str:
    return reports.page(run, records)


@pytest.fixture(scope="module")
def outline(text: str) -> Outline:
    return Outline(text)


def test_verdict_recommendation_context_and_figures_come_first(outline: Outline) -> None:
    for expected in (
        "72 cases: 68 ok, 3 failed (1 inconsistent, 1 diverged and 1 timeout), 1 missing.",
        "For streaming, only lstm can be recommended:",
        "Imagined CPU at 2.0 GHz, 2 cores, 8.0 GiB",
        "carousel run quick",
        "20,000 parameters, 2 layers",
    ):
        assert outline.text.index(expected) < outline.text.index("Scores are means with a 95% interval over seeds")
    assert [
        ElementTree.fromstring(image).findtext("{http://www.w3.org/2000/svg}title") for image in outline.images()
    ] == [
        "Memory share against state and step cost",
        "Score against length",
        "Cost of a streamed step against position",
        "Score against cost",
        "Steps that arrive at once",
        "Training curves",
    ]


def test_page_shows_numbers_problems_and_names(outline: Outline) -> None:
    for expected in (
        "0.760",
        "0.685–0.835",
        "lstm on first_last at 128",
        "— rnn, seed 1 diverged: the loss was not finite at step 300",
        "no result within 120 s",
        "lstm:forget_bias=1",
        "At most 800 steps on fresh batches of 32",
    ):
        assert expected in outline.text
    assert "Chance level 0.5 and memoryless baseline 0.75." in outline.text
    assert not [attributes for _, attributes in outline.elements if "title" in attributes]


def test_long_name_is_breakable_and_escaped() -> None:
    assert breakable("lstm:a=1,b=2 <x>") == "lstm:<wbr>a=1,<wbr>b=2 &lt;x&gt;"


def test_method_states_what_was_checked(outline: Outline) -> None:
    for expected in (
        "step and scan of the trained model must agree on a test sequence",
        "contains Student's interval over seeds and Wilson's interval for the test sequences of all seeds",
        "Each seed is judged by its own test sequences",
    ):
        assert expected in outline.text


def test_figure_width_on_the_page_follows_its_drawn_width(outline: Outline) -> None:
    styles = [attributes.get("style") for tag, attributes in outline.elements if tag == "figure"]
    assert styles == ["--inches:6.2", "--inches:7.4", "--inches:5.4", "--inches:10.2", "--inches:7.4", "--inches:10.2"]


def test_signature_figures_are_side_by_side(outline: Outline, records: list[Record]) -> None:
    def figure_grids(page: Outline) -> list[tuple[str | None, str | None]]:
        divs = [attributes for tag, attributes in page.elements if tag == "div"]
        return [(a.get("class"), a.get("style")) for a in divs if (a.get("class") or "").startswith("figures")]

    single = ("figures", None)
    assert figure_grids(outline) == [("figures two", "--columns:7.4fr 5.4fr"), single, single, single]
    few = [record for record in records if (record.case.task, record.case.length) == ("adding", 32)]
    one_panel = Outline(reports.page(synthetic.run([record.case for record in few]), few))
    assert figure_grids(one_panel) == [("figures two", "--columns:5.4fr 5.4fr"), single, single, single]
    unstreamed = [
        record.model_copy(update={"measurements": tuple(record.of("accuracy")), "probes": {}}) for record in few
    ]
    assert figure_grids(Outline(reports.page(synthetic.run([r.case for r in few]), unstreamed))) == [single]


def test_section_ids_are_unique_and_their_templates_exist() -> None:
    ids = [section.id for section in sections.SECTIONS]
    assert len(ids) == len(set(ids))
    for section in sections.SECTIONS:
        assert (FOLDER / "templates" / f"{section.template}.html.jinja").is_file(), section.id


def test_page_has_fields_for_limits_and_marks_the_frontier(run: RunFile) -> None:
    needs = reports.Needs(state_bytes=20 << 10, step_seconds=55e-6)
    outline = Outline(reports.page(run, synthetic.sound_records(), needs=needs))
    fields = {a["id"]: a["value"] for tag, a in outline.elements if tag == "input" and "data-quantity" in a}
    assert fields == {"max-state": "20 KiB", "max-step": "55 µs", "max-params": ""}
    labels = {attributes.get("for") for tag, attributes in outline.elements if tag == "label"}
    assert set(fields) <= labels
    (status,) = [a for _, a in outline.elements if a.get("id") == "needs-answer"]
    assert (status["role"], status["aria-live"]) == ("status", "polite")
    assert "Within the limits: lstm and rnn." in outline.text
    assert "A limit of 55 µs per step excludes transformer (891 µs at position 16,384) and gru" in outline.text
    assert overview_of(outline).count("frontier") == 4
    assert "recommended" not in overview_of(outline)


def overview_of(page: Outline) -> str:
    """Return the text of the overview, up to the recommendation below it."""
    return page.text[page.text.index("architecture") : page.text.index("For streaming")]


def test_only_a_choice_among_several_architectures_is_marked_as_recommended(outline: Outline) -> None:
    records = [
        *planted.records("gru", 0.8, state=640, microseconds=2),
        *planted.records("lstm", 0.7, state=640, microseconds=3),
    ]
    chosen = overview_of(Outline(reports.page(synthetic.run([record.case for record in records]), records)))
    assert (chosen.count("recommended"), chosen.count("frontier")) == (1, 0)
    only_candidate = overview_of(outline)
    assert (only_candidate.count("recommended"), only_candidate.count("frontier")) == (0, 1)


def test_page_without_candidates_has_no_fields_for_limits(run: RunFile) -> None:
    elements = Outline(reports.page(run, [])).elements
    assert not [attributes for _, attributes in elements if "data-needs" in attributes]


def test_leaderboard_without_streaming_has_no_columns_of_dashes(run: RunFile, records: list[Record]) -> None:
    silent = [
        record.model_copy(
            update={"measurements": tuple(each for each in record.measurements if "position" not in each.at)}
        )
        for record in records
    ]
    for made, streamed in ((records, True), (silent, False)):
        page = reports.page(run, made)
        table = re.findall(r'<table class="leaderboard sortable".*?</table>', page, re.DOTALL)[0]
        columns = table.split("</thead>")[0].count('scope="col"')
        assert ("p99" in table) == streamed
        assert ('<th scope="col">state' in table) == streamed
        row = re.findall(r"<tbody.*?<tr>(.*?)</tr>", table, re.DOTALL)[0]
        assert row.count("<td") + row.count("<th") == columns
        assert set(re.findall(r'colspan="(\d+)"', table)) <= {str(columns)}


def test_heading_levels_are_not_skipped(outline: Outline) -> None:
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))


def test_every_image_has_alternative_text(outline: Outline) -> None:
    alternatives = [attributes.get("alt") for tag, attributes in outline.elements if tag == "img"]
    assert len(alternatives) == 6
    assert all(alternative and "transformer" in alternative for alternative in alternatives)


def test_page_loads_nothing_and_allows_only_its_own_script(text: str, outline: Outline) -> None:
    tags = [tag for tag, _ in outline.elements]
    ids = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    assert not set(tags) & {"link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset"):
            if name in attributes:
                value = attributes[name] or ""
                if value.startswith("#"):
                    assert value.removeprefix("#") in ids
                    continue
                kind = {"src": "data:image/svg+xml;base64,", "href": "data:application/gzip;base64,"}[name]
                assert tag in ("img", "a")
                assert value.startswith(kind)
    assert not re.search(r"@import|url\(|https?:", text)
    for image in outline.images():
        assert not re.search(r"@import|url\((?!#)|<script|<foreignObject|href=\"(?!#)", image)
    (policy,) = [a["content"] for tag, a in outline.elements if tag == "meta" and a.get("http-equiv")]
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert tags.count("script") == 1
    assert not re.search(r"innerHTML|eval|document\.write|Function\(|fetch|XMLHttp", script)


def test_records_can_be_downloaded_from_the_page(
    text: str, outline: Outline, run: RunFile, records: list[Record]
) -> None:
    (link,) = [attributes for tag, attributes in outline.elements if tag == "a" and "download" in attributes]
    assert link["download"] == "20260101-120000-quick.jsonl.gz"
    lines = gzip.decompress(base64.b64decode((link["href"] or "").split(",", 1)[1])).decode().splitlines()
    assert RunFile.model_validate_json(lines[0]) == run
    attached = {record.key: record for record in map(Record.model_validate_json, lines[1:])}
    assert set(attached) == {record.key for record in records}
    for record in records:
        assert attached[record.key].training == record.training
        assert attached[record.key].of("accuracy") == record.of("accuracy")
        assert not attached[record.key].of("step_seconds")
        assert not attached[record.key].of("call_step_seconds")
    samples = sum(
        len(each.samples)
        for record in records
        for each in (*record.of("step_seconds"), *record.of("call_step_seconds"))
    )
    assert f"{samples:,} streamed steps are only in the run folder" in outline.text


def page_named(names: Sequence[str]) -> Outline:
    """Return the outline of a page whose run has a successful and a crashed case per name.

    Each name is an architecture, a task and the reason of a failure. The other texts of the run hold all names.
    """
    records = []
    for name in names:
        sound, failed = (
            synthetic.renamed(synthetic.case("gru", "adding", 32, n), arch=name, task=name) for n in (0, 1)
        )
        records += [sound, failed.model_copy(update={"status": "crashed", "reason": name, "measurements": ()})]
    every = " ".join(names)
    environment = synthetic.run().environment.model_copy(
        update=dict.fromkeys(("cpu", "torch", "system", "device"), every)
    )
    texts = dict.fromkeys(("plan", "command", "code", "created", "finished"), every)
    run = synthetic.run([record.case for record in records], **texts, environment=environment)
    return Outline(reports.page(run, records))


def test_hostile_strings_are_shown_as_text() -> None:
    hostile, harmless = page_named(list(TWINS)), page_named(list(TWINS.values()))
    assert hostile.shape() == harmless.shape()
    for string, twin in TWINS.items():
        assert hostile.text.count(string) == harmless.text.count(twin) > 5, string
    for image in hostile.images():
        assert not [element for element in ElementTree.fromstring(image).iter() if "script" in element.tag]


def test_order_of_records_does_not_change_the_page(text: str, run: RunFile, records: list[Record]) -> None:
    assert reports.page(run, records[::-1]) == text


def test_page_is_small_and_written_atomically(text: str, run: RunFile, records: list[Record], tmp_path: Path) -> None:
    target = reports.write_page(run, records, tmp_path / "report.html")
    assert target.read_text(encoding="utf-8") == text
    assert target.stat().st_size < MAX_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_run_without_cases_or_records_gives_a_page(run: RunFile) -> None:
    empty = Outline(reports.page(synthetic.run([], finished=None), []))
    assert "No cases: nothing was planned and nothing was measured." in empty.text
    assert "There is nothing to show: the run has no cases." in empty.text
    assert not empty.images()
    pending = Outline(reports.page(run, []))
    assert "72 cases: 0 ok, 0 failed, 72 missing." in pending.text
    assert "no scores for rnn, lstm, gru and transformer" in pending.text


@pytest.mark.parametrize(("tasks", "is_drawn"), [(MAX_SHOWN, True), (MAX_SHOWN + 1, False)])
def test_figures_with_too_many_panels_are_omitted(tasks: int, is_drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headline, "accuracy_against_length_figure", lambda groups: None)  # slow, and tested elsewhere
    curves: list[object] = []
    monkeypatch.setattr(sections, "training_curves_figure", lambda groups, among: curves.append(groups))
    case = synthetic.case("gru", "adding", 32, 0)
    records = [synthetic.renamed(case, arch="gru", task=f"task_{number}") for number in range(tasks)]
    text = reports.page(synthetic.run([record.case for record in records]), records)
    assert (f"{tasks} panels would be unreadable" in text) is not is_drawn
    assert bool(curves) is is_drawn


def test_import_of_reports_loads_no_heavy_library() -> None:
    check = (
        "import sys, reports; loaded = {'torch', 'matplotlib', 'pandas', 'jinja2', 'arch', 'tasks', 'bench'};"
        "print(sorted(loaded & set(sys.modules)))"
    )
    root = Path(reports.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_page_is_rendered_without_torch() -> None:
    check = (
        "import sys, reports; from tests.reports import planted, synthetic;"
        "reports.page(synthetic.run(), synthetic.records()[:6]); print('torch' in sys.modules)"
    )
    root = Path(reports.__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_options_of_commands_are_kept_whole_in_text_only() -> None:
    html = (
        '<title>a --repeat</title><style>p { --page: 0 }</style><p title="4 more --repeat">4 more --repeat, '
        "(--no-resume)"
        " -- x--y ---z --Z</p><code>run --seeds 3</code><script>i --decrement</script>"
    )
    whole = keep_options_whole(html)
    options = ("--repeat", "--no-resume", "--seeds")
    assert re.findall(r'<span class="option">(.*?)</span>', whole) == list(options)
    assert re.sub(r'<span class="option">(.*?)</span>', r"\1", whole) == html
    assert whole.startswith('<title>a --repeat</title><style>p { --page: 0 }</style><p title="4 more --repeat">')
    assert whole.endswith("<script>i --decrement</script>")
