"""Files that the user asked for: what stands at the path decides whether it is replaced or written through."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from results import write_output_file

CONTENT = b"\x00\xff new\n"


def test_new_file_and_its_folders_are_created(tmp_path: Path) -> None:
    write_output_file(tmp_path / "a" / "b" / "file", CONTENT)
    assert (tmp_path / "a" / "b" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_regular_file_is_replaced_and_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    before = path.stat()
    write_output_file(path, CONTENT)
    assert path.read_bytes() == CONTENT
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.stat().st_ino != before.st_ino


def test_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        write_output_file(path, CONTENT)
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("target", ["target", "missing/folder/target"])
def test_link_is_kept_and_its_target_written(tmp_path: Path, target: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    write_output_file(link, CONTENT)
    assert link.is_symlink()
    assert (tmp_path / target).read_bytes() == CONTENT
    write_output_file(link, b"again")
    assert (tmp_path / target).read_bytes() == b"again"


def test_pipe_is_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_output_file(pipe, CONTENT)
    reader.join()
    assert received == [CONTENT]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_reader_of_a_pipe_may_stop_early(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read_a_little() -> None:
        with pipe.open("rb") as file:
            file.read(1)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    write_output_file(pipe, b"x" * (1 << 22))
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_device_is_written_through() -> None:
    write_output_file(Path("/dev/null"), CONTENT)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_folder_and_loop_of_links_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_output_file(tmp_path, CONTENT)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"loop|levels"):
        write_output_file(tmp_path / "loop", CONTENT)


def test_file_that_cannot_be_renamed_over_is_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is mounted into a container is one example."""

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    path = tmp_path / "file"
    path.write_bytes(b"old and longer than the new content")
    monkeypatch.setattr(Path, "replace", busy)
    write_output_file(path, CONTENT)
    assert path.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_longest_name_is_possible(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_output_file(path, CONTENT)
    assert path.read_bytes() == CONTENT


def test_standard_output_keeps_what_was_printed_before(tmp_path: Path) -> None:
    program = (
        "import pathlib, results\n"
        "for path in ('-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/1'):\n"
        "    print('before', path)\n"
        f"    results.write_output_file(pathlib.Path(path), {CONTENT!r})\n"
    )
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", program], stdout=log, check=True)
    paths = (b"-", b"/dev/stdout", b"/dev/fd/1", b"/proc/self/fd/1")
    assert (tmp_path / "log").read_bytes() == b"".join(b"before %s\n%s" % (path, CONTENT) for path in paths)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
