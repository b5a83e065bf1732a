"""Test which flaws `verify` reports, and which files it ignores."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import Record, Run, Store, StoreError, clean, merge, verify, write_atomically
from results.store import temporary
from results.store.temporary import lock_temporary, temporary_path
from tests.results.examples import FIXTURES, case, record, run_file, stored

ROOT = Path(__file__).resolve().parents[3]
WRITER = """
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from results.store.temporary import temporary_path
temporary_path(Path(sys.argv[1])).write_bytes(b"half")
print("written", flush=True)
sys.stdin.read()
"""
WEIGHTS = b"the bytes of some weights"


def run_with_artifacts(store: Path, *seeds: int) -> tuple[Run, list[Record]]:
    """Create a run whose records have artifacts, and return the run with its records."""
    cases = [case(seed=seed) for seed in seeds]
    run = Store(store).create(run_file("20260102-030405-quick-abc123", *cases))
    records = [run.with_artifacts(record(of), {"weights": WEIGHTS}) for of in cases]
    for each in records:
        run.write(each)
    return run, records


def flaws_of(store: Path) -> set[tuple[str, str, str]]:
    return {(flaw.path.name, flaw.kind, flaw.reason) for flaw in verify(Store(store)).flaws}


def test_an_intact_store_has_no_flaws(tmp_path: Path) -> None:
    run, records = run_with_artifacts(tmp_path, 0, 1)
    inspection = verify(Store(tmp_path))
    assert (inspection.runs, inspection.records, inspection.artifacts, inspection.flaws) == (1, 2, 2, ())
    assert inspection.is_sound
    assert records[0].artifact_digests == {"weights": "6fbea70f2ac48b88"}
    assert (run.folder / records[0].artifacts["weights"]).read_bytes() == WEIGHTS


def test_a_flipped_bit_in_any_kind_of_file_is_reported(tmp_path: Path) -> None:
    run, records = run_with_artifacts(tmp_path, 0, 1)
    files = [run.folder / "run.json", run.record_path(records[0].key), run.folder / records[1].artifacts["weights"]]
    for path in files:
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 4
        path.write_bytes(flipped)
        inspection = verify(Store(tmp_path))
        harmful = [flaw for flaw in inspection.flaws if not flaw.is_harmless]
        assert [(flaw.path, flaw.kind) for flaw in harmful] == [(path, "damaged")]
        assert not inspection.is_sound
        path.write_bytes(content)
    assert flaws_of(tmp_path) == set()


def test_missing_and_misplaced_files_are_reported(tmp_path: Path) -> None:
    run, (first, second) = run_with_artifacts(tmp_path, 0, 1)
    (run.folder / first.artifacts["weights"]).unlink()
    shutil.copy(run.record_path(second.key), run.folder / "records" / "elsewhere.json")
    run.write(record(case(seed=7), artifacts={}))
    assert {(name, kind) for name, kind, _ in flaws_of(tmp_path)} == {
        ("weights.safetensors", "missing"),
        ("elsewhere.json", "misplaced"),
        (f"{case(seed=7).key}.json", "misplaced"),
    }
    (run.folder / "run.json").unlink()
    assert ("run.json", "missing") in {(name, kind) for name, kind, _ in flaws_of(tmp_path)}


def test_a_run_under_another_name_is_misplaced(tmp_path: Path) -> None:
    run, _ = run_with_artifacts(tmp_path, 0)
    run.folder.rename(tmp_path / "another")
    assert flaws_of(tmp_path) == {("run.json", "misplaced", f"it belongs to run {run.id}")}


def test_artifacts_outside_their_folder_are_reported(tmp_path: Path) -> None:
    run, (first, second) = run_with_artifacts(tmp_path, 0, 1)
    secret = tmp_path / "secret"
    secret.write_bytes(WEIGHTS)
    weights = run.folder / first.artifacts["weights"]
    weights.unlink()
    weights.symlink_to(secret)
    run.write(second.model_copy(update={"artifacts": {"weights": "run.json"}, "artifact_digests": {}}))
    reasons = {reason for _, kind, reason in flaws_of(tmp_path) if kind == "damaged"}
    assert reasons == {"outside its run's folder", "outside the artifact folder of its record"}


def test_only_files_of_killed_writers_are_cleaned(tmp_path: Path) -> None:
    run, (first,) = run_with_artifacts(tmp_path, 0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = run.folder / "records" / f".{first.key}.json.{ended.pid}"
    left.write_bytes(b"half")
    being_written = run.folder / f".run.json.{os.getpid()}"
    being_written.write_bytes(b"soon whole")
    inspection = verify(Store(tmp_path))
    assert [(flaw.path, flaw.kind) for flaw in inspection.flaws] == [(left, "left over")]
    assert inspection.is_sound
    assert clean(inspection.flaws) == [left]
    assert flaws_of(tmp_path) == set()
    assert being_written.read_bytes() == b"soon whole"


def left_over(store: Path) -> list[Path]:
    return [flaw.path for flaw in verify(Store(store)).flaws if flaw.kind == "left over"]


def test_a_running_process_with_the_id_of_a_killed_writer_is_not_the_writer(tmp_path: Path) -> None:
    """Use the id of this process, as in a new container whose first process has the id of the old one."""
    run, _ = run_with_artifacts(tmp_path, 0)
    named = run.folder / f".run.json.{os.getpid()}-01234567"
    old = run.folder / f".run.json.{os.getpid()}"
    for path in (named, old):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))  # before this process started
    assert sorted(left_over(tmp_path)) == sorted([named, old])


def test_a_file_that_is_locked_or_new_is_not_left_over(tmp_path: Path) -> None:
    run, _ = run_with_artifacts(tmp_path, 0)
    elsewhere = run.folder / ".run.json.1-01234567"  # a process of another container on the same store
    with elsewhere.open("wb") as file:
        lock_temporary(file.fileno())
        assert left_over(tmp_path) == []
    assert left_over(tmp_path) == [elsewhere]
    elsewhere.unlink()
    temporary_path(run.folder / "run.json").write_bytes(b"soon whole")
    assert left_over(tmp_path) == []


def test_without_locks_the_start_of_the_writer_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(temporary.fcntl, "flock", refuse)
    run, _ = run_with_artifacts(tmp_path, 0)
    command = [sys.executable, "-c", WRITER, str(run.folder / "run.json")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert left_over(tmp_path) == []
        writer.kill()
    assert len(left_over(tmp_path)) == 1


@pytest.mark.parametrize("what", ["a file", "a run"])
def test_ctrl_c_leaves_nothing_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        if what == "a file":
            write_atomically(tmp_path / "file", b"content")
        else:
            Store(tmp_path).create(run_file())
    assert list(tmp_path.iterdir()) == []


def test_extra_files_are_reported_as_harmless(tmp_path: Path) -> None:
    run, (first,) = run_with_artifacts(tmp_path, 0)
    (run.folder / "records" / "x.damaged").write_bytes(b"")
    (run.folder / "records" / "x.json.0123.conflict").write_bytes(b"")
    (run.folder / "artifacts" / first.key / "more").write_bytes(b"")
    (run.folder / "report.html").write_text("a page")
    inspection = verify(Store(tmp_path))
    assert {flaw.kind for flaw in inspection.flaws} == {"set aside", "conflict", "unclaimed"}
    assert inspection.is_sound


def test_the_fixtures_of_every_schema_lack_only_their_weights() -> None:
    for folder in sorted(FIXTURES.glob("schema-*")):
        assert {kind for _, kind, _ in flaws_of(folder)} == {"missing"}, folder.name


def test_a_missing_store_gives_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--store"):
        verify(Store(tmp_path / "nowhere"))


def test_a_record_that_is_damaged_twice_is_preserved_twice(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    for content in (b"once", b"twice"):
        run.record_path(first.key).write_bytes(content)
        _, (damage,) = run.read()
        run.set_aside(damage)
    assert sorted(path.read_bytes() for path in (run.folder / "records").iterdir()) == [b"once", b"twice"]


def refusing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make the operating system refuse access to everything in a folder, as for a user without permission."""

    def refuse(function: Callable[..., Any]) -> Callable[..., Any]:
        def refusing_function(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int) and folder in Path(path).parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *arguments, **options)

        return refusing_function

    for name in ("stat", "lstat", "open"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))


