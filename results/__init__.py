"""Measurements that last: the record's schema, the store, statistics, tables for pandas."""

from results._frame import frame, load
from results._metrics import METRICS, Metric
from results._schema import (
    SCHEMA_VERSION,
    Case,
    Environment,
    Key,
    Line,
    Measurement,
    Model,
    Point,
    Probe,
    ProbeRun,
    Protocol,
    Record,
    RunFile,
    Status,
    Strict,
    Training,
    digest,
)
from results._statistics import Interval, interval_of_mean, interval_of_median, interval_of_quantile
from results._store import Damage, Run, Store, StoreError, write_aside

__all__ = [
    "METRICS",
    "SCHEMA_VERSION",
    "Case",
    "Damage",
    "Environment",
    "Interval",
    "Key",
    "Line",
    "Measurement",
    "Metric",
    "Model",
    "Point",
    "Probe",
    "ProbeRun",
    "Protocol",
    "Record",
    "Run",
    "RunFile",
    "Status",
    "Store",
    "StoreError",
    "Strict",
    "Training",
    "digest",
    "frame",
    "interval_of_mean",
    "interval_of_median",
    "interval_of_quantile",
    "load",
    "write_aside",
]
