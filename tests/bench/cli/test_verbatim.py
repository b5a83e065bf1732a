"""Paths, names and reasons are printed as they are: rich, a terminal or an encoding must not change them."""

from __future__ import annotations

import ast
import io
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

import reports
from bench.commands import doctor, listing
from bench.executors.events import JobStarted
from bench.executors.jobs import Failure, TrainJob
from bench.progress.display import Progress
from bench.progress.eta import EtaEstimator
from bench.runner import run as runner
from bench.validation.checker import Verdict
from reports.export import render_comparison
from results import Store
from results.comparison import compare
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.tiny import tiny_case
from tests.reports import synthetic
from tests.results.planted import grid, run_of

__all__ = ["carousel", "inline"]

HOME = Path(__file__).resolve().parents[3]
MARKUP = "my [old] [red]x[/] [/nothing] :tada: \\[b]"
"""Text that rich would change or refuse as markup, or in which it would see an emoji."""
CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")
"""Pattern of control sequences other than colours, which end in `m`."""


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no figures, which take most of the time of a tiny run."""
    monkeypatch.setattr("bench.commands.run.write_page", lambda run, loaded, page: page)


@pytest.fixture
def strange(tmp_path: Path, carousel: Carousel, inline: Inline) -> Path:
    """Run the tiny plan in a store whose name contains markup, and return the store."""
    store = Path(MARKUP.replace("/", "|"))
    ended = carousel("run", "tiny.toml", "--store", str(store), "-q")
    assert ended.code == 0
    assert f"report: {store}/" in ended.out
    return store


def test_paths_of_a_store_are_verbatim_in_every_command(carousel: Carousel, strange: Path) -> None:
    (run,) = Store(strange).runs()
    store = str(strange)
    assert f"files copied into copy of {store}" in carousel("merge", store, "--store", f"copy of {store}").out
    record = next((run.folder / "records").iterdir())
    record.write_bytes(record.read_bytes()[:-9])
    assert f"damaged: {record}: " in carousel("verify", store).out
    assert "skipped " in carousel("show", "--store", store).err
    again = carousel("run", "tiny.toml", "--store", store, "-q")
    assert str(strange) in again.out
    (run.folder / "run.json").write_text("{", encoding="utf-8")
    assert str(run.folder / "run.json") in carousel("list", "runs", "--store", store).out
    assert f"no runs in {store}-missing" in carousel("show", "--store", f"{store}-missing").err


def test_damaged_record_that_is_set_aside_is_named_verbatim(
    carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MARKUP.replace("/", "|")
    inline.failing = lambda job: (_ for _ in ()).throw(KeyboardInterrupt) if len(inline.trained) == 3 else None
    assert carousel("run", "tiny.toml", "--store", store, "-q").code == 130
    (run,) = Store(Path(store)).runs()
    record = next((run.folder / "records").iterdir())
    record.write_bytes(record.read_bytes()[:-9])
    inline.failing = lambda job: None
    monkeypatch.setattr(runner, "reason_unlocked", lambda: MARKUP)
    ended = carousel("run", "tiny.toml", "--store", store)
    assert ended.code == 0
    assert f"set aside {record.name}: " in ended.out
    assert f"{MARKUP}: other runs on this machine" in ended.out


def test_reason_of_a_failure_is_verbatim(carousel: Carousel, inline: Inline) -> None:
    inline.failing = lambda job: Failure("crashed", MARKUP)
    assert MARKUP in carousel("run", "tiny.toml", "-q").out


@pytest.mark.parametrize("kind", ["archs", "tasks", "plans", "runs"])
def test_lists_are_verbatim(carousel: Carousel, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    row = {"name": MARKUP, "summary": f"summary {MARKUP}", "source": f"source {MARKUP}"}
    if kind == "runs":
        row = {"name": MARKUP, "plan": f"plan {MARKUP}", "recorded": "1 of 1", "state": f"state {MARKUP}"}
    monkeypatch.setattr(listing, f"list_{kind}", lambda *_: [row])
    printed = carousel("list", kind).out
    assert all(value in printed for value in row.values())


def test_doctor_is_verbatim(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_environment_lines", lambda: [(MARKUP, f"cpu {MARKUP}")])
    monkeypatch.setattr(doctor, "advise", lambda vitals: [f"advice {MARKUP}"])
    printed = carousel("doctor", "--seconds", "0.1").out
    assert f"{MARKUP} cpu {MARKUP}" in printed
    assert f"• advice {MARKUP}" in printed


def test_validate_is_verbatim(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = Verdict(name=f"lstm {MARKUP}", kind="architecture", results=())
    monkeypatch.setattr("bench.commands.validate.validate_arch", lambda spec: verdict)
    assert f"lstm {MARKUP}" in carousel("validate", "lstm").out


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_is_verbatim(is_terminal: bool) -> None:
    console = Console(file=Terminal() if is_terminal else io.StringIO(), width=400, color_system=None)
    errors = Console(file=io.StringIO(), width=400)
    job = TrainJob(case=tiny_case().model_copy(update={"task": MARKUP}))
    with Progress(console, EtaEstimator({}, 1), lambda job: 1.0, quiet=False, errors=errors) as progress:
        progress.start_phase(f"training {MARKUP}", 1)
        progress.job_assigned(f"{MARKUP}/0", job)
        progress.job_started(JobStarted(worker=f"{MARKUP}/0", compiling_seconds=0.0, kernels_note=f"note {MARKUP}"))
        if is_terminal:
            console.print(progress._view())
        progress.finish(f"{MARKUP}/0")
    assert isinstance(console.file, io.StringIO) and isinstance(errors.file, io.StringIO)
    printed = console.file.getvalue()
    if is_terminal:
        assert f"worker {MARKUP}/0" in printed and f"on {MARKUP}, length" in printed
    assert f"training {MARKUP}: " in printed
    assert f"{MARKUP}: note {MARKUP}" in errors.file.getvalue()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_leaderboard_and_comparison_are_verbatim(is_terminal: bool) -> None:
    name = MARKUP[:21]
    case = synthetic.renamed(synthetic.case("gru", "adding", 32, 0), arch=name)
    console = Console(file=Terminal() if is_terminal else io.StringIO(), width=400, color_system=None)
    reports.render_terminal(synthetic.run([case.case]), [case], console=console)
    cases = [each.model_copy(update={"arch": name}) for each in grid(tasks=1, seeds=2) if each.arch == "lstm"]
    base, new = run_of(cases, 1, noise=0.02), run_of(cases, 2, noise=0.02, slower=lambda case, metric: 1.0)
    render_comparison(compare(base, new), console=console)
    assert isinstance(console.file, io.StringIO)
    assert sum(f"  {name} " in line for line in console.file.getvalue().splitlines()) >= 2


def test_escape_sequences_and_line_breaks_of_others_do_not_reach_the_terminal(
    carousel: Carousel, inline: Inline
) -> None:
    inline.failing = lambda job: Failure("crashed", "before\x1b[2J\x1b]0;title\x07::error::x\u202eafter")
    printed = carousel("run", "tiny.toml", "-q").out
    assert "before" in printed and "after" in printed
    assert not re.search("[\x1b\x07\u202e]", printed)


def console_calls(source: str) -> list[str]:
    """Return the calls of a source file that print anything but prepared text, or create a console."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "Console":
            found.append("Console()")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "print" and node.args:
            argument = node.args[0]
            is_table = isinstance(argument, ast.Name) and argument.id == "table"
            name = argument.func.id if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name) else ""
            if not is_table and name not in ("Text", "Padding"):
                found.append(ast.unparse(node))
    return found


