"""A second synthetic run beside the first: a slower step, a lost skill, and verdicts as a comparison gives them."""

from __future__ import annotations

from dataclasses import dataclass

from reports import Baseline
from tests.reports import synthetic


@dataclass(frozen=True, kw_only=True)
class Verdict:
    arch: str = "gru"
    task: str = "adding"
    length: int | None = 128
    metric: str = "accuracy"
    at: tuple[tuple[str, int], ...] = (("length", 128),)
    kind: str = "score"
    base: float | None = 0.9
    new: float | None = 0.4
    effect: float | None = -0.5
    low: float | None = -0.6
    high: float | None = -0.4
    verdict: str = "regressed"
    reason: str = "beyond the threshold of 0.02, p = 0.001"


STEP = Verdict(
    metric="step_seconds",
    at=(("position", 16384),),
    kind="timing",
    base=50e-6,
    new=51e-6,
    effect=0.02,
    low=-0.01,
    high=0.05,
    verdict="unchanged",
    reason="",
)
UNTOLD = Verdict(new=None, effect=None, low=None, high=None, verdict="not comparable", reason="cpu differs")


def baseline(**changes: object) -> Baseline:
    """The first run with every score of gru on adding at 128 raised to 1, and rnn left out."""
    records = []
    for record in synthetic.records():
        if record.case.arch.startswith("rnn"):
            continue
        if (record.case.arch, record.case.task, record.case.length) == ("gru", "adding", 128):
            record = record.model_copy(
                update={
                    "measurements": tuple(
                        one.model_copy(update={"samples": (1.0,)}) if one.metric == "accuracy" else one
                        for one in record.measurements
                    )
                }
            )
        records.append(record)
    run = synthetic.run(
        [case for case in synthetic.cases() if not case.arch.startswith("rnn")], id="20251231-120000-quick"
    )
    fields: dict[str, object] = {
        "run": run,
        "records": records,
        "rows": (Verdict(), STEP, UNTOLD),
        "verdict": "1 regressed, 0 improved, 1 not comparable, 1 unchanged of 3 comparisons",
        "notes": ("differs: cpu",),
    }
    return Baseline(**(fields | changes))  # type: ignore[arg-type]
