"""The task contract: sampling, scored positions, reference scores and an exact solver.

A task is a frozen dataclass of its parameters. `length` is always the number of time steps fed to the
model. A task derives its delays and counts from `length`.
"""

# Shape suffixes: B batch, T time, D channels, C classes

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.nn import functional

REAL_TOLERANCE = 0.04
"""Largest absolute error of a correct real-valued answer (Hochreiter & Schmidhuber 1997, section 5.4)."""

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A kind of input or answer: one of `size` symbols per step."""

    size: int


@dataclass(frozen=True, slots=True)
class Reals:
    """A kind of input or answer: `size` real numbers per step."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sampled sequences with their targets and scored positions.

    `inputs`   int64 (B, T) for a task that reads tokens, float32 (B, T, D) for a task that reads reals.
    `targets`  int64 (B, T) for classes, float32 (B, T, D) for reals. Only the scored positions carry meaning.
    `mask`     bool (B, T): the scored positions.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A partial strategy for a task, with the score and the loss that it reaches on average.

    A score or a loss is None if it is unknown. Without a stated `error`, both are exact.
    """

    name: str
    """A short label for tables and figures, such as "any value shown"."""
    description: str
    """What the strategy does, as one sentence in the imperative."""
    score: float | None = None
    """The expected score, in [0, 1]."""
    loss: float | None = None
    """The expected loss: in nats for classes, a squared error for reals."""
    error: float = 0.0
    """The standard error of a score that is estimated from simulated sequences; 0 for an exact score."""


class ImpossibleLength(ValueError):
    """Error for a length that the task does not support."""


class MissingData(ValueError):
    """Error for data that are not installed. The message names the task and what it needs, and says how to install it.

    A task raises it in `sample`, `chance` and whatever else reads the data. It can be built without them.
    """


class TooShort(ImpossibleLength):
    """Error for a length below the task's `min_length`."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A parameterised distribution of sequences, with its chance level and an exact solver.

    The constructor raises `ValueError` if a number is out of range. Only `build` checks the types of the parameters.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    version: ClassVar[int] = 1
    """The version of the sampled data. It increases if a code change alters the data that a seed gives."""
    source: ClassVar[str]
    """The publications or data that the task is based on."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Published protocols by name, each with the parameters that it sets."""

    def __str__(self) -> str:
        """Return the spec that builds this task, without parameters at their defaults."""
        name = type(self).__module__.rpartition(".")[2]
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        written = ",".join(f"{key}={value}" for key, (value, default) in sorted(values.items()) if value != default)
        return f"{name}:{written}" if written else name

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the class docstring, which describes the task."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @property
    @abstractmethod
    def inputs(self) -> Tokens | Reals:
        """The kind and size of the input at each step."""

    @property
    @abstractmethod
    def targets(self) -> Tokens | Reals:
        """The kind and size of the answer at each step."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """A display name for each input token."""
        return tuple(str(token) for token in range(self.inputs.size))

    @property
    def target_names(self) -> tuple[str, ...]:
        """A display name for each class."""
        return tuple(str(token) for token in range(self.targets.size))

    @property
    def data_digest(self) -> str | None:
        """The SHA-256 of the data set that the task reads, or None if the task generates its data."""
        return None

    def for_seed(self, seed: int) -> Self:
        """Return the task of a case with this seed: by default, the task itself.

        A task that reads a data set of its own for each seed returns a copy that knows the seed. Sizes, supported
        lengths and reference scores are the same for every seed. Tuning seeds start at 1,000,000.
        """
        return self

    @property
    def tolerance(self) -> float:
        """The largest absolute error of a correct real-valued answer."""
        return REAL_TOLERANCE

    @property
    @abstractmethod
    def min_length(self) -> int:
        """The shortest length that the task supports."""

    @abstractmethod
    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        """Sample a batch. `sample` calls this method after it has checked the arguments.

        Args:
            generator: The only source of randomness.
            batch: Number of sequences, at least 1.
            length: Steps per sequence, a supported length.
            split: The part to sample from. Tasks that generate their data ignore `split`.
        """

    @abstractmethod
    def chance(self, length: int) -> float:
        """Return the chance level: the best score of answers that depend on the step number but not on the input."""

    @abstractmethod
    def solve(self, batch: Batch) -> Tensor:
        """Compute the correct answers from the inputs alone, in the shape of `batch.targets`.

        Only the positions in `solvable(batch)` carry meaning.
        """

    def solvable(self, batch: Batch) -> Tensor:
        """Return a mask, bool (B, T), of the positions whose answers follow from the inputs.

        By default, the mask contains all scored positions.
        """
        return batch.mask

    def memoryless_score(self, length: int) -> float | None:
        """Return the memoryless baseline, or None if it does not exceed chance.

        This baseline is the best score of answers that depend only on the present input and the step number.
        """
        return None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the obvious partial strategies with their scores and losses, from the weakest to the strongest.

        A strategy uses some of the past, but not all that the task asks for. A network often stays at such a line for
        a while. Answers without memory are listed only if the literature names their loss. A task has no strategies if
        part of the past tells nothing of the answer, as in `parity`.
        """
        return ()

    def constant_loss(self, length: int) -> float | None:
        """Return the exact loss of the best answer that does not read the input, or None if it is not known.

        Like the chance level, this answer may depend on the step number. For real-valued answers without an exact loss,
        Carousel measures it on the test sequences.
        """
        return None

    def memoryless_loss(self, length: int) -> float | None:
        """Return a loss that no answer from the present input and the step number can beat on average.

        The default is -ln a, in nats, if a is the score of the best such answer. By Jensen's inequality the mean of
        -ln q is at least -ln of the mean of q, the probability given to the target, and the mean of q is at most a. The
        result is None for real-valued answers, and if a task replaces `loss`.
        """
        if not isinstance(self.targets, Tokens) or type(self).loss is not Task.loss:
            return None
        score = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return max(0.0, -math.log(score))

    def memory_floor(self, length: int) -> float | None:
        """Return the score of a strategy that lacks only the memory which the task tests, or None without such a line.

        It is the score on the positions of the metric `memory_score` if the task records this, else on all scored
        positions. Memory shares count from it, so that they leave out what needs no long memory.
        """
        return None

    @abstractmethod
    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that a training and a test sequence are identical."""

    def sample(self, generator: torch.Generator, batch: int, length: int, split: Split = "train") -> Batch:
        """Sample a batch of sequences.

        Args:
            generator: The only source of randomness. Splits of generated data need different generators.
            batch: Number of sequences, at least 1.
            length: Steps per sequence.
            split: The part to sample from, for tasks that read a data set. The three parts are disjoint.

        Raises:
            ImpossibleLength: If the task does not support this length (`TooShort` if below `min_length`).
            ValueError: If `batch` is below 1.
        """
        if batch < 1:
            raise ValueError(f"a batch needs at least 1 sequence, not {batch}")
        self.check_length(length)
        with standard_defaults():
            return self.draw(generator, batch, length, split)

    def check_length(self, length: int) -> None:
        """Raise `ImpossibleLength` if the task does not support this length.

        The exception is a `TooShort` if the length is below `min_length`.
        """
        if length < self.min_length:
            raise TooShort(f"{self} needs at least {self.min_length} steps, not {length}")

    def supports_length(self, length: int) -> bool:
        """Return whether `check_length` accepts this length."""
        try:
            self.check_length(length)
        except ImpossibleLength:
            return False
        return True

    def answer(self, outputs: Tensor) -> Tensor:
        """Convert model outputs (B, T, C) to answers: the most likely classes (B, T), or the reals unchanged."""
        return outputs.argmax(-1) if isinstance(self.targets, Tokens) else outputs

    def correct(self, answers: Tensor, batch: Batch) -> Tensor:
        """Return whether each answer is correct, bool (B, T). Only the scored positions carry meaning."""
        if isinstance(self.targets, Tokens):
            return answers == batch.targets
        return ((answers - batch.targets).abs() <= self.tolerance).all(-1)

    def score(self, answers: Tensor, batch: Batch) -> float:
        """Return the share of scored positions with a correct answer, in [0, 1]."""
        return self.correct(answers, batch)[batch.mask].double().mean().item()

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return the training loss of model outputs (B, T, C), a scalar.

        The loss is cross-entropy in nats or squared error, averaged over the scored positions.
        """
        scored, targets = outputs[batch.mask], batch.targets[batch.mask]
        measure = functional.cross_entropy if isinstance(self.targets, Tokens) else functional.mse_loss
        return measure(scored, targets)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """Return the metrics recorded with the score, by name: the loss first, then the task's own metrics."""
        name = "cross_entropy" if isinstance(self.targets, Tokens) else "mse"
        return {name: self.loss(outputs, batch).item()}


@contextlib.contextmanager
def standard_defaults() -> Iterator[None]:
    """Create tensors as torch does by default: float32, on the CPU.

    A seed thus draws the same data in every program.
    """
    dtype = torch.get_default_dtype()
    if dtype is not torch.float32:
        torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu") if torch.get_default_device().type != "cpu" else contextlib.nullcontext():
            yield
    finally:
        if dtype is not torch.float32:
            torch.set_default_dtype(dtype)


def last_step_mask(batch: int, length: int) -> Tensor:
    """Return the mask, bool (B, T), of a task that scores only the last step."""
    mask_BT = torch.zeros(batch, length, dtype=torch.bool)
    mask_BT[:, -1] = True
    return mask_BT


def generator(seed: int, split: Split) -> torch.Generator:
    """Return the random generator for a seed and a split. Each pair of seed and split gives other numbers."""
    digest = hashlib.sha256(f"carousel {split} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
