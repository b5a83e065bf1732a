"""Random weight guessing: draw all weights at random, again and again, and keep the best.

A task that guessing solves is no evidence for an architecture or for training by gradients: many weights solve it. The
method is that of Schmidhuber & Hochreiter 1996 and Schmidhuber, Hochreiter & Bengio 2001, with weights from the uniform
distribution over [-100, 100]. They guess until all sequences of a training set are right, and then test. Here each
guess is scored on a batch of its own. The best guess since the last validation is validated, and the best validated
guess is kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

import arch
import tasks
from bench.training.evaluation import Evaluation, evaluate
from results import Case, digest


class _Guess(NamedTuple):
    """Weights with what they reached on a batch or on the validation data."""

    weights: list[Tensor]
    evaluation: Evaluation

    @property
    def rank(self) -> tuple[float, float]:
        """The score, then the negative loss. A loss that is not a number is the worst."""
        loss = self.evaluation.loss
        return self.evaluation.score, -math.inf if math.isnan(loss) else -loss


class Guessing:
    """A learner that guesses weights.

    Args:
        model: The model. It has the last guess after `step`, and the best validated one after `validate`.
        task: The task, which scores guesses.
        case: The bound of the weights, and the seed from which they are drawn.
    """

    diverged = False
    """A guess may have an infinite loss, but later guesses do not depend on it."""

    def __init__(self, model: arch.SequenceModel, task: tasks.Task, case: Case) -> None:
        self._model, self._task = model, task
        self._bound = case.protocol.guess_range
        self._generator = torch.Generator().manual_seed(int(digest(["guesses", case.seed]), 16))
        self._candidate: _Guess | None = None
        self._best: _Guess | None = None

    def step(self, batch: tasks.Batch) -> float:
        """Guess all weights, and return their loss on a batch."""
        self._write([self._drawn(parameter) for parameter in self._model.parameters()])
        guess = _Guess(self._read(), evaluate(self._model, self._task, batch))
        if self._candidate is None or guess.rank > self._candidate.rank:
            self._candidate = guess
        return guess.evaluation.loss

    def validate(self, validation: tasks.Batch) -> Evaluation:
        """Validate the best guess since the last call, and return the evaluation of the best of all calls."""
        assert self._candidate is not None, "nothing was guessed since the last validation"
        self._write(self._candidate.weights)
        guess = _Guess(self._candidate.weights, evaluate(self._model, self._task, validation))
        self._candidate = None
        if self._best is None or guess.rank > self._best.rank:
            self._best = guess
        self._write(self._best.weights)
        return self._best.evaluation

    def _drawn(self, parameter: Tensor) -> Tensor:
        """Return weights of the shape and type of a parameter, drawn on the CPU so that no device changes them."""
        drawn = torch.empty(parameter.shape, dtype=parameter.dtype)
        numbers = torch.view_as_real(drawn) if drawn.is_complex() else drawn
        numbers.uniform_(-self._bound, self._bound, generator=self._generator)
        return drawn

    def _read(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._model.parameters()]

    def _write(self, weights: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, values in zip(self._model.parameters(), weights, strict=True):
                parameter.copy_(values)
