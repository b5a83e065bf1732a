"""A synthetic run whose learning rates were tuned, with known scores per rate."""

from __future__ import annotations

from results import TUNING_SEED, Case, EvalPoint, Record, RunFile, Tuning
from tests.reports import synthetic

TUNING = Tuning(learning_rates=(1e-3, 1e-2, 1e-1), seeds=2)
VALIDATION = {"lstm": (0.2, 0.5, 0.9), "gru": (0.3, 0.8, 0.4)}
"""Mean validation scores by ascending rate. The best rate of the LSTM is the highest one."""
CHOSEN = {"lstm": 1e-1, "gru": 1e-2}
TUNING_SECONDS = 2.0
"""Training time of a tuning case. A reported case takes 8 seconds."""


def tuned_case(arch: str, seed: int) -> Case:
    plain = synthetic.case(arch, "adding", 32, seed)
    protocol = plain.protocol.model_copy(update={"learning_rate": None})
    return plain.model_copy(update={"protocol": protocol, "tuning": TUNING})


def run() -> RunFile:
    reported = [tuned_case(arch, seed) for seed in range(3) for arch in VALIDATION]
    tuning = {each.key: each for case in reported for each in case.tuning_cases()}
    return synthetic.run([*tuning.values(), *reported], probes=("accuracy",))


def records() -> list[Record]:
    """Return the records of all cases. Those of tuning cases have a curve and no measurements."""
    made = []
    for case in run().cases:
        sound = synthetic.record(case.model_copy(update={"seed": case.seed % TUNING_SEED}))
        assert sound.training is not None
        if case.is_reported:
            changes = {"learning_rate": CHOSEN[case.arch], "learning_rate_source": "tuned"}
            measured = {"measurements": tuple(sound.of("accuracy")), "probes": {"accuracy": sound.probes["accuracy"]}}
        else:
            rate = case.protocol.learning_rate
            assert rate is not None
            mean = VALIDATION[case.arch][TUNING.learning_rates.index(rate)]
            score = mean + 0.05 * (1 if case.seed > TUNING_SEED else -1)
            last = EvalPoint(step=800, train_loss=0.1, validation_loss=1 - score, validation_score=score)
            changes = {"learning_rate": rate, "seconds": TUNING_SECONDS, "curve": (last,)}
            measured = {"measurements": (), "probes": {}, "reference_scores": ()}
        training = sound.training.model_copy(update=changes)
        made.append(sound.model_copy(update={"key": case.key, "case": case, "training": training, **measured}))
    return made
