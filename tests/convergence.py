"""Simulate how often a trained case is called still learning, for planted validation curves with noise.

    python -m tests.convergence [--seed 1] [--curves 1000] [--markdown]

A planted curve is a function of the *effort*: the share of the sum of all learning rates up to a step. So a falling
learning rate flattens every curve at its end. The noise shrinks with the learning rate.

Promises are made for curves of at least `MIN_PROMISED` evaluations. Curves that still rise are called still learning in
at least 90% of simulations. Other curves are called so in at most 5%. The exit code is 1 if a promise is broken.
"""

# Shape suffixes: N evaluations

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results import EvalPoint, Training, classify
from tests.promises import Promise, report

Floats = NDArray[np.float64]
CHANCE, SPAN, SOLVED_AT = 0.1, 0.8, 0.99
"""A planted score rises from `CHANCE` by at most `SPAN`, so that no planted case solves its task."""
FIRST_LOSS, LOSS_SPAN = 1.0, 0.9
VALIDATION_SEQUENCES = 128
NOISE = 0.02
"""Standard deviation of score and loss at the full learning rate."""
LEFT_OVER = 0.3
"""Noise that a vanishing learning rate leaves, as a share of `NOISE`."""
MIN_PROMISED = 14
"""Smallest number of evaluations for which promises are made: that of the plan `quick`."""
MIN_FOUND, MAX_FALSE = 0.9, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A planted curve: the share of the span that is reached, as a function of the effort."""

    title: str
    reached: Callable[[Floats], Floats]
    rises: bool | None
    """Whether the curve still rises when training ends; None if it is a matter of degree."""


def exponential(constants: float) -> Callable[[Floats], Floats]:
    """Return an exponential approach that lasts for so many time constants."""
    return lambda effort_N: 1 - np.exp(-constants * effort_N)


def transition(at: float) -> Callable[[Floats], Floats]:
    """Return a sudden transition to a half of the span after this share of the effort."""
    return lambda effort_N: np.where(effort_N > at, 0.5, 0.0)


def overfitting(effort_N: Floats) -> Floats:
    """Return a rise during the first 30% of the effort, and a decline during the rest."""
    return 0.6 * np.minimum(1, effort_N / 0.3) - 0.3 * np.maximum(0, effort_N - 0.3)


PLANTED = (
    *(
        Planted(title=f"exponential, {constants:g} time constants", reached=exponential(constants), rises=rises)
        for constants, rises in ((0.1, None), (0.3, True), (1, True), (2, True), (3, True), (4, None), (6, None))
    ),
    Planted(title="linear rise", reached=lambda effort_N: 0.5 * effort_N, rises=True),
    Planted(title="transition at 95% of the effort", reached=transition(0.95), rises=True),
    Planted(title="no progress", reached=np.zeros_like, rises=False),
    Planted(title="exponential, 20 time constants", reached=exponential(20), rises=False),
    Planted(title="transition at 30% of the effort", reached=transition(0.3), rises=False),
    Planted(title="overfitting from 30% of the effort", reached=overfitting, rises=False),
)
OSCILLATION = Planted(title="oscillation of ten times the noise", reached=np.zeros_like, rises=None)
"""A planted curve that `simulate` draws with a random phase."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditions of a simulation."""

    evaluations: int
    schedule: Literal["cosine", "constant"] = "cosine"
    correlation: float = 0.0
    """Correlation of the noise of successive evaluations."""
    one_sided: bool = False
    """Whether noise only lowers scores and raises losses, as a learning rate that is too high does."""

    @property
    def title(self) -> str:
        """The conditions in words."""
        parts = [f"{self.evaluations} evaluations", self.schedule]
        parts += [f"correlated by {self.correlation:g}"] if self.correlation else []
        parts += ["one-sided noise"] if self.one_sided else []
        return ", ".join(parts)

    @property
    def heading(self) -> str:
        """The conditions as the heading of a column; only what differs from the cosine schedule and plain noise."""
        parts = [str(self.evaluations)]
        parts += [] if self.schedule == "cosine" else [self.schedule]
        parts += ["correlated"] if self.correlation else []
        parts += ["one-sided"] if self.one_sided else []
        return ", ".join(parts)

    @property
    def is_promised(self) -> bool:
        """Whether promises are made under these conditions."""
        return self.evaluations >= MIN_PROMISED and self.correlation == 0


