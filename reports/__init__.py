"""Reports: tables, figures and the page, all pure functions of a run and its records."""

from reports._health import Health, Problem
from reports.exports import as_csv, as_json, as_latex, as_markdown
from reports.figures import (
    Drawing,
    accuracy_against_cost,
    accuracy_against_length,
    streaming_cost,
    training_curves,
    write_figures,
)
from reports.page import page, write_page
from reports.tables import LeaderboardRow, StreamingRow, TimingRow, latency, leaderboard, streaming
from reports.terminal import render_terminal

__all__ = [
    "Drawing",
    "Health",
    "LeaderboardRow",
    "Problem",
    "StreamingRow",
    "TimingRow",
    "accuracy_against_cost",
    "accuracy_against_length",
    "as_csv",
    "as_json",
    "as_latex",
    "as_markdown",
    "latency",
    "leaderboard",
    "page",
    "render_terminal",
    "streaming",
    "streaming_cost",
    "training_curves",
    "write_figures",
    "write_page",
]
