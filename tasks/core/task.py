"""What every task promises: it samples sequences, says what is asked, what guessing scores, and solves them.

A task is a frozen dataclass of its parameters; the first value of each is the default. `length` is
always the number of steps fed to the model, and delays and counts are derived from it.
"""

# Shape suffixes: B batch, T time, D channels, C classes

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.nn import functional

REAL_TOLERANCE = 0.04
"""How near a real answer must be to count as right (Hochreiter & Schmidhuber 1997, adding)."""

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One of `size` symbols a step."""

    size: int


@dataclass(frozen=True, slots=True)
class Reals:
    """`size` real numbers a step."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sampled sequences, what is asked of them, and where.

    `inputs`   int64 (B, T) where the task reads tokens, float32 (B, T, D) where it reads reals.
    `targets`  int64 (B, T) or float32 (B, T, D); only positions in the mask mean anything.
    `mask`     bool (B, T): the asked positions.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor


class ImpossibleLength(ValueError):
    """A length at which the task cannot be asked."""


class TooShort(ImpossibleLength):
    """A length under the task's smallest."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A parameterised distribution of sequences, with its chance line and its exact solver.

    Raises `ValueError` where parameters are impossible.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    version: ClassVar[int] = 1
    """Raised whenever the same parameters and seed would sample other data."""
    source: ClassVar[str]
    """Where the task comes from."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Published protocols by name: the parameters that they set."""

    def __str__(self) -> str:
        """The spec that builds this task, defaults left out."""
        name = type(self).__module__.rpartition(".")[2]
        values = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        written = ",".join(f"{key}={value}" for key, (value, default) in sorted(values.items()) if value != default)
        return f"{name}:{written}" if written else name

    @classmethod
    def summary(cls) -> str:
        """What is asked, in one line."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @property
    @abstractmethod
    def inputs(self) -> Tokens | Reals: ...

    @property
    @abstractmethod
    def targets(self) -> Tokens | Reals: ...

    @property
    def input_names(self) -> tuple[str, ...]:
        """What a reader is shown for each input token."""
        return tuple(str(token) for token in range(self.inputs.size))

    @property
    def target_names(self) -> tuple[str, ...]:
        """What a reader is shown for each answer."""
        return tuple(str(token) for token in range(self.targets.size))

    @property
    def data_digest(self) -> str | None:
        """The SHA-256 of the data that the task reads; None where it makes its own."""
        return None

    @property
    @abstractmethod
    def min_length(self) -> int:
        """The smallest length at which the task can be asked."""

    @abstractmethod
    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        """`sample` without its checks. Only a task that reads data looks at `split`."""

    @abstractmethod
    def chance(self, length: int) -> float:
        """The score of the best answer that does not look at the input, though it may count the steps."""

    @abstractmethod
    def solve(self, batch: Batch) -> Tensor:
        """The right answers, worked out from the inputs: (B, T) or (B, T, D), as `targets`."""

    def solvable(self, batch: Batch) -> Tensor:
        """Where the inputs tell the answer, bool (B, T): wherever one is asked, unless a task says otherwise."""
        return batch.mask

    def memoryless_score(self, length: int) -> float | None:
        """The score of the best answer from the present input (and step) alone, where it beats chance."""
        return None

    @abstractmethod
    def collision(self, length: int) -> float:
        """At most how likely it is that a training and a test draw are one and the same input sequence."""

    def sample(self, generator: torch.Generator, batch: int, length: int, split: Split = "train") -> Batch:
        """`batch` sequences of exactly `length` steps.

        Where the task reads data, `split` says from which of three disjoint parts; otherwise the
        generator alone keeps the splits apart. Raises `ImpossibleLength` where the task cannot be
        asked at that length, `TooShort` under its smallest.
        """
        if batch < 1:
            raise ValueError(f"a batch needs at least 1 sequence, not {batch}")
        self.check_length(length)
        return self.draw(generator, batch, length, split)

    def check_length(self, length: int) -> None:
        """Raises `ImpossibleLength` where the task cannot be asked, `TooShort` under its smallest length."""
        if length < self.min_length:
            raise TooShort(f"{self} needs at least {self.min_length} steps, not {length}")

    def answer(self, outputs: Tensor) -> Tensor:
        """A model's outputs (B, T, C) as answers: the likeliest class, or the reals as they are."""
        return outputs.argmax(-1) if isinstance(self.targets, Tokens) else outputs

    def right(self, answers: Tensor, batch: Batch) -> Tensor:
        """Whether each answer is right, bool (B, T); only asked positions mean anything."""
        if isinstance(self.targets, Tokens):
            return answers == batch.targets
        return ((answers - batch.targets).abs() <= REAL_TOLERANCE).all(-1)

    def score(self, answers: Tensor, batch: Batch) -> float:
        """The share of asked positions that are answered rightly, in [0, 1]."""
        return self.right(answers, batch)[batch.mask].double().mean().item()

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """What training lowers: cross-entropy in nats, or squared error, averaged over asked positions."""
        asked, targets = outputs[batch.mask], batch.targets[batch.mask]
        measure = functional.cross_entropy if isinstance(self.targets, Tokens) else functional.mse_loss
        return measure(asked, targets)

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        """What is recorded beside the score: the loss, and what a task adds."""
        name = "cross_entropy" if isinstance(self.targets, Tokens) else "mse"
        return {name: self.loss(outputs, batch).item()}


def asked_at_the_end(batch: int, length: int) -> Tensor:
    """The mask (B, T) of a task that asks at the last step only."""
    mask_BT = torch.zeros(batch, length, dtype=torch.bool)
    mask_BT[:, -1] = True
    return mask_BT


def generator(seed: int, split: Split) -> torch.Generator:
    """The source of randomness of one split of one seed; no two share a stream."""
    digest = hashlib.sha256(f"carousel {split} {seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
