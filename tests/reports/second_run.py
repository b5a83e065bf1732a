"""A second synthetic run beside the first, without rnn, and in which gru adds over 128 steps without a mistake."""

from __future__ import annotations

from reports import Baseline
from results import Record
from tests.reports import synthetic

BETTER = ("gru", "adding", 128)


def baseline() -> Baseline:
    kept = [record for record in synthetic.records() if not record.case.arch.startswith("rnn")]
    planned = [case for case in synthetic.cases() if not case.arch.startswith("rnn")]
    return Baseline(run=synthetic.run(planned, id="20251231-120000-quick"), records=[_bettered(one) for one in kept])


def _bettered(record: Record) -> Record:
    if (record.case.arch, record.case.task, record.case.length) != BETTER:
        return record
    perfect = [
        one.model_copy(update={"samples": (1.0,)}) if one.metric == "accuracy" else one for one in record.measurements
    ]
    return record.model_copy(update={"measurements": tuple(perfect)})
