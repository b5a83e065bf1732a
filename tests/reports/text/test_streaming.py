"""Sentences and tables on streaming come in one order: the step, the call, chunks, streams, deadlines, memory."""

from __future__ import annotations

import csv
import io
import re

import pytest
from rich.console import Console

import reports
from reports.analysis.groups import group_cases
from reports.analysis.streaming.chunks import chunk_costs
from reports.analysis.streaming.deadlines import deadline_rows
from reports.analysis.streaming.device_memory import device_memory
from reports.analysis.streaming.step_costs import step_costs_by_arch
from reports.figures.drawing.alternative_text import cheapest
from reports.format import numbers
from reports.text.streaming import streaming_conclusions
from results import Measurement, ProbeRun, Record, RunFile
from tests.reports import interpreted, synthetic
from tests.reports.html.test_render import Outline

CLOSE = 1e-12
"""The tolerance for medians and means of a few doubles."""


def with_measurements(*measurements: Measurement, seed: int = 0) -> Record:
    record = synthetic.record(synthetic.case("gru", "adding", 32, seed))
    return record.model_copy(update={"measurements": measurements})


def sentences(run: RunFile, records: list[Record]) -> list[str]:
    groups = group_cases(run, records)
    return streaming_conclusions(groups, step_costs_by_arch(groups))


def test_sentences_say_step_call_chunks_and_deadlines_in_this_order(run: RunFile, records: list[Record]) -> None:
    step, call, chunks, deadline = sentences(run, records)
    assert step.startswith(
        "Cost of a streamed step at position 16,384, inside a compiled loop: rnn 36.6 µs (flat from position 1; 22% of "
    )
    assert re.fullmatch(
        r"A call from Python adds [\d.]+ µs for rnn, [\d.]+ µs for lstm, [\d.]+ µs for gru and [\d.]+ µs for "
        r"transformer\.",
        call,
    )
    # A chunk of 256 steps takes √256 = 16 times 33.66 µs, the median over seeds of a step of rnn.
    assert chunks.startswith(
        "If 256 steps arrive at once at position 128, they cost 2.10 µs per step for rnn (answer after 539 µs), "
    )
    assert deadline.startswith("Share of steps later than 60.0 µs at position 128: rnn 0.20%, worst 68.6 µs; lstm ")


def test_interpreted_step_has_its_own_sentence() -> None:
    step, others, call = sentences(interpreted.run(), interpreted.records())[:3]
    assert "mine" not in step and "mine" not in call
    assert others == (
        "Not ranked among these, because called from Python: mine (interpreted) 1.00 µs (flat from position 1)."
    )


def test_old_run_is_called_from_python_everywhere() -> None:
    run, records = interpreted.old_run(), interpreted.old_records()
    (sentence,) = sentences(run, records)
    assert sentence.startswith("Cost of a streamed step at position 16,384, called from Python: rnn 4")
    text = Outline(reports.page(run, records)).text
    assert "This run has no timings of steps inside a compiled loop." in text
    assert "called step at 16,384" in text and "called p50" in text
    for absent in ("What a call from Python adds", "What chunks change", "Deadlines", "interpreted"):
        assert absent not in text
    heading = reports.as_markdown(run, records).splitlines()[0]
    assert "step p50 at 16,384 called from Python, µs" in heading
    assert "call p50" not in heading and "share of the limit" not in heading
    figure = reports.streaming_cost(run, records)
    assert figure is not None and "one step, batch 1, called from Python" in figure.svg
    assert "called from Python" in figure.alternative


def test_page_tells_the_step_the_call_chunks_streams_deadlines_and_memory_in_this_order(
    run: RunFile, records: list[Record]
) -> None:
    text = Outline(reports.page(run, records)).text
    text = text[text.index("The cost of one step of a single stream, inside a compiled loop") :]
    headings = (
        *("The share of the limit is", "What a call from Python adds", "What chunks change", "Parallel streams"),
        *("Deadlines", "Memory of a device", "Growth of the step cost"),
    )
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    for shown in ("22%", "0.20%", "17,000,000", "4.0 KiB"):
        assert shown in text


