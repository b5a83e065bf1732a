"""The page: complete, self-contained, safe for any string that a record may hold."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

import reports
from reports.figures import headline
from reports.figures.headline import MAX_SHOWN
from reports.html.render import chunk_of
from results import Record, RunFile
from tests.reports import synthetic

MAX_BYTES = 5_000_000
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\"' onmouseover='alert(1)' x=\"",
    "javascript:alert(1)",
    "</style><style>@import 'http://example.org/x.css';</style>",
    "{{ 7 * 7 }}{% raw %}",
)


class Outline(HTMLParser):
    """Elements with their attributes, headings, and the text that a reader sees."""

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


def test_first_screen_has_verdict_choice_context_and_figures(outline: Outline) -> None:
    for expected in (
        "72 cases: 68 ok, 3 failed (1 inconsistent, 1 diverged and 1 timeout), 1 missing.",
        "For streaming, choose gru:",
        "Imagined CPU at 2.0 GHz, 2 cores, 8.0 GiB",
        "carousel run quick",
        "20,000 parameters, 2 layers",
    ):
        assert outline.text.index(expected) < outline.text.index("Leaderboard")
    assert [
        ElementTree.fromstring(image).findtext("{http://www.w3.org/2000/svg}title") for image in outline.images()
    ] == [
        "Score against length",
        "Cost of a streamed step against position",
        "Score against cost",
        "Training curves",
    ]


def test_numbers_problems_and_names_are_on_the_page(outline: Outline) -> None:
    for expected in (
        "0.760",
        "0.685–0.835",
        "lstm on first_last at 128",
        "0.750 blind",
        "— rnn, seed 1 diverged: the loss was not finite at step 300",
        "no result within 120 s",
        "lstm:forget_bias=1",
        "At most 800 steps on fresh batches of 32",
    ):
        assert expected in outline.text


def test_a_long_name_may_be_broken_and_is_escaped() -> None:
    assert chunk_of("lstm:a=1,b=2 <x>") == "lstm:<wbr>a=1,<wbr>b=2 &lt;x&gt;"


def test_the_method_claims_no_more_than_was_done(outline: Outline) -> None:
    for expected in (
        "step and scan were found to agree over the trained model's first 64 steps",
        "Student's 95% interval over seeds",
        "Seeds that agree exactly give an interval of width zero",
    ):
        assert expected in outline.text


def test_a_figure_is_shown_at_a_width_that_goes_with_the_width_it_was_drawn_at(outline: Outline) -> None:
    styles = [attributes.get("style") for tag, attributes in outline.elements if tag == "figure"]
    assert styles == ["--inches:7.4", "--inches:5.4", "--inches:10.2", "--inches:10.2"]


def test_signature_figures_stand_side_by_side(outline: Outline, records: list[Record]) -> None:
    def placed(found: Outline) -> list[tuple[str | None, str | None]]:
        kept = [attributes for tag, attributes in found.elements if tag == "div"]
        return [(a.get("class"), a.get("style")) for a in kept if (a.get("class") or "").startswith("figures")]

    assert placed(outline) == [("figures two", "--columns:7.4fr 5.4fr")]
    few = [record for record in records if (record.case.task, record.case.length) == ("adding", 32)]
    one = Outline(reports.page(synthetic.run([record.case for record in few]), few))
    assert placed(one) == [("figures two", "--columns:5.4fr 5.4fr")]
    unstreamed = [
        record.model_copy(update={"measurements": tuple(record.of("accuracy")), "probes": {}}) for record in few
    ]
    assert placed(Outline(reports.page(synthetic.run([r.case for r in few]), unstreamed))) == [("figures", None)]


def test_headings_go_down_one_level_at_a_time(outline: Outline) -> None:
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))


def test_every_image_has_its_alternative_text(outline: Outline) -> None:
    alternatives = [attributes.get("alt") for tag, attributes in outline.elements if tag == "img"]
    assert len(alternatives) == 4
    assert all(alternative and "transformer" in alternative for alternative in alternatives)


def test_nothing_is_loaded_from_elsewhere_and_only_the_known_script_runs(text: str, outline: Outline) -> None:
    tags = [tag for tag, _ in outline.elements]
    assert not set(tags) & {"link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "action", "srcset"):
            if name in attributes:
                kind = {"src": "data:image/svg+xml;base64,", "href": "data:application/gzip;base64,"}[name]
                assert tag in ("img", "a")
                assert (attributes[name] or "").startswith(kind)
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


def test_the_records_can_be_saved_from_the_page(
    text: str, outline: Outline, run: RunFile, records: list[Record]
) -> None:
    (link,) = [attributes for tag, attributes in outline.elements if tag == "a"]
    assert link["download"] == "20260101-120000-quick.jsonl.gz"
    lines = gzip.decompress(base64.b64decode((link["href"] or "").split(",", 1)[1])).decode().splitlines()
    assert RunFile.model_validate_json(lines[0]) == run
    kept = {record.key: record for record in map(Record.model_validate_json, lines[1:])}
    assert set(kept) == {record.key for record in records}
    for record in records:
        assert kept[record.key].training == record.training
        assert kept[record.key].of("accuracy") == record.of("accuracy")
        assert not kept[record.key].of("step_seconds")
    samples = sum(len(one.samples) for record in records for one in record.of("step_seconds"))
    assert f"{samples:,} streamed steps are in the run's folder only" in outline.text


def named(name: str) -> Outline:
    """The page of a run in which every free text is `name`: one case is sound, one crashed."""
    sound, failed = (synthetic.renamed(synthetic.case("gru", "adding", 32, n), arch=name, task=name) for n in (0, 1))
    failed = failed.model_copy(update={"status": "crashed", "reason": name, "measurements": ()})
    where = synthetic.run().environment.model_copy(update={"cpu": name, "torch": name, "system": name, "device": name})
    texts = {"plan": name, "command": name, "code": name, "created": name, "finished": name, "environment": where}
    return Outline(reports.page(synthetic.run([sound.case, failed.case], **texts), [sound, failed]))


@pytest.mark.parametrize("string", HOSTILE)
def test_a_hostile_string_is_shown_as_text(string: str) -> None:
    twin = "harmless:one" if ":" in string else "harmless one!"  # not what a key would keep as it is
    hostile, harmless = named(string), named(twin)
    assert hostile.shape() == harmless.shape()
    assert hostile.text.count(string) == harmless.text.count(twin)
    for image in hostile.images():
        assert not [element for element in ElementTree.fromstring(image).iter() if "script" in element.tag]


def test_the_same_records_in_any_order_give_the_same_page(text: str, run: RunFile, records: list[Record]) -> None:
    assert reports.page(run, records[::-1]) == text


def test_the_page_is_small_and_written_whole(text: str, run: RunFile, records: list[Record], tmp_path: Path) -> None:
    target = reports.write_page(run, records, tmp_path / "report.html")
    assert target.read_text(encoding="utf-8") == text
    assert target.stat().st_size < MAX_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_an_empty_run_and_one_without_records_give_sensible_pages(run: RunFile) -> None:
    empty = Outline(reports.page(synthetic.run([], finished=None), []))
    assert "No cases: nothing was planned and nothing was measured." in empty.text
    assert "There is nothing to show: the run has no cases." in empty.text
    assert not empty.images()
    pending = Outline(reports.page(run, []))
    assert "72 cases: 0 ok, 0 failed, 72 missing." in pending.text
    assert "nothing was measured of rnn, lstm, gru and transformer" in pending.text


@pytest.mark.parametrize(("tasks", "drawn"), [(MAX_SHOWN, True), (MAX_SHOWN + 1, False)])
def test_figures_of_more_panels_than_anyone_looks_through_are_told_and_not_drawn(
    tasks: int, drawn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headline, "accuracy_against_length_figure", lambda found: None)  # slow, and drawn elsewhere
    curves: list[object] = []
    monkeypatch.setattr(
        sys.modules["reports.html.render"], "training_curves_figure", lambda found, among: curves.append(found)
    )
    one = synthetic.case("gru", "adding", 32, 0)
    kept = [synthetic.renamed(one, arch="gru", task=f"task_{number}") for number in range(tasks)]
    text = reports.page(synthetic.run([record.case for record in kept]), kept)
    assert (f"of {tasks} panels nobody finds one" in text) is not drawn
    assert bool(curves) is drawn


def test_reports_import_neither_torch_nor_what_only_figures_and_tables_need() -> None:
    check = (
        "import sys, reports; loaded = {'torch', 'matplotlib', 'pandas', 'jinja2', 'arch', 'tasks', 'bench'};"
        "print(sorted(loaded & set(sys.modules)))"
    )
    root = Path(reports.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_page_is_made_without_torch() -> None:
    check = (
        "import sys, reports; from tests.reports import synthetic;"
        "reports.page(synthetic.run(), synthetic.records()[:6]); print('torch' in sys.modules)"
    )
    root = Path(reports.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
