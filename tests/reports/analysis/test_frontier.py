"""The frontier holds the architectures that no other beats, and limits exclude what they should."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from reports.analysis.frontier import (
    Frontier,
    Needs,
    closest,
    excluded_by,
    frontier,
    relaxations,
    unbeaten,
)
from reports.analysis.groups import group_cases
from reports.analysis.overview import OverviewRow, overview_rows
from reports.text.needs import answer
from reports.text.recommendation import recommendation
from results import ProbeRun, Record
from tests.reports import planted, synthetic


def frontier_of(*rivals: list[Record]) -> Frontier:
    records = [record for rival in rivals for record in rival]
    groups = group_cases(synthetic.run([record.case for record in records]), records)
    return frontier(groups, overview_rows(groups))


def names(rows: list[OverviewRow]) -> list[str]:
    return [row.arch for row in rows]


LARGE = planted.records("large", 0.95, state=1e6, microseconds=100)
SMALL = planted.records("small", 0.7, state=600, microseconds=5)


def test_more_memory_for_a_higher_cost_is_a_trade_off() -> None:
    found = frontier_of(LARGE, SMALL)
    assert names(found.members()) == ["large", "small"]
    assert (found.beats, found.left_out) == (frozenset(), {})


@pytest.mark.parametrize(
    ("score", "state", "microseconds", "is_beaten"),
    [
        (0.5, 600, 5, True),  # a lower share at equal costs
        (0.5, 700, 6, True),
        (0.5, 500, 6, False),  # a smaller state
        (0.5, 700, 4, False),  # a cheaper step
        (0.9, 700, 6, False),  # a higher share
        (0.7, 700, 5, True),  # an equal share, and a larger state
        (0.7, 600, 6, True),
        (0.7, 600, 5, False),  # equal in everything
        (0.7, 500, 6, False),
        (0.705, 601, 5, True),  # a share that is higher, but not significantly
    ],
)
def test_an_architecture_is_beaten_if_it_is_worse_in_one_and_better_in_none(
    score: float, state: float, microseconds: float, is_beaten: bool
) -> None:
    found = frontier_of(SMALL, planted.records("other", score, state=state, microseconds=microseconds))
    assert (("small", "other") in found.beats) is is_beaten
    assert ("other" not in names(found.members())) is is_beaten


def test_shares_that_cannot_be_told_apart_count_as_equal() -> None:
    costly = planted.records("costly", 0.75, state=700, microseconds=6, spread=planted.LOOSE)
    cheap = planted.records("cheap", 0.7, state=600, microseconds=5, spread=planted.LOOSE)
    assert names(frontier_of(costly, cheap).members()) == ["cheap"]
    assert names(frontier_of(*map(_tight, (costly, cheap))).members()) == ["costly", "cheap"]


def _tight(records: list[Record]) -> list[Record]:
    """Return the records with the mean score of all of them, up to a hundredth."""
    scores = [record.of("accuracy")[0].samples[0] for record in records]
    arch = records[0].case.arch
    state = records[0].of("state_bytes")[0].samples[0]
    seconds = records[0].of("step_seconds")[0].samples[0]
    return planted.records(arch, sum(scores) / len(scores), state=state, microseconds=1e6 * seconds)


def test_only_a_member_removes_another_one() -> None:
    # first is tied with second, and second with third, but third is better than first.
    assert unbeaten(["third", "second", "first"], {("first", "second"), ("second", "third")}) == ["first", "third"]


def test_members_beat_each_other_never_and_everybody_else_always() -> None:
    noise = random.Random(0)
    for _ in range(200):
        archs = [f"a{number}" for number in range(8)]
        beats = {(a, b) for a in archs for b in archs if a < b and noise.random() < 0.3}
        members = unbeaten(archs, beats)
        assert not [(a, b) for a, b in permutations(members, 2) if (a, b) in beats]
        assert all(any((a, arch) in beats for a in members) for arch in archs if arch not in members)
        assert set(unbeaten(archs[::-1], beats)) == set(members)


def test_interpreted_steps_are_compared_by_memory_share_and_state_only() -> None:
    cheap_call = planted.records("mine", 0.7, state=600, microseconds=1, is_interpreted=True)
    found = frontier_of(SMALL, cheap_call)
    assert set(names(found.members())) == {"mine", "small"}
    assert found.beats == frozenset()
    smaller = planted.records("mine", 0.7, state=500, microseconds=1, is_interpreted=True)
    assert frontier_of(SMALL, smaller).beats == frozenset()  # its compiled step may be dear
    larger = planted.records("mine", 0.7, state=700, microseconds=1, is_interpreted=True)
    assert frontier_of(SMALL, larger).beats == {("small", "mine")}


def test_two_interpreted_architectures_are_compared_with_each_other() -> None:
    mine, other = (
        planted.records(arch, 0.7, state=state, microseconds=9, is_interpreted=True)
        for arch, state in (("mine", 500), ("other", 600))
    )
    assert ("mine", "other") in frontier_of(SMALL, mine, other).beats


@pytest.mark.parametrize("status", ["diverged", "inconsistent", "crashed", "timeout"])
def test_an_architecture_with_a_failed_case_is_left_out(status: str) -> None:
    failed = planted.records("large", 0.95, state=1e6, microseconds=100, spread=(*planted.TIGHT, 0.0))
    failed[-1] = failed[-1].model_copy(update={"status": status, "reason": "planted"})
    found = frontier_of(failed, SMALL)
    assert names(found.members()) == ["small"]
    assert found.left_out == {"large": f"1 case failed: {status}"}


def test_an_architecture_whose_stream_failed_is_left_out() -> None:
    failed = [
        record.model_copy(update={"probes": {"streaming": ProbeRun(status="failed", reason="planted", seconds=0.0)}})
        for record in LARGE
    ]
    assert frontier_of(failed, SMALL).left_out == {"large": "3 cases failed: 3 streaming failed"}


def test_missing_cases_are_no_failure() -> None:
    records = [*LARGE, *SMALL]
    planned = [record.case for record in records] + [synthetic.case("large", "adding", 32, 7)]
    groups = group_cases(synthetic.run(planned), records)
    assert names(frontier(groups, overview_rows(groups)).members()) == ["large", "small"]


def test_an_undecided_architecture_is_left_out_and_beats_nobody() -> None:
    dominant = planted.records("dominant", 0.99, state=100, microseconds=1)
    assert names(frontier_of(dominant, SMALL).members()) == ["dominant"]
    found = frontier_of(planted.still_learning(dominant), SMALL)
    assert names(found.members()) == ["dominant"]  # it can rise by a hundredth at most
    middling = planted.records("middling", 0.5, state=100, microseconds=1)
    found = frontier_of(planted.still_learning(middling), SMALL)
    assert (names(found.members()), names(found.could_change())) == (["small"], ["middling"])
    assert names(found.could_change(found.candidates)) == []


@pytest.mark.parametrize(
    ("score", "spread", "reason"),
    [
        (0.1, planted.TIGHT, "no clear memory by its scores, 2%"),
        (0.07, planted.TIGHT, "no clear memory by its scores, at most 2%"),
    ],
)
def test_an_architecture_without_clear_memory_is_left_out(score: float, spread: tuple[float, ...], reason: str) -> None:
    forgetful = planted.records("forgetful", score, state=8, microseconds=1, spread=spread)
    assert frontier_of(forgetful, SMALL).left_out == {"forgetful": reason}


def test_an_architecture_that_was_not_streamed_is_no_candidate() -> None:
    silent = [record.model_copy(update={"measurements": tuple(record.of("accuracy"))}) for record in LARGE]
    found = frontier_of(silent, SMALL)
    assert (names(found.members()), found.left_out) == (["small"], {})


def test_state_that_was_not_measured_is_over_any_limit_and_beats_nobody() -> None:
    unknown = [
        record.model_copy(update={"measurements": tuple(m for m in record.measurements if m.metric != "state_bytes")})
        for record in planted.records("unknown", 0.99, state=0, microseconds=1)
    ]
    found = frontier_of(unknown, SMALL)
    assert names(found.members()) == ["unknown", "small"]
    row = next(row for row in found.candidates if row.arch == "unknown")
    assert excluded_by(row, Needs(state_bytes=1e9)) == ["state_bytes"]
    assert relaxations([row], Needs(state_bytes=1.0)) == []
    assert closest([row], Needs(state_bytes=1.0)) == []


def test_limits_include_their_own_value_and_size_is_that_of_the_largest_model() -> None:
    other_task = planted.records("small", 0.7, state=600, microseconds=5, parameters=21_000, task="copy_memory")
    (row,) = frontier_of(SMALL, other_task).candidates
    assert row.parameters == 21_000
    exact = Needs(state_bytes=600, step_seconds=0.000005, parameters=21_000)
    assert excluded_by(row, exact) == []
    assert excluded_by(row, Needs(state_bytes=599, step_seconds=4.9e-6, parameters=20_999)) == [
        "state_bytes",
        "step_seconds",
        "parameters",
    ]


def test_each_limit_is_relaxed_just_enough_for_one_architecture() -> None:
    candidates = frontier_of(LARGE, SMALL).candidates
    found = relaxations(candidates, Needs(state_bytes=500, step_seconds=50e-6))
    assert [(each.quantity, each.value, each.archs) for each in found] == [("state_bytes", 600, ("small",))]
    assert found[0].ratio == pytest.approx(1.2)
    # The step excludes both, the state excludes one: raising the step alone lets only the small one through.
    found = relaxations(candidates, Needs(state_bytes=1000, step_seconds=1e-6))
    assert [(each.quantity, each.archs) for each in found] == [("step_seconds", ("small",))]
    both = relaxations(candidates, Needs(step_seconds=1e-6))
    assert [(each.ratio, each.archs) for each in both] == [(pytest.approx(5), ("small",))]


def test_the_architecture_with_the_smallest_excess_is_closest() -> None:
    candidates = frontier_of(LARGE, SMALL).candidates
    needs = Needs(state_bytes=300, step_seconds=1e-6)
    assert relaxations(candidates, needs) == []
    found = closest(candidates, needs)
    assert [(each.quantity, each.archs) for each in found] == [
        ("state_bytes", ("small",)),
        ("step_seconds", ("small",)),
    ]
    assert [each.ratio for each in found] == pytest.approx([2, 5])


def _moved(records: list[Record], positions: dict[int, float]) -> list[Record]:
    """Return the records with steps and states at other positions, each cost times a factor."""
    return [
        record.model_copy(
            update={
                "measurements": tuple(
                    measurement.model_copy(
                        update={"at": {"position": at}, "samples": tuple(factor * s for s in measurement.samples)}
                    )
                    for measurement in record.measurements
                    for at, factor in (positions.items() if "position" in measurement.at else [(0, 1.0)])
                    if "position" in measurement.at
                )
                + tuple(measurement for measurement in record.measurements if "position" not in measurement.at)
            }
        )
        for record in records
    ]


def test_costs_are_compared_at_the_last_shared_position() -> None:
    """At its own last position, 8,192, `long` costs more than `short` at 4,096; at 4,096 it costs less."""
    long = _moved(planted.records("long", 0.7, state=640, microseconds=5), {4096: 1.0, 8192: 10.0})
    short = _moved(planted.records("short", 0.5, state=700, microseconds=6), {1: 1.0, 4096: 1.0})
    found = frontier_of(long, short)
    assert {row.arch: row.cost and row.cost.position for row in found.candidates} == {"long": 4096, "short": 4096}
    assert found.beats == {("long", "short")}
    note = "Position 4,096 is the last at which all streamed architectures were measured."
    assert note in (recommendation(found) or "")
    assert answer(found, Needs(step_seconds=5.5e-6))[-2:] == [
        "A limit of 5.5 µs per step excludes short (6.00 µs at position 4,096).",
        note,
    ]
    assert all("Position" not in sentence for sentence in answer(frontier_of(LARGE, SMALL), Needs(parameters=1e9)))


def test_nothing_beats_another_on_costs_at_different_positions() -> None:
    cheap = _moved(planted.records("cheap", 0.7, state=640, microseconds=5), {64: 1.0})
    dear = _moved(planted.records("dear", 0.5, state=700, microseconds=6), {8192: 1.0})
    found = frontier_of(cheap, dear)
    assert found.beats == frozenset() and names(found.members()) == ["cheap", "dear"]
    text = recommendation(found) or ""
    assert "Costs are at the last position of each inside a compiled loop." in text
    assert "The architectures were measured at no common position" in text


def test_limit_on_the_step_keeps_compiled_and_interpreted_steps_apart() -> None:
    compiled = planted.records("compiled", 0.7, state=640, microseconds=5)
    called = planted.records("called", 0.7, state=640, microseconds=2, is_interpreted=True)
    found = frontier_of(compiled, called)
    assert answer(found, Needs(step_seconds=3e-6))[0] == "Within the limits: called (interpreted)."
    assert answer(found, Needs(step_seconds=1e-6))[:2] == [
        "Within the limits: none.",
        "Raise one limit: step to 2.00 µs (2.00 times), which leaves called (interpreted); or step to 5.00 µs "
        "(5.00 times), which leaves compiled.",
    ]
    needs = Needs(step_seconds=1e-6, parameters=19_999)
    assert "Closest is called (interpreted): raise" in answer(found, needs)[1]
