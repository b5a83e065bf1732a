"""Flat, growing and crossing streams in words, from runs whose costs are known."""

from __future__ import annotations

from collections.abc import Callable

from reports import page
from reports.analysis.groups import Group, group_cases
from reports.analysis.growth import crossover_rows, growth_rows, stream_costs
from reports.analysis.roofline import percent, shares_of
from reports.analysis.step_costs import step_costs_by_arch
from reports.text.growth import growth_sentences
from results import Block, Measurement, Record
from tests.reports import synthetic

POSITIONS = (16, 64, 256, 1024, 4096)


def streamed(arch: str, cost: Callable[[int], float]) -> list[Record]:
    """Seeds whose step costs exactly `cost`, but for a share of a thousandth each."""
    made = []
    for seed in range(6):
        sound = synthetic.record(synthetic.case(arch, "adding", 32, seed))
        kept = [one for one in sound.measurements if one.metric not in ("step_seconds", "state_bytes")]
        for position in POSITIONS:
            at = {"position": position}
            samples = (cost(position) * (1 + seed / 1000),)
            kept += [
                Measurement(metric="step_seconds", at=at, samples=samples, blocks=(Block(calibration_seconds=0.005),)),
                Measurement(metric="step_flops", at=at, samples=(1000.0,)),
                Measurement(metric="step_bytes", at=at, samples=(2000.0,)),
                Measurement(metric="read_bytes_per_second", at=at, samples=(1e9,)),
                Measurement(metric="matmul_flops_per_second", at={"batch": 1, "rows": 1}, samples=(1e12,)),
            ]
        made.append(sound.model_copy(update={"measurements": tuple(kept)}))
    return made


def found() -> list[Group]:
    records = [
        *streamed("gru", lambda position: 50e-6),
        *streamed("lstm", lambda position: 2e-6),
        *streamed("transformer", lambda position: 20e-6 + 50e-9 * position),
        *streamed("transformer:window=256", lambda position: 20e-6 + 50e-9 * min(position, 256)),
    ]
    return group_cases(synthetic.run([record.case for record in records]), records)


def test_verdicts_of_every_architecture() -> None:
    rows = growth_rows(stream_costs(found()))
    verdicts = {row.arch: row.growth.verdict for row in rows}
    windowed = next(name for name in verdicts if "window" in name)
    assert verdicts == {"gru": "flat", "lstm": "flat", "transformer": "growing", windowed: "saturating"}
    assert {row.arch: row.window for row in rows}[windowed] == 256
    # 50 ns for each of 240 steps more, beside 20.8 µs at position 16.
    assert growth_sentences(rows, [])[-1].startswith(
        f"{windowed} grows by 57.7% (57.7% to 57.7%) up to its window of 256, and is flat from position 256 to 4,096: "
    )


def test_a_window_that_costs_nothing_is_flat_and_says_what_was_not_seen() -> None:
    records = streamed("transformer:window=256", lambda position: 20e-6)
    costs = stream_costs(group_cases(synthetic.run([record.case for record in records]), records))
    (told,) = growth_sentences(growth_rows(costs), [])
    assert "is flat from position 256 to 4,096: " in told
    assert told.endswith("; no growth up to its window of 256 is seen: 0.0% (0.0% to 0.0%).")


def test_crossovers_inside_and_outside_are_told() -> None:
    costs = stream_costs(found())
    growths = growth_rows(costs)
    sentences = growth_sentences(growths, crossover_rows(costs, growths))
    assert any(line.startswith("gru is flat from position 16 to 4,096: ") for line in sentences)
    inside = next(line for line in sentences if line.startswith("transformer becomes dearer than gru"))
    assert "at position 600 (" in inside
    assert (
        "transformer is dearer than lstm at every position from 16 to 4,096: a crossover lies outside the "
        in " ".join(sentences)
    )


def test_two_flat_lines_are_not_crossed() -> None:
    costs = stream_costs(found())
    rows = crossover_rows(costs, growth_rows(costs))
    assert rows and not [row for row in rows if {row.arch, row.other} == {"gru", "lstm"}]


def test_shares_of_the_limit_are_those_of_the_records() -> None:
    kept = [group for group in found() if group.arch == "gru"]
    # 1,000 FLOP in 50 µs are 2e7 a second, of half a FLOP a byte at 1e9 bytes a second; seeds are up to 0.5% slower.
    share = step_costs_by_arch(kept)["gru"][-1].limit_share
    assert share is not None and 0.0398 < share < 0.04
    assert shares_of(kept) == {("gru", "adding", 32): share}
    assert percent(share) == "4.0%"
    assert percent(None) == "—"


def test_the_page_shows_them() -> None:
    records = streamed("gru", lambda position: 50e-6)
    text = page(synthetic.run([record.case for record in records]), records)
    assert "Flat or growing" in text
    assert "gru is flat from position 16 to 4,096" in text
    assert "4.0%" in text


def test_nothing_streamed_says_nothing() -> None:
    assert stream_costs([]) == {} and growth_rows({}) == [] and crossover_rows({}, []) == []
    assert growth_sentences([], []) == []
