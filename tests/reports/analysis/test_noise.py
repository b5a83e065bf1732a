"""Noisy timings are counted, make a status amber, and hollow the markers of the points that rest on them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from matplotlib.axes import Axes

import reports
from reports.analysis.groups import group_cases
from reports.analysis.health import health
from reports.analysis.noise import noise
from reports.analysis.streaming.step_costs import step_costs_by_arch
from reports.figures.drawing.markers import marker_fill
from reports.text.timing_quality import NOISY_MARKERS, single_process_sentence
from results import Block, Record
from tests.reports import interpreted, synthetic

QUIET = Block(calibration_seconds=synthetic.CALIBRATION_SECONDS)
SLOW = Block(calibration_seconds=2 * synthetic.CALIBRATION_SECONDS)
LAST = synthetic.POSITIONS[-1]


def disturbed(record: Record, positions: Sequence[int], metric: str = "step_seconds") -> Record:
    """Return a record whose timings of a metric at some positions have a disturbed block."""
    return record.model_copy(
        update={
            "measurements": tuple(
                each.model_copy(update={"blocks": (*each.blocks, SLOW)})
                if each.metric == metric and each.at["position"] in positions
                else each
                for each in record.measurements
            )
        }
    )


def gru_records(disturbed_seeds: int, positions: Sequence[int] = (LAST,)) -> list[Record]:
    sound = [synthetic.record(synthetic.case("gru", "adding", 32, seed)) for seed in range(3)]
    return [disturbed(each, positions) if each.case.seed < disturbed_seeds else each for each in sound]


def test_timings_and_cases_with_disturbed_blocks_are_counted() -> None:
    records = gru_records(2, (1, LAST))
    counted = noise(records)
    timings = sum(bool(each.blocks) for record in records for each in record.measurements)
    assert (counted.timings, counted.noisy, counted.cases) == (timings, 4, 2)
    assert counted.share == pytest.approx(4 / timings)
    assert not counted.is_high
    assert (noise([]).share, noise([]).is_high) == (0.0, False)


def test_status_is_amber_if_more_than_a_quarter_of_the_timings_are_noisy() -> None:
    def state(positions: Sequence[int]) -> reports.Health:
        records = gru_records(3, positions)
        return health(group_cases(synthetic.run([record.case for record in records]), records))

    # Each case has 15 positions in the loop and called, and two forward passes.
    for count, status, words in ((8, "good", "3 cases with noisy timings."), (9, "warn", "noisy timings (28% of all")):
        found = state(synthetic.POSITIONS[:count])
        assert found.noise.share == pytest.approx(count / 32)
        assert (found.status, words in found.verdict) == (status, True)


@pytest.mark.parametrize(("seeds", "noisy"), [(0, False), (1, False), (2, True), (3, True)])
def test_point_is_noisy_if_at_least_half_of_its_timings_are(seeds: int, noisy: bool) -> None:
    records = gru_records(seeds)
    costs = step_costs_by_arch(group_cases(synthetic.run([record.case for record in records]), records))["gru"]
    assert [cost.noisy for cost in costs] == [False] * (len(costs) - 1) + [noisy]
    assert {cost.processes for cost in costs} == {3}


def test_fill_of_a_marker_shows_noise_before_interpretation() -> None:
    assert marker_fill("compiled", noisy=False) == "full"
    assert marker_fill("interpreted", noisy=False) == "left"
    assert {marker_fill(timing, noisy=True) for timing in ("compiled", "interpreted", "called", None)} == {"none"}


def drawn_fills(monkeypatch: pytest.MonkeyPatch, records: list[Record]) -> dict[str, list[object]]:
    """Return the x coordinates of the markers in the streaming figure by fill style."""
    fills: dict[str, list[object]] = {}
    plot = Axes.plot

    def recorded(self: Axes, *arguments: object, **options: object) -> object:
        if "fillstyle" in options:
            fills.setdefault(str(options["fillstyle"]), []).extend(arguments[0])  # type: ignore[call-overload]
        return plot(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Axes, "plot", recorded)
    figure = reports.streaming_cost(synthetic.run([record.case for record in records]), records)
    assert figure is not None
    assert (NOISY_MARKERS in figure.how_to_read) == ("none" in fills)
    assert figure.table is not None
    assert sum(row[-1] == "noisy" for row in figure.table.rows) == len(fills.get("none", ()))
    return fills


def test_noisy_points_are_hollow_in_the_streaming_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_fills(monkeypatch, gru_records(3, (1, LAST))) == {
        "full": [*synthetic.POSITIONS[1:-1]],
        "none": [1, LAST],
    }


def test_sound_points_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn_fills(monkeypatch, gru_records(0)) == {"full": [*synthetic.POSITIONS]}


def test_interpreted_points_are_half_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    fills = drawn_fills(monkeypatch, interpreted.records())
    assert set(fills) == {"full", "left"}


def test_architecture_of_a_single_process_is_named_wherever_its_cost_is() -> None:
    sound = synthetic.sound_records()
    single = [synthetic.record(synthetic.case("gru", "adding", 32, 0))]
    records = [record for record in sound if record.case.arch != "gru"] + single
    run = synthetic.run([record.case for record in records])
    costs = step_costs_by_arch(group_cases(run, records))
    sentence = "Timed in a single process: gru. Its cost does not show how much timings differ between processes."
    assert single_process_sentence(costs) == sentence
    assert single_process_sentence({arch: own for arch, own in costs.items() if arch != "gru"}) == ""
    for draw in (reports.streaming_cost, reports.accuracy_against_cost):
        figure = draw(run, records)
        assert figure is not None and sentence in figure.how_to_read
    assert sentence in reports.page(run, records)


def test_leaderboard_says_how_many_rows_rest_on_a_single_process() -> None:
    single = [synthetic.record(synthetic.case("gru", "adding", 32, 0))]
    several = [synthetic.record(synthetic.case("gru", "adding", 128, seed)) for seed in range(2)]
    for records, sentence in (
        (single, "A single process timed the steps of each row"),
        ([*single, *several], "A single process timed the steps of 1 of 2 rows"),
    ):
        assert sentence in reports.page(synthetic.run([record.case for record in records]), records)
    assert "A single process" not in reports.page(synthetic.run([record.case for record in several]), several)
