"""What training reached, seed by seed: validation scores, the best validated weights, and sequences until solved."""

from __future__ import annotations

from reports.analysis.groups import Group


def validation_scores(group: Group) -> list[float]:
    """Return the score of the last validation of each seed that was trained and validated."""
    return [
        record.training.curve[-1].validation_score
        for record in group.records
        if record.training and record.training.curve
    ]


def early_stopped_scores(group: Group) -> list[float]:
    """Return the test score of the best validated weights of each seed; empty unless the protocol keeps them."""
    return _samples(group, "early_stopped_accuracy")


def sequences_until_solved(group: Group) -> list[float]:
    """Return the number of training sequences until the task was solved, of each seed that solved it in validation."""
    return _samples(group, "sequences_until_solved")


def _samples(group: Group, metric: str) -> list[float]:
    usable = [record for record in group.records if record.status not in ("diverged", "inconsistent")]
    return [sample for record in usable for measurement in record.of(metric) for sample in measurement.samples]
