"""Steps inside a compiled loop are ranked; steps that were called from Python are shown, marked and never ranked."""

from __future__ import annotations

import pytest

import reports
from reports.analysis.frontier import frontier
from reports.analysis.groups import Group, group_cases
from reports.analysis.overview import overview_rows
from reports.analysis.streaming.growth import crossover_rows, growth_rows, stream_costs
from reports.analysis.streaming.step_costs import ranked, step_costs_by_arch
from reports.text.baseline import compare_with_baseline
from reports.text.recommendation import recommendation
from results import Measurement, ProbeRun, Record
from tests.reports import interpreted, synthetic

EXACT = 1e-9


@pytest.fixture(scope="module")
def mixed() -> list[Group]:
    """Return the groups of a run in which `mine` is interpreted and cheaper than every compiled architecture."""
    return group_cases(interpreted.run(), interpreted.records())


@pytest.fixture(scope="module")
def old() -> list[Group]:
    return group_cases(interpreted.old_run(), interpreted.old_records())


def test_cost_is_that_in_the_loop_and_of_interpreted_steps_that_of_a_call(mixed: list[Group]) -> None:
    costs = step_costs_by_arch(mixed)
    assert {arch: own[-1].timing for arch, own in costs.items()} == {
        "rnn": "compiled",
        "lstm": "compiled",
        "gru": "compiled",
        "mine": "interpreted",
    }
    gru, mine = costs["gru"][-1], costs["mine"][-1]
    assert mine.p50_seconds == mine.call_seconds == interpreted.CHEAP_CALL_SECONDS
    assert (mine.added_seconds, mine.limit_share) == (None, None)
    assert gru.call_seconds is not None and gru.added_seconds is not None
    assert gru.added_seconds == pytest.approx(gru.call_seconds - gru.p50_seconds, rel=EXACT)
    assert gru.added_seconds == pytest.approx(synthetic.CALL_SECONDS, rel=0.2)
    assert set(ranked(costs)) == {"rnn", "lstm", "gru"}


def test_run_with_calls_only_ranks_calls(old: list[Group]) -> None:
    costs = step_costs_by_arch(old)
    assert {own[-1].timing for own in costs.values()} == {"called"}
    assert ranked(costs) == costs
    text = recommendation(frontier(old, overview_rows(old)))
    assert text is not None and "Costs are at position 16,384, called from Python." in text


def test_backend_of_the_probe_marks_interpreted_steps_without_compiled_ones_beside_them() -> None:
    case = synthetic.case("gru", "adding", 32, 0)
    for backend, timing in (("reference", "interpreted"), ("fused", "called"), ("graph", "called"), (None, "called")):
        probes = {"streaming": ProbeRun(status="ok", seconds=1.0, backend=backend)}
        record = synthetic.called(synthetic.record(case)).model_copy(update={"probes": probes})
        (costs,) = step_costs_by_arch(group_cases(synthetic.run([case]), [record])).values()
        assert costs[0].timing == timing


def test_cost_of_an_interpreted_architecture_is_not_compared(mixed: list[Group]) -> None:
    rows = overview_rows(mixed)
    assert {row.arch: row.has_ranked_cost for row in rows}["mine"] is False
    found = frontier(mixed, rows)
    assert not [better for better, _ in found.beats if better == "mine"]
    text = recommendation(found)
    assert text is not None
    assert "mine (98%, 640 B, 1.00 µs interpreted)" in text
    assert text.endswith("Interpreted, so compared by memory share and state only: mine.")


def test_cheap_interpreted_step_does_not_break_a_tie_of_scores() -> None:
    rows = reports.leaderboard(interpreted.run(), interpreted.records())
    first, second = [row for row in rows if row.task == "adding"][:2]
    assert (first.arch, second.arch, first.score) == ("gru", "mine", second.score)
    assert (second.step_timing, second.far_step_seconds) == ("interpreted", interpreted.CHEAP_CALL_SECONDS)
    assert first.limit_share is not None and second.limit_share is None


def streamed(arch: str, seconds_per_position: float) -> list[Record]:
    """Return records of six seeds whose steps and calls cost 20 µs plus a share that grows with the position."""
    records = []
    for seed in range(6):
        record = synthetic.record(synthetic.case(arch, "adding", 32, seed))
        measurements = tuple(
            Measurement(
                metric=metric,
                at={"position": position},
                samples=((20e-6 + seconds_per_position * position) * (1 + seed / 1000),),
            )
            for metric in ("step_seconds", "call_step_seconds")
            for position in (16, 256, 4096)
        )
        records.append(record.model_copy(update={"measurements": measurements}))
    return records


def test_compiled_and_interpreted_costs_have_no_crossover() -> None:
    growing, flat = streamed("transformer", 5e-8), streamed("gru", 0.0)
    run = synthetic.run([record.case for record in growing + flat])
    costs = stream_costs(group_cases(run, growing + flat))
    assert [(row.arch, row.other) for row in crossover_rows(costs, growth_rows(costs))] == [("transformer", "gru")]
    costs = stream_costs(group_cases(run, [*growing, *map(synthetic.interpreted, flat)]))
    assert {row.arch: row.timing for row in growth_rows(costs)} == {"transformer": "compiled", "gru": "interpreted"}
    assert crossover_rows(costs, growth_rows(costs)) == []


def test_step_of_an_old_run_has_no_ratio_to_a_compiled_step() -> None:
    records = [synthetic.record(case) for case in synthetic.cases() if case.length == 32]
    run = synthetic.run([record.case for record in records])
    old_baseline = reports.Baseline(run=interpreted.old_run(), records=interpreted.old_records())
    pairs = compare_with_baseline(run, records, group_cases(run, records), old_baseline).pairs
    assert pairs and all(pair.is_mixed and pair.step_ratio is None for pair in pairs)
    same = reports.Baseline(run=run, records=records)
    assert {pair.step_ratio for pair in compare_with_baseline(run, records, group_cases(run, records), same).pairs} == {
        1.0
    }
    text = reports.page(run, records, baseline=old_baseline)
    assert "These costs have no ratio." in text
    assert "Cost of a streamed step in both runs" not in text
