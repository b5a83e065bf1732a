"""Ratios to torch.nn: means, tables and aims equal values computed by hand, and results replace those of a page."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.perf import kernels
from tests.perf.figures import Cell, Figure, by_size, by_width, means
from tests.perf.kernels import with_results
from tests.test_documents import HOME


def cell(ratio: float, **sizes: int) -> Cell:
    return Cell(label="a cell", ratio=ratio, low=ratio / 2, high=2 * ratio, share=0.25, **({"width": 32} | sizes))


def test_figures_equal_values_computed_by_hand() -> None:
    trained = Figure("lstm", "training", [cell(1.0, length=8), cell(4.0, length=8), cell(9.0, length=8, threads=2)])
    called = Figure("rnn", "the faster of nn.RNN, nn.RNNCell", [cell(2.0), cell(8.0, width=64)])
    assert means([called]).splitlines()[2] == (
        "| `rnn`: called step vs the faster of nn.RNN, nn.RNNCell | 4.00 | 2.00–8.00 | 2.00 | 25% | 2 |"
    )
    assert by_size([trained, called]).splitlines() == ["| model, T | H 32 |", "|---|---|", "| `lstm`, 8 | 2.0, 9.0 |"]
    assert by_width([trained, called]).splitlines()[2] == "| `rnn` vs the faster of nn.RNN, nn.RNNCell | 2.0 | 8.0 |"


@pytest.mark.parametrize(
    ("ratios", "is_missed"), [((1.2, 1.4), True), ((1.3, 1.4), False), ((0.99, 9.0), True), ((1.0, 9.0), False)]
)
def test_a_figure_is_missed_by_its_mean_or_by_its_worst_cell(ratios: tuple[float, ...], is_missed: bool) -> None:
    figure = Figure("lstm", "training", [cell(ratio) for ratio in ratios])
    told, reached = figure.verdict()
    assert reached != is_missed
    assert "a cell" in told


def test_results_replace_the_last_section_of_a_page() -> None:
    page = "# Page\n\ntext\n\n## Results\n\nold\n\n### Old\n\nold\n"
    assert with_results(page, "new") == "# Page\n\ntext\n\n## Results\n\nnew\n"
    for wrong in ("# Page\n", f"{page}\n## More\n"):
        with pytest.raises(ValueError, match="must end with a section"):
            with_results(wrong, "new")


def test_the_document_has_a_place_for_the_results() -> None:
    assert with_results((HOME / "docs/performance.md").read_text(encoding="utf-8"), "new").endswith("Results\n\nnew\n")


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("# Page\n", [], "must end with a section"),
        (None, [], "No such file"),
        ("# Page\n\n## Results\n", ["--only", "loop"], "leave out --only"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_measuring(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str | None,
    options: list[str],
    reason: str,
) -> None:
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["kernels", "--write", str(page), *options])
    with pytest.raises(SystemExit) as ended:
        kernels.main()
    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
