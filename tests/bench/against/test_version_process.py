"""Test what is said of a version that cannot be measured. Small programs stand for its Python."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from bench.against import driver
from bench.against.version import Version, found_version
from bench.against.version_process import VersionProcess
from bench.errors import UsageError
from bench.executors.events import JobStarted
from bench.executors.jobs import TimeJob
from tests.bench.against.repository import program
from tests.bench.events import NoEvents
from tests.bench.tiny import TIMING, tiny_case, tiny_plan

GREETING = json.dumps({"schema": driver.SCHEMA})


def version_process(tmp_path: Path, script: str) -> VersionProcess:
    python = program(tmp_path / "python", script)
    return VersionProcess(Version(name="the base", python=str(python)), workers=1, memory_bytes=None)


def refusal(tmp_path: Path, script: str) -> str:
    """Return what is said when the version of this script is asked for the cases of a plan."""
    with pytest.raises(UsageError) as refused, version_process(tmp_path, script) as process:
        process.describe(tiny_plan(tmp_path), device="cpu", plugins=())
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_python_without_carousel_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, "echo \"ModuleNotFoundError: No module named 'bench'\" >&2; exit 1")
    assert said.startswith("the base cannot be measured: ModuleNotFoundError: No module named 'bench';")


def test_another_schema_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, """echo '{"schema": 6}'; cat >/dev/null""")
    assert said.startswith(f"the base writes schema 6 and this version schema {driver.SCHEMA}, so they cannot be")


def test_a_missing_architecture_is_named(tmp_path: Path) -> None:
    error = json.dumps({"error": "unknown architecture 'new'"})
    said = refusal(tmp_path, f"echo '{GREETING}'; read line; echo \"{error.replace(chr(34), chr(92) + chr(34))}\"")
    assert said == "the base: unknown architecture 'new'"


def test_a_driver_that_ends_during_a_request_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, f"echo '{GREETING}'; read line; echo 'Killed' >&2; exit 137")
    assert said == "the base cannot be measured: Killed; choose another base"


def test_what_is_no_driver_is_named(tmp_path: Path) -> None:
    assert "no reply of Carousel" in refusal(tmp_path, "echo hello; cat >/dev/null")


HANG = "sleep 1000 & echo $! > {pid}; wait"
END_SECONDS = 5.0
"""Longest wait for a process that was killed."""


def is_running(pid: int) -> bool:
    """Return whether a process still runs, after a moment in which it may end."""
    until = time.monotonic() + END_SECONDS
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("limit", "script"),
    [
        ("START_SECONDS", HANG),
        ("START_SECONDS", "sleep 1000 & echo $! > {pid}"),
        ("DESCRIBE_SECONDS", "echo '{greeting}'; " + HANG),
    ],
)
def test_a_program_that_does_not_answer_is_refused_and_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, script: str
) -> None:
    monkeypatch.setattr(f"bench.against.version_process.{limit}", 0.5)
    pid = tmp_path / "pid"
    said = refusal(tmp_path, "echo waiting for a licence >&2; " + script.format(pid=pid, greeting=GREETING))
    assert said == (
        "the base cannot be measured: no answer within 0.5 seconds (its last line: waiting for a licence); "
        "choose another base"
    )
    assert not is_running(int(pid.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_program_that_does_not_answer_ends_with_this_process(tmp_path: Path, number: int) -> None:
    pid = tmp_path / "pid"
    python = program(tmp_path / "python", HANG.format(pid=pid))

    def end() -> None:
        while not (pid.exists() and pid.read_text().strip()):
            time.sleep(0.05)
        time.sleep(0.5)  # a signal that comes just before a wait does not end it
        os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt), found_version(str(python)) as version:
        threading.Thread(target=end, daemon=True).start()
        with VersionProcess(version, workers=1, memory_bytes=None):
            pass
    assert not is_running(int(pid.read_text()))


def test_output_that_is_no_text_is_named(tmp_path: Path) -> None:
    assert "no reply of Carousel" in refusal(tmp_path, r"printf '\377\n'; cat >/dev/null")


def test_a_program_that_cannot_start_is_named(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    (tmp_path / "python").chmod(0o755)
    process = VersionProcess(Version(name="the base", python=str(tmp_path / "python")), workers=1, memory_bytes=None)
    with pytest.raises(UsageError, match=r"^the base cannot be started: Exec format error; choose another base$"):
        process.__enter__()


def test_cases_of_another_form_are_named(tmp_path: Path) -> None:
    described = {"cases": [{"arch": "rnn"}], "environment": {}, "code": "0", "commit": None, "modified": None}
    reply = tmp_path / "reply"
    reply.write_text(json.dumps({"described": described}) + "\n")
    said = refusal(tmp_path, f"echo '{GREETING}'; read line; cat {reply}; cat >/dev/null")
    assert said.startswith("the base describes cases that this version does not know: task;")


def test_the_import_path_is_that_of_the_version_and_leads_to_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:/somewhere")
    script = f"echo \"$PYTHONPATH $PYTHONSAFEPATH\" >{seen}; echo '{GREETING}'; cat >/dev/null"
    python = program(tmp_path / "python", script)
    home = tmp_path / "home"
    with VersionProcess(Version(name="the base", python=str(python), home=home), workers=1, memory_bytes=None):
        pass
    assert seen.read_text().split() == [f"{home}:/somewhere", "1"]


@pytest.mark.parametrize("revision", [None, "HEAD~1"])
def test_the_kernels_of_a_revision_are_not_kept(tmp_path: Path, revision: str | None) -> None:
    started = json.dumps({"event": "started", "started": {"worker": "0", "compiling_seconds": 40.0}})
    script = f"echo '{GREETING}'; read line; echo '{started}'; echo '{json.dumps({'done': True})}'; cat >/dev/null"
    python = program(tmp_path / "python", script)
    seen: list[JobStarted] = []

    class Watching(NoEvents):
        def job_started(self, event: JobStarted) -> None:
            seen.append(event)

    version = Version(name="the base", python=str(python), revision=revision)
    with VersionProcess(version, workers=1, memory_bytes=None) as process:
        assert list(process.run([], timeout=None, fresh=True, events=Watching())) == []
    (event,) = seen
    assert (event.compiling_seconds, event.kernels_are_kept) == (40.0, revision is None)


@pytest.mark.slow
def test_a_driver_describes_a_plan_and_names_what_this_version_lacks(tmp_path: Path) -> None:
    with VersionProcess(Version(name="the base"), workers=1, memory_bytes=None) as process:
        assert len(process.describe(tiny_plan(tmp_path), device="cpu", plugins=()).cases) == 4
        with pytest.raises(UsageError, match=r"^the base: no architecture 'nonsuch'; available: "):
            process.describe(tiny_plan(tmp_path, archs=("nonsuch",)), device="cpu", plugins=())
        unknown = TIMING.model_copy(update={"positions": ()})
        with pytest.raises(UsageError, match=r"^the base: this version does not know timing\.positions: "):
            process.describe(tiny_plan(tmp_path, timing=unknown), device="cpu", plugins=())


@pytest.mark.slow
def test_a_driver_prepares_a_process_for_the_next_job(tmp_path: Path) -> None:
    job = TimeJob(cases=(tiny_case(),), weights=(b"",), probes=("latency",), timing=TIMING)
    with VersionProcess(Version(name="the base"), workers=1, memory_bytes=None) as process:
        assert process.prepares
        driver_process = psutil.Process(process._process.pid)
        process.start_preparing({"rnn"})
        process.wait_until_prepared(NoEvents())
        workers = [child.pid for child in driver_process.children() if "spawn_main" in " ".join(child.cmdline())]
        assert len(workers) == 1
        started: list[int] = []

        class Watching(NoEvents):
            def job_started(self, event: JobStarted) -> None:
                started.extend(child.pid for child in driver_process.children())

        (ended,) = process.run([job], timeout=None, fresh=True, events=Watching())
    assert set(workers) <= set(started)
    assert ended.result.status == "crashed"
