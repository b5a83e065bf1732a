"""Whatever stands in a file: it is refused in one line, soon, in little memory, and nothing of it is run."""

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

HOME = Path(__file__).resolve().parents[3]
MAX_SECONDS = 2.0
MAX_BYTES = 256 << 20
PACKAGES = ("arch", "tasks", "bench", "results", "reports")


@pytest.mark.parametrize("kind", ["record", "run"])
def test_a_hostile_file_is_refused_in_one_line_soon_and_in_little_memory(tmp_path: Path, kind: str) -> None:
    names = write_hostile(tmp_path)
    command = [sys.executable, "-m", "tests.results.hostile", kind, str(tmp_path)]
    ended = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout)
    assert sorted(told["files"]) == names
    for name, found in told["files"].items():
        assert found["reason"], f"{name} was accepted"
        assert "\n" not in found["reason"], name
        assert len(found["reason"]) < 500, name
        assert found["seconds"] < MAX_SECONDS, name
    assert told["peak_bytes"] < MAX_BYTES


def test_a_field_that_is_written_twice_is_refused_though_the_seal_fits(tmp_path: Path) -> None:
    run = Store(tmp_path).create(run_file())
    path = run.record_path(case().key)
    text = record().model_dump_json(indent=1).encode()
    path.write_bytes(with_checksum(text))
    assert list(run.read()[0]) == [case().key]
    path.write_bytes(with_checksum(text.replace(b'"status": "ok"', b'"status": "crashed",\n "status": "ok"')))
    found, (damage,) = run.read()
    assert (found, damage.reason) == ({}, "damaged: an object names a field twice")


def test_another_layout_of_a_whole_document_is_no_damage(tmp_path: Path) -> None:
    run = Store(tmp_path).create(run_file())
    compact = json.dumps(json.loads(record().model_dump_json()), sort_keys=True).encode()
    run.record_path(case().key).write_bytes(with_checksum(compact.removesuffix(b"}") + b"\n}"))
    assert run.read() == ({case().key: record()}, [])


def test_a_pipe_in_a_records_place_is_not_waited_for(tmp_path: Path) -> None:
    import os

    run = Store(tmp_path).create(run_file())
    os.mkfifo(run.folder / "records" / "pipe.json")
    found, (damage,) = run.read()
    assert (found, damage.path.name) == ({}, "pipe.json")
    assert "not a file" in damage.reason


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
    """Every way to run what a file says."""
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


# A plugin is code that the user names on the command line, and running it is what is asked for.
RUNS_THE_USERS_OWN_CODE = {"bench/plugins/loader.py": {"exec_module", "exec", "compile"}}


@pytest.mark.parametrize("room", PACKAGES)
def test_no_file_is_read_by_anything_that_could_run_it(room: str) -> None:
    files = sorted((HOME / room).rglob("*.py"))
    assert files
    for path in files:
        name = str(path.relative_to(HOME))
        found = set(unsafe(path.read_text(encoding="utf-8"))) - RUNS_THE_USERS_OWN_CODE.get(name, set())
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
def test_the_reader_of_sources_sees_every_form(source: str) -> None:
    assert list(unsafe(source))


NOTHING_LOADED = """
import sys
from pathlib import Path
import reports, results
run = results.Store(Path("runs")).find("latest")
file, (records, damaged) = run.file(), run.read()
assert len(records) == 3 and not damaged, damaged
kept = list(records.values())
page = reports.page(file, kept)
assert "malice" in page
reports.samples_as_csv(file, kept)
results.history([(file, kept)])
assert not results.verify(results.Store(Path("runs"))).is_sound  # its artifacts are missing
loaded = {"malice", "arch", "tasks", "bench", "torch"} & set(sys.modules)
assert not loaded, loaded
assert not Path("ran").exists()
"""


def test_reading_and_reporting_runs_no_code_that_a_record_names(tmp_path: Path) -> None:
    (tmp_path / "malice.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    cases = [case(name) for name in ("malice", "malice:init=1", "lstm")]
    plugins = {"plugins": {"malice.py": "0123456789"}}
    run = Store(tmp_path / "runs").create(run_file("20260102-030405-quick-abc123", *cases, **plugins))
    for each in cases:
        run.write(record(each))
    command = [sys.executable, "-c", NOTHING_LOADED]
    environment = {"PYTHONPATH": f"{tmp_path}:{HOME}", "MPLCONFIGDIR": str(tmp_path), "PATH": ""}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_every_reader_leaves_a_newer_schema_untouched(tmp_path: Path) -> None:
    from results import merge, verify

    newer = with_checksum(b'{\n "schema_version": 99,\n "key": "k",\n "unheard_of": []\n}')
    run = Store(tmp_path / "a").create(run_file())
    run.record_path(case().key).write_bytes(newer)
    (flaw,) = verify(Store(tmp_path / "a")).flaws
    (left_out,) = merge([tmp_path / "a"], Store(tmp_path / "b")).left_out
    for reason in (flaw.reason, left_out.reason):
        assert reason == "written by a newer Carousel (schema 99); update to read it"
    assert (flaw.kind, left_out.kind) == ("newer", "newer")
    assert run.record_path(case().key).read_bytes() == newer
    assert Store(tmp_path / "b").find("latest").read() == ({}, [])
    other = Store(tmp_path / "c").create(run_file())
    other.write(record(case()))
    (conflict,) = merge([tmp_path / "c"], Store(tmp_path / "a")).conflicts
    assert conflict[0].read_bytes() == newer


def test_the_fixtures_of_every_version_are_within_what_is_read() -> None:
    assert all(path.stat().st_size < 1 << 20 for path in FIXTURES.rglob("*.json"))
