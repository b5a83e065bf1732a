"""The variables of the sections on costs: streamed steps, their growth, and whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.analysis.groups import specifications
from reports.analysis.latency import TimingRow, latency_of
from reports.analysis.streaming.chunks import ChunkCost, chunk_costs
from reports.analysis.streaming.deadlines import deadline_rows
from reports.analysis.streaming.device_memory import device_memory
from reports.analysis.streaming.growth import crossover_rows, growth_rows, stream_costs
from reports.analysis.streaming.step_work import step_work
from reports.analysis.streaming.throughput import Throughput, throughputs
from reports.figures.chunks import chunk_cost_figure
from reports.html.page_data import PageData
from reports.text import growth as growth_text
from reports.text.streaming import LIMIT_EXPLANATION
from reports.text.timing_quality import single_process_sentence

Values = dict[str, Any]
"""The variables of a template."""


def streaming_values(data: PageData) -> Values | None:
    """Return the variables of the section on streaming, or None if nothing was streamed."""
    if not data.step_costs:
        return None
    chunks = chunk_costs(data.groups)
    rates = _rates_by_streams(throughputs(data.groups))
    added = [(arch, costs[-1]) for arch, costs in data.step_costs.items() if costs[-1].added_seconds is not None]
    figure = chunk_cost_figure(data.groups, data.step_costs)
    return {
        "costs_by_arch": data.step_costs,
        "timings": {arch: costs[-1].timing for arch, costs in data.step_costs.items()},
        "is_called": data.is_called,
        "blocks": {
            arch: costs[-1].steps_per_reading
            for arch, costs in data.step_costs.items()
            if costs[-1].steps_per_reading > 1
        },
        "limit_explanation": LIMIT_EXPLANATION,
        "single_process": single_process_sentence(data.step_costs),
        "work": step_work(data.groups),
        "added": added,
        "figures": [] if figure is None else [figure],
        "chunks_by_position": _chunks_by_size(chunks),
        "chunk_sizes": sorted({cost.chunk for costs in chunks.values() for cost in costs}),
        "rates_by_position": rates,
        "stream_counts": sorted({count for row in rates.values() for count in row}),
        "deadlines": deadline_rows(data.groups),
        "memory": device_memory(data.groups),
    }


def growth_values(data: PageData) -> Values | None:
    """Return the variables of the section on growth, or None without streams of at least two positions."""
    costs = stream_costs(data.groups)
    if not costs:
        return None
    rows = growth_rows(costs)
    return {
        "rows": rows,
        "sentences": growth_text.growth_sentences(rows, crossover_rows(costs, rows)),
        "text": growth_text,
    }


def latency_values(data: PageData) -> Values | None:
    """Return the variables of the section on whole sequences, or None if none were timed."""
    timings = _timings_by_arch(latency_of(data.groups))
    archs = [arch for arch in specifications(data.groups) if any(arch in rows for rows in timings.values())]
    return {"timings": timings, "archs": archs} if timings else None


def _rates_by_streams(rows: Sequence[Throughput]) -> dict[tuple[str, int], dict[int, Throughput]]:
    """Return the throughputs by (architecture, position), then by number of streams."""
    table: dict[tuple[str, int], dict[int, Throughput]] = {}
    for row in rows:
        table.setdefault((row.arch, row.position), {})[row.streams] = row
    return table


def _chunks_by_size(costs: dict[str, list[ChunkCost]]) -> dict[tuple[str, int], dict[int, ChunkCost]]:
    """Return the costs of chunks by (architecture, position), then by number of steps."""
    table: dict[tuple[str, int], dict[int, ChunkCost]] = {}
    for arch, own_costs in costs.items():
        for cost in own_costs:
            table.setdefault((arch, cost.position), {})[cost.chunk] = cost
    return table


def _timings_by_arch(rows: Sequence[TimingRow]) -> dict[tuple[str, int, int | None], dict[str, TimingRow]]:
    """Return the rows by (title of the metric, length, batch size), then by architecture."""
    table: dict[tuple[str, int, int | None], dict[str, TimingRow]] = {}
    for row in rows:
        table.setdefault((row.what, row.length, row.batch), {})[row.arch] = row
    return table
