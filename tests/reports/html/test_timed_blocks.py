"""The details of a case show CPU time and instructions of its timed blocks, as far as they are known."""

from __future__ import annotations

import pytest

from reports.analysis.groups import group_cases
from reports.html.case_details import case_details
from results import Block
from tests.reports import synthetic

KNOWN = Block(calibration_seconds=0.005, wall_seconds=0.02, cpu_seconds=0.0199, instructions=50_000_000)


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (KNOWN, "CPU time 99.5% of the wall time, 2.50 instructions per ns; medians of 2 blocks"),
        (KNOWN.model_copy(update={"instructions": None}), "CPU time 99.5% of the wall time; medians of 2 blocks"),
        (Block(calibration_seconds=0.005), None),
    ],
)
def test_details_name_the_counters_of_the_timed_blocks(block: Block, text: str | None) -> None:
    case = synthetic.case("gru", "adding", 32, 0)
    whole = synthetic.record(case)
    timed = whole.of("step_seconds")[0].model_copy(update={"blocks": (block, block)})
    record = whole.model_copy(update={"measurements": (timed,)})
    (details,) = case_details(group_cases(synthetic.run([case]), [record]))
    assert dict(details.configuration).get("timed blocks") == text
