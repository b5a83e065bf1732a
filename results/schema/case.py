"""A case (one grid point) and its training protocol. The file names of a case contain the digest of the case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from results.schema.base import Count, Name, Size, Strict
from results.schema.location import LengthRange, range_text

Rate = Annotated[float, Field(gt=0)]
MULTIPLE = re.compile(r"[1-9][0-9]{0,3}x")
"""A multiple of the trained length, such as `2x`."""
RANGE = re.compile(r"(-?[0-9]{1,10})\.\.(-?[0-9]{1,10})")
"""A range of lengths, such as `40..256`."""
NO_TEST_LENGTH = "no test length: give a number such as 64, a multiple such as '2x', or a range such as '40..256'"
NO_TRAINING_LENGTH = "no training length: give 'fixed', 'up_to' or a range such as '3..40'"
MAX_LENGTH = 1 << 24
"""Last length of the longest range, as for the trained lengths of a plan."""
MAX_RANGE = 1 << 16
"""Maximum number of lengths in a range."""
GUESS_RANGE = 100.0
"""Bound of guessed weights in all experiments of Schmidhuber, Hochreiter & Bengio 2001."""
SOLVED_SHARE = 0.99
"""Share of the span from the chance level to a perfect score at which a task counts as solved."""
MIN_TEST_SEQUENCES = 128
"""Number of test sequences below which `Protocol.test_steps` does not reduce them."""

BudgetKind = Literal["params", "layer_params", "width", "state", "step_flops"]
"""What a budget counts. `layer_params` are the parameters of the layers, without embedding and readout."""
BUDGETS: tuple[Literal["params", "width", "state", "step_flops"], ...] = ("params", "width", "state", "step_flops")
"""The fields of a case that may set the size of its model. Exactly one of them is given."""


class Budget(NamedTuple):
    """The size that a case asks for. Each architecture gets the width that comes nearest."""

    kind: BudgetKind
    amount: int
    """Number of parameters, width, bytes of one stream's state, or FLOPs of one step. State and step are those after as
    many steps as the case has."""


class Protocol(Strict):
    """The training and evaluation settings of a case.

    If `steps` is given, training uses fresh batches for this number of steps. If `steps` is None, training uses a fixed
    set of `train_sequences` sequences for `epochs` epochs. Training stops early after `solved_after` consecutive
    evaluations that solve the task, or after `patience` consecutive evaluations without an improvement.

    The defaults are those of the first version in which a field existed. A plan has other defaults for some fields, see
    `bench.plans.protocol`.
    """

    optimizer: Literal["adam", "guessing", "none"] = "adam"
    """How the weights are found. `guessing` draws all weights anew at every step and keeps the best. `none` leaves the
    initial weights as they are: the model is timed, but neither trained nor tested. Both have no learning rate."""
    guess_range: Rate = GUESS_RANGE
    """Bound of the weights that are guessed, from `-guess_range` to `guess_range`; used by `guessing` only."""
    batch: Size = 32
    steps: Size | None = None
    train_sequences: Size | None = None
    epochs: Size | None = None
    learning_rate: Rate | None = 1e-3
    """Highest learning rate of the schedule. None if it is chosen by tuning (see `Case.tuning`), or if `optimizer` has
    none."""
    schedule: Literal["constant", "halving", "cosine"] = "cosine"
    halve_every: Size = 20
    """Epochs between two halvings of the learning rate; used by the `halving` schedule only."""
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate at the end of the `cosine` schedule; used by this schedule only."""
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all steps over which the learning rate rises linearly, instead of `warmup_steps`."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of all gradients together; larger ones are scaled down to it. 0 if gradients are not clipped."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    weight_decay_on: Literal["matrices", "all"] = "all"
    """What the weight decay acts on. `matrices` exempts embeddings of tokens, biases, gains and all other vectors."""
    evaluate_every: Size = 100
    """Training steps between two evaluations on validation data."""
    validation_sequences: Size = 256
    test_sequences: Size = 1024
    test_steps: Size | None = None
    """Largest number of time steps in the test sequences of one length. Longer lengths are tested on fewer sequences,
    but on at least `MIN_TEST_SEQUENCES`. None for no limit."""
    train_lengths: Annotated[str, StringConstraints(max_length=40)] = "fixed"
    """With `fixed`, every batch has the length of the case. With `up_to`, each batch has a random length, which is at
    most the length of the case. With a range such as `3..40`, it is also at least the start of the range. The range
    ends at the length of the case."""
    evaluate_at: Annotated[tuple[Annotated[str, StringConstraints(max_length=40)] | Size, ...], Field(min_length=1)] = (
        "1x",
        "2x",
        "4x",
    )
    """Test lengths: multiples of the trained length such as `2x`, numbers of time steps, or ranges such as `40..256`.
    The score over a range is the mean over lengths that are drawn from it."""
    control: Literal["none", "shuffled_targets"] = "none"
    """With `shuffled_targets`, targets are permuted among the scored positions of a batch, or of the whole fixed set.
    Except by memorising sequences, the model can then learn only the frequencies of the answers."""
    solved_after: Count | None = 3
    """Training stops after this many consecutive evaluations that reach `solved_at`. With None or 0, training does not
    stop early."""
    solved_at: Annotated[float, Field(ge=0.5, le=1)] = SOLVED_SHARE
    """Share of the span from the chance level to a perfect score that `solved_after` evaluations must reach."""
    fit_sequences: Count = 0
    """Number of training sequences on which each evaluation measures loss and score; 0 if the fit is not measured."""
    patience: Count | None = None
    """Training stops after this many consecutive evaluations without an improvement that counts, of score or loss
    (`results.Progress`). With None or 0, training does not stop for this reason."""
    keep_best: bool = False
    """Whether to also test the weights with the best validation score. Their test score is the metric
    `early_stopped_accuracy`."""

    @property
    def trains(self) -> bool:
        """Whether models are trained and tested. If not, their initial weights are timed."""
        return self.optimizer != "none"

    @model_serializer(mode="wrap")
    def _as_first_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the serialized protocol, but omit the fields that were added later if they have their default values.

        Older cases were stored without these fields, so the keys of older cases do not change.
        """
        return _without_defaults(write(self), self, ADDED_LATER)

    @field_validator("train_lengths")
    @classmethod
    def _names_lengths(cls, train_lengths: str) -> str:
        if train_lengths not in ("fixed", "up_to"):
            _range_in(train_lengths, otherwise=NO_TRAINING_LENGTH)
        return train_lengths

    @field_validator("evaluate_at")
    @classmethod
    def _can_be_read(cls, evaluate_at: tuple[str | int, ...]) -> tuple[str | int, ...]:
        for at in evaluate_at:
            if isinstance(at, str) and not MULTIPLE.fullmatch(at):
                _range_in(at)
        return evaluate_at

    def evaluated_lengths(self, length: int) -> tuple[int, ...]:
        """Return the test lengths of a case that is trained at `length` time steps, in ascending order.

        Ranges are left out; see `evaluated_ranges`.
        """
        multiples = {int(at[:-1]) * length for at in self.evaluate_at if isinstance(at, str) and at.endswith("x")}
        return tuple(sorted(multiples | {at for at in self.evaluate_at if isinstance(at, int)}))

    def evaluated_ranges(self) -> tuple[LengthRange, ...]:
        """Return the ranges of test lengths, in ascending order."""
        texts = {at for at in self.evaluate_at if isinstance(at, str) and not at.endswith("x")}
        return tuple(sorted(map(_range_in, texts)))

    def tests_beyond(self, length: int) -> bool:
        """Return whether a case that is trained at `length` time steps is tested on longer sequences."""
        return max([0, *self.evaluated_lengths(length), *(last for _, last in self.evaluated_ranges())]) > length

    def test_sequences_at(self, length: int) -> int:
        """Return the number of test sequences of `length` time steps, by `test_sequences` and `test_steps`."""
        if self.test_steps is None:
            return self.test_sequences
        return min(self.test_sequences, max(MIN_TEST_SEQUENCES, self.test_steps // length))

    def training_range(self) -> LengthRange | None:
        """Return the first and the last training length, or None if `train_lengths` is no range."""
        return None if self.train_lengths in ("fixed", "up_to") else _range_in(self.train_lengths)


ADDED_LATER = (
    *("fit_sequences", "patience", "keep_best"),
    *("weight_decay_on", "final_learning_rate", "warmup_share", "solved_at", "test_steps"),
    *("optimizer", "guess_range"),
)
"""The fields of a protocol that its first version lacks."""


def solved_score(chance: float, share: float = SOLVED_SHARE) -> float:
    """Return the score at a share of the span from the chance level to a perfect score.

    By default, it is the lowest score at which a task with this chance level counts as solved.
    """
    return chance + share * (1 - chance)


TUNING_SEED = 1_000_000
"""First tuning seed. A plan has at most 10,000 reported seeds, which start at 0, so no seed is both."""


class Tuning(Strict):
    """The grid from which the learning rate of a case is chosen.

    One case is trained per rate and tuning seed. The rate with the highest mean validation score is used.
    """

    learning_rates: Annotated[tuple[Rate, ...], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of tuning seeds; the first is `TUNING_SEED`."""

    @field_validator("learning_rates")
    @classmethod
    def _rates_differ(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        repeated = [rate for rate in rates if rates.count(rate) > 1]
        if repeated:
            raise ValueError(f"the rate {repeated[0]:g} occurs more than once; give each rate once")
        return tuple(sorted(rates))


class Case(Strict):
    """One grid point: arch × task × length × size × seed × protocol."""

    arch: Name
    task: Name
    task_version: Size = 1
    task_data: Name | None = None
    """Digest of the data set that the task reads; None if the task generates its data."""
    length: Size
    depth: Size = 2
    params: Size | None = None
    """Number of parameters."""
    params_of: Literal["model", "layers"] = "model"
    """What `params` counts: all parameters of the model, or those of its layers without embedding and readout."""
    width: Size | None = None
    """Width of the layers."""
    state: Size | None = None
    """Bytes of the state of one stream after `length` steps."""
    step_flops: Size | None = None
    """FLOPs of one step of one stream after `length` steps."""
    seed: Count
    protocol: Protocol
    tuning: Tuning | None = None
    """Grid from which the learning rate is chosen; None if the protocol gives the rate. The choice is no part of the
    case, so the key does not depend on it."""
    purpose: Literal["report", "tuning"] = "report"
    """With `tuning`, the case trains one learning rate of a grid on a tuning seed. It is trained but never tested."""

    @model_validator(mode="after")
    def _has_one_source_of_its_rate(self) -> Self:
        has_rate, is_tuned = self.protocol.learning_rate is not None, self.tuning is not None
        if self.protocol.optimizer != "adam":
            if has_rate or is_tuned:
                kind = "a case of guessing" if self.protocol.trains else "an untrained case"
                raise ValueError(f"{kind} has neither a learning rate nor a grid in tuning")
        elif has_rate == is_tuned:
            raise ValueError("a case needs either a learning rate in its protocol or a grid in tuning")
        return self

    @model_serializer(mode="wrap")
    def _as_first_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Return the serialized case, but omit the fields that were added later if they have their default values."""
        return _without_defaults(write(self), self, ("params_of", "state", "step_flops", "tuning", "purpose"))

    @property
    def is_reported(self) -> bool:
        """Whether results of the case are reported. The other cases only serve to choose a learning rate."""
        return self.purpose == "report"

    @property
    def setting(self) -> Case:
        """The case with seed 0: what all seeds of an architecture, task, length, size and protocol have in common."""
        return self.model_copy(update={"seed": 0})

    def tuning_cases(self) -> tuple[Case, ...]:
        """Return the cases by which the learning rate of this case is chosen, by rate and then by seed.

        They do not depend on the seed of this case. The result is empty if the protocol gives the rate.
        """
        if self.tuning is None:
            return ()
        return tuple(
            self.model_copy(
                update={
                    "protocol": self.protocol.model_copy(update={"learning_rate": rate}),
                    "seed": TUNING_SEED + number,
                    "tuning": None,
                    "purpose": "tuning",
                }
            )
            for rate in self.tuning.learning_rates
            for number in range(self.tuning.seeds)
        )

    @property
    def budget(self) -> Budget | None:
        """The size that the case asks for; None if it gives none, as in cases of very old runs."""
        return next(iter(budgets_of(self)), None)

    def test_sequences_at(self, at: Mapping[str, int]) -> int:
        """Return the number of test sequences behind a score at a location: a test length, or a range of them."""
        return self.protocol.test_sequences_at(at.get("to", at.get("length", self.length)))

    @property
    def key(self) -> str:
        """The stem of the case's file names: a readable prefix, then the digest that identifies the case."""
        return f"{_slug(self.arch)}.{_slug(self.task)}.L{self.length}.s{self.seed}.{self.digest()}"


def budgets_of(document: Any) -> list[Budget]:
    """Return the given sizes of the models of a case or a plan, which has the fields `params_of` and `BUDGETS`."""
    of_layers = document.params_of == "layers"
    return [
        Budget("layer_params" if field == "params" and of_layers else field, amount)
        for field in BUDGETS
        if (amount := getattr(document, field)) is not None
    ]


def _range_in(text: str, *, otherwise: str = NO_TEST_LENGTH) -> LengthRange:
    """Return the range that a text such as `40..256` names.

    Raises `ValueError` if the text names no valid range. The message ends in `otherwise` if it names no range at all.
    """
    match = RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is {otherwise}")
    first, last = int(match[1]), int(match[2])
    if first < 1:
        raise ValueError(f"the range '{text}' must start at 1 or later")
    if first >= last:
        hint = f"write '{range_text((last, first))}'" if first > last else f"for a single length, write {first}"
        raise ValueError(f"the range '{text}' must end after its start: {hint}")
    if last - first >= MAX_RANGE:
        raise ValueError(f"the range '{text}' has more than {MAX_RANGE:,} lengths: give a shorter range")
    if last > MAX_LENGTH:
        raise ValueError(f"the range '{text}' must end at {MAX_LENGTH:,} or earlier")
    return first, last


def _without_defaults(written: dict[str, Any], document: BaseModel, fields: tuple[str, ...]) -> dict[str, Any]:
    known = type(document).__pydantic_fields__
    for field in fields:
        if getattr(document, field) == known[field].default:
            written.pop(field, None)
    return written


def _slug(spec: str) -> str:
    """Replace each run of unsafe characters in a spec by an underscore, and return the first 60 characters."""
    return re.sub(r"[^A-Za-z0-9_=-]+", "_", spec)[:60]
