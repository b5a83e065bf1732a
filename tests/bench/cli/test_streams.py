"""Exit codes that do not depend on the output: no reader, a full disk, closed streams, and unexpected errors."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.cli import main
from bench.errors import OK, REGRESSED, UNEXPECTED, USAGE
from results import Case, Store
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline
from tests.bench.plugin_files import ARCH, write
from tests.bench.tiny import write_plan
from tests.results.planted import grid, run_of

__all__ = ["carousel", "inline"]

HOME = Path(__file__).resolve().parents[3]
CASES = grid(tasks=1, seeds=2)


def slow(case: Case, metric: str) -> float:
    return math.log(1.3) if case.arch == "lstm" and metric == "step_seconds" else 0.0


@pytest.fixture
def runs(carousel: Carousel) -> tuple[str, str, str]:
    """Store a baseline, an unchanged run and a slower run. Return their ids."""
    ids = []
    for day, slower in ((1, None), (2, None), (3, slow)):
        file, records = run_of(CASES, day, noise=0.02, **({} if slower is None else {"slower": slower}))
        run = Store(Path("carousel-runs")).create(file)
        for record in records:
            run.write(record)
        ids.append(file.id)
    return ids[0], ids[1], ids[2]


@contextlib.contextmanager
def no_reader() -> Iterator[io.TextIOWrapper]:
    """Yield a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", encoding="utf-8")
    try:
        yield stream
    finally:
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def code_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["carousel", *words])
    with pytest.raises(SystemExit) as exited:
        main.main()
    return exited.value.code


@pytest.mark.parametrize(("new", "code"), [(1, OK), (2, REGRESSED)])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_check_without_a_reader_has_the_code_of_its_verdict_and_writes_its_files(
    monkeypatch: pytest.MonkeyPatch, runs: tuple[str, str, str], new: int, code: int, form: list[str]
) -> None:
    with no_reader() as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert code_of(patched, "check", runs[0], runs[new], "--junit", "junit.xml", *form) == code
    assert Path("junit.xml").is_file()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["list", "plans"], 0),
        (["list", "runs"], 0),
        (["show"], 0),
        (["show", "--format", "csv"], 0),
        (["export"], 0),
        (["history", "--metric", "step_seconds"], 0),
        (["verify"], 0),
        (["validate", "parity"], 0),
        (["show-task", "parity"], 0),
        (["show-arch", "gru"], 0),
        (["list", "archs", "x*"], 5),
        (["show", "nothing"], 2),
        (["run", "quik"], 2),
    ],
)
@pytest.mark.usefixtures("runs")
def test_every_command_without_a_reader_has_its_own_code(
    monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    with no_reader() as stream, no_reader() as errors, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "stderr", errors)
        assert code_of(patched, *words) == code


def test_run_goes_on_without_a_reader(monkeypatch: pytest.MonkeyPatch, carousel: Carousel, inline: Inline) -> None:
    with no_reader() as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert code_of(patched, "run", "tiny.toml") == OK
    (run,) = Store(Path("carousel-runs")).runs()
    assert len(run.read()[0]) == 4
    assert (run.folder / "report.html").is_file()


