"""Test losses in words, beside the losses that need no memory."""

from __future__ import annotations

from collections.abc import Sequence

from reports.analysis.groups import Group
from reports.analysis.memory_share import loss_evidence_of, score_evidence_of
from reports.format.numbers import MISSING, listed, significant
from results import METRICS, LossEvidence

SHORT_NAMES = {"mse": "mse"}
"""Names of losses in sentences and tables, if they are shorter than their titles."""
REAL_VALUED = "answers come near the right numbers, but too rarely near enough to count as right"
"""What it means for real-valued answers if losses show more than scores."""
CLASSES = "probabilities of classes use the past, but the most probable class is not clearly more often right"
"""What it means for classes if losses show more than scores."""
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
    """Return a mean loss beside that of the best constant: `mse 0.0812; best constant 0.167`.

    Without a known constant, the lowest loss without memory stands in its place. If only single seeds show the past,
    their losses replace the mean: `mse 0.0280 to 0.0550 in 2 of 3 seeds; best constant 0.167`.
    """
    parts = [f"{loss_name(evidence.name)} {loss_value(evidence.mean)}"]
    if evidence.clear_losses and not evidence.shows_past_on_average and evidence.seeds > 1:
        ends = dict.fromkeys(loss_value(loss) for loss in (evidence.clear_losses[0], evidence.clear_losses[-1]))
        seeds = f"{len(evidence.clear_losses)} of {evidence.seeds} seeds"
        parts = [f"{loss_name(evidence.name)} {' to '.join(ends)} in {seeds}"]
    if evidence.constant is not None:
        parts.append(f"best constant {loss_value(evidence.constant)}")
    elif evidence.memoryless is not None:
        parts.append(f"at least {loss_value(evidence.memoryless)} without memory")
    return "; ".join(parts)


def loss_note(groups: Sequence[Group]) -> str | None:
    """Return one sentence on real-valued answers and one on classes whose loss shows the past but whose score does not.

    Returns None if there is no such group.
    """
    names: dict[str, list[str]] = {REAL_VALUED: [], CLASSES: []}
    for group in groups:
        evidence = loss_evidence_of(group)
        scores = score_evidence_of(group)
        is_shown_by_score = scores is not None and scores.shows_past
        if evidence is not None and evidence.shows_past and not is_shown_by_score:
            meaning = CLASSES if evidence.name == "cross_entropy" else REAL_VALUED
            names[meaning].append(f"{group.arch} on {group.task} at {group.length:,} ({loss_text(evidence)})")
    sentences = [
        f"Losses show more than scores for {listed(of_kind)}: {meaning}."
        for meaning, of_kind in names.items()
        if of_kind
    ]
    return " ".join(sentences) or None
