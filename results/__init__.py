"""Stored measurements: schema, store, statistics, comparisons, claims and pandas tables."""

from results.claims.judge import AGAINST_PREFIX, DEFAULT_OPTION, Entry, Finding, Verdict, judge
from results.claims.quantities import epoch_of
from results.comparison.history import FALSE_ALARMS, HistoryPoint, Series, change_points, history
from results.frames import case_frame, cases, frame, load, sample_frame, samples
from results.schema.base import Key, Strict, digest
from results.schema.case import SOLVED_SHARE, Case, Protocol, solved_score
from results.schema.claims import Against, Cases, Claim, Quantity
from results.schema.location import LengthRange, location_of_range, location_parts, range_at, range_text
from results.schema.metrics import METRICS, Metric, metrics_of
from results.schema.probes import PROBES, TIMING_PROBES, Probe, ProbeInfo
from results.schema.record import (
    SCHEMA_VERSION,
    Block,
    EvalPoint,
    Measurement,
    Model,
    ProbeRun,
    Record,
    ReferenceScores,
    Span,
    Status,
    Training,
)
from results.schema.run import Environment, RunFile
from results.statistics.effective_length import PASSING_SHARE, EffectiveLength, effective_length
from results.statistics.growth import (
    CostLine,
    Crossover,
    Growth,
    StreamCosts,
    cost_line,
    costs_of,
    crossover,
    growth,
)
from results.statistics.intervals import Interval, interval_of_mean, interval_of_median, interval_of_quantile
from results.statistics.loss_evidence import LossEvidence, loss_evidence
from results.statistics.noise import (
    BUSY_LOAD,
    MAX_STEAL_SHARE,
    MAX_WAITING_SHARE,
    SLOW_CALIBRATION,
    disturbances,
    disturbed,
    median_calibration,
)
from results.statistics.roofline import Limits, attainable
from results.statistics.step_curves import curves_of, step_metric
from results.store.document import StoreError, write_atomically, write_document
from results.store.merge import MergeResult, merge
from results.store.output_file import STANDARD_OUTPUT, is_standard_output, write_output_file
from results.store.store import Damage, Run, Store, artifact_digest
from results.store.traces import Traces, load_traces, save_traces
from results.store.verify import Flaw, Inspection, clean, verify

__all__ = [
    "AGAINST_PREFIX",
    "BUSY_LOAD",
    "DEFAULT_OPTION",
    "FALSE_ALARMS",
    "MAX_STEAL_SHARE",
    "MAX_WAITING_SHARE",
    "METRICS",
    "PASSING_SHARE",
    "PROBES",
    "SCHEMA_VERSION",
    "SLOW_CALIBRATION",
    "SOLVED_SHARE",
    "STANDARD_OUTPUT",
    "TIMING_PROBES",
    "Against",
    "Block",
    "Case",
    "Cases",
    "Claim",
    "CostLine",
    "Crossover",
    "Damage",
    "EffectiveLength",
    "Entry",
    "Environment",
    "EvalPoint",
    "Finding",
    "Flaw",
    "Growth",
    "HistoryPoint",
    "Inspection",
    "Interval",
    "Key",
    "LengthRange",
    "Limits",
    "LossEvidence",
    "Measurement",
    "MergeResult",
    "Metric",
    "Model",
    "Probe",
    "ProbeInfo",
    "ProbeRun",
    "Protocol",
    "Quantity",
    "Record",
    "ReferenceScores",
    "Run",
    "RunFile",
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
    "effective_length",
    "epoch_of",
    "frame",
    "growth",
    "history",
    "interval_of_mean",
    "interval_of_median",
    "interval_of_quantile",
    "is_standard_output",
    "judge",
    "load",
    "load_traces",
    "location_of_range",
    "location_parts",
    "loss_evidence",
    "median_calibration",
    "merge",
    "metrics_of",
    "range_at",
    "range_text",
    "sample_frame",
    "samples",
    "save_traces",
    "solved_score",
    "step_metric",
    "verify",
    "write_atomically",
    "write_document",
    "write_output_file",
]
