"""The comparison as a long table has every changed row, and compiles."""

from __future__ import annotations

import math
from pathlib import Path

from reports.export import comparison_as_latex
from results import Case
from results.comparison import Comparison, compare
from tests.reports.export.latex import compiled
from tests.results.planted import grid, run_of

LONG = "gated_delta_net:heads=4,expansion=2,conv=4,init=orthogonal"
HOSTILE = r"a_b%c\input{x}$&#~^[old]"


def compared(archs: list[str], tasks: int, **changes: str) -> Comparison:
    cases = grid(archs, tasks=tasks)

    def slower(case: Case, metric: str) -> float:
        return math.log(1.3) if metric == "step_seconds" else 0.0

    return compare(run_of(cases, 1, noise=0.02), run_of(cases, 2, noise=0.02, slower=slower, **changes))


def test_rows_are_grouped_by_verdict_under_the_ids_of_the_runs() -> None:
    comparison = compared(["lstm", LONG], 2)
    text = comparison_as_latex(comparison)
    assert f"% base {comparison.base.id}\n% new {comparison.new.id}" in text
    assert text.count(r"\textbf{regressed}") == 1
    plain = text.replace(r"\allowbreak{}", "").replace("\\", "")
    changed = [row for row in comparison.rows if row.verdict != "unchanged"]
    assert len(changed) == 8
    for row in changed:
        assert f"{row.arch} on {row.task} {row.length}: step, position {dict(row.at)['position']}" in plain
    assert f"Run {comparison.new.id} compared with the baseline {comparison.base.id}: 8 regressed" in plain


def test_long_comparison_spans_pages_without_overfull_lines(tmp_path: Path) -> None:
    made = compiled(comparison_as_latex(compared(["lstm", "rnn", LONG], 20)), tmp_path)
    assert made.problems == []
    assert made.pages > 1


def test_hostile_names_and_differences_compile(tmp_path: Path) -> None:
    text = comparison_as_latex(compared([HOSTILE], 1, cpu="another_cpu & more", torch="3.0"))
    assert r"\input{" not in text
    assert "not comparable" in text
    assert compiled(text, tmp_path).problems == []
