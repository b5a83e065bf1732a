"""control_charts: which of six patterns does a control chart follow? This example turns a public data set into a task.

The data set is the Synthetic Control Chart Time Series of Alcock & Manolopoulos 1999 (UCI repository, UCR archive). It
has 600 charts of 60 steps, 100 per pattern.

Nothing is downloaded. The data set was itself generated from equations. This file generates as many charts from the
same equations, with a fixed seed.

The time t runs from 1 to 60. The other variables are drawn from uniform distributions:

    variable   drawn            range
    r          at each step     -3 to 3
    a, P       once per chart   10 to 15
    g          once per chart   0.2 to 0.5
    x          once per chart   7.5 to 20
    c          once per chart   20 to 40

[t ≥ c] is 1 if t ≥ c, else 0. The six patterns are:

    normal              y = 30 + 2 r                                  (1)
    cyclic              y = 30 + 2 r + a sin(2 π t / P)               (2)
    increasing trend    y = 30 + 2 r + g t                            (3)
    decreasing trend    y = 30 + 2 r - g t                            (4)
    upward shift        y = 30 + 2 r + x [t ≥ c]                      (5)
    downward shift      y = 30 + 2 r - x [t ≥ c]                      (6)

`path=FILE` reads charts from a file in the format of the UCR archive. The archive is free for research; cite Dau et al.
2019. Each line holds the class of a chart, then its values, separated by tabs, commas or spaces. All charts need the
same length. Each class needs at least 20 charts. A fixed shuffle splits the charts of every class: about 70% for
training, 15% for validation, 15% for testing.

    carousel run quick --plugin examples/control_charts.py -t control_charts -L 60
"""

# Shape suffixes: B batch, T time, N charts, C classes

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from tasks import Batch, ImpossibleLength, Reals, Split, Task, Tokens

PATTERNS = ("normal", "cyclic", "increasing trend", "decreasing trend", "upward shift", "downward shift")
PER_PATTERN, STEPS, SEED = 100, 60, 1999
SPLITS: dict[Split, tuple[int, int]] = {"train": (0, 14), "validation": (14, 17), "test": (17, 20)}
"""Half-open range of each split within every group of twenty charts. The charts are sorted by class."""
LEVELS = 16
"""For the memoryless baseline, values are clipped to [-1, 1] and rounded to multiples of 1 / LEVELS."""


