"""Test merging: in any order, repeatedly, with conflicts, and with hostile sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from results import Record, Run, Store, StoreError, merge
from tests.results.examples import case, record, run_file
from tests.results.store.test_verify import WEIGHTS

ID = "20260102-030405-quick-abc123"
OTHER_ID = "20260103-030405-quick-def456"


def filled(store: Path, *seeds: int, id: str = ID, status: str = "ok", finished: str | None = None) -> Run:
    """Create and return a run that plans seeds 0 to 3, with records of some of these seeds.

    Args:
        store: Folder of the store.
        *seeds: Seeds of the records.
        id: Id of the run.
        status: Status of every record.
        finished: Time at which the run finished; None if it is unfinished.
    """
    run = Store(store).create(run_file(id, *(case(seed=seed) for seed in range(4)), finished=finished))
    for seed in seeds:
        run.write(run.with_artifacts(record(case(seed=seed), status=status), {"weights": WEIGHTS + bytes([seed])}))
    return run


def contents(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_the_result_does_not_depend_on_order_or_repetition(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    filled(a, 0, 1)
    filled(a, 3, id=OTHER_ID)
    filled(b, 1, 2, finished="2026-01-02T04:00:00Z")
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    assert merge([a, b], one).is_complete
    assert merge([b], other).is_complete
    assert merge([a], other).is_complete
    assert contents(one.folder) == contents(other.folder)
    before = {path: path.stat().st_mtime_ns for path in one.folder.rglob("*.json")}
    again = merge([b, a, a], one)
    assert (again.copied, again.is_complete) == ([], True)
    assert {path: path.stat().st_mtime_ns for path in one.folder.rglob("*.json")} == before
    run = one.find(ID)
    assert run.file().finished == "2026-01-02T04:00:00Z"
    assert {each.case.seed for each in run.read()[0].values()} == {0, 1, 2}
    assert (run.artifacts(case(seed=2).key) / "weights.safetensors").read_bytes() == WEIGHTS + b"\x02"
    assert {each.case.seed for each in one.find(OTHER_ID).read()[0].values()} == {3}


def test_a_copy_that_has_ended_replaces_the_unfinished_copy(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    filled(a, 0)
    run = filled(b, 0, finished="2026-01-02T04:00:00Z")
    run.write_file(run.file().model_copy(update={"after": ("an-earlier-run",)}))
    assert merge([b], Store(a)).is_complete
    assert Store(a).find(ID).file() == run.file()


def test_a_conflict_preserves_both_files_in_every_repetition(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    own, other = filled(a, 0), filled(b, 0, 1, status="inconsistent")
    key = case(seed=0).key
    mine, theirs = own.record_path(key).read_bytes(), other.record_path(key).read_bytes()
    for _ in range(2):
        merged = merge([b], Store(a))
        ((path, conflict),) = merged.conflicts
        assert path == own.record_path(key)
        assert (path.read_bytes(), conflict.read_bytes()) == (mine, theirs)
    assert len(list((own.folder / "records").glob("*.conflict"))) == 1
    records, damaged = own.read()
    assert (records[key].status, damaged) == ("ok", [])
    assert set(records) == {key, case(seed=1).key}


def test_runs_with_the_same_id_and_different_code_conflict(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    own = filled(a, 0)
    other = filled(b)
    other.write_file(other.file().model_copy(update={"code": "another"}))
    ((path, conflict),) = merge([b], Store(a)).conflicts
    assert path == own.folder / "run.json"
    assert own.file().code != "another"
    assert conflict.read_bytes() == (other.folder / "run.json").read_bytes()


def test_a_single_run_can_be_merged(tmp_path: Path) -> None:
    run = filled(tmp_path / "a", 0)
    assert merge([run.folder], Store(tmp_path / "b")).is_complete
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_run_without_its_run_file_is_reported(tmp_path: Path) -> None:
    whole, lost = filled(tmp_path / "a", 0), filled(tmp_path / "a", 0, id=OTHER_ID)
    (lost.folder / "run.json").unlink()
    merged = merge([tmp_path / "a"], Store(tmp_path / "b"))
    assert [(flaw.kind, flaw.path) for flaw in merged.left_out] == [("missing", lost.folder / "run.json")]
    assert not merged.is_complete
    assert [run.id for run in Store(tmp_path / "b").runs()] == [whole.id]


def test_damaged_records_are_not_merged_and_a_damaged_target_record_is_replaced(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    own, other = filled(a, 0), filled(b, 0, 1)
    other.record_path(case(seed=1).key).write_bytes(b"half a rec")
    own.record_path(case(seed=0).key).write_bytes(b"damaged here")
    merged = merge([b], Store(a))
    assert [flaw.path for flaw in merged.left_out] == [other.record_path(case(seed=1).key)]
    assert set(own.read()[0]) == {case(seed=0).key}
    assert [path.read_bytes() for path in (own.folder / "records").glob("*.damaged")] == [b"damaged here"]


def test_links_out_of_a_run_are_not_followed(tmp_path: Path) -> None:
    source, target, secret = tmp_path / "a", tmp_path / "b", tmp_path / "secret"
    secret.write_text("secret")
    run = filled(source, 0, 1, 2)
    linked, escaping, intruding = (case(seed=seed).key for seed in range(3))
    run.record_path(linked).unlink()
    run.record_path(linked).symlink_to(secret)
    weights = run.artifacts(escaping) / "weights.safetensors"
    weights.unlink()
    weights.symlink_to(secret)
    whole = run.read()[0][intruding]
    run.write(whole.model_copy(update={"artifacts": {"weights": "run.json"}, "artifact_digests": {}}))
    merged = merge([source], Store(target))
    assert len(merged.left_out) == 3
    assert not any(str(flaw.path) in flaw.reason for flaw in merged.left_out)
    assert "secret" not in b"".join(contents(target).values()).decode(errors="replace")
    assert not (target / ID / "artifacts" / escaping / "weights.safetensors").exists()


def test_links_out_of_the_target_store_are_not_written_through(tmp_path: Path) -> None:
    source, target, outside = tmp_path / "a", tmp_path / "b", tmp_path / "outside"
    filled(source, 0)
    outside.mkdir()
    target.mkdir()
    (target / ID).symlink_to(outside)
    with pytest.raises(StoreError, match="is a link out of the store"):
        merge([source], Store(target))
    (target / ID).unlink()
    (target / ID).mkdir()
    (target / ID / "records").symlink_to(outside)
    with pytest.raises(StoreError, match="is outside its run's folder: remove the symbolic link"):
        merge([source], Store(target))
    assert list(outside.iterdir()) == []


def test_a_run_in_use_is_not_merged(tmp_path: Path) -> None:
    filled(tmp_path / "a", 0)
    own = filled(tmp_path / "b", 1)
    with FileLock(own.folder / ".lock"), pytest.raises(StoreError, match="in use by another process"):
        merge([tmp_path / "a"], Store(tmp_path / "b"))
    assert {each.case.seed for each in own.read()[0].values()} == {1}


def test_invalid_sources_give_a_one_line_error(tmp_path: Path) -> None:
    run = filled(tmp_path / "a", 0)
    for sources, message in (([tmp_path / "nothing"], "neither a store nor a run"), ([tmp_path / "a"], "already")):
        with pytest.raises(StoreError, match=message) as caught:
            merge(sources, Store(tmp_path / "a"))
        assert "\n" not in str(caught.value)
    assert set(run.read()[0]) == {case(seed=0).key}


def test_an_unreadable_file_of_the_target_is_reported_with_its_path(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    filled(a, 0)
    target = filled(b)
    path = target.artifacts(case(seed=0).key) / "weights.safetensors"
    path.mkdir()
    with pytest.raises(StoreError) as caught:
        merge([a], Store(b))
    assert str(caught.value) == f"{path}: not a regular file; repair or remove the file, then merge again"


def test_an_older_schema_is_merged_byte_for_byte(tmp_path: Path) -> None:
    from tests.results.examples import FIXTURES

    shutil.copytree(FIXTURES / "schema-1", tmp_path / "old")
    merged = merge([tmp_path / "old"], Store(tmp_path / "new"))
    assert [flaw.path.name for flaw in merged.left_out] == ["weights.safetensors"]  # the fixture does not contain it
    assert contents(tmp_path / "new") == contents(tmp_path / "old")
    (loaded,) = Store(tmp_path / "new").find("latest").read()[0].values()
    assert isinstance(loaded, Record)
