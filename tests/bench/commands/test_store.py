"""The commands that maintain a store: merge, export, verify and history."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from results import Measurement, Run, Store
from results.benchmarks import read_pytest_benchmark
from tests.bench.carousel import Carousel, carousel
from tests.results.examples import case, record, run_file
from tests.results.store.test_verify import WEIGHTS

__all__ = ["carousel"]


def fill(store: Path, *, runs: int = 1, slower_from: int = 99) -> list[Run]:
    """Store `runs` runs of one case, one run per day, and return the runs.

    From run number `slower_from` on, counted from 0, steps take 30% longer.
    """
    made = []
    for number in range(runs):
        file = run_file(f"202601{number + 1:02}-000000-quick-abc123")
        run = Store(store).create(file.model_copy(update={"created": f"2026-01-{number + 1:02}T00:00:00Z"}))
        step = (1e-5 + 1e-8 * (number * 7 % 5)) * (1.3 if number >= slower_from else 1.0)
        timed = Measurement(metric="step_seconds", at={"position": 16}, samples=(step,) * 9)
        scored = Measurement(metric="accuracy", at={"length": 32}, samples=(0.875,))
        run.write(run.with_artifacts(record(measurements=(scored, timed)), {"weights": WEIGHTS}))
        made.append(run)
    return made


def commit(folder: Path, date: str) -> str:
    """Make an empty commit in the repository of a folder, which is created if it is missing, and return its name."""
    who = [f"{variable}={value}" for variable, value in (("user.name", "a"), ("user.email", "a@example.org"))]
    git = ["git", "-C", str(folder), *(word for setting in who for word in ("-c", setting))]
    dates = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | dates
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "--no-gpg-sign", "-m", date]):
        subprocess.run([*git, *words], check=True, env=variables)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "carousel-runs"


class TestVerify:
    def test_intact_store_exits_with_0_and_a_flipped_bit_with_3(self, store: Path, carousel: Carousel) -> None:
        (run,) = fill(store)
        assert carousel("verify").code == 0
        path = run.record_path(case().key)
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        ended = carousel("verify", str(store))
        assert ended.code == 3
        assert path.name in ended.out
        assert "1 problem found" in ended.out
        found = json.loads(carousel("verify", "--json").out)
        assert [Path(flaw["path"]).name for flaw in found["flaws"] if flaw["kind"] == "damaged"] == [path.name]
        assert (found["sound"], found["runs"], found["records"]) == (False, 1, 1)

    def test_leftovers_are_reported_and_removed_by_clean(self, store: Path, carousel: Carousel) -> None:
        (run,) = fill(store)
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        left = run.folder / f".run.json.{ended.pid}"
        left.write_bytes(b"half")
        assert (carousel("verify").code, left.exists()) == (0, True)
        assert f"left over: {Path('carousel-runs') / run.id / left.name}" in carousel("verify").out
        assert "removed" in carousel("verify", "--clean").out
        assert not left.exists()

    def test_missing_store_is_reported_in_one_line(self, carousel: Carousel) -> None:
        ended = carousel("verify", "nowhere")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)


class TestMerge:
    def test_merge_copies_once_and_may_be_repeated(self, tmp_path: Path, carousel: Carousel) -> None:
        fill(tmp_path / "a", runs=2)
        first = json.loads(carousel("merge", "a", "--store", "b", "--json").out)
        assert (len(first["copied"]), first["conflicts"], first["left_out"]) == (6, [], [])
        ended = carousel("merge", "a", "--store", "b")
        assert (ended.code, ended.out.strip()) == (0, "0 files copied into b, 6 already there")
        assert carousel("verify", "b").code == 0

    def test_conflict_exits_with_3_and_reports_both_files(self, tmp_path: Path, carousel: Carousel) -> None:
        (own,) = fill(tmp_path / "a")
        (other,) = fill(tmp_path / "b")
        other.write(record(status="inconsistent"))
        ended = carousel("merge", "b", "--store", "a")
        assert ended.code == 3
        (beside,) = (own.folder / "records").glob("*.conflict")
        assert beside.name in ended.out
        assert beside.read_bytes() == other.record_path(case().key).read_bytes()

    def test_missing_source_is_reported_in_one_line(self, tmp_path: Path, carousel: Carousel) -> None:
        ended = carousel("merge", "nothing")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert not (tmp_path / "carousel-runs").exists()


class TestExport:
    def test_csv_is_written_to_standard_output_or_a_file(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        fill(store)
        ended = carousel("export", "latest", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(ended.out)))
        assert (ended.code, len(rows), ended.err) == (0, 10, "")
        assert carousel("export", "--format", "csv", "-o", "x.csv").out == ""
        assert (tmp_path / "x.csv").read_bytes().decode() == ended.out

    def test_parquet_needs_a_file(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        fill(store)
        ended = carousel("export", "--format", "parquet")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)
        assert carousel("export", "--format", "parquet", "-o", "x.parquet").code == 0
        assert (tmp_path / "x.parquet").read_bytes()[:4] == b"PAR1"

    def test_pytest_benchmark_format_has_the_timings(self, store: Path, carousel: Carousel) -> None:
        fill(store)
        found = json.loads(carousel("export", "--format", "pytest-benchmark").out)
        assert [len(benchmark["stats"]["data"]) for benchmark in found["benchmarks"]] == [9]
        assert carousel("export", "-o", "timings.json").code == 0
        (samples,) = read_pytest_benchmark(Path("timings.json")).seconds.values()
        assert len(samples) == 9

    def test_unwritable_file_is_reported_in_one_line(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        fill(store)
        (tmp_path / "file").write_text("")
        ended = carousel("export", "-o", "file/x.csv")
        assert (ended.code, len(ended.err.splitlines())) == (2, 1)


class TestHistory:
    def test_change_is_shown_in_both_formats(self, store: Path, carousel: Carousel) -> None:
        runs = fill(store, runs=14, slower_from=8)
        ended = carousel("history", "lstm*", "--metric", "step_seconds")
        assert (ended.code, ended.err) == (0, "")
        assert f"from {runs[8].id}" in ended.out
        assert "│" in ended.out
        assert all(run.id in ended.out for run in runs)
        (series,) = json.loads(carousel("history", "--metric", "step_seconds", "--json").out)["series"]
        (change,) = series["changes"]
        assert change["run"] == runs[8].id
        assert change["after"] / change["before"] == pytest.approx(1.3, rel=0.01)
        assert [seen["run"] for seen in series["runs"]] == [run.id for run in runs]

    def test_too_few_runs_say_how_many_are_needed(self, store: Path, carousel: Carousel) -> None:
        fill(store, runs=2)
        ended = carousel("history")
        assert "detecting a change takes at least 10 runs" in ended.out
        assert "0.875" in ended.out

    def test_a_page_and_a_figure_are_written(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        fill(store, runs=3)
        assert carousel("history", "-o", "history.html").out.splitlines()[-1] == "history.html"
        assert "<table>" in (tmp_path / "history.html").read_text(encoding="utf-8")
        carousel("history", "-o", "history.svg")
        assert ElementTree.parse(tmp_path / "history.svg").getroot().tag.endswith("svg")

    def test_no_match_exits_with_5(self, store: Path, carousel: Carousel) -> None:
        fill(store)
        assert carousel("history", "gru*").code == 5
        ended = carousel("history", "--metric", "speed")
        assert (ended.code, "step_seconds" in ended.err) == (5, True)
        assert carousel("history", "--at", "position").code == 2

    def test_an_error_names_what_exists(self, store: Path, carousel: Carousel) -> None:
        fill(store)
        place = carousel("history", "lstm", "--metric", "step_seconds", "--at", "position=5")
        assert place.code == 5 and place.err.endswith("choose from --at position=16\n")
        glob, metric = carousel("history", "gru*"), carousel("history", "lstm", "--metric", "mse")
        assert glob.code == 5 and glob.err.endswith("the architectures are lstm:forget_bias=1\n")
        assert metric.code == 5 and metric.err.endswith("choose a metric from accuracy, step_seconds\n")

    def test_the_page_links_to_the_pages_of_runs(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        runs = fill(store, runs=3)
        (runs[1].folder / "report.html").write_text("")
        assert carousel("history", "-o", "pages/history.html").code == 0
        page = (tmp_path / "pages" / "history.html").read_text(encoding="utf-8")
        (address,) = re.findall(r'<a href="([^"]+)">', page)
        assert (tmp_path / "pages" / address).resolve() == runs[1].folder.resolve() / "report.html"
        assert f'<a href="carousel-runs/{runs[1].id}/report.html">' in carousel("history", "-o", "-").out

    def test_runs_are_ordered_by_commit(self, tmp_path: Path, store: Path, carousel: Carousel) -> None:
        """The second commit was measured first. Its time is earlier than that of the first."""
        commits = [commit(tmp_path, "2026-02-02T00:00:00Z"), commit(tmp_path, "2026-01-01T00:00:00Z")]
        for run, of_run in zip(fill(store, runs=3), [commits[1], commits[0], commits[1]], strict=True):
            run.write_file(run.file().model_copy(update={"commit": of_run}))
        ended = carousel("history", "--order", "commit", "--json")
        (series,) = json.loads(ended.out)["series"]
        assert [seen["commit"] for seen in series["runs"]] == [commits[0], commits[1], commits[1]]
        assert [seen["created"][:10] for seen in series["runs"]] == ["2026-01-02", "2026-01-01", "2026-01-03"]
        (by_time,) = json.loads(carousel("history", "--json").out)["series"]
        assert [seen["commit"] for seen in by_time["runs"]] == [commits[1], commits[0], commits[1]]

    @pytest.mark.parametrize("other", ["f" * 40, None])
    def test_an_interrupted_run_of_another_commit_does_not_matter(
        self, tmp_path: Path, store: Path, carousel: Carousel, other: str | None
    ) -> None:
        first = commit(tmp_path, "2026-01-01T00:00:00Z")
        *whole, interrupted = fill(store, runs=3)
        for run in (*whole, interrupted):
            changes = {"commit": first} if run in whole else {"commit": other, "finished": None}
            run.write_file(run.file().model_copy(update=changes))
        for stored in interrupted.read()[0].values():
            kept = tuple(each for each in stored.measurements if each.metric != "step_seconds")
            interrupted.write(stored.model_copy(update={"measurements": kept}))
        ended = carousel("history", "--metric", "step_seconds", "--order", "commit", "--json")
        assert (ended.code, ended.err) == (0, "")
        (series,) = json.loads(ended.out)["series"]
        assert [seen["commit"] for seen in series["runs"]] == [first, first]

    @pytest.mark.parametrize(("unknown", "expected"), [("f" * 40, "no git repository here has"), (None, "recorded no")])
    def test_an_unknown_commit_is_reported_in_one_line(
        self, tmp_path: Path, store: Path, carousel: Carousel, unknown: str | None, expected: str
    ) -> None:
        (run,) = fill(store)
        for name in (unknown, None if unknown is None else "--all"):
            run.write_file(run.file().model_copy(update={"commit": name}))
            ended = carousel("history", "--order", "commit")
            assert (ended.code, len(ended.err.splitlines())) == (2, 1)
            assert "use --order time" in ended.err
        run.write_file(run.file().model_copy(update={"commit": unknown}))
        assert expected in carousel("history", "--order", "commit").err

    def test_a_range_is_named_as_in_a_plan(self, store: Path, carousel: Carousel) -> None:
        (run,) = fill(store, runs=1)
        for stored in run.read()[0].values():
            over_range = Measurement(metric="accuracy", at={"from": 40, "to": 256}, samples=(0.25,))
            run.write(stored.model_copy(update={"measurements": (*stored.measurements, over_range)}))
        ended = carousel("history", "--at", "length=40..256")
        assert (ended.code, ended.err) == (0, "")
        assert "accuracy at length 40..256" in ended.out
        assert "0.250" in ended.out
        assert carousel("history", "--at", "length=40..").code == 2

    def test_damaged_run_is_skipped_and_reported(self, store: Path, carousel: Carousel) -> None:
        runs = fill(store, runs=3)
        (runs[1].folder / "run.json").write_bytes(b"half")
        (series,) = json.loads(carousel("history", "--json").out)["series"]
        assert [seen["run"] for seen in series["runs"]] == [runs[0].id, runs[2].id]
        assert os.sep + "run.json" in carousel("history").err
