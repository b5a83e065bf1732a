"""Execute the notebooks in `examples/`, and write each as a page with its figures.

python3 docs/write_notebooks.py            execute every notebook, and write its outputs and its page
python3 docs/write_notebooks.py --pages    write the pages from the outputs that the notebooks have

The outputs of a notebook are those of its present code: its metadata hold a digest of the code that was executed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat

HOME = Path(__file__).resolve().parent.parent
PAGES = {"inside_an_lstm": "inside-an-lstm.md", "which_memory_for_my_stream": "which-memory.md"}
"""The page in `docs/` of each notebook in `examples/`."""
FIGURES = "figures/notebooks"
"""The folder in `docs/` of the figures."""
TIMEOUT_SECONDS = 900
SVG = "image/svg+xml"
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


def notebook_path(name: str) -> Path:
    """Return the path of a notebook."""
    return HOME / "examples" / f"{name}.ipynb"


def read_notebook(name: str) -> Any:
    """Return a notebook, checked against the format. Raises `nbformat.ValidationError` if it is invalid."""
    notebook = nbformat.read(notebook_path(name), as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_digest(notebook: Any) -> str:
    """Return the SHA-256 of the code of all cells."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def execute(notebook: Any) -> None:
    """Run all cells of a notebook in a new kernel, and keep their outputs but for standard error.

    Libraries log there what depends on the machine, for instance that matplotlib is building its font cache.

    Raises `nbclient.exceptions.CellExecutionError` if a cell fails.
    """
    from nbclient import NotebookClient

    paths = [str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])]  # of this checkout, whatever is installed
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(HOME / "examples")}},
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--InlineBackend.figure_formats=svg"],  # text, whose changes can be read
    )
    client.execute(env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)  # it names the version of Python
    notebook.metadata["executed_code"] = code_digest(notebook)


def page(name: str) -> tuple[str, dict[str, str]]:
    """Return the page of a notebook as Markdown, and its figures by file name."""
    notebook = read_notebook(name)
    parts: list[str] = []
    figures: dict[str, str] = {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](../docs/", "]("))
            continue
        parts.append(
            f"```python\n{cell.source.removesuffix(';')}\n```"
        )  # a notebook hides the value before a semicolon
        parts.extend(_output(name, cell, output, figures) for output in cell.outputs)
    parts.insert(1, f"This page is the notebook [examples/{name}.ipynb](../examples/{name}.ipynb) with its outputs.")
    return "\n\n".join(filter(None, parts)) + "\n", figures


def _output(name: str, cell: Any, output: Any, figures: dict[str, str]) -> str:
    """Return an output as Markdown. The content of a figure is added to `figures` under its file name."""
    if output.output_type == "stream":
        return f"```text\n{COLOUR_CODE.sub('', output.text).rstrip()}\n```"
    if SVG in output.data:
        file = f"{name.replace('_', '-')}-{len(figures) + 1}.svg"
        figures[file] = output.data[SVG]
        return f"![{cell.metadata['alt']}]({FIGURES}/{file})"
    return f"```text\n{output.data['text/plain'].rstrip()}\n```"


def main(arguments: list[str]) -> None:
    """Execute the notebooks unless `arguments` are `--pages`, and write notebooks and pages."""
    folder = HOME / "docs" / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, file in PAGES.items():
        if arguments != ["--pages"]:
            notebook = read_notebook(name)
            execute(notebook)
            nbformat.write(notebook, notebook_path(name))
        text, figures = page(name)
        (HOME / "docs" / file).write_text(text, encoding="utf-8")
        for figure, content in figures.items():
            (folder / figure).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
