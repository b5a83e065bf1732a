"""Test faults: damaged bytes, concurrent writers, and a full disk."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from results import Record, Run, RunFile, Store, StoreError, verify
from results.store.document import parsed
from tests.results.damage import accepted_after_any_change
from tests.results.examples import case, record, run_file, stored

ROOT = Path(__file__).resolve().parents[3]
SEEDS_OF_A_WRITER = 8


@pytest.mark.parametrize("kind", [Record, RunFile])
def test_no_truncation_and_no_flipped_bit_is_accepted(kind: type[Record] | type[RunFile]) -> None:
    document = record() if kind is Record else run_file()
    assert accepted_after_any_change(document, every=13) == []


def test_the_check_detects_a_reader_without_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "results.store.document.without_checksum", lambda content: content.rpartition(b',\n "checksum"')[0] + b"\n}"
    )
    assert len(accepted_after_any_change(record(), every=13)) > 5


WRITER = """
import sys
from pathlib import Path
from results import Store
from tests.results.examples import case, record, run_file
first, count = int(sys.argv[2]), int(sys.argv[3])
own = Store(Path(sys.argv[1])).create(run_file(f"2026010{1 + first}-000000-quick-abc123", case()))
shared = Store(Path(sys.argv[1])).find("20250101")
for seed in range(count):
    own.write(record(case(seed=seed)))
    shared.write(record(case(seed=count * first + seed)))
    shared.write(record(case(seed=10_000), reason="x" * (seed * 100)))
"""


def test_concurrent_writers_lose_nothing_and_readers_see_complete_files(tmp_path: Path) -> None:
    shared = Store(tmp_path).create(run_file("20250101-000000-quick-abc123", case()))
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(n), str(SEEDS_OF_A_WRITER)], cwd=ROOT) for n in range(2)]
    readings = 0
    while any(writer.poll() is None for writer in writers):
        for run in Store(tmp_path).runs():
            run.file()
            assert run.read()[1] == []
            readings += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert readings > 2
    records, damaged = shared.read()
    assert damaged == []
    assert {each.case.seed for each in records.values()} == {*range(2 * SEEDS_OF_A_WRITER), 10_000}
    counts = [len(run.read()[0]) for run in Store(tmp_path).runs()]
    assert counts == [2 * SEEDS_OF_A_WRITER + 1, SEEDS_OF_A_WRITER, SEEDS_OF_A_WRITER]
    assert not [flaw for flaw in verify(Store(tmp_path)).flaws if flaw.kind in ("damaged", "left over")]


def test_a_full_disk_preserves_the_earlier_file(tmp_path: Path) -> None:
    """Check that a record survives if a later write of the same record stops halfway.

    A limit on the file size simulates the full disk: the kernel rejects everything beyond the limit.
    """
    run, (first,) = stored(tmp_path, 0)
    whole = len(run.record_path(first.key).read_bytes())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in range(0, whole, 97):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            with pytest.raises(StoreError, match="earlier files are unchanged"):
                run.write(first.model_copy(update={"status": "crashed"}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert run.read() == ({first.key: first}, [])
    assert [path.name for path in (run.folder / "records").iterdir()] == [f"{first.key}.json"]
    run.write(first.model_copy(update={"status": "crashed"}))
    assert run.read()[0][first.key].status == "crashed"


def test_a_folder_that_cannot_be_created_gives_a_one_line_error_with_its_path(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    (run.folder / "artifacts").write_text("in the way")
    for write in (lambda: run.write_artifact(first.key, "w", b"x"), lambda: run.artifacts(first.key)):
        with pytest.raises(StoreError) as caught:
            write()
        assert str(run.folder / "artifacts" / first.key) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert run.read() == ({first.key: first}, [])


def test_a_document_that_is_too_large_to_read_is_not_written(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    timed = first.measurements[-1].model_copy(update={"samples": (1e-05,) * 500_001, "blocks": ()})
    with pytest.raises(StoreError, match="more than 500,000 values; plan fewer"):
        run.write(first.model_copy(update={"measurements": (timed,)}))
    assert run.read() == ({first.key: first}, [])


def test_the_largest_record_can_be_read(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    timed = first.measurements[-1].model_copy(update={"samples": (1e-05,) * 499_000, "blocks": ()})
    large = first.model_copy(update={"measurements": (timed,)})
    run.write(large)
    assert Run(run.folder).read() == ({first.key: large}, [])


def test_parsed_reads_what_the_store_writes(tmp_path: Path) -> None:
    run, (first,) = stored(tmp_path, 0)
    assert parsed(run.record_path(first.key).read_bytes(), Record) == first
