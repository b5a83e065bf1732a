"""Tables, figures and the report page of a run, computed only from stored results."""

from reports.analysis.frontier import Needs, Quantity
from reports.analysis.groups import short_names
from reports.analysis.health import Health, Problem
from reports.analysis.latency import TimingRow, latency
from reports.analysis.leaderboard import LeaderboardRow, leaderboard, streaming
from reports.analysis.streaming.step_costs import StepCost
from reports.export.aggregate import aggregates_as, aggregates_document, render_aggregates
from reports.export.errors import NothingToShow
from reports.export.leaderboard import as_csv, as_latex, as_markdown, leaderboard_document
from reports.export.paper import PaperTable, paper_table
from reports.export.samples import MissingLibrary, samples_as_csv, samples_as_parquet, timings_as_pytest_benchmark
from reports.export.terminal import render_terminal
from reports.figures.accuracy import accuracy_against_length
from reports.figures.chunks import chunk_cost
from reports.figures.cost import accuracy_against_cost
from reports.figures.drawing.canvas import Figure
from reports.figures.drawing.paper import MAX_WIDTH_INCHES, MIN_WIDTH_INCHES
from reports.figures.drawing.scale import Scale
from reports.figures.frontier import memory_frontier
from reports.figures.gates import GatesView, ViewError
from reports.figures.model_internals import case_figures, drawable, shown_cases, write_case_figures
from reports.figures.streaming import streaming_cost
from reports.figures.training import training_curves
from reports.html.figure_files import FigureOptions, UnknownFigure, write_figures
from reports.html.render import page, write_page
from reports.text.baseline import Baseline
from reports.text.budgets import planned_misses
from reports.text.claims import LedgerFinding, LedgerRow, ledger, ledger_remarks
from reports.text.claims import summary as ledger_summary
from reports.text.needs import answer_needs

__all__ = [
    "MAX_WIDTH_INCHES",
    "MIN_WIDTH_INCHES",
    "Baseline",
    "Figure",
    "FigureOptions",
    "GatesView",
    "Health",
    "LeaderboardRow",
    "LedgerFinding",
    "LedgerRow",
    "MissingLibrary",
    "Needs",
    "NothingToShow",
    "PaperTable",
    "Problem",
    "Quantity",
    "Scale",
    "StepCost",
    "TimingRow",
    "UnknownFigure",
    "ViewError",
    "accuracy_against_cost",
    "accuracy_against_length",
    "aggregates_as",
    "aggregates_document",
    "answer_needs",
    "as_csv",
    "as_latex",
    "as_markdown",
    "case_figures",
    "chunk_cost",
    "drawable",
    "latency",
    "leaderboard",
    "leaderboard_document",
    "ledger",
    "ledger_remarks",
    "ledger_summary",
    "memory_frontier",
    "page",
    "paper_table",
    "planned_misses",
    "render_aggregates",
    "render_terminal",
    "samples_as_csv",
    "samples_as_parquet",
    "short_names",
    "shown_cases",
    "streaming",
    "streaming_cost",
    "timings_as_pytest_benchmark",
    "training_curves",
    "write_case_figures",
    "write_figures",
    "write_page",
]