@dataclass(frozen=True, kw_only=True)
class ControlCharts(Task):
    """Name the pattern of a chart at the last step: six classes, or as many as the file has.

    `path`  file of charts to read (default: generate the charts).
    """

    source: ClassVar[str] = "Alcock & Manolopoulos 1999; the UCR archive, Dau et al. 2019"

    path: str | None = None

    @property
    def inputs(self) -> Reals:
        return Reals(1)

    @property
    def targets(self) -> Tokens:
        return Tokens(int(charts(self.path)[1].max()) + 1)

    @property
    def target_names(self) -> tuple[str, ...]:
        return PATTERNS if self.path is None else super().target_names

    @property
    def min_length(self) -> int:
        return charts(self.path)[0].shape[1]

    @property
    def data_digest(self) -> str:
        values_NT, classes_N = charts(self.path)
        return hashlib.sha256(values_NT.numpy().tobytes() + classes_N.numpy().tobytes()).hexdigest()

    def check_length(self, length: int) -> None:
        super().check_length(length)
        if length != self.min_length:
            raise ImpossibleLength(f"{self} needs a length of exactly {self.min_length} steps, not {length}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        values_NT, classes_N = self._split(split)
        chosen_B = torch.randint(len(classes_N), (batch,), generator=generator)
        mask_BT = torch.zeros(batch, length, dtype=torch.bool)
        mask_BT[:, -1] = True
        targets_BT = classes_N[chosen_B][:, None] * mask_BT
        return Batch(inputs=values_NT[chosen_B][..., None], targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        _, classes_N = self._split("test")
        return classes_N.bincount().max().item() / len(classes_N)

    def memoryless_score(self, length: int) -> float | None:
        """Return the best test score from the last value alone, or None if that score does not exceed chance.

        The value is clipped to [-1, 1] and rounded to a multiple of 1 / LEVELS.
        """
        values_NT, classes_N = self._split("test")
        last_N = (values_NT[:, -1] * LEVELS).round().clamp(-LEVELS, LEVELS).long() + LEVELS
        counts = torch.zeros(2 * LEVELS + 1, self.targets.size)
        counts.index_put_((last_N, classes_N), torch.ones(()), accumulate=True)
        score = counts.max(1).values.sum().item() / len(classes_N)
        return score if score > self.chance(length) else None

    def collision(self, length: int) -> float:
        """Return the probability that a random training chart and a random test chart are identical."""
        (train_NT, _), (test_NT, _) = self._split("train"), self._split("test")
        return (torch.cdist(train_NT.double(), test_NT.double()) == 0).double().mean().item()

    def solve(self, batch: Batch) -> Tensor:
        """Return the class of each input chart at every step, (B, T), as listed in the data set.

        Each input is a chart of the data set. Therefore the nearest chart in the data set is the input itself.
        """
        values_NT, classes_N = charts(self.path)
        nearest_B = torch.cdist(batch.inputs[..., 0].double(), values_NT.double()).argmin(1)
        return classes_N[nearest_B][:, None].expand(batch.mask.shape)

    def _split(self, split: Split) -> tuple[Tensor, Tensor]:
        values_NT, classes_N = charts(self.path)
        shuffled_N = torch.randperm(len(classes_N), generator=torch.Generator().manual_seed(SEED))
        by_class_N = shuffled_N[classes_N[shuffled_N].argsort(stable=True)]
        slot_N = torch.arange(len(classes_N)) % SPLITS["test"][1]
        first, last = SPLITS[split]
        split_N = by_class_N[(slot_N >= first) & (slot_N < last)]
        return values_NT[split_N], classes_N[split_N]


@lru_cache
def charts(path: str | None) -> tuple[Tensor, Tensor]:
    """Return the values (N, T) of all charts and their classes (N,), which are counted from 0.

    The values are standardised to mean 0 and standard deviation 1/2. The charts are generated if `path` is None.

    Raises:
        ValueError: If the file cannot be read or is malformed, or if a class has fewer than 20 charts.
    """
    values_NT, classes_N = _generated() if path is None else _read(Path(path))
    return (values_NT - values_NT.mean()) / (2 * values_NT.std()), classes_N


def _generated() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)

    def uniform(low: float, high: float, steps: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(PER_PATTERN, steps, generator=generator)

    t_T = torch.arange(1, STEPS + 1)
    values = [30 + 2 * uniform(-3, 3, STEPS) for _ in PATTERNS]  # (1)
    values[1] += uniform(10, 15) * (2 * math.pi * t_T / uniform(10, 15)).sin()  # (2)
    for pattern, sign in ((2, 1), (3, -1)):
        values[pattern] += sign * uniform(0.2, 0.5) * t_T  # (3), (4)
    for pattern, sign in ((4, 1), (5, -1)):
        values[pattern] += sign * uniform(7.5, 20) * (t_T >= uniform(STEPS / 3, 2 * STEPS / 3))  # (5), (6)
    return torch.cat(values), torch.arange(len(PATTERNS)).repeat_interleave(PER_PATTERN)


def _read(path: Path) -> tuple[Tensor, Tensor]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = torch.tensor([[float(cell) for cell in re.split(r"[\s,]+", line.strip())] for line in lines if line])
    except OSError as error:
        problem = f"control_charts:path={path} cannot be read: {error.strerror}"
        raise ValueError(f"{problem}; give the path of a readable file") from None
    except ValueError as error:
        problem = f"control_charts:path={path} is malformed: {error}"
        raise ValueError(f"{problem}; every line needs a class and the same number of values") from None
    needed = "a class and at least two numbers, all of them finite"
    if rows.dim() != 2 or rows.shape[1] < 3 or not rows.isfinite().all():
        raise ValueError(f"control_charts:path={path} is malformed: every line needs {needed}")
    labels, classes_N = rows[:, 0].unique(return_inverse=True)
    fewest, rarest = classes_N.bincount().min(0)
    if fewest < SPLITS["test"][1]:
        problem = f"{fewest.item()} of the {SPLITS['test'][1]} charts needed of class {labels[rarest].item():g}"
        raise ValueError(f"control_charts:path={path} has only {problem}: add charts, or remove the class")
    return rows[:, 1:], classes_N
