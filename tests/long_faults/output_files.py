"""A killed writer of an output file never turns a link, a pipe or a device into a regular file."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.long_faults import Check

HOME = Path(__file__).resolve().parents[2]
KILLS = 20
BYTES = 1 << 20
PROGRAM = """
import itertools, pathlib, sys, results
print(flush=True)
for number in itertools.count(1):
    for path in sys.argv[1:]:
        results.write_output_file(pathlib.Path(path), bytes([number % 256]) * {bytes})
"""


def special_outputs(folder: Path) -> str:
    """Check that a link, a link to nothing, a pipe and a device stay what they are, whenever the writer is killed."""
    generator = random.Random(0)
    target, link, dangling, pipe = (folder / name for name in ("target.csv", "link.csv", "later.csv", "pipe"))
    target.write_bytes(b"old")
    link.symlink_to(target.name)
    dangling.symlink_to(Path("new") / "file.csv")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)  # also a writer, so that the pipe never ends
    draining = threading.Thread(target=_drain, args=(reader,), daemon=True)
    draining.start()
    paths = [str(path) for path in (link, dangling, pipe, Path("/dev/null"))]
    for _ in range(KILLS):
        program = PROGRAM.format(bytes=BYTES)
        with subprocess.Popen([sys.executable, "-c", program, *paths], cwd=HOME, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(generator.uniform(0, 0.1))
            writer.kill()
        assert link.is_symlink() and link.readlink().name == target.name, "the link was replaced"
        assert dangling.is_symlink(), "the link to a missing file was replaced"
        assert stat.S_ISFIFO(pipe.lstat().st_mode), "the pipe was replaced"
        assert stat.S_ISCHR(Path("/dev/null").lstat().st_mode), "the device was replaced"
    assert target.read_bytes() != b"old", "nothing was written through the link"
    assert (folder / "new" / "file.csv").is_file(), "nothing was written through the link to a missing file"
    left = {path.name for path in folder.iterdir()} - {target.name, link.name, dangling.name, pipe.name, "new"}
    assert not left, f"left over: {sorted(left)}"
    return f"{KILLS} kills; links, a pipe and a device stay what they are"


def _drain(descriptor: int) -> None:
    while os.read(descriptor, BYTES):
        pass


CHECKS: dict[str, Check] = {"special_outputs": special_outputs}
