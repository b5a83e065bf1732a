"""Test that hostile files are rejected with a one-line error.

Rejecting a file takes little time and memory. Reading and reporting run no code that a file contains or names.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from results import Store
from tests.results.examples import FIXTURES, case, record, run_file
from tests.results.hostile import with_checksum, write_hostile

ROOT = Path(__file__).resolve().parents[3]
MAX_SECONDS = 2.0
MAX_BYTES = 256 << 20
PACKAGES = ("arch", "tasks", "bench", "results", "reports")


@pytest.mark.parametrize("kind", ["record", "run"])
def test_hostile_files_are_rejected_with_one_line_in_little_time_and_memory(tmp_path: Path, kind: str) -> None:
    names = write_hostile(tmp_path)
    command = [sys.executable, "-m", "tests.results.hostile", kind, str(tmp_path)]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]
    output = json.loads(completed.stdout)
    assert sorted(output["files"]) == names
    for name, result in output["files"].items():
        assert result["reason"], f"{name} was accepted"
        assert "\n" not in result["reason"], name
        assert len(result["reason"]) < 500, name
        assert result["seconds"] < MAX_SECONDS, name
    assert output["peak_bytes"] < MAX_BYTES


def test_a_duplicate_field_is_rejected_despite_a_valid_checksum(tmp_path: Path) -> None:
    run = Store(tmp_path).create(run_file())
    path = run.record_path(case().key)
    text = record().model_dump_json(indent=1).encode()
    path.write_bytes(with_checksum(text))
    assert list(run.read()[0]) == [case().key]
    path.write_bytes(with_checksum(text.replace(b'"status": "ok"', b'"status": "crashed",\n "status": "ok"')))
    found, (damage,) = run.read()
    assert (found, damage.reason) == ({}, "corrupt: the field 'status' occurs more than once in an object")


def test_a_valid_document_in_another_layout_is_read(tmp_path: Path) -> None:
    run = Store(tmp_path).create(run_file())
    compact = json.dumps(json.loads(record().model_dump_json()), sort_keys=True).encode()
    run.record_path(case().key).write_bytes(with_checksum(compact.removesuffix(b"}") + b"\n}"))
    assert run.read() == ({case().key: record()}, [])


def test_a_pipe_instead_of_a_record_does_not_block(tmp_path: Path) -> None:
    import os

    run = Store(tmp_path).create(run_file())
    os.mkfifo(run.folder / "records" / "pipe.json")
    found, (damage,) = run.read()
    assert (found, damage.path.name) == ({}, "pipe.json")
    assert "not a regular file" in damage.reason


UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "jsonpickle",
}
UNSAFE_CALLS = {"eval", "exec", "compile", "execfile", "load_pickle", "read_pickle", "to_pickle", "unsafe_load"}
UNSAFE_ATTRIBUTES = {("torch", "load"), ("numpy", "load"), ("np", "load"), ("os", "system"), ("os", "popen")}


def unsafe(source: str) -> Iterator[str]:
    """Yield the known constructs in `source` that could run the content of a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ({alias.name.partition(".")[0] for alias in node.names} & UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from ({(node.module or "").partition(".")[0]} & UNSAFE_MODULES)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from {node.func.id} & UNSAFE_CALLS
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if (owner, node.func.attr) in UNSAFE_ATTRIBUTES or node.func.attr in UNSAFE_CALLS - {"eval", "compile"}:
                yield f"{owner}.{node.func.attr}"
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "shell"):
            yield node.arg


ALLOWED = {
    "bench/plugins/source_files.py": {"exec_module", "exec", "compile"},
    "arch/kernels/runtime/cache.py": {"pickle"},
}
"""Unsafe constructs that are allowed per file. A plugin is code that the user names in order to run it.

Compiled kernels are code too. They are read only from folders of the user, as Numba reads them.
"""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_source_file_uses_an_unsafe_reader(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        name = str(path.relative_to(ROOT))
        found = set(unsafe(path.read_text(encoding="utf-8"))) - ALLOWED.get(name, set())
        assert not found, f"{name}: {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from yaml import load",
        "eval('1')",
        "torch.load('w')",
        "np.load('w')",
        "pandas.read_pickle('w')",
        "numpy.lib.format.read_array(f, allow_pickle=True)",
    ],
)
def test_every_unsafe_construct_is_detected(source: str) -> None:
    assert list(unsafe(source))


NOTHING_LOADED = """
import sys
from pathlib import Path
import reports, results
run = results.Store(Path("runs")).find("latest")
file, (records, damaged) = run.file(), run.read()
assert len(records) == 3 and not damaged, damaged
records = list(records.values())
page = reports.page(file, records)
assert "malice" in page
reports.samples_as_csv(file, records)
results.history([(file, records)])
assert not results.verify(results.Store(Path("runs"))).is_sound  # its artifacts are missing
loaded = {"malice", "arch", "tasks", "bench", "torch"} & set(sys.modules)
assert not loaded, loaded
assert not Path("ran").exists()
"""


def test_reading_and_reporting_runs_no_code_named_in_a_record(tmp_path: Path) -> None:
    (tmp_path / "malice.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    cases = [case(name) for name in ("malice", "malice:init=1", "lstm")]
    plugins = {"plugins": {"malice.py": "0123456789"}}
    run = Store(tmp_path / "runs").create(run_file("20260102-030405-quick-abc123", *cases, **plugins))
    for each in cases:
        run.write(record(each))
    command = [sys.executable, "-c", NOTHING_LOADED]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "MPLCONFIGDIR": str(tmp_path), "PATH": ""}
    completed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-2000:]


def test_files_of_a_newer_schema_are_left_untouched(tmp_path: Path) -> None:
    from results import merge, verify

    newer = with_checksum(b'{\n "schema_version": 99,\n "key": "k",\n "unheard_of": []\n}')
    run = Store(tmp_path / "a").create(run_file())
    run.record_path(case().key).write_bytes(newer)
    (flaw,) = verify(Store(tmp_path / "a")).flaws
    (left_out,) = merge([tmp_path / "a"], Store(tmp_path / "b")).left_out
    for reason in (flaw.reason, left_out.reason):
        assert reason == "written by a newer version of Carousel (schema 99); update Carousel to read it"
    assert (flaw.kind, left_out.kind) == ("newer", "newer")
    assert run.record_path(case().key).read_bytes() == newer
    assert Store(tmp_path / "b").find("latest").read() == ({}, [])
    other = Store(tmp_path / "c").create(run_file())
    other.write(record(case()))
    (conflict,) = merge([tmp_path / "c"], Store(tmp_path / "a")).conflicts
    assert conflict[0].read_bytes() == newer


def test_the_fixtures_are_small() -> None:
    assert all(path.stat().st_size < 1 << 20 for path in FIXTURES.rglob("*.json"))
