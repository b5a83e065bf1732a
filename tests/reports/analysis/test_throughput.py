"""Throughput counts the steps of all streams in a batch."""

from __future__ import annotations

from reports.analysis.groups import group_cases
from reports.analysis.streaming.throughput import throughputs
from reports.html.render import page
from results import Measurement, Record
from tests.reports import synthetic


def streamed(record: Record, *step_seconds: tuple[int, float]) -> Record:
    measured = tuple(
        Measurement(
            metric="stream_step_seconds", at={"position": 1024, "streams": streams}, samples=(1.0, seconds, 0.0)
        )
        for streams, seconds in step_seconds
    )
    return record.model_copy(update={"measurements": (*record.measurements, *measured)})


def test_steps_per_second_are_of_all_streams_together() -> None:
    first, second = synthetic.cases()[:2]
    records = [
        streamed(synthetic.record(first), (8, 2e-5), (1, 1e-5)),
        streamed(synthetic.record(second), (8, 6e-5)),
    ]
    rows = throughputs(group_cases(synthetic.run([first, second]), records))
    values = [
        (row.arch, row.position, row.streams, row.cases, round(row.steps_per_second))
        for row in rows
        if row.position == 1024
    ]
    arch = values[0][0]
    assert values == [(arch, 1024, 1, 1, 100_000), (arch, 1024, 8, 2, 200_000)]
    text = page(synthetic.run([first, second]), records)
    assert "Parallel streams" in text and "200,000" in text
    assert "step of all streams together" not in text


def test_stored_steps_without_duration_have_no_throughput() -> None:
    at = {"position": 128, "streams": 8}
    record = synthetic.record(synthetic.case("lstm", "adding", 32, 0)).model_copy(
        update={"measurements": (Measurement(metric="stream_step_seconds", at=at, samples=(0.0, 0.0)),)}
    )
    assert throughputs(group_cases(synthetic.run([record.case]), [record])) == []