def test_everything_is_printed_by_the_module_for_it() -> None:
    paths = [path for package in ("bench", "reports") for path in (HOME / package).rglob("*.py")]
    found = {path.name: console_calls(path.read_text(encoding="utf-8")) for path in paths}
    assert {name for name, calls in found.items() if calls} == {"console.py"}
    assert console_calls("console.print(f'[bold]{x}[/]')") == ["console.print(f'[bold]{x}[/]')"]


COMMANDS = [
    ["list", "archs", "lstm"],
    ["list", "runs"],
    ["gates", "--list"],
    ["gates", "latest", "理由"],
    ["run", "tiny.toml", "--dry-run"],
    ["show"],
    ["show", "--format", "markdown"],
    ["show", "--format", "csv"],
    ["show", "--format", "latex"],
    ["show-task", "parity"],
    ["show-arch", "lstm"],
    ["compare", "latest", "latest"],
    ["history", "--metric", "accuracy"],
    ["export"],
    ["verify"],
    ["--help"],
]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932"])
def test_characters_that_an_encoding_lacks_are_replaced(
    monkeypatch: pytest.MonkeyPatch, carousel: Carousel, encoding: str
) -> None:
    file, records = run_of(grid(tasks=1, seeds=2), 1, noise=0.02)
    run = Store(Path("carousel-runs")).create(file)
    for record in records[:-1]:
        run.write(record)
    run.write(records[-1].model_copy(update={"status": "crashed", "reason": "理由 — µ", "measurements": ()}))
    for words in COMMANDS:
        usual = carousel(*words)
        stream, errors = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stream)
            patched.setattr(sys, "stderr", errors)
            assert carousel(*words).code == usual.code, words
        stream.flush()
        errors.flush()
        assert isinstance(stream.buffer, io.BytesIO) and isinstance(errors.buffer, io.BytesIO)
        assert (stream.buffer.getvalue() + errors.buffer.getvalue()).decode(encoding).strip(), words


def test_replacements_keep_the_width_of_a_table() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="carousel.similar")
    stream.write("0.76 (0.69–0.83) µs … 理 ▁█")
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    assert stream.buffer.getvalue() == b"0.76 (0.69-0.83) us ~ ? 18"


def test_redirected_output_moves_no_cursor(carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "40")
    ended = carousel("run", "tiny.toml")
    assert ended.code == 0
    assert not CURSOR.search(ended.out + ended.err)
    assert re.search("training: 4 of 4 cases done", ended.out)
    assert "p99 end" in ended.out  # the columns are not those of a narrow terminal
    assert "\x1b[1m" in ended.out  # colours and bold text were asked for


@pytest.mark.parametrize(("term", "is_live"), [("xterm", True), ("dumb", False)])
def test_live_view_is_only_on_a_terminal_that_can_redraw(
    monkeypatch: pytest.MonkeyPatch, term: str, is_live: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    for stream, expected in ((Terminal(), is_live), (io.StringIO(), False)):
        console = Console(file=stream, width=80, force_terminal=True)
        with Progress(console, EtaEstimator({}, 1), lambda job: 1.0, quiet=False) as progress:
            progress.start_phase("training", 1)
            progress.job_assigned("0", TrainJob(case=tiny_case()))
            progress.finish("0")
        assert bool(CURSOR.search(stream.getvalue())) == expected
        assert ("training: 1 of 1 cases done" in stream.getvalue()) or expected
