"""The notebooks in `examples/`: outputs belong to the code, pages belong to the notebooks, and the code runs."""

from __future__ import annotations

import importlib.util
import itertools
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import nbformat
import pytest
from matplotlib import pyplot

from bench.plugins.loader import install
from tests.test_documents import HOME

MAX_BYTES = 400_000
NAMES = ("inside_an_lstm", "which_memory_for_my_stream")
SHORTER = {
    "inside_an_lstm": {"width=128": "width=32"},
    "which_memory_for_my_stream": {"seeds=3": "seeds=2"},
}
"""Replacements that make a notebook shorter, where training takes long. `docs/write_notebooks.py` runs it unchanged."""


def write_notebooks() -> ModuleType:
    """Import `docs/write_notebooks.py`."""
    spec = importlib.util.spec_from_file_location("write_notebooks", HOME / "docs" / "write_notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = write_notebooks()


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads that wait for each other beside other tests take long
    with mpl.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")
    install(())


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds_of_outputs(notebook: Any) -> list[list[str]]:
    return [[output.get("name", output.output_type) for output in cell.outputs] for cell in code_cells(notebook)]


def replace_in_code(notebook: Any, changes: dict[str, str]) -> None:
    for text, other in changes.items():
        assert any(text in cell.source for cell in code_cells(notebook)), text
        for cell in code_cells(notebook):
            cell.source = cell.source.replace(text, other)


def test_every_notebook_is_tested_and_has_a_page() -> None:
    assert {path.stem for path in (HOME / "examples").glob("*.ipynb")} == set(NAMES) == WRITER.PAGES.keys()
    readme = (HOME / "README.md").read_text(encoding="utf-8")
    assert all(f"docs/{page}" in readme for page in WRITER.PAGES.values())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_code(name: str) -> None:
    notebook = WRITER.read_notebook(name)
    cells = code_cells(notebook)
    assert notebook.metadata["executed_code"] == WRITER.code_digest(notebook), "run: python3 docs/write_notebooks.py"
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert str(HOME) not in WRITER.notebook_path(name).read_text(encoding="utf-8")
    assert WRITER.notebook_path(name).stat().st_size < MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_changed_code_no_longer_has_its_digest(name: str) -> None:
    notebook = WRITER.read_notebook(name)
    code_cells(notebook)[-1].source += "\n# changed"
    assert notebook.metadata["executed_code"] != WRITER.code_digest(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_each_cell_of_code_follows_one_sentence(name: str) -> None:
    cells = WRITER.read_notebook(name).cells
    for before, cell in itertools.pairwise(cells):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown"
            text = before.source.strip()
            assert text.endswith((".", ":", "?")), text
            assert len(text) < 300, text


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_an_svg_with_an_alternative_text(name: str) -> None:
    figures = 0
    for cell in code_cells(WRITER.read_notebook(name)):
        drawn = [output for output in cell.outputs if any(kind.startswith("image/") for kind in output.get("data", {}))]
        figures += len(drawn)
        assert bool(drawn) == ("alt" in cell.metadata)
        assert all(WRITER.SVG in output.data and "image/png" not in output.data for output in drawn)
    assert figures >= 2


@pytest.mark.parametrize("name", NAMES)
def test_page_and_figures_are_up_to_date(name: str) -> None:
    text, figures = WRITER.page(name)
    advice = "run: python3 docs/write_notebooks.py --pages"
    assert (HOME / "docs" / WRITER.PAGES[name]).read_text(encoding="utf-8") == text, advice
    for file, content in figures.items():
        assert (HOME / "docs" / WRITER.FIGURES / file).read_text(encoding="utf-8") == content, advice
    assert len(re.findall(r"!\[[^\]]+\]\(", text)) == len(figures)


def test_folder_has_no_other_figures() -> None:
    expected = {file for name in NAMES for file in WRITER.page(name)[1]}
    assert {path.name for path in (HOME / "docs" / WRITER.FIGURES).iterdir()} == expected


def test_quick_version_of_the_lstm_runs() -> None:
    notebook = WRITER.read_notebook("inside_an_lstm")
    replace_in_code(notebook, {"STEPS = 500": "STEPS = 25", "width=128": "width=8"})
    names: dict[str, Any] = {}
    for cell in code_cells(notebook):
        exec(cell.source, names)
    assert set(names["curves"]) == {0, 1, 3} and all(set(curve) == {0, 25} for curve in names["curves"].values())
    assert len(pyplot.get_fignums()) == 6
    assert set(names["recorded"]) == {"input gate", "forget gate", "output gate", "cell state", "output"}
    assert all(values.shape == (30, 8) for values in names["recorded"].values())
    output = names["recorded"]["output gate"] * names["recorded"]["cell state"].tanh()
    assert (output - names["recorded"]["output"]).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the Jupyter libraries are not ours
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_in_a_kernel(name: str) -> None:
    notebook = WRITER.read_notebook(name)
    committed = kinds_of_outputs(notebook)
    replace_in_code(notebook, SHORTER[name])
    WRITER.execute(notebook)
    assert kinds_of_outputs(notebook) == committed, [cell.outputs for cell in code_cells(notebook)]
    printed = "".join(output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs)
    if name == "inside_an_lstm":
        (score,) = re.findall(r"^score (\d\.\d+)$", printed, re.MULTILINE)
        assert float(score) > 0.85
    else:
        assert "10 cases" in printed and "Within the limits: " in printed


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_logs_of_libraries_are_not_kept() -> None:
    source = "import logging\nlogging.getLogger('library').warning('building a cache')\nprint('kept')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    WRITER.execute(notebook)
    assert kinds_of_outputs(notebook) == [["stdout"]]
