"""Simulate the choice of a learning rate, and the errors of the scores that are reported at the chosen rate.

    python -m tests.selection [--seed 1] [--simulations 150000]

A planted architecture has a true mean score at each rate of a grid. A seed moves the accuracy of its model at all
rates, partly together. Validation and test scores add the sampling error of their sequences. The rate is chosen by
`results.choose` from the validation scores of tuning seeds. Tuning seeds are those of `Case.tuning_cases`. If one of
them were a reported seed, both would have the same model, and the simulation would show it.

The mean test score over reported seeds must have no bias: within three standard errors of the simulation, which must be
at most 0.002. Its interval must cover the true mean as often as without a choice. If one rate is clearly the best, the
true mean at the chosen rate must be within 0.01 of it. The exit code is 1 if a promise is broken.
"""

# Shape suffixes: N simulations, S seeds, R rates

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from results import RateResult, choose, interval_of_mean
from tests.promises import MAX_COVERAGE, MIN_COVERAGE, TOLERANCE, Promise
from tests.results.schema.test_tuning import tuned_case

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SPREAD = 0.05
"""Standard deviation of the accuracy over seeds, if seeds are not bimodal."""
MAX_DEVIATION = 3.0
"""Largest deviation of a seed, in standard deviations. It keeps accuracies between 0 and 1 without moving the mean."""
SHARED_VARIANCE = 0.3
"""Share of the variance over seeds that is common to all rates."""
FAILED, SOLVED = 0.2, 0.98
"""The two accuracies of bimodal seeds."""
LOSS_NOISE = 0.02
"""Standard deviation of the noise of a validation loss. Losses decide between equal scores."""
TEST_SEQUENCES = 1024
INTERVALS = 10_000
"""Largest number of simulations for which intervals are computed."""
MAX_BIAS, MAX_REGRET = 0.002, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A planted architecture: its true mean score at each of the first rates of `RATES`."""

    title: str
    means: tuple[float, ...]
    bimodal: bool = False
    """Whether each seed either solves the task or fails."""
    has_clear_best: bool = False
    """Whether the promise about the regret is made."""


PLANTED = (
    Planted(title="peaked", means=(0.3, 0.55, 0.8, 0.6, 0.25), has_clear_best=True),
    Planted(title="flat", means=(0.58, 0.6, 0.61, 0.6)),
    Planted(title="equal", means=(0.6,) * 5),
    Planted(title="bimodal", means=(0.35, 0.55, 0.75, 0.5), bimodal=True),
    Planted(title="bimodal, equal", means=(0.6,) * 5, bimodal=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The conditions of a simulation."""

    tuning_seeds: int
    validation_sequences: int
    reported_seeds: int


