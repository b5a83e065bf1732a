"""Test the store: atomic writes, rejection of damaged files, and look-up of runs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from results import Record, Run, Store, StoreError, write_document
from results.store.document import CHECKSUM, OLD_CHECKSUM, with_checksum
from tests.results.examples import FIXTURES, NEW_METRICS, case, record, run_file, stored

SCHEMAS = sorted(FIXTURES.glob("schema-*"))
EVERY_NTH_BYTE = 7
NEWER = "written by a newer version of Carousel (schema 9); update Carousel to read it"


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text.count("\n") == 0, text
    return text


def fails_with(number: int) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    run, records = stored(tmp_path, 0, 1, 2)
    loaded, damaged = Run(run.folder).read()
    assert loaded == {each.key: each for each in records}
    assert damaged == []
    assert run.file().cases == tuple(each.case for each in records)


def test_a_record_replaces_the_earlier_one(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    run.write(first.model_copy(update={"status": "inconsistent", "reason": "step and scan differ"}))
    records, _ = run.read()
    assert records[first.key].reason == "step and scan differ"
    assert len(list((run.folder / "records").iterdir())) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
def test_a_failed_write_reports_the_path_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    run, (first,) = stored(tmp_path, 0)
    before = files_of(tmp_path)
    owner, name = {
        "fsync": (os, "fsync"),
        "replace": (Path, "replace"),
        "write": (Path, "open"),
    }[where]
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fails_with(number))
        broken.setattr(os, "replace", fails_with(number)) if where == "replace" else None
        for document in (first.model_copy(update={"status": "crashed"}), record(case(seed=1))):
            with pytest.raises(StoreError) as caught:
                run.write(document)
            message = one_line(caught.value)
            assert str(run.record_path(document.key)) in message
            assert os.strerror(number) in message
        with pytest.raises(StoreError, match=r"run\.json"):
            run.write_file(run_file(finished="now"))
    assert files_of(tmp_path) == before
    run.write(record(case(seed=1)))
    assert len(run.read()[0]) == 2


def test_a_reader_sees_the_complete_old_record_during_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, (first,) = stored(tmp_path, 0)
    seen: list[tuple[dict[str, Record], list[Any]]] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        seen.append(Run(run.folder).read())
        really(descriptor)
        seen.append(Run(run.folder).read())

    monkeypatch.setattr(os, "fsync", fsync)
    run.write(first.model_copy(update={"status": "crashed"}))
    run.write(record(case(seed=1)))
    assert [[each.status for each in records.values()] for records, _ in seen] == [
        ["ok"],
        ["ok"],
        ["crashed"],
        ["crashed"],
    ]
    assert all(damaged == [] for _, damaged in seen)


def test_a_store_that_cannot_be_created_gives_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for store in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"cannot write to the store .*--store"):
            Store(store).create(run_file())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_truncated_record_is_damaged_and_other_records_load(tmp_path: Path) -> None:
    run, (first, second) = stored(tmp_path, 0, 1)
    path = run.record_path(first.key)
    whole = path.read_bytes()
    for length in range(0, len(whole.rstrip()), EVERY_NTH_BYTE):
        path.write_bytes(whole[:length])
        records, damaged = run.read()
        assert records == {second.key: second}, length
        assert [damage.path for damage in damaged] == [path], length
        assert damaged[0].reason
        one_line(StoreError(str(damaged[0])))
    path.write_bytes(whole)
    assert run.read() == ({first.key: first, second.key: second}, [])


def test_no_flipped_bit_changes_a_record(tmp_path: Path) -> None:
    run, (first, second) = stored(tmp_path, 0, 1)
    path = run.record_path(first.key)
    whole = path.read_bytes()
    accepted = []
    for index in range(0, len(whole), 2):
        flipped = bytearray(whole)
        flipped[index] ^= 1 << (index // 2 % 8)
        path.write_bytes(flipped)
        records, damaged = run.read()
        assert records[second.key] == second
        assert len(records) + len(damaged) == 2
        if first.key in records and records[first.key] != first:
            accepted.append((index, bytes(flipped[index - 20 : index + 20])))
    assert not accepted, f"{len(accepted)} damaged records were accepted, such as {accepted[:3]}"


HOSTILE = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "deep nesting": b"[" * 200_000,
    "deep objects": b'{"case":' * 200_000,
    "deep inside": b'{"key": "k", "case": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge integer": b'{"schema_version": ' + b"9" * 100_000 + b"}",
    "not UTF-8": b"\xff\xfe{}",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "zero bytes": b"\0" * 4096,
    "a long string": b'{"key": "' + b"x" * 5_000_000 + b'"}',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_reported_as_damage_in_one_short_line(tmp_path: Path, name: str) -> None:
    run, (first,) = stored(tmp_path, 0)
    hostile = run.folder / "records" / "hostile.json"
    hostile.write_bytes(HOSTILE[name])
    records, damaged = run.read()
    assert records == {first.key: first}
    assert [damage.path for damage in damaged] == [hostile]
    assert len(one_line(StoreError(str(damaged[0])))) < 300


def test_a_duplicate_field_is_damage(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    path = run.record_path(first.key)
    path.write_text(path.read_text().replace('"status": "ok",', '"status": "crashed",\n "status": "ok",'))
    records, damaged = run.read()
    assert (records, [damage.path for damage in damaged]) == ({}, [path])


def test_a_file_too_large_to_be_a_record_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, (first,) = stored(tmp_path, 0)
    giant = run.folder / "records" / "giant.json"
    with giant.open("wb") as file:
        file.truncate(10 << 30)
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        assert path != giant
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    records, damaged = run.read()
    assert list(records) == [first.key]
    assert [damage.reason for damage in damaged] == ["larger than 16 MiB (10,737,418,240 bytes)"]


def test_an_unreadable_record_is_damage(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    (run.folder / "records" / "folder.json").mkdir()
    (run.folder / "records" / "dangling.json").symlink_to(tmp_path / "nowhere")
    records, damaged = run.read()
    assert list(records) == [first.key]
    assert sorted(damage.path.name for damage in damaged) == ["dangling.json", "folder.json"]


def test_a_newer_schema_has_its_own_message(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    path = run.record_path(first.key)
    newer = first.model_dump(mode="json") | {"schema_version": 9, "unheard_of": {}}
    path.write_bytes(with_checksum(json.dumps(newer, indent=1).encode()))
    _, (damage,) = run.read()
    assert (damage.reason, damage.is_newer) == (NEWER, True)
    path.write_text(json.dumps(newer))
    _, (damage,) = run.read()
    assert damage.reason == "corrupt: checksum mismatch; its newer schema version (9) may be part of the damage"
    assert not damage.is_newer, "a flipped bit must not make a record untouchable"
    file = run.folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 9}))
    with pytest.raises(StoreError, match=r"checksum mismatch; its newer schema version \(9\) may be part"):
        run.file()


def test_a_record_under_a_wrong_name_is_damage(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    path = run.record_path(first.key)
    elsewhere = path.with_name("elsewhere.json")
    shutil.copy(path, elsewhere)
    records, damaged = run.read()
    assert list(records) == [first.key]
    assert [(damage.path, damage.reason) for damage in damaged] == [
        (elsewhere, "the file name or key does not match the case")
    ]
    elsewhere.unlink()
    edited = json.loads(path.read_text())
    edited["case"]["seed"] = 5
    path.write_text(json.dumps(edited))
    assert run.read()[0] == {}


def test_a_damaged_file_is_renamed_and_preserved(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    path = run.record_path(first.key)
    path.write_bytes(b"half a rec")
    _, (damage,) = run.read()
    run.set_aside(damage)
    assert run.read() == ({}, [])
    assert [each.read_bytes() for each in path.parent.iterdir()] == [b"half a rec"]
    run.write(first)
    assert run.read() == ({first.key: first}, [])


def test_temporary_files_of_a_killed_writer_are_not_records(tmp_path: Path) -> None:
    killed = (
        "import os, sys\nfrom pathlib import Path\nfrom results import Run\nfrom tests.results.examples import record\n"
        "os.fsync = lambda _: os.kill(os.getpid(), 9)\nRun(Path(sys.argv[1])).write(record(status='crashed'))\n"
    )
    run, (first,) = stored(tmp_path, 0)
    root = Path(__file__).resolve().parents[3]
    completed = subprocess.run([sys.executable, "-c", killed, str(run.folder)], cwd=root, check=False)
    assert completed.returncode == -9
    assert len(list((run.folder / "records").iterdir())) == 2
    assert run.read() == ({first.key: first}, [])


class TestFind:
    IDS = ("20260101-000000-quick-aaaaaa", "20260101-000000-smoke-bbbbbb", "20260202-000000-quick-cccccc")

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        store = Store(tmp_path / "runs")
        for name in reversed(self.IDS):
            store.create(run_file(name))
        (tmp_path / "runs" / "not a run").mkdir()
        return store

    def test_runs_are_listed_by_id(self, store: Store) -> None:
        assert tuple(run.id for run in store.runs()) == self.IDS

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("latest", 2),
            ("20260202", 2),
            ("20260101-000000-q", 0),
            (IDS[1], 1),
        ],
    )
    def test_a_run_is_found_by_latest_prefix_and_id(self, store: Store, name: str, expected: int) -> None:
        assert store.find(name).id == self.IDS[expected]

    def test_a_run_is_found_by_path_in_another_store(self, store: Store, tmp_path: Path) -> None:
        other = Store(tmp_path / "other").create(run_file("elsewhere"))
        assert store.find(str(other.folder)).folder == other.folder

    def test_an_exact_id_has_priority_over_prefixes(self, store: Store) -> None:
        store.create(run_file(f"{self.IDS[0]}-2"))
        assert store.find(self.IDS[0]).id == self.IDS[0]

    def test_an_ambiguous_prefix_lists_the_candidates(self, store: Store) -> None:
        with pytest.raises(StoreError) as caught:
            store.find("20260101")
        message = one_line(caught.value)
        assert self.IDS[0] in message
        assert self.IDS[1] in message
        assert self.IDS[2] not in message

    @pytest.mark.parametrize(
        "name", ["nothing", "/nowhere/at/all", "..", "x" * 300, "a\0b", "20260101-000000-quick-aaaaaaa"]
    )
    def test_a_missing_run_gives_a_one_line_error(self, store: Store, name: str) -> None:
        with pytest.raises(StoreError, match="no run") as caught:
            store.find(name)
        assert "latest" in one_line(caught.value)

    def test_an_empty_or_missing_store_suggests_carousel_run(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "missing"):
            for name in ("latest", "20260101"):
                with pytest.raises(StoreError, match="carousel run"):
                    Store(folder).find(name)
        assert not (tmp_path / "missing").exists()


def test_a_missing_or_damaged_run_file_gives_a_one_line_error(tmp_path: Path) -> None:
    run, _ = stored(tmp_path, 0)
    path = run.folder / "run.json"
    whole = path.read_bytes()
    for content in (whole[:100], b"", b"[" * 100_000, whole.replace(b'"workers": 2', b'"workers": 0')):
        path.write_bytes(content)
        with pytest.raises(StoreError) as caught:
            run.file()
        one_line(caught.value)
    path.unlink()
    with pytest.raises(StoreError, match=r"run\.json: cannot be read: No such file"):
        run.file()


def test_a_run_does_not_replace_another(tmp_path: Path) -> None:
    run, records = stored(tmp_path, 0)
    with pytest.raises(StoreError):
        Store(tmp_path).create(run_file())
    assert run.read()[0] == {records[0].key: records[0]}


def test_writing_a_document_creates_its_folder(tmp_path: Path) -> None:
    run = Run(tmp_path / "a" / "b")
    write_document(run.record_path(record().key), record())
    assert run.read() == ({record().key: record()}, [])


def test_every_past_schema_has_a_fixture() -> None:
    from results import SCHEMA_VERSION

    assert [folder.name for folder in SCHEMAS] == [f"schema-{version}" for version in range(1, SCHEMA_VERSION + 1)]


@pytest.mark.parametrize("folder", SCHEMAS, ids=[folder.name for folder in SCHEMAS])
def test_every_past_schema_loads_with_its_values(folder: Path) -> None:
    store = Store(folder)
    run = store.find("latest")
    file = run.file()
    records, damaged = run.read()
    assert damaged == []
    assert file.id == run.id == "20260102-030405-quick-abc123"
    assert [each.key for each in file.cases] == list(records)
    (loaded,) = records.values()
    assert loaded.status == "ok"
    assert loaded.model is not None
    assert (loaded.model.parameters, loaded.model.width, loaded.model.depth) == (3_538, 16, 2)
    step_metric = "call_step_seconds" if folder.name in ("schema-1", "schema-2", "schema-3") else "step_seconds"
    assert [(each.metric, each.at, each.samples) for each in loaded.measurements] == [
        ("accuracy", {"length": 32}, (0.875,)),
        ("accuracy", {"length": 64}, (0.625,)),
        (step_metric, {"position": 16}, (1e-05, 3e-05, 2e-05)),
        *NEW_METRICS.get(folder.name, []),
    ]
    assert loaded.training is not None
    assert loaded.training.curve[0].train_loss is None
    assert loaded.case.protocol.learning_rate == loaded.training.learning_rate == 3e-3
    assert loaded.reference_scores[0].memoryless_score == 0.75


@pytest.mark.parametrize("folder", SCHEMAS, ids=[folder.name for folder in SCHEMAS])
def test_fixtures_have_the_checksum_name_of_their_version(folder: Path) -> None:
    name = OLD_CHECKSUM if folder.name in ("schema-1", "schema-2") else CHECKSUM
    assert all(content.count(name) == 1 for content in files_of(folder).values())


@pytest.mark.parametrize("name", [CHECKSUM, OLD_CHECKSUM])
def test_the_current_version_accepts_both_checksum_names(tmp_path: Path, name: bytes) -> None:
    run, (first,) = stored(tmp_path, 0)
    path = run.record_path(first.key)
    content = path.read_bytes().replace(CHECKSUM, name)
    path.write_bytes(content)
    assert run.read() == ({first.key: first}, [])
    path.write_bytes(content.replace(b"0.875", b"0.125"))
    records, (damage,) = run.read()
    assert (records, damage.reason) == ({}, "corrupt: checksum mismatch")
