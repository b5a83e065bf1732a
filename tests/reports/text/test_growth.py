"""Sentences on flat, growing and crossing step costs agree with the known costs of synthetic runs."""

from __future__ import annotations

from collections.abc import Callable

from reports import page
from reports.analysis.groups import Group, group_cases
from reports.analysis.streaming.growth import crossover_rows, growth_rows, stream_costs
from reports.analysis.streaming.step_costs import step_costs_by_arch
from reports.format.numbers import percent
from reports.text.growth import growth_sentences
from results import Block, Measurement, Record
from tests.reports import synthetic

POSITIONS = (16, 64, 256, 1024, 4096)


def streamed(arch: str, cost: Callable[[int], float]) -> list[Record]:
    """Return records of six seeds. Seed n takes (1 + n / 1000) · `cost(position)` seconds per step."""
    records = []
    for seed in range(6):
        sound = synthetic.record(synthetic.case(arch, "adding", 32, seed))
        measurements = [each for each in sound.measurements if each.metric in ("accuracy", "forward_seconds")]
        for position in POSITIONS:
            at = {"position": position}
            samples = (cost(position) * (1 + seed / 1000),)
            measurements += [
                Measurement(metric="step_seconds", at=at, samples=samples, blocks=(Block(calibration_seconds=0.005),)),
                Measurement(metric="step_flops", at=at, samples=(1000.0,)),
                Measurement(metric="step_bytes", at=at, samples=(2000.0,)),
                Measurement(metric="read_bytes_per_second", at=at, samples=(1e9,)),
                Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e12,)),
            ]
        records.append(sound.model_copy(update={"measurements": tuple(measurements)}))
    return records


def streamed_groups() -> list[Group]:
    """Return four groups: two with flat costs, one with growing costs, and one whose costs grow up to a window."""
    records = [
        *streamed("gru", lambda position: 50e-6),
        *streamed("lstm", lambda position: 2e-6),
        *streamed("transformer", lambda position: 20e-6 + 50e-9 * position),
        *streamed("transformer:window=256", lambda position: 20e-6 + 50e-9 * min(position, 256)),
    ]
    return group_cases(synthetic.run([record.case for record in records]), records)


def test_each_architecture_has_its_verdict() -> None:
    rows = growth_rows(stream_costs(streamed_groups()))
    verdicts = {row.arch: row.growth.verdict for row in rows}
    windowed = next(name for name in verdicts if "window" in name)
    assert verdicts == {"gru": "flat", "lstm": "flat", "transformer": "growing", windowed: "saturating"}
    assert {row.arch: row.window for row in rows}[windowed] == 256
    # 240 more positions at 50 ns each, relative to 20.8 µs at position 16.
    assert growth_sentences(rows, [])[-1].startswith(
        f"{windowed} grows by 57.7% (57.7% to 57.7%) up to its window of 256, and is flat from position 256 to 4,096: "
    )


def test_window_without_growth_is_flat() -> None:
    records = streamed("transformer:window=256", lambda position: 20e-6)
    costs = stream_costs(group_cases(synthetic.run([record.case for record in records]), records))
    (sentence,) = growth_sentences(growth_rows(costs), [])
    assert "is flat from position 256 to 4,096: " in sentence
    assert sentence.endswith("; no growth detected up to its window of 256: 0.0% (0.0% to 0.0%).")


def test_crossovers_inside_and_outside_the_range_are_described() -> None:
    costs = stream_costs(streamed_groups())
    growths = growth_rows(costs)
    sentences = growth_sentences(growths, crossover_rows(costs, growths))
    assert any(line.startswith("gru is flat from position 16 to 4,096: ") for line in sentences)
    inside = next(line for line in sentences if line.startswith("transformer becomes more expensive than gru"))
    assert "at position 600 (" in inside
    outside = "transformer is more expensive than lstm at every position from 16 to 4,096: no crossover in the "
    assert any(line.startswith(outside) for line in sentences)


def test_flat_costs_have_no_crossover() -> None:
    costs = stream_costs(streamed_groups())
    rows = crossover_rows(costs, growth_rows(costs))
    assert rows and not [row for row in rows if {row.arch, row.other} == {"gru", "lstm"}]


def test_limit_shares_come_from_the_records() -> None:
    gru = [group for group in streamed_groups() if group.arch == "gru"]
    # 1,000 FLOP in 50 µs are 2e7 FLOP/s. The limit is 0.5 FLOP/byte times 1e9 bytes/s. Seeds are up to 0.5% slower.
    share = step_costs_by_arch(gru)["gru"][-1].limit_share
    assert share is not None and 0.0398 < share < 0.04
    assert percent(share) == "4.0%"
    assert percent(None) == "—"


def test_page_shows_growth_and_limit_shares() -> None:
    records = streamed("gru", lambda position: 50e-6)
    text = page(synthetic.run([record.case for record in records]), records)
    assert "Growth of the step cost" in text
    assert "gru is flat from position 16 to 4,096" in text
    assert "4.0%" in text


def test_run_without_streaming_has_no_growth_sentences() -> None:
    assert stream_costs([]) == {} and growth_rows({}) == [] and crossover_rows({}, []) == []
    assert growth_sentences([], []) == []
