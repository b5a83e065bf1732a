"""A compiled cell that gives other outputs than the equations of its layer is named by its own check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.plugins.loader import install, load
from bench.validation import ARCH_CHECKS, checker
from bench.validation.checker import validate_arch
from tests.bench.plugin_files import write
from tests.bench.validation.test_checker import changed


@pytest.fixture(autouse=True)
def _remove_plugins() -> Iterator[None]:
    yield
    install(())


WRONG_CELL = ("return (fma(z, state[0] - n, n),)", "return (fma(z, n - state[0], state[0]),)")
"""The change to the cell of examples/light_gru.py that exchanges what is kept and what is new."""


def test_a_compiled_cell_that_differs_from_the_equations_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "examples" / "light_gru.py").read_text(encoding="utf-8")
    monkeypatch.setattr(checker, "ARCH_CHECKS", {"compiled_cell": ARCH_CHECKS["compiled_cell"]})
    load([write(tmp_path, "light_gru", changed(text, WRONG_CELL))])
    (result,) = validate_arch("light_gru").failed
    assert str(result).startswith("check `compiled_cell`: output at step 1 differs by ")
    assert "between the compiled cell and `step` of the layer in float64" in str(result)
