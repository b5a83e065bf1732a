"""The page about claims describes every field and metric, and its example fits the plan that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.commands.run_warnings import claim_warnings
from bench.plans.claims import LOCATION_NAMES
from bench.plans.plan import load, path_of
from results import METRICS, Against, Cases, Claim, Quantity
from tests.bench.tiny import write_plan
from tests.test_documents import HOME

PAGE = (HOME / "docs" / "claims.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
WITHOUT_PROBE = ("any", "latency or streaming")


def names_in(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize(
    ("model", "heading"),
    [(Claim, "Fields"), (Cases, "Cases"), (Quantity, "Quantities"), (Against, "Comparisons")],
)
def test_every_field_has_a_row(model: type[Claim | Cases | Quantity | Against], heading: str) -> None:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].partition("| metrics |")[0]
    found = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in section.splitlines() if line.startswith("| `")]
    assert sorted(name for names in found for name in names) == sorted(model.model_fields)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_names_the_locations_and_the_probe_of_each_metric(metric: str) -> None:
    ((_, locations, probe),) = (row for row in ROWS if len(row) == 3 and metric in names_in(row[0]))
    assert names_in(locations) == set(LOCATION_NAMES.get(metric, ()))
    known = METRICS[metric].probe
    assert probe in WITHOUT_PROBE if known is None else probe.split(",")[0] == known


def test_the_example_can_be_measured_by_its_plan(tmp_path: Path) -> None:
    example = re.sub("^    ", "", PAGE[PAGE.index("    [[claims]]") : PAGE.index("\n## Fields")], flags=re.MULTILINE)
    plan = load(str(write_plan(tmp_path, path_of("quick").read_text(encoding="utf-8") + "\n" + example)))
    assert [claim.name for claim in plan.claims] == ["lstm-extrapolates", "attention-costs-more"]
    assert claim_warnings(plan, plan) == []
