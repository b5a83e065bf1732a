"""Test losses in words, beside the losses that need no memory."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.analysis.memory_share import clears, loss_evidence_of, no_memory_score
from reports.format.numbers import MISSING, listed, significant
from results import METRICS, LossEvidence, interval_of_mean

SHORT_NAMES = {"mse": "mse"}
"""Names of losses in sentences and tables, if they are shorter than their titles."""
DIGITS = 3
"""The number of significant digits of a loss."""


def loss_name(name: str) -> str:
    """Return the name of a loss in tables: `mse` or `cross-entropy`."""
    return SHORT_NAMES.get(name, METRICS[name].title)


def loss_value(value: float | None) -> str:
    """Return a loss as text, or a dash if it is unknown."""
    return MISSING if value is None else significant(value, DIGITS)


def error_estimate(loss: LossEvidence | None) -> str:
    """Return a mean squared error with its interval: `0.0812 (0.0554–0.107)`. Returns a dash for other losses.

    A task with a squared error also has that of the best constant.
    """
    if loss is None or loss.constant is None:
        return MISSING
    if loss.low is None or loss.high is None:
        return loss_value(loss.mean)
    return f"{loss_value(loss.mean)} ({loss_value(max(0.0, loss.low))}–{loss_value(loss.high)})"


def loss_text(evidence: LossEvidence) -> str:
    """Return a mean loss beside that of the best constant: `mse 0.0812; best constant 0.167; 2 of 3 seeds`.

    Without a known constant, the lowest loss without memory stands in its place. The seeds are counted if the interval
    over seeds alone does not show the past.
    """
    parts = [f"{loss_name(evidence.name)} {loss_value(evidence.mean)}"]
    if evidence.constant is not None:
        parts.append(f"best constant {loss_value(evidence.constant)}")
    elif evidence.memoryless is not None:
        parts.append(f"at least {loss_value(evidence.memoryless)} without memory")
    if evidence.shows_past and not evidence.shows_past_on_average and evidence.seeds > 1:
        parts.append(f"{evidence.clear_seeds} of {evidence.seeds} seeds")
    return "; ".join(parts)


def loss_note(groups: Sequence[Group]) -> str | None:
    """Return a sentence on the groups whose loss shows use of the past although their score does not.

    Returns None if there is no such group.
    """
    names = []
    for group in groups:
        evidence = loss_evidence_of(group)
        if evidence is not None and evidence.shows_past and not _shows_by_score(group):
            names.append(f"{group.arch} on {group.task} at {group.length:,} ({loss_text(evidence)})")
    if not names:
        return None
    return f"Losses show more than scores for {listed(names)}: such a model is nearly right, but too rarely right."


def _shows_by_score(group: Group) -> bool:
    """Return whether the scores of a group are evidence of memory. The score of a single seed is taken as it is."""
    scores, reference = group.scores(), group.reference()
    if not scores or reference is None:
        return False
    interval, floor = interval_of_mean(scores), no_memory_score(reference)
    return clears(interval.middle, interval.middle if len(scores) == 1 else interval.low, floor)
