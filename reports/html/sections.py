"""The sections of the report page, in the order in which they appear.

To add a section, add a row to `SECTIONS` and a template to `templates/`. To add only a figure, add a row with
the template `figures`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from reports.analysis.gate_levels import EXPLANATION as GATE_EXPLANATION
from reports.analysis.gate_levels import ROLES, gate_levels
from reports.analysis.groups import full_names, group_cases, specifications
from reports.analysis.heatmap import heat_maps
from reports.analysis.leaderboard import leaderboard_of
from reports.analysis.learning_rates import tuning_cost
from reports.analysis.ranking import NEARLY_EQUAL
from reports.figures.baseline import baseline_scores_figure, baseline_step_costs_figure
from reports.figures.cost import accuracy_against_cost_figure
from reports.figures.drawing.canvas import Figure
from reports.figures.headline import MAX_PANELS, MAX_SHOWN, few_panels
from reports.figures.learning_rates import learning_rates_figure
from reports.figures.model_internals import model_internals_figures
from reports.figures.streaming import streaming_cost_figure
from reports.figures.sweeps import sweep_figures
from reports.figures.training import training_curves_figure
from reports.html.attachment import attachment
from reports.html.case_details import case_details
from reports.html.cost_sections import Values, growth_values, latency_values, streaming_values
from reports.html.leaderboards import leaderboard_values
from reports.html.overview import overview_values
from reports.html.page_data import PageData
from reports.text import learning_rates as rates_text
from reports.text.budgets import missed_budgets, model_sizes
from reports.text.claims import ledger, summary
from reports.text.conclusions import conclusions
from reports.text.context import are_untrained, context, protocols
from reports.text.lengths import DEFINITION, effective_estimate, interval_sentence, length_text
from reports.text.sampling import test_set_sentences
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


class Heading(NamedTuple):
    """The heading of a section, and the link to it."""

    id: str
    """The anchor of the heading."""
    link: str
    """The short title of the link at the top of the page."""
    title: str


class Section(NamedTuple):
    """A section of the page."""

    id: str
    link: str
    title: str
    """With `id` and `link`, the fields of its heading."""
    template: str
    """The file name in `templates/`, without `.html.jinja`."""
    values: Callable[[PageData], Values | None]
    """A function that returns the variables of the template, or None to leave the section out."""

    @property
    def heading(self) -> Heading:
        return Heading(self.id, self.link, self.title)


def _run(data: PageData) -> Values:
    return {"context": context(data.run, data.groups)}


def _signature(data: PageData) -> Values | None:
    costs = None if data.variants else data.step_costs
    first = data.headline_figures[0] if data.headline_figures[0] is not data.main_figure else None
    return _figures(first, streaming_cost_figure(data.plain_groups, among=data.groups, costs=costs))


def _baseline(data: PageData) -> Values | None:
    if data.baseline is None or data.comparison is None:
        return None
    before = group_cases(data.baseline.run, data.baseline.records)
    figures = _shown(
        baseline_scores_figure(data.comparison, data.groups), baseline_step_costs_figure(before, data.groups)
    )
    return {"comparison": data.comparison, "figures": figures, "specifications": specifications(data.groups)}


def _conclusions(data: PageData) -> Values | None:
    lines = [*conclusions(data.groups, data.step_costs), *missed_budgets(data.groups)]
    return {"lines": lines} if lines else None


def _cost(data: PageData) -> Values | None:
    if not few_panels(data.groups, MAX_PANELS):
        return None
    return _figures(accuracy_against_cost_figure(data.groups))


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


def _sweeps(data: PageData) -> Values | None:
    return _figures(*sweep_figures(data.groups))


def _problems(data: PageData) -> Values:
    return {"problems": data.health.problems}


def _cases(data: PageData) -> Values | None:
    cases = case_details(data.groups)
    if not cases:
        return None
    return {
        "cases": cases,
        "specifications": specifications(data.groups),
        "attachment": attachment(data.run, data.records),
        "is_called": data.is_called,
    }


def _names(data: PageData) -> Values | None:
    names = full_names(data.groups)
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
    Section("overview", "Overview", "Overview", "overview", overview_values),
    Section("run", "Run", "Run and machine", "run", _run),
    Section("signature", "Memory", "Memory and cost per step", "figures", _signature),
    Section("baseline", "Baseline", "Comparison with the baseline", "baseline", _baseline),
    Section("conclusions", "Findings", "Findings", "conclusions", _conclusions),
    Section("cost", "Cost", "Score against cost, by task", "figures", _cost),
    Section("leaderboard", "Leaderboard", "Leaderboard", "leaderboard", leaderboard_values),
    Section("heat", "Beyond", "Beyond the trained length", "heat_map", _beyond),
    Section("lengths", "Lengths", "Score against length, by task", "figures", _score_against_length),
    Section("omitted", "Omitted", "Omitted figures", "omitted", _omitted),
    Section("sweeps", "Sweeps", "Sweeps of the protocol", "figures", _sweeps),
    Section("claims", "Claims", "Claims", "claims", _claims),
    Section("inside", "Inside", "Inside the models", "inside", _inside),
    Section("streaming", "Streaming", "Streaming costs", "streaming", streaming_values),
    Section("growth", "Growth", "Growth of the step cost", "growth", growth_values),
    Section("latency", "Sequences", "Whole sequences", "latency", latency_values),
    Section("training", "Training", "Training", "figures", _training),
    Section("learning-rates", "Rates", "Learning rates", "learning_rates", _learning_rates),
    Section("problems", "Problems", "Failed and missing cases", "problems", _problems),
    Section("cases", "Cases", "All cases", "cases", _cases),
    Section("names", "Names", "Names in full", "names", _names),
    Section("method", "Method", "Method", "method", _method),
)

TERMS_HEADING = Heading("terms", "Terms", "Terms")
"""The heading of the last section, which defines the terms that the other sections use."""

FIGURE_TEMPLATES = ("overview", "figures", "inside", "streaming", "learning_rates")
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
