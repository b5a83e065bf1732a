"""Measurements that last: the record's schema, the store, statistics, tables for pandas."""

from results._case import Case, Protocol
from results._claims import Against, Cases, Claim, Quantity
from results._document import StoreError, write_aside, write_bytes_aside
from results._fits import CostLine, Crossover, Growth, StreamCosts, cost_line, costs_of, crossover, curves_of, growth
from results._frame import case_frame, cases, frame, load, sample_frame, samples
from results._history import FALSE_ALARMS, Seen, Series, change_points, history
from results._ledger import AGAINST, LEFT_OUT, Entry, Finding, Verdict, judge
from results._limits import Limits, attainable
from results._merge import Merged, merge
from results._metrics import METRICS, Metric
from results._noise import BUSY_LOAD, SLOW_PULSE, STOLEN, WAITED, disturbances, disturbed, median_pulse
from results._quantities import epoch_of
from results._schema import (
    SCHEMA_VERSION,
    Block,
    Environment,
    Line,
    Measurement,
    Model,
    Point,
    Probe,
    ProbeRun,
    Record,
    RunFile,
    Span,
    Status,
    Training,
)
from results._statistics import Interval, interval_of_mean, interval_of_median, interval_of_quantile
from results._store import Damage, Run, Store, artifact_digest
from results._strict import Key, Strict, digest
from results._traces import Traces, load_traces, save_traces
from results._verify import Flaw, Inspection, clean, verify

__all__ = [
    "AGAINST",
    "BUSY_LOAD",
    "FALSE_ALARMS",
    "LEFT_OUT",
    "METRICS",
    "SCHEMA_VERSION",
    "SLOW_PULSE",
    "STOLEN",
    "WAITED",
    "Against",
    "Block",
    "Case",
    "Cases",
    "Claim",
    "CostLine",
    "Crossover",
    "Damage",
    "Entry",
    "Environment",
    "Finding",
    "Flaw",
    "Growth",
    "Inspection",
    "Interval",
    "Key",
    "Limits",
    "Line",
    "Measurement",
    "Merged",
    "Metric",
    "Model",
    "Point",
    "Probe",
    "ProbeRun",
    "Protocol",
    "Quantity",
    "Record",
    "Run",
    "RunFile",
    "Seen",
    "Series",
    "Span",
    "Status",
    "Store",
    "StoreError",
    "StreamCosts",
    "Strict",
    "Traces",
    "Training",
    "Verdict",
    "artifact_digest",
    "attainable",
    "case_frame",
    "cases",
    "change_points",
    "clean",
    "cost_line",
    "costs_of",
    "crossover",
    "curves_of",
    "digest",
    "disturbances",
    "disturbed",
    "epoch_of",
    "frame",
    "growth",
    "history",
    "interval_of_mean",
    "interval_of_median",
    "interval_of_quantile",
    "judge",
    "load",
    "load_traces",
    "median_pulse",
    "merge",
    "sample_frame",
    "samples",
    "save_traces",
    "verify",
    "write_aside",
    "write_bytes_aside",
]
