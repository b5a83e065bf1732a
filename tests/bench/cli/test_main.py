"""The command line: one-line error messages, exit codes, JSON output, and the imports of `--help`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.commands import listing
from bench.commands.run import command_line
from bench.errors import UsageError
from bench.executors.jobs import Failure
from results import Record, RunFile, Store, StoreError
from tests.bench.carousel import Carousel, carousel
from tests.bench.inline_executor import Inline, inline

__all__ = ["carousel", "inline"]

HOME = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "numpy", "pandas", "matplotlib", "pydantic", "scipy", "numba")


BAD_INPUT = {
    "an unknown plan": (["run", "quik"], 2, "did you mean 'quick'"),
    "an unknown architecture": (["run", "tiny.toml", "-a", "lsmt"], 2, "did you mean 'lstm'"),
    "an unknown task": (["run", "tiny.toml", "-t", "frist_last"], 2, "did you mean 'first_last'"),
    "an unknown option": (["run", "tiny.toml", "-a", "lstm:forget_offset=1"], 2, "forget_bias"),
    "a wrong option": (["run", "tiny.toml", "-a", "lstm:bias=maybe"], 2, "bias"),
    "an unknown parameter": (["run", "tiny.toml", "-t", "first_last:rules=sum"], 2, "rule"),
    "a malformed spec": (["run", "tiny.toml", "-a", "lstm:bias"], 2, "name:option=value"),
    "a width that the heads do not divide": (
        ["run", "tiny.toml", "-a", "transformer:heads=3", "--width", "16"],
        2,
        "heads",
    ),
    "a length below the minimum": (["run", "tiny.toml", "-L", "1"], 2, "at least 2 steps, not 1"),
    "a length of zero": (["run", "tiny.toml", "-L", "0"], 2, "--lengths must be at least 1"),
    "a length that is not a number": (["run", "tiny.toml", "-L", "8,x"], 2, "whole numbers, not 'x'"),
    "an empty length": (["run", "tiny.toml", "-L", "8,"], 2, "whole numbers"),
    "a length beyond the maximum": (["run", "tiny.toml", "-L", "99999999999"], 2, "lengths"),
    "an option with two values": (
        ["run", "tiny.toml", "--learning-rates", "1e-3", "--learning-rates", "2e-3"],
        2,
        "--learning-rates is given 2 times; give it once",
    ),
    "an empty store": (["show", "latest", "--store", ""], 2, "--store is empty; give a folder"),
    "a store of blanks": (["verify", " "], 2, "STORE is empty; give a folder of runs"),
    "an empty file": (["run", "tiny.toml", "-a", "rnn", "--plugin", ""], 2, "--plugin is empty; give a file"),
    "an empty base": (["run", "tiny.toml", "--against", ""], 2, "--against is empty and names no base; give another"),
    "a base of blanks": (["run", "tiny.toml", "--against", " \t"], 2, "--against is empty and names no base"),
    "an empty good revision": (["bisect", "", "HEAD"], 2, "GOOD is empty and names no revision; give a commit"),
    "a bad revision of blanks": (["bisect", "HEAD", "  "], 2, "BAD is empty and names no revision; give a commit"),
    "zero workers": (["run", "tiny.toml", "--workers", "0"], 2, "--workers must be at least 1, not 0"),
    "negative workers": (["run", "tiny.toml", "--workers", "-2"], 2, "--workers must be at least 1"),
    "zero seeds": (["run", "tiny.toml", "--seeds", "0"], 2, "--seeds must be at least 1"),
    "more seeds than the maximum": (["run", "tiny.toml", "--seeds", "99999999999"], 2, "seeds"),
    "a width of zero": (["run", "tiny.toml", "--width", "0"], 2, "width must be at least 1, not 0"),
    "a width beyond the maximum": (["run", "tiny.toml", "--width", "99999999999"], 2, "width"),
    "a budget of zero": (["run", "tiny.toml", "--params", "0"], 2, "params must be at least 1, not 0"),
    "a budget too small": (["run", "tiny.toml", "--params", "1"], 2, "over the budget"),
    "a budget and a width": (["run", "tiny.toml", "--params", "9", "--width", "9"], 2, "--params and --width exclude"),
    "a timeout of zero": (["run", "tiny.toml", "--timeout", "0"], 2, "--timeout must be more than 0"),
    "a timeout that is not a number": (["run", "tiny.toml", "--timeout", "nan"], 2, "--timeout"),
    "an unknown probe": (["run", "tiny.toml", "--measure", "speed"], 2, "accuracy, latency, streaming"),
    "an unknown device": (["run", "tiny.toml", "--device", "tpu"], 2, "cpu or cuda"),
    "a numbered GPU": (["run", "tiny.toml", "--device", "cuda:1"], 2, "CUDA_VISIBLE_DEVICES"),
    "a store that is a file": (
        ["run", "tiny.toml", "--store", "tiny.toml"],
        2,
        "the store tiny.toml cannot be read: Not a directory",
    ),
    "a store inside a file": (["run", "tiny.toml", "--store", "tiny.toml/runs"], 2, "--store"),
    "a run that does not exist": (["show", "nothing"], 2, "no runs in carousel-runs"),
    "a report without runs": (["report"], 2, "start one with `carousel run`"),
    "a state that is no size": (["report", "--max-state", "big"], 2, "--max-state takes an amount such as 20KiB"),
    "a state of nothing": (["report", "--max-state", "0"], 2, "--max-state must be at least 1 byte, not '0'"),
    "a step without a unit": (["show", "--max-step", "5"], 2, "--max-step takes a duration such as 50us"),
    "no parameters": (["report", "--max-params", "0"], 2, "--max-params must be at least 1, not 0"),
    "limits on a table of scores": (
        ["show", "--format", "csv", "--max-step", "5us"],
        2,
        "--max-step needs the format table, not csv: omit --format or --max-step",
    ),
    "a history without runs": (["history"], 2, "no runs in carousel-runs: start one with `carousel run`"),
    "a pattern that matches no architecture": (["run", "tiny.toml", "-a", "x*"], 5, "no architecture matches x*"),
    "a pattern that excludes every task": (["run", "tiny.toml", "-t", "!*"], 5, "no task matches !*"),
    "patterns that exclude every architecture": (
        ["run", "tiny.toml", "-a", "!rnn", "-a", "!lstm"],
        5,
        "no architecture matches",
    ),
    "a list without matches": (["list", "archs", "x*"], 5, "no archs match 'x*'"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_reported_in_one_line_and_writes_nothing(
    tmp_path: Path, carousel: Carousel, inline: Inline, name: str
) -> None:
    words, code, expected = BAD_INPUT[name]
    before = sorted(tmp_path.rglob("*"))
    ended = carousel(*words)
    assert ended.code == code, ended.err
    (line,) = ended.err.splitlines()
    assert line.startswith("carousel: ")
    assert expected in line
    assert ended.out == ""
    assert sorted(tmp_path.rglob("*")) == before
    assert inline.trained == []


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--sedes", "3"],
        ["run", "--seeds", "x"],
        ["runn"],
        ["list", "models"],
        ["show", "--format", "pdf"],
        ["run", "quick", "smoke"],
    ],
)
def test_unknown_words_are_a_usage_error(tmp_path: Path, carousel: Carousel, words: list[str]) -> None:
    ended = carousel(*words)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_store_that_becomes_unwritable_keeps_its_records(
    tmp_path: Path, carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    inline.failing = lambda job: monkeypatch.setattr(os, "fsync", disk_full) if len(inline.trained) == 3 else None
    ended = carousel("run", "tiny.toml", "-q")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "No space left on device" in line
    assert "carousel-runs" in line
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert len(run.read()[0]) == 2


def test_unwritable_report_is_reported_in_one_line(
    tmp_path: Path, carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("reports.write_page", disk_full)
        ended = carousel("run", "tiny.toml", "-q")
    assert ended.code == 2
    assert "first_last" in ended.out  # the leaderboard is printed before the report is written
    assert "report.html" in ended.err.splitlines()[-1]
    assert "Traceback" not in ended.err
    assert carousel("report", "-o", "tiny.toml/page.html").code == 2
    assert carousel("report", "-o", "page.html").code == 0
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize(("error", "code"), [(UsageError("mistake"), 2), (StoreError("mistake"), 2)])
def test_user_mistake_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: ValueError, code: int
) -> None:
    def broken(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "commands", broken)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == "carousel: mistake\n"


@pytest.mark.parametrize("name", ["commands", "check_installation"])
def test_ctrl_c_during_start_up_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, name, interrupt)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "carousel: stopped\n"


def test_ctrl_c_during_a_command_is_reported_in_one_line(carousel: Carousel, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "list_names", interrupt)
    assert carousel("list", "archs") == (130, "", "carousel: stopped\n")


def test_an_error_after_ctrl_c_is_no_unexpected_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library that catches the exception of Ctrl-C during its import fails later, in any way."""

    def interrupt(**_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RecursionError

    monkeypatch.setattr(main, "commands", interrupt)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "carousel: stopped\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_during_imports_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "bench.cli.main":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "bench.cli.main")
    monkeypatch.setattr(sys, "path", list(sys.path))
    entry = importlib.import_module("bench.__main__")
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "carousel: stopped\n"


def test_run_with_json_prints_one_document(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    ended = carousel("run", "tiny.toml", "-a", "lstm", "-L", "6", "--seeds", "1", "--measure", "accuracy", "--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert set(document) == {"run", "leaderboard", "records", "tuning_records", "convergence", "unusable"}
    file = RunFile.model_validate_json(json.dumps(document["run"]))
    (record,) = [Record.model_validate_json(json.dumps(each)) for each in document["records"]]
    assert (record.case.arch, record.case.length, record.case.seed) == ("lstm", 6, 0)
    assert set(record.probes) == {"accuracy"}
    assert file.command == "carousel run tiny.toml -a lstm -L 6 --seeds 1 --measure accuracy --json"
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert run.read()[0] == {record.key: record}
    assert run.file() == file
    assert (run.folder / "report.html").is_file()


def test_run_prints_the_leaderboard_and_the_path_of_the_report(
    tmp_path: Path, carousel: Carousel, inline: Inline
) -> None:
    ended = carousel("run", "tiny.toml", "--store", "elsewhere")
    assert ended.code == 0
    (run,) = Store(tmp_path / "elsewhere").runs()
    assert f"report: elsewhere/{run.id}/report.html" in ended.out
    assert "lstm" in ended.out
    assert "4 cases" in ended.out
    assert str(tmp_path) not in run.file().command
    assert "elsewhere" not in run.file().command


def test_run_with_failed_cases_exits_with_3(carousel: Carousel, inline: Inline) -> None:
    inline.failing = lambda job: Failure("crashed", "the reason") if job.cases[0].arch == "rnn" else None
    assert carousel("run", "tiny.toml", "-q").code == 3


def test_run_interrupted_by_ctrl_c_keeps_finished_cases(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    def interrupt(job: Any) -> None:
        if len(inline.trained) == 3:
            raise KeyboardInterrupt

    inline.failing = interrupt
    ended = carousel("run", "tiny.toml", "-q")
    assert ended.code == 130
    assert "rerun the same command to resume" in ended.out
    (run,) = Store(tmp_path / "carousel-runs").runs()
    assert len(run.read()[0]) == 2
    inline.failing = lambda job: None
    assert carousel("run", "tiny.toml", "-q").code == 0
    assert len(inline.trained) == 3 + 2


def test_dry_run_trains_nothing_and_writes_nothing(tmp_path: Path, carousel: Carousel, inline: Inline) -> None:
    ended = carousel("run", "tiny.toml", "--dry-run", "--workers", "2")
    assert ended.code == 0
    assert "4 cases, 0 done, 4 to run on 2 workers, about" in ended.out
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
    assert inline.trained == []


def test_store_option_overrides_the_environment_variable(
    tmp_path: Path, carousel: Carousel, inline: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_STORE", str(tmp_path / "from environment"))
    words = ("run", "tiny.toml", "-q", "--seeds", "1", "-a", "rnn", "--measure", "accuracy")
    assert carousel(*words).code == 0
    assert carousel(*words, "--store", "chosen").code == 0
    assert len(Store(tmp_path / "from environment").runs()) == len(Store(tmp_path / "chosen").runs()) == 1
    assert not (tmp_path / "carousel-runs").exists()


@pytest.mark.parametrize(
    ("words", "printed", "allowed"),
    [
        (["--help"], "Usage: carousel", []),
        (["--version"], "carousel ", []),
        (["run", "--help"], "Usage: carousel run", ["pydantic"]),
    ],
    ids=["help", "version", "run help"],
)
def test_help_and_version_import_no_heavy_library(words: list[str], printed: str, allowed: list[str]) -> None:
    """Check the imports of each call. Only the help of a command may import pydantic, which typer needs for options."""
    program = (
        "import json, sys\nfrom bench.cli.main import main\n"
        f"sys.argv[1:] = {words!r}\n"
        "try:\n    main()\nfinally:\n"
        f"    print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert set(json.loads(ended.stderr)) <= set(allowed)
    assert ended.stdout.startswith(printed)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "quick"], "carousel run quick"),
        (["run", "--store", "/home/someone/runs", "-q"], "carousel run -q"),
        (["run", "--store=/home/someone/runs", "-q"], "carousel run -q"),
        (["run", "-a", "l*", "-a", "!lstm"], "carousel run -a 'l*' -a '!lstm'"),
        (["run", "/home/someone/plans/mine.toml"], "carousel run mine.toml"),
        (["run", "--store"], "carousel run"),
    ],
)
def test_stored_command_is_repeatable_and_names_no_folder(words: list[str], expected: str) -> None:
    assert command_line(words) == expected


def test_show_task_prints_inputs_and_answers(carousel: Carousel) -> None:
    ended = carousel("show-task", "parity", "-L", "5")
    assert ended.code == 0
    assert "At 5 steps, chance is 0.500." in ended.out
    assert (
        "Flipping any single bit changes the answer" in ended.out and "Parameters here: every_step=False" in ended.out
    )
    assert [line.split()[0] for line in ended.out.splitlines()[-3:]] == ["step", "input", "answer"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["recal"], "no task 'recal'; did you mean 'recall'?"),
        (["digits", "-L", "65"], "digits"),
        (["parity", "-L", "0"], "parity needs at least 1 steps, not 0"),
    ],
)
def test_show_task_reports_a_mistake_in_one_line(carousel: Carousel, words: list[str], message: str) -> None:
    ended = carousel("show-task", *words)
    assert ended.code == 2
    assert ended.err.startswith("carousel: ") and message in ended.err and ended.err.count("\n") == 1


def test_wrong_command_line_names_the_help_of_its_command(carousel: Carousel) -> None:
    poster, unknown, nothing = carousel("gates", "--scale", "poster"), carousel("run", "--nope"), carousel("frobnicate")
    assert (
        "Invalid value for '--scale': 'poster' is not one of 'page', 'slide'; see carousel gates --help" in poster.err
    )
    assert "see carousel run --help" in unknown.err and "see carousel --help" in nothing.err


def test_hidden_option_is_never_suggested(carousel: Carousel) -> None:
    hidden = [
        (command, option)
        for command, group in main.commands().commands.items()
        for parameter in group.params
        if getattr(parameter, "hidden", False)
        for option in parameter.opts
    ]
    assert hidden
    for command, option in hidden:
        error = carousel(command, option[:-1], "2").err
        assert option[:-1] in error and option not in error