CONDITIONS = (
    Conditions(tuning_seeds=1, validation_sequences=128, reported_seeds=3),
    Conditions(tuning_seeds=2, validation_sequences=128, reported_seeds=3),
    Conditions(tuning_seeds=3, validation_sequences=256, reported_seeds=5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over simulations."""

    mean: float
    error: float
    """Standard error of the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The results of a simulation. A bias is relative to the true mean at the rate whose score it is."""

    planted: Planted
    conditions: Conditions
    simulations: int
    intervals: int
    """Number of simulations with intervals."""
    reported: Estimate
    """Bias of the mean test score over reported seeds, at the rate that tuning chose."""
    best_validation: Estimate
    """Bias of the best mean validation score over tuning seeds. Carousel never reports it as a result."""
    best_test: Estimate
    """Bias of the best mean test score over reported seeds, if it chose the rate. Carousel never does this."""
    coverage: float
    """Share of intervals that contain the true mean at the chosen rate."""
    coverage_without_choice: float
    """The same at a rate that does not depend on this simulation: the choice of another one."""
    coverage_change: Estimate
    regret: Estimate
    """How far the true mean at the chosen rate is below that at the best rate."""

    @property
    def title(self) -> str:
        """The architecture and the conditions in words."""
        seeds, reported = self.conditions.tuning_seeds, self.conditions.reported_seeds
        return f"{self.planted.title}; {seeds} tuning, {reported} reported"

    def promises(self) -> list[Promise]:
        """Return the promises that hold for any number of simulations."""
        promises = [
            _no_difference(f"{self.title}: bias of the reported mean", self.reported, self.simulations),
            _no_difference(f"{self.title}: change of coverage", self.coverage_change, self.intervals),
        ]
        if not self.planted.bimodal:
            promises.append(
                Promise(
                    title=f"{self.title}: coverage",
                    share=self.coverage,
                    trials=self.intervals,
                    low=MIN_COVERAGE,
                    high=MAX_COVERAGE,
                )
            )
        if self.planted.has_clear_best:
            promises.append(
                Promise(
                    title=f"{self.title}: regret",
                    share=self.regret.mean,
                    trials=self.simulations,
                    high=MAX_REGRET,
                    error=self.regret.error,
                )
            )
        return promises

    def precision(self) -> Promise:
        """Return the promise that there are enough simulations to find a bias of `MAX_BIAS`."""
        return Promise(
            title=f"{self.title}: detectable bias",
            share=TOLERANCE * self.reported.error,
            trials=self.simulations,
            high=MAX_BIAS,
            error=0.0,
        )


def simulate(planted: Planted, conditions: Conditions, simulations: int, seed: int = 1) -> Selection:
    """Simulate the choice of a rate and the scores that are reported at it.

    Args:
        planted: The architecture.
        conditions: The numbers of seeds and of validation sequences.
        simulations: Number of simulated choices.
        seed: Seed of all random draws.
    """
    generator = np.random.default_rng((seed, PLANTED.index(planted), CONDITIONS.index(conditions)))
    means_R = np.array(planted.means)
    tuning, reported = _tuning_seeds(conditions, len(means_R)), range(conditions.reported_seeds)
    seeds = sorted({*tuning, *reported})
    accuracy_NSR = _draw_accuracies(planted, (simulations, len(seeds), len(means_R)), generator)
    tuning_NSR = accuracy_NSR[:, [seeds.index(each) for each in tuning]]
    reported_NSR = accuracy_NSR[:, [seeds.index(each) for each in reported]]

    validation_NSR = _draw_scores(tuning_NSR, conditions.validation_sequences, generator)
    test_NSR = _draw_scores(reported_NSR, TEST_SEQUENCES, generator)
    chosen_N = _choices(validation_NSR, _draw_losses(tuning_NSR, generator))
    chosen_by_test_N = _choices(test_NSR, _draw_losses(reported_NSR, generator))

    intervals = min(simulations, INTERVALS)
    with_choice_N, without_choice_N = (
        _covers(means_R, test_NSR[:intervals], rates_N[:intervals]) for rates_N in (chosen_N, np.roll(chosen_N, 1))
    )
    return Selection(
        planted=planted,
        conditions=conditions,
        simulations=simulations,
        intervals=intervals,
        reported=_bias(means_R, test_NSR, chosen_N),
        best_validation=_bias(means_R, validation_NSR, chosen_N),
        best_test=_bias(means_R, test_NSR, chosen_by_test_N),
        coverage=float(with_choice_N.mean()),
        coverage_without_choice=float(without_choice_N.mean()),
        coverage_change=_estimate(with_choice_N - without_choice_N),
        regret=_estimate(means_R.max() - means_R[chosen_N]),
    )


def _tuning_seeds(conditions: Conditions, rates: int) -> list[int]:
    """Return the seeds on which Carousel tunes a case with a grid of so many rates."""
    cases = tuned_case(*RATES[:rates], seeds=conditions.tuning_seeds).tuning_cases()
    return sorted({case.seed for case in cases})


def _draw_accuracies(planted: Planted, shape: tuple[int, int, int], generator: np.random.Generator) -> Floats:
    """Draw the accuracy (N, S, R) of the model of each seed at each rate, on endless data."""
    noise_NSR = math.sqrt(1 - SHARED_VARIANCE) * generator.standard_normal(shape)
    noise_NSR += math.sqrt(SHARED_VARIANCE) * generator.standard_normal((*shape[:2], 1))
    if planted.bimodal:
        solved_R = [NormalDist().inv_cdf((mean - FAILED) / (SOLVED - FAILED)) for mean in planted.means]
        return np.where(noise_NSR < solved_R, SOLVED, FAILED)
    return np.array(planted.means) + SPREAD * np.clip(noise_NSR, -MAX_DEVIATION, MAX_DEVIATION)


def _draw_scores(accuracy_NSR: Floats, sequences: int, generator: np.random.Generator) -> Floats:
    """Draw the share of correct answers on so many sequences, with one answer each."""
    return generator.binomial(sequences, accuracy_NSR) / sequences


def _draw_losses(accuracy_NSR: Floats, generator: np.random.Generator) -> Floats:
    return 1 - accuracy_NSR + LOSS_NOISE * generator.standard_normal(accuracy_NSR.shape)


def _choices(score_NSR: Floats, loss_NSR: Floats) -> Indices:
    """Return the index of the rate that Carousel chooses by these scores and losses, for each simulation."""
    return np.array([_choice(*each) for each in zip(score_NSR, loss_NSR, strict=True)], dtype=np.intp)


def _choice(score_SR: Floats, loss_SR: Floats) -> int:
    grid = zip(RATES, score_SR.T.tolist(), loss_SR.T.tolist(), strict=False)
    best = choose(
        RateResult(learning_rate=rate, scores=tuple(scores), losses=tuple(losses), diverged=0, missing=0)
        for rate, scores, losses in grid
    )
    assert best is not None
    return RATES.index(best.learning_rate)


def _at(score_NSR: Floats, rates_N: Indices) -> Floats:
    """Return the scores (N, S) at one rate per simulation."""
    return np.take_along_axis(score_NSR, rates_N[:, None, None], axis=2)[:, :, 0]


def _bias(means_R: Floats, score_NSR: Floats, rates_N: Indices) -> Estimate:
    return _estimate(_at(score_NSR, rates_N).mean(axis=1) - means_R[rates_N])


def _covers(means_R: Floats, score_NSR: Floats, rates_N: Indices) -> Floats:
    """Return 1 for each simulation whose interval of the mean over seeds contains the true mean, and 0 for others."""
    intervals = [interval_of_mean(scores) for scores in _at(score_NSR, rates_N).tolist()]
    means = means_R[rates_N].tolist()
    return np.array([each.low <= mean <= each.high for each, mean in zip(intervals, means, strict=True)], dtype=float)


def _estimate(values_N: Floats) -> Estimate:
    return Estimate(mean=float(values_N.mean()), error=float(values_N.std(ddof=1)) / math.sqrt(len(values_N)))


def _no_difference(title: str, estimate: Estimate, trials: int) -> Promise:
    """Return the promise that a difference is 0, allowing for simulation error."""
    return Promise(title=title, share=estimate.mean, trials=trials, low=0.0, high=0.0, error=estimate.error)


def _as_markdown(selections: Iterable[Selection]) -> str:
    """Return the table of docs/statistics.md."""
    lines = [
        "| true means | tuning seeds | validation sequences | reported seeds | reported mean | best validation score "
        "| best test score | coverage | without choice | regret |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in selections:
        conditions = each.conditions
        cells = [
            each.planted.title,
            conditions.tuning_seeds,
            conditions.validation_sequences,
            conditions.reported_seeds,
            f"{each.reported.mean:+z.4f} ± {TOLERANCE * each.reported.error:.4f}",
            f"{each.best_validation.mean:+z.3f}",
            f"{each.best_test.mean:+z.3f}",
            f"{each.coverage:.1%}",
            f"{each.coverage_without_choice:.1%}",
            f"{each.regret.mean:.3f}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate the choice of a learning rate.")
    parser.add_argument("--simulations", type=int, default=150_000, help="number of simulated choices per row")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random draws")
    given = parser.parse_args()
    selections = [
        simulate(planted, conditions, given.simulations, given.seed) for planted in PLANTED for conditions in CONDITIONS
    ]
    print(_as_markdown(selections), end="\n\n")
    promises = [promise for each in selections for promise in (*each.promises(), each.precision())]
    _print(promises)
    kept = all(promise.kept for promise in promises)
    print("all promises are kept" if kept else "a promise is broken")
    return 0 if kept else 1


def _print(promises: Sequence[Promise]) -> None:
    for promise in promises:
        if promise.low == promise.high:
            assert promise.error is not None
            bounds = f"0 within {TOLERANCE * promise.error:.4f}"
        else:
            bounds = f"{promise.low:g} to {promise.high:g}"
        result = "" if promise.kept else "  BROKEN"
        print(f"{promise.title:<68} {promise.share:>z8.4f} of {promise.trials:,}  must be {bounds}{result}")


if __name__ == "__main__":
    sys.exit(main())
