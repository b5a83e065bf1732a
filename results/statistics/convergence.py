"""Tell from the validation curve of a trained case whether it solved its task, had stopped improving, or had not.

A case is, in this order:

1. `diverged`, if its loss or a gradient was not finite.
2. `solved`, if it ended early for this reason, or if its final level reaches the score at which its task is solved.
3. `plateaued`, if its protocol's patience ended it.
4. `still learning`, if the final level is higher than the best level of the first half of training. For the loss,
   lower levels are better. Either the score or the loss has to improve.
5. `plateaued` in all other cases.

A level is the mean of a sixth of all evaluations, in a row, and the final level is that of the last ones. The score has
to improve by at least `SCORE_GAIN`, and the loss by at least `LOSS_GAIN` of the first loss. Both also have to exceed
the noise of a difference of two levels. The noise is estimated from second differences of the curve, which a steady
rise leaves at zero (Gasser, Sroka & Jennen-Steinmetz 1986). The final loss also has to be below every loss of the
first half: a falling learning rate reduces the loss of a model that only jumps about its optimum.

The window is half of the training, because a falling learning rate flattens the end of every curve. With the cosine
schedule, the second half of the steps has 18% of the sum of all learning rates, and the last quarter only 2.5%. A curve
that rose until the learning rate vanished is therefore still learning: a larger budget has a longer schedule.

A plateau is a statement about the past. No curve shows whether a sudden transition would have followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.schema.case import solved_score
from results.schema.record import EvalPoint, Record, Training

Convergence = Literal["solved", "plateaued", "still learning", "diverged"]

SCORE_GAIN = 0.02
"""Smallest improvement of the score that counts. Mean scores count as equal up to the same difference."""
LOSS_GAIN = 0.01
"""Smallest improvement of the loss that counts, as a share of the first loss."""
FIRST_PART = 0.5
"""The share of the training steps before the window in which an improvement counts."""
LEVELS = 6
"""A level is the mean of this fraction of all evaluations: a sixth."""
MIN_EVALUATIONS = 5
"""Smallest number of evaluations from which noise is estimated. With fewer, the noise of the score is that of the
validation set, and the noise of the loss is `PRIOR_LOSS_NOISE`."""
PRIOR_LOSS_NOISE = 0.05
"""Standard deviation of the loss, as a share of the first loss, if there are too few evaluations to estimate it."""
SCORE_ERRORS, LOSS_ERRORS = 1.25, 2.0
"""Smallest improvements of score and loss in standard errors. They are low, because to call a plateau still learning
costs a verdict, but to call a rise a plateau gives a wrong one. The loss is the smoother of the two."""
NORMAL_MAD = 1.4826
"""Standard deviation of normal noise, divided by its median absolute deviation."""

Floats = NDArray[np.float64]


def convergence(record: Record) -> Convergence | None:
    """Return the convergence of a case, or None if it was not trained or not evaluated.

    Without reference scores the chance level is unknown. Then a case is solved only if it ended early for this reason.
    """
    training = record.training
    if training is None or (not training.curve and training.stopped != "diverged"):
        return None
    reference = record.reference_at(record.case.length)
    solved_at = math.inf if reference is None else solved_score(reference.chance)
    return classify(training, solved_at=solved_at, validation_sequences=record.case.protocol.validation_sequences)


def classify(training: Training, *, solved_at: float, validation_sequences: int) -> Convergence:
    """Classify a training by its validation curve; see the module's docstring.

    A single evaluation cannot show a plateau. A case with only one is still learning, unless it is solved.

    Args:
        training: The summary of the training, with its curve.
        solved_at: The score at which the task is solved.
        validation_sequences: The number of sequences of each evaluation.
    """
    curve, stopped = training.curve, training.stopped
    if stopped == "diverged" or stopped == "solved" or stopped == "plateaued":
        return stopped
    scores = np.array([point.validation_score for point in curve])
    if scores[-_level(len(curve)) :].mean() >= solved_at:
        return "solved"
    return "still learning" if _improved(curve, scores, validation_sequences) else "plateaued"


def last_improvement(training: Training) -> int:
    """Return the last training step at which the score or the loss improved on all earlier evaluations.

    An improvement counts if it is at least `SCORE_GAIN`, or `LOSS_GAIN` of the first loss, since the last one that
    counted. The result is 0 without evaluations.
    """
    progress = Progress()
    improved = [point.step for point in training.curve if progress.improves(point)]
    return improved[-1] if improved else 0


class Progress:
    """The best score and loss so far that were improvements which count: at least `SCORE_GAIN` or `LOSS_GAIN`."""

    def __init__(self) -> None:
        self._score = -math.inf
        self._loss = math.inf
        self._loss_gain = 0.0

    def improves(self, point: EvalPoint) -> bool:
        """Return whether the next evaluation of the curve is an improvement that counts.

        The first evaluation is one. A loss that is not finite is none.
        """
        improves = point.validation_score >= self._score + SCORE_GAIN
        if improves:
            self._score = point.validation_score
        loss = point.validation_loss
        if loss is not None and loss < self._loss - self._loss_gain:
            self._loss_gain = self._loss_gain or LOSS_GAIN * abs(loss)
            self._loss, improves = loss, True
        return improves


def _improved(curve: Sequence[EvalPoint], scores: Floats, validation_sequences: int) -> bool:
    """Return whether the final score or loss is better than the best of the first half of training.

    Args:
        curve: The evaluations.
        scores: Their scores.
        validation_sequences: The number of sequences of each evaluation.
    """
    if len(curve) == 1:
        return True
    middle = FIRST_PART * curve[-1].step
    level = _level(len(curve))
    first = max(level, sum(point.step <= middle for point in curve))
    final = float(scores[-level:].mean())
    noise = _noise(scores)
    if noise is None:
        noise = math.sqrt(final * (1 - final) / validation_sequences)
    if _gain(scores, first, level) > max(SCORE_GAIN, SCORE_ERRORS * _error(noise, level)):
        return True
    losses = np.array([math.inf if point.validation_loss is None else point.validation_loss for point in curve])
    if not np.isfinite(losses).all():
        return False
    scale = abs(float(losses[0]))
    noise = _noise(losses)
    if noise is None:
        noise = PRIOR_LOSS_NOISE * scale
    if float(losses[-level:].mean()) >= float(losses[:first].min()):
        return False
    return _gain(-losses, first, level) > max(LOSS_GAIN * scale, LOSS_ERRORS * _error(noise, level))


def _level(evaluations: int) -> int:
    """Return the number of evaluations in a level."""
    return max(1, evaluations // LEVELS)


def _gain(values: Floats, first: int, level: int) -> float:
    """Return the final level minus the best level among the first evaluations.

    Args:
        values: The evaluations, higher is better.
        first: The number of first evaluations.
        level: The number of evaluations in a level.
    """
    levels = np.convolve(values[:first], np.full(level, 1 / level), mode="valid")
    return float(values[-level:].mean() - levels.max())


def _error(noise: float, level: int) -> float:
    """Return the standard error of the difference of two levels of `level` evaluations each."""
    return noise * math.sqrt(2 / level)


def _noise(values: Floats) -> float | None:
    """Return the standard deviation of a curve's noise from its second differences, or None with too few values.

    The median absolute deviation is not affected by a single jump. The variance of a second difference is six times
    that of the noise.
    """
    if len(values) < MIN_EVALUATIONS:
        return None
    return NORMAL_MAD * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)
