"""CPU time and instructions are shown beside a change of the wall time, and no verdict depends on them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from reports.export import comparison_as_document, comparison_as_markdown
from reports.text import witness_of
from results import Block, Record, RunFile
from results.comparison import Comparison, Row, compare, follows
from results.statistics.witness import change, counter_rates
from tests.results.comparison.test_turns import linked
from tests.results.planted import CALIBRATION_SECONDS, case_of, run_of

CASES = [case_of("rnn"), case_of("lstm")]
STEP_20 = math.log(1.2)
Stored = tuple[RunFile, list[Record]]


def block(wall: float = 0.02, cpu: float | None = 0.02, instructions: int | None = 50_000_000) -> Block:
    return Block(calibration_seconds=CALIBRATION_SECONDS, wall_seconds=wall, cpu_seconds=cpu, instructions=instructions)


def with_blocks(run: Stored, arch: str, blocks: tuple[Block, ...]) -> Stored:
    """Return a run in which the timings of an architecture have other blocks."""
    file, records = run
    return file, [
        record.model_copy(
            update={
                "measurements": tuple(
                    each.model_copy(update={"blocks": blocks}) if each.blocks else each for each in record.measurements
                )
            }
        )
        if record.case.arch == arch
        else record
        for record in records
    ]


def compared(
    base: tuple[Block, ...], new: tuple[Block, ...], *, in_turns: bool = False, slower: float = STEP_20
) -> Comparison:
    """Compare two runs, the new one of which has slower steps of the LSTM, with these blocks of the LSTM."""
    before = run_of(CASES, 1, processes=8, noise=0.005)
    after = run_of(
        CASES,
        2,
        processes=8,
        noise=0.005,
        slower=lambda case, metric: slower if case.arch == "lstm" and metric == "step_seconds" else 0.0,
    )
    before, after = with_blocks(before, "lstm", base), with_blocks(after, "lstm", new)
    return compare(*linked(before, after)) if in_turns else compare(before, after)


def step(comparison: Comparison) -> Row:
    return next(row for row in comparison.rows if (row.arch, row.metric) == ("lstm", "step_seconds"))


MORE_WORK, SLOWER_MACHINE, WAITING = (
    block(),
    block(instructions=41_666_667),
    block(cpu=0.0166667, instructions=41_666_667),
)
"""Blocks of equal duration after steps have become 20% slower. A slower machine retires fewer instructions in it."""


@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize(
    ("new", "cpu", "instructions", "words"),
    [
        (MORE_WORK, 0.2, 0.2, ": more work"),
        (SLOWER_MACHINE, 0.2, 0.0, ": slower machine or memory"),
        (WAITING, 0.0, 0.0, ": more waiting"),
    ],
)
def test_a_slow_down_is_explained(new: Block, cpu: float, instructions: float, words: str, in_turns: bool) -> None:
    comparison = compared((block(),), (new,), in_turns=in_turns)
    row = step(comparison)
    assert row.verdict == "regressed"
    assert row.cpu_effect == pytest.approx(cpu, abs=0.01)
    assert row.instructions_effect == pytest.approx(instructions, abs=0.01)
    assert witness_of(row).endswith(words)
    assert words in comparison_as_markdown(comparison)
    document: Any = comparison_as_document(comparison)
    assert {"cpu_effect", "instructions_effect"} <= document["rows"][0].keys()


def test_no_verdict_depends_on_cpu_time_or_instructions() -> None:
    """Blocks of any content give the same rows, apart from the two effects."""
    without = block(cpu=None, instructions=None)
    contents = [
        (without, without),
        (block(), SLOWER_MACHINE),
        (block(), block(instructions=1)),
        (block(cpu=1e-9), block()),
    ]
    for in_turns in (False, True):
        for slower in (0.0, STEP_20):
            rows = [
                [
                    replace(row, cpu_effect=None, instructions_effect=None)
                    for row in compared((base,), (new,), in_turns=in_turns, slower=slower).rows
                ]
                for base, new in contents
            ]
            assert all(each == rows[0] for each in rows)


def test_without_counters_nothing_is_said() -> None:
    row = step(compared((block(cpu=None, instructions=None),), (block(),)))
    assert (row.cpu_effect, row.instructions_effect, witness_of(row)) == (None, None, "")
    old = Block(calibration_seconds=CALIBRATION_SECONDS)
    assert witness_of(step(compared((old,), (old,)))) == ""


def test_without_instructions_cpu_time_tells_waiting_from_computing() -> None:
    computing, waiting = block(instructions=None), block(cpu=0.0166667, instructions=None)
    assert witness_of(step(compared((computing,), (computing,)))).endswith(": not waiting")
    assert witness_of(step(compared((computing,), (waiting,)))).endswith(": more waiting")


def test_a_speed_up_is_less_work_or_a_faster_machine() -> None:
    faster = step(compared((block(),), (block(),), slower=-STEP_20))
    assert faster.verdict == "improved"
    assert witness_of(faster).endswith(": less work")
    assert witness_of(replace(faster, instructions_effect=0.0)).endswith(": faster machine or memory")


def test_an_unchanged_timing_has_no_remark() -> None:
    row = step(compared((block(),), (block(),), slower=0.0))
    assert row.verdict == "unchanged" and row.instructions_effect is not None
    assert witness_of(row) == ""


def test_rates_are_medians_over_blocks_and_need_every_block() -> None:
    blocks = (block(instructions=10), block(instructions=30), block(instructions=1000))
    assert counter_rates(blocks) == {"cpu_seconds": 1.0, "instructions": 30 / 0.02}
    assert counter_rates((*blocks, block(instructions=None))) == {"cpu_seconds": 1.0}
    assert counter_rates((block(cpu=0.0),)).keys() == {"instructions"}
    assert counter_rates((block(wall=0.0),)) == counter_rates(()) == {}


def test_pairs_are_compared_with_each_other() -> None:
    base, new = [0.0, 1.0, 5.0], [0.1, 1.1, 3.0]
    assert change((base, new), in_turns=True) == pytest.approx(math.expm1(0.1))
    assert change((base, new), in_turns=False) == pytest.approx(math.expm1(0.1))
    assert change(([0.0, 1.0, 5.0], [0.2, 0.2, 5.2]), in_turns=True) == pytest.approx(math.expm1(0.2))
    assert change(([0.0, 1.0, 5.0], [0.2, 0.2, 5.2]), in_turns=False) == pytest.approx(math.expm1(-0.8))


@pytest.mark.parametrize(
    ("counter", "timing", "explains"),
    [
        (0.2, 0.2, True),
        (0.1, 0.2, True),
        (0.05, 0.2, False),
        (-0.2, 0.2, False),
        (-0.1, -0.15, True),
        (None, 0.2, False),
    ],
)
def test_a_counter_explains_a_change_if_it_shares_half_of_it(
    counter: float | None, timing: float, explains: bool
) -> None:
    assert follows(counter, timing) is explains