def test_interpreted_steps_are_marked_in_every_output() -> None:
    run, records = interpreted.run(), interpreted.records()
    page = Outline(reports.page(run, records))
    assert "An asterisk marks interpreted steps, which were called from Python instead" in page.text
    assert "1.00*" in page.text
    assert "interpreted p50 of seed 0, µs" in page.text
    markdown = reports.as_markdown(run, records)
    assert {line.count("1.00 (interpreted)") for line in markdown.splitlines() if "| mine |" in line} == {3}
    assert not [line for line in markdown.splitlines() if "| gru |" in line and "interpreted" in line]
    assert "1.00 (interpreted)" in reports.as_latex(run, records)
    lines = csv.DictReader(io.StringIO(reports.as_csv(run, records)))
    assert {line["arch"]: line["step_timing"] for line in lines} == {
        "rnn": "compiled",
        "lstm": "compiled",
        "gru": "compiled",
        "mine": "interpreted",
    }
    console = Console(width=80, file=io.StringIO(), color_system=None)
    reports.render_terminal(run, records, console=console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert "* interpreted: called from Python, not ranked among compiled steps" in printed
    assert re.search(r"mine .*1\.00\* +1\.00\* +1\.00\*", printed)
    assert not re.search(r"gru .*\*", printed)


@pytest.mark.parametrize("draw", [reports.streaming_cost, reports.accuracy_against_cost, reports.chunk_cost])
def test_interpreted_steps_are_marked_in_every_legend_and_win_no_comparison(draw: object) -> None:
    assert callable(draw)
    figure = draw(interpreted.run(), interpreted.records())
    assert "mine (interpreted)" in figure.svg
    assert "Half-filled markers are interpreted steps" in figure.how_to_read
    assert "lowest for mine" not in figure.alternative
    assert "lowest for rnn" in figure.alternative


def test_calls_are_drawn_beside_the_steps_in_the_loop(run: RunFile, records: list[Record]) -> None:
    figure = reports.streaming_cost(run, records)
    assert figure is not None
    assert "The thin dotted line is a call of the step from Python." in figure.how_to_read
    assert figure.description.count("if called from Python") == 4
    old = reports.streaming_cost(interpreted.old_run(), interpreted.old_records())
    assert old is not None
    assert "thin dotted line" not in old.how_to_read


def test_blocks_of_steps_are_named_on_the_page() -> None:
    sound = synthetic.record(synthetic.case("gru", "adding", 32, 0))
    blocks = tuple(
        Measurement(metric="steps_per_reading", at={"position": position}, samples=(count,))
        for position, count in ((1, 4.0), (2, 8.0))
    )
    record = sound.model_copy(update={"measurements": sound.measurements + blocks})
    run = synthetic.run([record.case])
    assert "Each sample is a mean over so many steps: gru 8." in reports.page(run, [record])
    assert "Each sample is a mean" not in reports.page(run, [sound])


def test_chunks_are_medians_over_cases_of_the_medians_within_each() -> None:
    at = {"position": 128, "chunk": 4}
    records = [
        with_measurements(Measurement(metric="chunk_seconds", at=at, samples=samples), seed=seed)
        for seed, samples in enumerate([(8e-6, 1e-6, 9e-6), (4e-6,), (12e-6,)])
    ]
    ((cost,),) = chunk_costs(group_cases(synthetic.run([record.case for record in records]), records)).values()
    assert (cost.position, cost.chunk, cost.cases) == (128, 4, 3)
    assert cost.answer_seconds == pytest.approx(8e-6, rel=CLOSE)
    assert cost.step_seconds == pytest.approx(2e-6, rel=CLOSE)


def test_late_share_is_a_mean_and_the_worst_step_a_maximum() -> None:
    at = {"position": 128, "deadline_ns": 50_000}
    records = [
        with_measurements(
            Measurement(metric="late_share", at=at, samples=(share,)),
            Measurement(metric="worst_step_seconds", at=at, samples=(worst,)),
            Measurement(metric="deadline_steps", at=at, samples=(1000.0,)),
            seed=seed,
        )
        for seed, (share, worst) in enumerate([(0.0, 4e-5), (0.03, 9e-5)])
    ]
    (row,) = deadline_rows(group_cases(synthetic.run([record.case for record in records]), records))
    assert (row.arch, row.position, row.deadline_seconds, row.cases, row.steps) == ("gru", 128, 5e-5, 2, 2000)
    assert row.late_share == pytest.approx(0.015, rel=CLOSE)
    assert row.worst_seconds == 9e-5


def test_a_deadline_sentence_names_fewer_than_a_million_steps_per_case() -> None:
    at = {"position": 128, "deadline_ns": 50_000}
    told = []
    for steps in (1e6, 4321.0):
        record = with_measurements(
            Measurement(metric="step_seconds", at={"position": 128}, samples=(1e-6,)),
            Measurement(metric="late_share", at=at, samples=(0.25,)),
            Measurement(metric="deadline_steps", at=at, samples=(steps,)),
        )
        told.append(sentences(synthetic.run([record.case]), [record])[-1].partition(": ")[2])
    assert told == ["gru 25%.", "gru 25% of 4,321 steps."]


def test_why_requested_measurements_are_missing_is_said_once_per_reason() -> None:
    reason = "no deadline was tested: compiled code cannot read the clock on this machine"
    at = {"position": 16}
    records = [
        with_measurements(Measurement(metric="step_seconds", at=at, samples=(1e-6,)), seed=seed).model_copy(
            update={"probes": {"streaming": ProbeRun(status="ok", reason=reason, seconds=1.0)}}
        )
        for seed in range(2)
    ]
    run = synthetic.run([record.case for record in records])
    assert sentences(run, records)[-1] == f"Streaming of gru: {reason}."
    assert f"streaming ok: {reason}" in reports.page(run, records)


def test_memory_of_a_device_is_the_sum_of_its_parts() -> None:
    known = with_measurements(
        Measurement(metric="weight_bytes", samples=(1000.0,)),
        *(Measurement(metric="state_bytes", at={"position": n}, samples=(10.0 * n,)) for n in (1, 64)),
        Measurement(metric="workspace_bytes", at={"position": 64}, samples=(300.0,)),
        Measurement(metric="packed_weight_bytes", at={"position": 64}, samples=(2000.0,)),
    )
    (row,) = device_memory(group_cases(synthetic.run([known.case]), [known]))
    assert (row.position, row.weight_bytes, row.state_bytes, row.workspace_bytes) == (64, 1000.0, 640.0, 300.0)
    assert (row.packed_weight_bytes, row.total_bytes) == (2000.0, 3940.0)
    assert device_memory(group_cases(interpreted.old_run(), interpreted.old_records())) == []


def test_memory_of_an_interpreted_architecture_is_no_sum_and_is_marked() -> None:
    at = {"position": 64}
    record = with_measurements(
        Measurement(metric="call_step_seconds", at=at, samples=(1e-4,)),
        Measurement(metric="weight_bytes", samples=(1000.0,)),
        Measurement(metric="state_bytes", at=at, samples=(640.0,)),
    )
    compiled = synthetic.record(synthetic.case("lstm", "adding", 32, 0))
    run, records = synthetic.run([record.case, compiled.case]), [record, compiled]
    row = next(row for row in device_memory(group_cases(run, records)) if row.arch == "gru")
    assert (row.workspace_bytes, row.total_bytes) == (None, None)
    table = reports.page(run, records).partition('<h3 id="memory">')[2].partition("</table>")[0]
    rows = {line.partition("</th>")[0]: line for line in table.splitlines() if 'scope="row"' in line}
    ((head, text),) = [(head, text) for head, text in rows.items() if "gru" in head]
    assert "interpreted" in head
    assert text.endswith("<td>—</td><td>—</td></tr>")


@pytest.mark.parametrize(
    ("seconds", "text"), [(2e-8, "20.0 ns"), (1.7e-6, "1.70 µs"), (2.56e-3, "2.56 ms"), (1.5, "1.50 s"), (0.0, "0 ns")]
)
def test_durations_have_a_unit(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text


def test_nothing_is_cheapest_without_step_times() -> None:
    assert cheapest([{}]) == ""
    assert cheapest([{"gru": 2e-6, "rnn": 1e-6}]) == ", and the time per step is lowest for rnn (1.00 µs)"


def cut(records: list[Record], arch: str, last: int) -> list[Record]:
    """Return the records without what was measured for `arch` beyond the position `last`."""
    return [
        record.model_copy(
            update={"measurements": tuple(m for m in record.measurements if m.at.get("position", 0) <= last)}
        )
        if record.case.arch.startswith(arch)
        else record
        for record in records
    ]


def test_cost_at_another_position_is_named_with_it(run: RunFile, records: list[Record]) -> None:
    step, call = sentences(run, cut(records, "transformer", 128))[:2]
    assert step.startswith("Cost of a streamed step at position 16,384, inside a compiled loop: rnn 36.6 µs (flat ")
    assert step.count("transformer 83.8 µs (at position 128; ") == 1 and step.count(" (at position ") == 1
    assert call.endswith(" for transformer (at position 128).") and call.count("position") == 1
    first = sentences(run, cut(records, "rnn", 128))[0]
    assert re.search(r", rnn [\d.]+ µs \(at position 128; [^()]*\)\.$", first)  # not ranked before the others


def test_figures_compare_costs_at_a_shared_position(run: RunFile, records: list[Record]) -> None:
    shorter = cut(records, "transformer", 128)
    line, panels = reports.streaming_cost(run, shorter), reports.accuracy_against_cost(run, shorter)
    assert line is not None and "; at position 128, the median is " in line.alternative
    assert panels is not None and "time per step at position 128" in panels.svg
    none = [*cut(shorter, "gru", 0)]
    line = reports.streaming_cost(run, none)
    assert line is not None and "at position 128" in line.alternative


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "brief", "sentence"),
    [
        (0.9, r"flat from position 1", "gru is flat from position 1 to 16,384"),
        (0.6, "growth cannot be told", "gru: it cannot be told whether the step cost grows from position 1 to 16,384"),
    ],
)
def test_terminal_and_page_judge_growth_by_one_rule(ratio: float, brief: str, sentence: str) -> None:
    """Check that a step which gets a tenth cheaper is flat for both, and that one which gets much cheaper is not."""
    made = []
    for record in synthetic.records():
        if record.case.arch.startswith("gru"):
            measurements = tuple(
                m.model_copy(update={"samples": tuple(ratio * s for s in m.samples)})
                if m.metric == "step_seconds" and m.at.get("position", 0) >= 4096
                else m
                for m in record.measurements
            )
            record = record.model_copy(update={"measurements": measurements})
        made.append(record)
    run = synthetic.run([record.case for record in made])
    assert re.search(rf"gru [\d.]+ µs \({brief};", sentences(run, made)[0])
    assert re.search(sentence, Outline(reports.page(run, made)).text)
