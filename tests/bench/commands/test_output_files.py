"""Every command writes its files in one way, and the ending of a file decides its format."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.bench.carousel import Carousel, Completed, carousel
from tests.bench.commands.test_store import fill

__all__ = ["carousel"]
BASE, NEW = "20260101", "20260102"
FILES = {
    "export as CSV": (["export", "-o"], ".csv", b'"run"'),
    "export for pytest-benchmark": (["export", "-o"], ".json", b"{\n"),
    "export as Parquet": (["export", "-o"], ".parquet", b"PAR1"),
    "report": (["report", "-o"], ".html", b"<!doctype html>"),
    "history as a page": (["history", "-o"], ".html", b"<!doctype html>"),
    "history as a figure": (["history", "-o"], ".svg", b"<svg"),
    "check as JUnit": (["check", BASE, NEW, "--junit"], ".xml", b"<testsuites"),
    "summary of check": (["check", BASE, NEW, "--summary"], ".md", b"### Carousel check"),
}
"""The words before the path of a file, its ending, and how its content starts."""


@pytest.fixture(autouse=True)
def runs(carousel: Carousel, tmp_path: Path) -> None:
    fill(tmp_path / "carousel-runs", runs=2)


def starts_with(content: bytes, start: bytes) -> bool:
    return content[: len(start)].lower() == start.lower()


def received_by_a_reader(pipe: Path, write: Callable[[], Completed]) -> bytes:
    """Return what a reader of `pipe` receives while `write` runs, which must succeed."""
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert write().code == 0
    assert stat.S_ISFIFO(pipe.stat().st_mode)  # otherwise the reader would wait for ever
    reader.join()
    return received[0]


@pytest.mark.parametrize("name", FILES)
def test_links_and_pipes_stay_and_a_dash_is_standard_output(tmp_path: Path, carousel: Carousel, name: str) -> None:
    words, ending, start = FILES[name]
    link, target = tmp_path / f"link{ending}", tmp_path / "new" / "folder" / "target"
    link.symlink_to(target)
    ended = carousel(*words, link.name)
    assert (ended.code, ended.err) == (0, "")
    assert link.is_symlink()
    content = target.read_bytes()
    assert starts_with(content, start)
    pipe = tmp_path / f"pipe{ending}"
    assert received_by_a_reader(pipe, lambda: carousel(*words, pipe.name)) == content
    if ending in (".csv", ".html", ".xml", ".md"):  # the formats without an ending
        ended = carousel(*words, "-")
        assert (ended.code, ended.out.encode()) == (0, content)
        assert not Path("-").exists()


@pytest.mark.parametrize("name", ["export as CSV", "history as a figure", "check as JUnit", "summary of check"])
def test_missing_folders_are_created_and_the_mode_is_kept(tmp_path: Path, carousel: Carousel, name: str) -> None:
    words, ending, start = FILES[name]
    path = tmp_path / "new" / "folder" / f"file{ending}"
    ended = carousel(*words, f"new/folder/file{ending}")
    assert (ended.code, ended.err) == (0, "")
    assert starts_with(path.read_bytes(), start)
    path.write_bytes(b"old")
    path.chmod(0o600)
    assert carousel(*words, str(path)).code == 0
    assert starts_with(path.read_bytes(), start)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "words",
    [
        ["export", "-o", "x.xlsx"],
        ["export", "-o", "x.html"],
        ["export", "-o", "missing/x.txt"],
        ["export", "--format", "csv", "-o", "x.json"],
        ["export", "--format", "csv", "-o", "x.parquet"],
        ["export", "--format", "pytest-benchmark", "-o", "x.csv"],
        ["export", "--format", "csv", "-o", "x.tsv"],
        ["history", "-o", "h.png"],
        ["history", "-o", "h.csv"],
        ["history", "--json", "-o", "h.pdf"],
        ["report", "-o", "r.pdf"],
        ["report", "-o", "r.svg"],
        ["export", "-o", "new/"],
        ["report", "-o", "new/"],
        ["history", "-o", "new/"],
        ["check", BASE, NEW, "--junit", "new/"],
        ["report", "--figures", "f.jpg"],
        ["report", "--figures", "f", "--only", "x.jpg"],
        ["check", BASE, NEW, "--junit", "x.json"],
        ["check", BASE, NEW, "--summary", "x.html"],
        ["check", BASE, NEW, "--json", "--junit", "-"],
        ["check", BASE, NEW, "--summary", "-", "--junit", "-"],
        ["history", "--json", "-o", "-"],
        ["report", "-o", "r.html", "--figures", "-"],
        ["gates", "-o", "-"],
    ],
)
def test_other_endings_and_two_documents_on_standard_output_are_refused(carousel: Carousel, words: list[str]) -> None:
    before = sorted(Path().rglob("*"))
    ended = carousel(*words)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert "choose a" in ended.err
    assert sorted(Path().rglob("*")) == before


def test_ending_decides_the_format_in_any_case(carousel: Carousel) -> None:
    assert carousel("export", "-o", "X.JSON").code == 0
    assert "benchmarks" in json.loads(Path("X.JSON").read_text())
    assert carousel("export", "--format", "pytest-benchmark", "-o", "no-ending").code == 0
    assert "benchmarks" in json.loads(Path("no-ending").read_text())
    assert carousel("check", BASE, NEW, "--summary", "step_summary_0a1b").code == 0


def test_verdict_is_printed_although_a_file_cannot_be_written(carousel: Carousel) -> None:
    Path("file").write_text("")
    ended = carousel("check", BASE, NEW, "--junit", "file/x.xml", "--summary", "summary.md")
    assert ended.code == 2
    assert ended.out.startswith("passed")
    assert "cannot write file/x.xml" in ended.err
    assert Path("summary.md").read_text().startswith("### Carousel check: passed")
    ended = carousel("history", "-o", "file/x.html")
    assert ended.code == 2
    assert "0.875" in ended.out


def test_verdict_moves_to_standard_error_if_a_file_is_on_standard_output(carousel: Carousel) -> None:
    ended = carousel("check", BASE, NEW, "--junit", "-")
    assert ElementTree.fromstring(ended.out).tag == "testsuites"
    assert ended.err.startswith("passed")
    ended = carousel("history", "-o", "-")
    assert "0.875" in ended.err


def test_page_goes_to_standard_output_and_figures_through_links(carousel: Carousel) -> None:
    link = Path("figures/accuracy-against-length.svg")
    link.parent.mkdir()
    link.symlink_to(Path("target").resolve())
    ended = carousel("report", "-o", "-", "--figures", "figures")
    assert ended.out.rstrip().endswith("</html>")
    assert sorted(ended.err.splitlines()) == sorted(str(path) for path in Path("figures").iterdir())
    assert link.is_symlink()
    assert Path("target").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("other", ["x", "./x", "link"])
def test_two_outputs_in_one_file_are_refused_before_anything_is_written(
    tmp_path: Path, carousel: Carousel, other: str
) -> None:
    (tmp_path / "link").symlink_to("x")
    ended = carousel("check", BASE, NEW, "--junit", "x", "--summary", other)
    assert (ended.code, ended.out) == (2, "")
    assert "--junit and --summary name the same file" in ended.err
    assert not (tmp_path / "x").exists()
