"""Write a file that the user asked for: a table, a page, a figure."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path

from results.store.document import replace_file

STANDARD_OUTPUT = Path("-")
"""The path that stands for standard output."""
NOT_BESIDE = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG, errno.EXDEV))
"""Errors of a folder that accepts no second file, or of a file that cannot be renamed over, such as a mounted one."""


def write_output_file(path: Path, content: bytes) -> None:
    """Write `content` to `path`, or to standard output if `path` is `-`.

    Missing folders are created. A new file is written under a temporary name and renamed, so no reader sees half of it.
    A regular file is replaced in the same way and keeps its mode. Anything else stays what it is: a link, a pipe and a
    device are written through. So is a file beside which no other file can be written. The reader of a pipe may stop
    early. Raises `OSError` if `path` cannot be written.
    """
    if is_standard_output(path):
        _write_to_standard_output(content)
    elif _is_special(path):
        _write_through(path, content)
    else:
        try:
            replace_file(path, content)
        except OSError as error:
            if error.errno not in NOT_BESIDE:
                raise
            _write_through(path, content)


def is_standard_output(path: Path) -> bool:
    """Return whether `path` is `-` or leads to the same file as standard output, such as `/dev/stdout`.

    If such a file were opened again, everything already written to it would be cut off.
    """
    if path == STANDARD_OUTPUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def _is_special(path: Path) -> bool:
    """Return whether `path` is neither absent nor a regular file, such as a link, a pipe, a device or a folder."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _write_through(path: Path, content: bytes) -> None:
    """Write to a file in place. The folder of a link's target is created if it is missing."""
    Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()  # `path` may lead to the same place as standard output
    with contextlib.suppress(BrokenPipeError):  # the reader of a pipe has what it wanted
        path.write_bytes(content)


def _write_to_standard_output(content: bytes) -> None:
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:  # a stream of texts replaces standard output
        sys.stdout.write(content.decode())
    else:
        binary.write(content)
    sys.stdout.flush()
