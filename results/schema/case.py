"""A case: one grid point, and the protocol by which it is trained. Its digest names its files."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from results.schema.base import Count, Name, Size, Strict

Multiple = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}x$")]


class Protocol(Strict):
    """How a case is trained and evaluated.

    Training draws fresh batches for `steps` steps, or goes through a fixed set of `train_sequences`
    for `epochs` epochs. It stops early when validation has been solved `solved_after` times running.
    """

    batch: Size = 32
    steps: Size | None = None
    train_sequences: Size | None = None
    epochs: Size | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["constant", "halving", "cosine"] = "cosine"
    halve_every: Size = 20
    """Epochs between two halvings, where the schedule is `halving`."""
    warmup_steps: Count = 0
    clip: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    evaluate_every: Size = 100
    """Steps between two looks at validation data."""
    validation_sequences: Size = 256
    test_sequences: Size = 1024
    train_lengths: Literal["fixed", "up_to"] = "fixed"
    """Whether every batch has the case's length, or one drawn from all lengths up to it."""
    evaluate_at: Annotated[tuple[Multiple | Size, ...], Field(min_length=1)] = ("1x", "2x", "4x")
    """Lengths at which the trained model is tested: multiples of the trained one, or numbers of steps."""
    control: Literal["none", "shuffled_targets"] = "none"
    """With `shuffled_targets` the answers of a batch are passed round among its asked places, so that training
    can teach nothing but how often each answer comes."""
    solved_after: Count | None = 3
    """Evaluations in a row, at ≥ 0.99 of the span from chance to 1, that end training; never if None or 0."""
    fit_sequences: Count = 0
    """Sequences of the fixed training set on which each evaluation measures the fit; not measured if 0."""
    keep_best: bool = False
    """Whether the weights of the best validation score are tested too, as early stopping would keep them."""

    @model_serializer(mode="wrap")
    def _as_first_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields that came later are left out at their defaults, so that the keys of older cases still hold."""
        return _without_defaults(write(self), self, ("fit_sequences", "keep_best"))

    def evaluated_lengths(self, length: int) -> tuple[int, ...]:
        """The lengths of `evaluate_at`, shortest first, for a case that is trained at `length`."""
        lengths = {int(at[:-1]) * length if isinstance(at, str) else at for at in self.evaluate_at}
        return tuple(sorted(lengths))


SOLVED_SHARE = 0.99
"""A task counts as solved at this share of the span from chance to a perfect score."""


def solved_score(chance: float) -> float:
    """Return the lowest score at which a task with this chance level counts as solved."""
    return chance + SOLVED_SHARE * (1 - chance)


class Case(Strict):
    """One grid point: arch × task × length × size × seed × protocol."""

    arch: Name
    task: Name
    task_version: Size = 1
    task_data: Name | None = None
    """Digest of the data that the task reads, where it makes none of its own."""
    length: Size
    depth: Size = 2
    params: Size | None = None
    width: Size | None = None
    seed: Count
    protocol: Protocol

    @property
    def key(self) -> str:
        """The case's name among files: readable first, exact last."""
        return f"{_slug(self.arch)}.{_slug(self.task)}.L{self.length}.s{self.seed}.{self.digest()}"


def _without_defaults(written: dict[str, Any], document: BaseModel, fields: tuple[str, ...]) -> dict[str, Any]:
    known = type(document).__pydantic_fields__
    for field in fields:
        if getattr(document, field) == known[field].default:
            written.pop(field, None)
    return written


def _slug(spec: str) -> str:
    return re.sub(r"[^A-Za-z0-9_=-]+", "_", spec)[:60]