def test_output_that_cannot_be_written_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "read only").touch()
    descriptor = os.open(tmp_path / "read only", os.O_RDONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert code_of(patched, "list", "plans") == USAGE
    assert capsys.readouterr().err == (
        "carousel: cannot write to standard output: Bad file descriptor; free space or choose another target\n"
    )


@pytest.mark.parametrize("words", [["list", "plans"], ["export"], ["check", "latest", "latest"]])
@pytest.mark.usefixtures("runs")
def test_closed_streams_do_not_change_the_code(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    usual = code_of(monkeypatch, *words)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None)
        patched.setattr(sys, "stderr", None)
        assert code_of(patched, *words) == usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "redirection", "code"),
    [
        ("list plans", "| true", 0),
        ("list plans", ">&-", 0),
        ("list plans", ">&- 2>&-", 0),
        ("shw", "2>&1 | true", 2),
    ],
)
def test_shell_sees_the_code_and_no_complaint_of_the_interpreter(words: str, redirection: str, code: int) -> None:
    command = f"set -o pipefail; {sys.executable} -m bench {words} {redirection}"
    ended = subprocess.run(["bash", "-c", command], cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr and "BrokenPipe" not in ended.stderr


def raising(error: BaseException) -> Callable[..., None]:
    def broken(**_: object) -> None:
        raise error

    return broken


@pytest.mark.parametrize(
    ("error", "described"),
    [
        (ValueError("internal"), "ValueError at test_streams.py:{line}: internal"),
        (OSError(5, "Input/output error", "file"), "OSError at test_streams.py:{line}: [Errno 5] Input/output error"),
        (AssertionError(), "AssertionError at test_streams.py:{line}"),
        (MemoryError(), "MemoryError at test_streams.py:{line}"),
        (KeyError("first\nsecond\x1b[2J"), "KeyError at test_streams.py:{line}: 'first"),
        (SystemExit(1), "something called sys.exit(1)"),
        (SystemExit(0), "something called sys.exit(0)"),
    ],
)
@pytest.mark.parametrize("debug", ["1", "0", ""])
def test_unexpected_error_is_one_line_with_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    described: str,
    debug: str,
) -> None:
    monkeypatch.setattr(main, "commands", raising(error))
    monkeypatch.setenv("CAROUSEL_DEBUG", debug)
    assert code_of(monkeypatch) == UNEXPECTED
    *before, line = capsys.readouterr().err.splitlines()
    assert line.startswith("carousel: unexpected error: ")
    assert described.format(line=raising.__code__.co_firstlineno + 2) in line
    assert line.endswith("; set CAROUSEL_DEBUG=1 for the traceback")
    assert "\x1b" not in line
    assert ("Traceback (most recent call last):" in before) == (debug == "1")
    assert bool(before) == (debug == "1")


def test_unexpected_error_of_a_command_has_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, carousel: Carousel
) -> None:
    monkeypatch.setattr("bench.commands.listing.list_plans", lambda: 1 / 0)
    ended = carousel("list", "plans")
    assert (ended.code, ended.out) == (UNEXPECTED, "")
    assert ended.err.count("\n") == 1 and "ZeroDivisionError at test_streams.py" in ended.err


def test_plugin_that_exits_does_not_pass_validation(carousel: Carousel, tmp_path: Path) -> None:
    """A plugin must not choose the exit code of the command that checks it."""
    source = (HOME / "examples" / "majority.py").read_text(encoding="utf-8")
    exits = "    def chance(self, length):\n        raise SystemExit(0)\n\n    def _("
    (tmp_path / "majority.py").write_text(source.replace("    def chance(", exits), encoding="utf-8")
    assert carousel("validate", "--plugin", "majority.py").code == UNEXPECTED


@pytest.mark.parametrize("message", ["bad\npath", "bad\x1b[31mpath"])
def test_message_of_a_mistake_is_one_printable_line(carousel: Carousel, message: str) -> None:
    ended = carousel("show", message)
    assert ended.code == 2
    assert ended.err.count("\n") == 1 and "\x1b" not in ended.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["list", "archs"],
        ["validate", "loud"],
        ["run", "tiny.toml", "-a", "loud", "--seeds", "1", "--measure", "accuracy"],
    ],
)
def test_what_a_plugin_prints_is_no_part_of_a_document(tmp_path: Path, words: list[str]) -> None:
    loud = 'import os\n\nprint("printed")\nos.write(1, b"written\\n")\n\n\nclass Scaled(Layer):'
    write(tmp_path, "loud", ARCH.replace("class Scaled(Layer):", loud))
    write_plan(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--plugin", "loud.py", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HOME)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(ended.stdout)
    assert "printed" in ended.stderr
    assert "written" in ended.stderr
