"""The sections of the report page, in the order in which they appear.

To add a section, add a row to `SECTIONS` and a template to `templates/`. To add only a figure, add a row with
the template `figures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from reports.analysis.gate_levels import EXPLANATION as GATE_EXPLANATION
from reports.analysis.gate_levels import ROLES, gate_levels
from reports.analysis.groups import group_cases, specifications
from reports.analysis.heatmap import heat_maps
from reports.analysis.latency import TimingRow, latency_of
from reports.analysis.leaderboard import leaderboard_of
from reports.analysis.learning_rates import tuning_cost
from reports.analysis.ranking import NEARLY_EQUAL
from reports.analysis.streaming.chunks import ChunkCost, chunk_costs
from reports.analysis.streaming.deadlines import deadline_rows
from reports.analysis.streaming.device_memory import device_memory
from reports.analysis.streaming.growth import crossover_rows, growth_rows, stream_costs
from reports.analysis.streaming.throughput import Throughput, throughputs
from reports.figures.baseline import baseline_scores_figure, baseline_step_costs_figure
from reports.figures.chunks import chunk_cost_figure
from reports.figures.cost import accuracy_against_cost_figure
from reports.figures.drawing.canvas import Figure
from reports.figures.frontier import frontier_figure
from reports.figures.headline import MAX_PANELS, MAX_SHOWN, few_panels
from reports.figures.learning_rates import learning_rates_figure
from reports.figures.model_internals import model_internals_figures
from reports.figures.streaming import streaming_cost_figure
from reports.figures.training import training_curves_figure
from reports.html.attachment import attachment
from reports.html.case_details import case_details
from reports.html.page_data import PageData
from reports.text import growth as growth_text
from reports.text import learning_rates as rates_text
from reports.text.budgets import missed_budgets, model_sizes
from reports.text.claims import ledger, summary
from reports.text.conclusions import conclusions
from reports.text.context import are_untrained, protocols
from reports.text.lengths import DEFINITION, effective_estimate, interval_sentence, length_text
from reports.text.losses import error_estimate, loss_value
from reports.text.streaming import LIMIT_EXPLANATION
from reports.text.test_sets import test_set_sentences
from results import (
    BUSY_LOAD,
    CLEAR_SHARE,
    LOSS_GAIN,
    MAX_ERROR,
    MAX_STEAL_SHARE,
    MAX_WAITING_SHARE,
    SCORE_GAIN,
    SLOW_CALIBRATION,
    SOLVED_SHARE,
)

Values = dict[str, Any]
"""The variables of a template."""


class Section(NamedTuple):
    """A section of the page."""

    id: str
    """The anchor of the heading."""
    title: str
    template: str
    """The file name in `templates/`, without `.html.jinja`."""
    values: Callable[[PageData], Values | None]
    """A function that returns the variables of the template, or None to leave the section out."""


def _frontier(data: PageData) -> Values | None:
    return _figures(frontier_figure(data.groups, data.overview, data.frontier))


def _signature(data: PageData) -> Values | None:
    costs = None if data.variants else data.step_costs
    return _figures(data.headline_figures[0], streaming_cost_figure(data.plain_groups, among=data.groups, costs=costs))


def _baseline(data: PageData) -> Values | None:
    if data.baseline is None or data.comparison is None:
        return None
    before = group_cases(data.baseline.run, data.baseline.records)
    figures = _shown(
        baseline_scores_figure(data.comparison, data.groups), baseline_step_costs_figure(before, data.groups)
    )
    return {"comparison": data.comparison, "figures": figures}


def _conclusions(data: PageData) -> Values | None:
    lines = [*conclusions(data.groups, data.step_costs), *missed_budgets(data.groups)]
    return {"lines": lines} if lines else None


def _cost(data: PageData) -> Values | None:
    if not few_panels(data.groups, MAX_PANELS):
        return None
    return _figures(accuracy_against_cost_figure(data.groups))


def _leaderboard(data: PageData) -> Values:
    rows = leaderboard_of(data.groups)
    return {
        "rows": rows,
        "has_trained": not are_untrained(data.groups),
        "near_differs": any(row.near_position not in (None, row.length) for row in rows),
        "far": sorted({row.far_position for row in rows if row.far_position is not None}),
        "has_shares": any(row.limit_share is not None for row in rows),
        "is_called": data.is_called,
        "rate_sources": rates_text.sources(data.rate_rows),
        "has_errors": any(row.loss is not None and row.loss.constant is not None for row in rows),
        "has_lengths": any(row.effective is not None for row in rows),
        "error_estimate": error_estimate,
        "loss_value": loss_value,
        "effective_estimate": effective_estimate,
    }


def _beyond(data: PageData) -> Values | None:
    maps = heat_maps(data.groups)
    rows = [row for row in leaderboard_of(data.groups) if row.effective is not None or row.range_scores]
    if not maps and not rows:
        return None
    ranges = list(dict.fromkeys(each.lengths for row in rows for each in row.range_scores))
    return {
        "maps": maps,
        "rows": rows,
        "ranges": ranges,
        "definition": DEFINITION,
        "interval": interval_sentence([row.effective for row in rows if row.effective is not None]),
        "length_text": length_text,
        "effective_estimate": effective_estimate,
    }


def _score_against_length(data: PageData) -> Values | None:
    return _figures(data.headline_figures[1])


def _omitted(data: PageData) -> Values | None:
    panels = len({(group.task, group.length) for group in data.groups})
    return {"panels": panels} if panels > MAX_SHOWN else None


def _claims(data: PageData) -> Values | None:
    rows = ledger(data.run, data.records)
    has_published = any(row.published for row in rows)
    return {"rows": rows, "summary": summary(rows), "has_published": has_published} if rows else None


def _inside(data: PageData) -> Values | None:
    figures, levels = model_internals_figures(data.groups, data.traces), gate_levels(data.plain_groups)
    if not figures and not levels:
        return None
    return {"figures": figures, "gate_levels": levels, "roles": ROLES, "explanation": GATE_EXPLANATION}


def _streaming(data: PageData) -> Values | None:
    if not data.step_costs:
        return None
    chunks = chunk_costs(data.groups)
    rates = _rates_by_streams(throughputs(data.groups))
    added = [(arch, costs[-1]) for arch, costs in data.step_costs.items() if costs[-1].added_seconds is not None]
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
        "added": added,
        "figures": _shown(chunk_cost_figure(data.groups, data.step_costs)),
        "chunks_by_position": _chunks_by_size(chunks),
        "chunk_sizes": sorted({cost.chunk for costs in chunks.values() for cost in costs}),
        "rates_by_position": rates,
        "stream_counts": sorted({count for row in rates.values() for count in row}),
        "deadlines": deadline_rows(data.groups),
        "memory": device_memory(data.groups),
    }


def _growth(data: PageData) -> Values | None:
    costs = stream_costs(data.groups)
    if not costs:
        return None
    rows = growth_rows(costs)
    return {
        "rows": rows,
        "sentences": growth_text.growth_sentences(rows, crossover_rows(costs, rows)),
        "text": growth_text,
    }


def _latency(data: PageData) -> Values | None:
    timings = _timings_by_arch(latency_of(data.groups))
    archs = [arch for arch in specifications(data.groups) if any(arch in rows for rows in timings.values())]
    return {"timings": timings, "archs": archs} if timings else None


def _training(data: PageData) -> Values | None:
    if not few_panels(data.groups, MAX_SHOWN):
        return None
    return _figures(training_curves_figure(data.plain_groups, among=data.groups))


def _learning_rates(data: PageData) -> Values | None:
    rows = data.rate_rows
    is_tuned = any(row.results for row in rows)
    if not is_tuned and len({(row.learning_rate, row.found_by) for row in rows}) < 2:
        return None
    warnings = [rates_text.edge_warning(rows), rates_text.missing_warning(rows)]
    cost = rates_text.cost_sentence(tuning_cost(data.records))
    figure = learning_rates_figure(data.groups, rows) if few_panels(data.groups, MAX_SHOWN) else None
    return {
        "rows": rows,
        "is_tuned": is_tuned,
        "sentences": [*rates_text.sources(rows), *filter(None, [cost])],
        "warnings": [*filter(None, warnings)],
        "figures": _shown(figure),
    }


def _problems(data: PageData) -> Values:
    return {"problems": data.health.problems}


def _cases(data: PageData) -> Values | None:
    cases = case_details(data.groups)
    if not cases:
        return None
    return {"cases": cases, "attachment": attachment(data.run, data.records), "is_called": data.is_called}


def _names(data: PageData) -> Values | None:
    names = specifications(data.groups)
    return {"specifications": names, "sizes": model_sizes(data.groups)} if names else None


def _method(data: PageData) -> Values:
    return {
        "protocols": protocols(data.groups),
        "has_trained": not are_untrained(data.groups),
        "solved_share": SOLVED_SHARE,
        "test_sets": test_set_sentences(data.groups),
        "clear_share": CLEAR_SHARE,
        "max_error": MAX_ERROR,
        "nearly_equal": NEARLY_EQUAL,
        "score_gain": SCORE_GAIN,
        "loss_gain": LOSS_GAIN,
        "slow_calibration": SLOW_CALIBRATION,
        "busy_load": BUSY_LOAD,
        "stolen_share": MAX_STEAL_SHARE,
        "waiting_share": MAX_WAITING_SHARE,
    }


SECTIONS = (
    Section("frontier", "What to choose for streaming", "figures", _frontier),
    Section("signature", "Memory and cost per step", "figures", _signature),
    Section("baseline", "Comparison with the baseline", "baseline", _baseline),
    Section("conclusions", "Findings", "conclusions", _conclusions),
    Section("cost", "Score against cost, by task", "figures", _cost),
    Section("leaderboard", "Leaderboard", "leaderboard", _leaderboard),
    Section("heat", "Beyond the trained length", "heat_map", _beyond),
    Section("lengths", "Score against length, by task", "figures", _score_against_length),
    Section("omitted", "Omitted figures", "omitted", _omitted),
    Section("claims", "Claims", "claims", _claims),
    Section("inside", "Inside the models", "inside", _inside),
    Section("streaming", "Streaming costs", "streaming", _streaming),
    Section("growth", "Growth of the step cost", "growth", _growth),
    Section("latency", "Whole sequences", "latency", _latency),
    Section("training", "Training", "figures", _training),
    Section("learning-rates", "Learning rates", "learning_rates", _learning_rates),
    Section("problems", "Failed and missing cases", "problems", _problems),
    Section("cases", "All cases", "cases", _cases),
    Section("names", "Names in full", "names", _names),
    Section("method", "Method", "method", _method),
)


FIGURE_TEMPLATES = ("figures", "inside", "streaming", "learning_rates")
"""Templates whose variable `figures` holds the figures of a single run. The template `baseline` is not among
them, because its figures need two runs."""


def page_figures(data: PageData) -> list[Figure]:
    """Return the figures of all sections except the baseline section, in the order of the page."""
    values = [section.values(data) for section in SECTIONS if section.template in FIGURE_TEMPLATES]
    return [figure for section in values if section is not None for figure in section["figures"]]


def _figures(*figures: Figure | None) -> Values | None:
    shown = _shown(*figures)
    return {"figures": shown} if shown else None


def _shown(*figures: Figure | None) -> list[Figure]:
    return [figure for figure in figures if figure is not None]


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
