"""Hostile files, and a child process that reads them and measures the cost.

    python -m tests.results.hostile record FOLDER

The command reads every file of a folder as a record. With `run` instead of `record`, the files are run files; with
`plan`, they are plans. The command prints JSON with the error message and processor seconds of each file, and the peak
memory in bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.results.examples import record, run_file

MIB = 1 << 20
GIGABYTE = 1 << 30
LARGEST = 16 * MIB - 1000
"""Size in bytes of a file just below the size limit of a document."""


def with_checksum(text: bytes) -> bytes:
    """Return a JSON object with a valid checksum, as an attacker can write it.

    `text` is the object without a checksum, and must end with a newline and `}`.
    """
    checksum = hashlib.sha256(text).hexdigest()[:16].encode()
    return text.removesuffix(b"\n}") + b',\n "checksum": "' + checksum + b'"\n}\n'


def _repeated(start: bytes, unit: bytes, size: int) -> bytes:
    return start + unit * ((size - len(start)) // len(unit))


def documents() -> dict[str, bytes]:
    """Return hostile documents by name, most of them with a valid checksum and below the size limit."""
    whole = record().model_dump_json(indent=1).encode()
    many = b",\n".join(b' "%d": 0' % number for number in range(49_000))
    half_a_million = _repeated(b"", b"0,", 999_000)
    texts = {
        "deep lists": _repeated(b'{"key": ', b"[", LARGEST) + b"\n}",
        "deep objects": _repeated(b'{"key": ', b'{"a":', 200_000) + b"\n}",
        "deep lists of version 1": b'{"schema_version": 1, "x": ' + b"[" * 400_000 + b"]" * 400_000 + b"\n}",
        "a huge integer": b'{"schema_version": ' + b"9" * LARGEST + b"\n}",
        "a huge integer of version 1": b'{"schema_version": 1, "x": ' + b"9" * MIB + b"\n}",
        "a huge exponent": whole.replace(b"0.875", b"1e999999999"),
        "a long string": b'{"key": "' + b"x" * LARGEST + b'"\n}',
        "a long name": b'{"' + b"x" * LARGEST + b'": 1\n}',
        "many values": b'{"samples": [' + half_a_million + b"0]\n}",
        "too many values": _repeated(b'{"samples": [', b"0,", LARGEST) + b"0]\n}",
        "many wrong measurements": b'{"measurements": [' + half_a_million + b"0]\n}",
        "many wrong cases": b'{"cases": [' + half_a_million + b"0]\n}",
        "many unknown fields": b"{\n" + many + b"\n}",
        "many wrong locations": b'{"measurements": [{"metric": "m", "samples": [], "at": {' + many + b"}}]\n}",
        "too many unknown fields": b"{" + b",".join(b'"%d":0' % number for number in range(499_000)) + b"\n}",
        "many of version 1": b'{"schema_version": 1, "measurements": [' + b'{"samples":[]},' * 30_000 + b"{}]\n}",
        "NaN": whole.replace(b"0.875", b"NaN"),
        "infinity": whole.replace(b"0.875", b"-Infinity"),
        "a field twice": whole.replace(b'"status": "ok",', b'"status": "crashed",\n "status": "ok",'),
        "a field twice inside": whole.replace(b'"seed": 0,', b'"seed": 1,\n  "seed": 0,'),
        "a path out of the folder": whole.replace(b"artifacts/", b"../../artifacts/"),
        "an absolute path": whole.replace(b'"artifacts/', b'"/etc/artifacts/'),
        "a key out of the folder": whole.replace(b'"key": "', b'"key": "../../'),
    }
    assert all(text.endswith(b"\n}") for text in texts.values())
    files = {name: with_checksum(text) for name, text in texts.items()}
    files["a pickle"] = (
        b"\x80\x04\x95\x21\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x8c\x06system\x93\x8c\x06exit 9\x85R."
    )
    files["half of a large one"] = b'{"a": [' + b"0," * (4 * MIB)
    return files


def write_hostile(folder: Path) -> list[str]:
    """Write every hostile file and a file of one gigabyte into a folder, and return their names."""
    folder.mkdir(parents=True, exist_ok=True)
    files = documents()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with (folder / "a gigabyte string").open("wb") as file:
        file.write(b'{"key": "')
        file.truncate(GIGABYTE)
    return sorted([*files, "a gigabyte string"])


def _read(kind: str, path: Path) -> str | None:
    from results import Record, RunFile
    from results.store.document import StoreError, read_document

    try:
        read_document(path, RunFile if kind == "run" else Record)
    except StoreError as error:
        return str(error)
    return None


def _read_plan(path: Path) -> str | None:
    from bench.errors import UsageError
    from bench.plans.grid import cases
    from bench.plans.plan import load

    try:
        cases(load(str(path)))
    except UsageError as error:
        return str(error)
    return None


def peak_bytes() -> int:
    """Return the peak memory of this process. (`ru_maxrss` would include the memory of the parent process.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def main() -> None:
    """Read all files of a folder as documents of one kind, and print the results as JSON.

    The command-line arguments are the kind and the folder.
    """
    kind, folder = sys.argv[1], Path(sys.argv[2])
    read = _read_plan if kind == "plan" else lambda path: _read(kind, path)
    results: dict[str, Any] = {}
    run_file()
    for path in sorted(folder.iterdir()):
        began = time.process_time()
        reason = read(path)
        results[path.name] = {"reason": reason, "seconds": time.process_time() - began}
    print(json.dumps({"files": results, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
