"""Read, write, merge and verify runs on disk."""

from results.store.document import MAX_QUOTES, MAX_VALUES, StoreError, reading_many, write_atomically, write_document
from results.store.lock import LOCK_FILE, RunInUse, run_lock
from results.store.merge import MergeResult, merge
from results.store.store import Damage, Run, Store, artifact_digest, unusable_records
from results.store.temporary import temporary_path
from results.store.traces import Traces, load_traces, save_traces
from results.store.verify import Flaw, Inspection, clean, verify

__all__ = [
    "LOCK_FILE",
    "MAX_QUOTES",
    "MAX_VALUES",
    "Damage",
    "Flaw",
    "Inspection",
    "MergeResult",
    "Run",
    "RunInUse",
    "Store",
    "StoreError",
    "Traces",
    "artifact_digest",
    "clean",
    "load_traces",
    "merge",
    "reading_many",
    "run_lock",
    "save_traces",
    "temporary_path",
    "unusable_records",
    "verify",
    "write_atomically",
    "write_document",
]