def test_a_folder_without_permission_is_unreadable_and_neither_absent_nor_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = run_with_artifacts(tmp_path / "store", 0)
    refusing(monkeypatch, run.folder)
    assert ("run.json", "unreadable") in {(name, kind) for name, kind, _ in flaws_of(tmp_path / "store")}
    with pytest.raises(StoreError, match="Permission denied"):
        Store(tmp_path / "elsewhere").find(str(run.folder)).file()
    merged = merge([tmp_path / "store"], Store(tmp_path / "target"))
    assert [(flaw.path.name, flaw.kind) for flaw in merged.left_out] == [("run.json", "unreadable")]


def test_artifacts_without_permission_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = run_with_artifacts(tmp_path, 0)
    refusing(monkeypatch, run.folder / "artifacts")
    assert {(name, kind) for name, kind, _ in flaws_of(tmp_path)} == {("weights.safetensors", "damaged")}


def test_a_link_to_nothing_may_have_been_a_run(tmp_path: Path) -> None:
    run_with_artifacts(tmp_path, 0)
    (tmp_path / "20260101-another").symlink_to(tmp_path / "unmounted")
    assert {(name, kind) for name, kind, _ in flaws_of(tmp_path)} == {("20260101-another", "missing")}


def test_an_unreadable_record_of_the_target_is_not_set_aside(tmp_path: Path) -> None:
    run, (written,) = run_with_artifacts(tmp_path / "source", 0)
    merge([tmp_path / "source"], Store(tmp_path / "target"))
    path = Run(tmp_path / "target" / run.id).record_path(written.key)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="not a regular file"):
        merge([tmp_path / "source"], Store(tmp_path / "target"))
    assert path.is_dir()