CONDITIONS = (
    Conditions(evaluations=3),
    Conditions(evaluations=8),
    Conditions(evaluations=14),
    Conditions(evaluations=14, one_sided=True),
    Conditions(evaluations=40),
    Conditions(evaluations=14, schedule="constant"),
    Conditions(evaluations=40, schedule="constant"),
    Conditions(evaluations=40, schedule="constant", correlation=0.6),
)


def draw(planted: Planted, conditions: Conditions, generator: np.random.Generator) -> Training:
    """Return a training with the planted curve and noise."""
    count = conditions.evaluations
    part_N = np.arange(1, count + 1) / count
    effort_N, rate_N = part_N, np.ones(count)
    if conditions.schedule == "cosine":
        effort_N, rate_N = part_N + np.sin(np.pi * part_N) / np.pi, 0.5 * (1 + np.cos(np.pi * part_N))
    reached_N = planted.reached(effort_N)
    if planted is OSCILLATION:
        phase = 2 * np.pi * generator.random()
        reached_N = 10 * NOISE * np.sqrt(rate_N) * np.sin(phase + 2 * np.pi * np.arange(count) / 5)
    score_N, loss_N = (
        NOISE * (LEFT_OVER + (1 - LEFT_OVER) * np.sqrt(rate_N)) * _noise(conditions, generator) for _ in range(2)
    )
    points = tuple(
        EvalPoint(
            step=50 * (index + 1),
            train_loss=None,
            validation_loss=float(FIRST_LOSS - LOSS_SPAN * reached_N[index] + loss_N[index]),
            validation_score=float(np.clip(CHANCE + SPAN * reached_N[index] - score_N[index], 0, 1)),
        )
        for index in range(count)
    )
    return Training(
        steps=50 * count,
        sequences=1600 * count,
        seconds=1.0,
        stopped="budget",
        threads=1,
        flushes_denormals=True,
        curve=points,
    )


def simulate(planted: Planted, conditions: Conditions, curves: int, seed: int = 1) -> Promise:
    """Simulate curves, and return a promise about the share that is called still learning.

    Args:
        planted: The curve without noise.
        conditions: The number of evaluations, the schedule and the kind of noise.
        curves: Number of simulated curves.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng((seed, conditions.evaluations, int(10 * conditions.correlation)))
    found = sum(
        classify(draw(planted, conditions, generator), solved_at=SOLVED_AT, validation_sequences=VALIDATION_SEQUENCES)
        == "still learning"
        for _ in range(curves)
    )
    is_promised = conditions.is_promised and planted.rises is not None
    return Promise(
        title=f"{planted.title}; {conditions.title}",
        share=found / curves,
        trials=curves,
        low=MIN_FOUND if is_promised and planted.rises else 0.0,
        high=MAX_FALSE if is_promised and not planted.rises else 1.0,
    )


def _noise(conditions: Conditions, generator: np.random.Generator) -> Floats:
    noise_N = generator.standard_normal(conditions.evaluations)
    for index in range(1, conditions.evaluations):
        share = conditions.correlation
        noise_N[index] = share * noise_N[index - 1] + math.sqrt(1 - share**2) * noise_N[index]
    return np.abs(noise_N) if conditions.one_sided else noise_N


def _as_markdown(rows: Sequence[Sequence[Promise]]) -> str:
    """Return the shares as a table with one row per planted curve and one column per conditions."""
    lines = [f"| planted curve | {' | '.join(conditions.heading for conditions in CONDITIONS)} |"]
    lines.append(f"|---|{'--:|' * len(CONDITIONS)}")
    lines += [
        f"| {row[0].title.split(';')[0]} | {' | '.join(f'{promise.share:.0%}' for promise in row)} |" for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate how often a case is called still learning.")
    parser.add_argument("--curves", type=int, default=1000, help="number of curves per row")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated noise")
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/statistics.md")
    given = parser.parse_args()
    rows = [
        [simulate(planted, conditions, given.curves, given.seed) for conditions in CONDITIONS]
        for planted in (*PLANTED, OSCILLATION)
    ]
    promises = [promise for row in rows for promise in row]
    if given.markdown:
        print(_as_markdown(rows))
    return report(promises, broken_only=given.markdown)


if __name__ == "__main__":
    sys.exit(main())
