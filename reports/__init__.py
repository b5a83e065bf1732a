"""Reports: tables, figures and the page, all pure functions of a run and its records."""

from reports._health import Health, Problem
from reports._ledger import LedgerRow, ledger
from reports._streaming import StepCost
from reports._versus import Baseline
from reports.exports import as_csv, as_latex, as_markdown
from reports.figures import (
    Drawing,
    accuracy_against_cost,
    accuracy_against_length,
    streaming_cost,
    training_curves,
    write_figures,
)
from reports.inside import case_figures, short_names, shown_cases, write_case_figures
from reports.page import page, write_page
from reports.samples import MissingLibrary, samples_as_csv, samples_as_parquet, timings_as_pytest_benchmark
from reports.tables import LeaderboardRow, TimingRow, latency, leaderboard, streaming
from reports.terminal import render_terminal

__all__ = [
    "Baseline",
    "Drawing",
    "Health",
    "LeaderboardRow",
    "LedgerRow",
    "MissingLibrary",
    "Problem",
    "StepCost",
    "TimingRow",
    "accuracy_against_cost",
    "accuracy_against_length",
    "as_csv",
    "as_latex",
    "as_markdown",
    "case_figures",
    "latency",
    "leaderboard",
    "ledger",
    "page",
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
