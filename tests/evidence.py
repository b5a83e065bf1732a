"""Simulate how often scores are judged wrongly: use of the past, intervals of means, and letters of ranks.

    python -m tests.evidence [--seed 1] [--reports 1000] [--markdown]

A planted architecture draws an accuracy on endless data for each seed. The test score of a seed adds the sampling error
of its test sequences. Carousel's own functions judge the scores.

The promises are: if no model uses the past, at most 5% of reports claim it of any seed. An architecture that learns a
task with one of three seeds is found in at least 99% of reports. Intervals contain the true mean in at least 93% of
simulations, unless seeds are bimodal. If all architectures are equal, letters tell some apart in at most 5% of tables,
also if seeds are bimodal. The exit code is 1 if a promise is broken.
"""

# Shape suffixes: N simulations, G groups of seeds, S seeds

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from reports.analysis.ranking import Estimate, distinguishable_pairs
from results import ScoreEvidence, interval_of_mean, interval_of_scores, score_evidence, score_variance
from tests.promises import Promise, report

Floats = NDArray[np.float64]
Accuracies = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Draws the accuracy of the model of each seed on endless data."""
MAX_FALSE, MIN_FOUND, MIN_COVERAGE = 0.05, 0.99, 0.93
GROUPS, SEEDS = 24, 3
"""Groups of a simulated report, as in the plan `quick`, and seeds of each."""
SPREAD = 0.05
"""Standard deviation of normal accuracies over seeds."""
FAILED, SOLVED = 0.1, 1.0
"""The two accuracies of bimodal seeds."""
POSITIONS = 10
"""Scored positions of a sequence, if there are several."""


def equal(accuracy: float) -> Accuracies:
    """Return seeds of one accuracy, so that scores differ by their test sets only."""
    return lambda _, shape: np.full(shape, accuracy)


def normal(mean: float) -> Accuracies:
    """Return seeds whose accuracies are normal around a mean, up to three standard deviations."""
    return lambda generator, shape: mean + SPREAD * np.clip(generator.standard_normal(shape), -3, 3)


def bimodal(share: float) -> Accuracies:
    """Return seeds of which a share solves the task and the others fail."""
    return lambda generator, shape: np.where(generator.random(shape) < share, SOLVED, FAILED)


def draw_scores(
    accuracies: Floats, sequences: int, generator: np.random.Generator, *, dependence: float | None = None
) -> Floats:
    """Return the test score of each accuracy.

    Args:
        accuracies: The accuracies of the models.
        sequences: Number of test sequences.
        generator: The source of randomness.
        dependence: None for one answer per sequence. Otherwise each sequence has `POSITIONS` answers, and all of them
            are equally right in so large a share of the sequences.
    """
    if dependence is None:
        return generator.binomial(sequences, accuracies) / sequences
    together = generator.binomial(sequences, dependence, accuracies.shape)
    right = POSITIONS * generator.binomial(together, accuracies)
    right += generator.binomial(POSITIONS * (sequences - together), accuracies)
    return right / (POSITIONS * sequences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a table: what was planted, and the simulated shares."""

    planted: str
    cells: tuple[tuple[str, Promise], ...]
    """Pairs of a heading and a share."""


def false_use(floor: float, sequences: int, dependence: float | None, reports: int, seed: int = 1) -> Row:
    """Simulate reports in which no model uses the past, and return how often a seed or a mean is said to use it."""
    generator = np.random.default_rng((seed, 1, round(1000 * floor), sequences, dependence is not None))
    scores_NGS = draw_scores(np.full((reports, GROUPS, SEEDS), floor), sequences, generator, dependence=dependence)
    by_seed, on_average = 0, 0
    for scores_GS in scores_NGS.tolist():
        evidences = [_evidence(scores, floor, sequences) for scores in scores_GS]
        by_seed += any(evidence.using for evidence in evidences)
        on_average += any(evidence.shows_past_on_average for evidence in evidences)
    answers = "one answer" if dependence is None else f"{POSITIONS} answers"
    planted = f"no use; best without memory {floor:g}, {sequences} sequences, {answers}"
    return Row(
        planted=planted,
        cells=(
            ("any seed of a report", _share(f"{planted}; by seed", by_seed, reports, high=MAX_FALSE)),
            ("any mean of a report", _share(f"{planted}; on average", on_average, reports, high=MAX_FALSE)),
        ),
    )


def found_use(
    scores_of: Sequence[float], floor: float, sequences: int, reports: int, *, is_promised: bool, seed: int = 1
) -> Row:
    """Simulate an architecture whose seeds have these accuracies, and return how often it is said to use the past.

    The other judgement is that of Student's interval alone: whether it lies above the best score without memory.
    """
    generator = np.random.default_rng((seed, 2, sequences, *(round(1000 * each) for each in scores_of)))
    scores_NS = draw_scores(np.tile(scores_of, (reports, 1)), sequences, generator)
    found = sum(_evidence(scores, floor, sequences).shows_past for scores in scores_NS.tolist())
    by_interval = sum(interval_of_mean(scores).low > floor for scores in scores_NS.tolist())
    planted = (
        f"seeds {', '.join(f'{each:g}' for each in scores_of)}; best without memory {floor:g}, {sequences} sequences"
    )
    return Row(
        planted=planted,
        cells=(
            ("found", _share(f"{planted}; found", found, reports, low=MIN_FOUND if is_promised else 0.0)),
            ("by Student's interval alone", _share(f"{planted}; by interval", by_interval, reports)),
        ),
    )


def coverage(
    title: str, accuracies: Accuracies, mean: float, seeds: int, simulations: int, *, is_promised: bool, seed: int = 1
) -> Row:
    """Simulate intervals of the mean over seeds, and return how often they contain the true mean.

    Args:
        title: The planted accuracies in words.
        accuracies: The accuracies of seeds.
        mean: Their true mean.
        seeds: Number of seeds. A single seed must have the accuracy `mean`.
        simulations: Number of intervals.
        is_promised: Whether a promise is made.
        seed: Seed of the noise.
    """
    generator = np.random.default_rng((seed, 3, seeds, round(1000 * mean), is_promised))
    scores_NS = draw_scores(accuracies(generator, (simulations, seeds)), 512, generator)
    intervals = [interval_of_scores(scores, 512) for scores in scores_NS.tolist()]
    covered = sum(low <= mean <= high for low, _, high in intervals)
    planted = f"{title}, {'single seed' if seeds == 1 else f'{seeds} seeds'}"
    cells = [("coverage", _share(f"{planted}; coverage", covered, simulations, low=MIN_COVERAGE * is_promised))]
    if seeds > 1:
        student = sum(low <= mean <= high for low, _, high in map(interval_of_mean, scores_NS.tolist()))
        cells.append(("of Student's interval alone", _share(f"{planted}; Student", student, simulations)))
    return Row(planted=planted, cells=tuple(cells))


def false_letters(
    title: str, accuracies: Accuracies, archs: int, seeds: int, tables: int, *, is_promised: bool, seed: int = 1
) -> Row:
    """Simulate tables of equal architectures, and return how often letters tell some of them apart."""
    generator = np.random.default_rng((seed, 4, archs, seeds, len(title)))
    scores_NGS = draw_scores(accuracies(generator, (tables, archs, seeds)), 512, generator)
    wrong = sum(bool(distinguishable_pairs(_estimates(scores_GS))) for scores_GS in scores_NGS.tolist())
    planted = f"{title}, {archs} architectures, {seeds} seeds"
    high = MAX_FALSE if is_promised else 1.0
    return Row(
        planted=planted, cells=(("some distinguished", _share(f"{planted}; distinguished", wrong, tables, high=high)),)
    )


def true_letters(seeds: int, tables: int, seed: int = 1) -> Row:
    """Simulate tables of five normal architectures 0.2 apart, and return the share of pairs with different letters."""
    generator = np.random.default_rng((seed, 5, seeds))
    accuracies = np.stack([normal(mean)(generator, (tables, seeds)) for mean in (0.1, 0.3, 0.5, 0.7, 0.9)], axis=1)
    scores_NGS = draw_scores(accuracies.clip(0, 1), 512, generator)
    found = sum(len(distinguishable_pairs(_estimates(scores_GS))) for scores_GS in scores_NGS.tolist())
    planted = f"normal, 0.2 apart, 5 architectures, {seeds} seeds"
    return Row(planted=planted, cells=(("pairs distinguished", _share(f"{planted}; pairs", found, 10 * tables)),))


def tables(reports: int, seed: int = 1) -> list[list[Row]]:
    """Return the rows of all tables: false use, found use, coverage and letters."""
    return [
        [
            false_use(floor, sequences, dependence, reports, seed)
            for floor, sequences in ((0.078, 512), (0.5, 64), (0.75, 512))
            for dependence in (None, 0.5)
        ],
        [
            found_use((1.0, 0.234, 0.256), 0.078, 512, reports, is_promised=True, seed=seed),
            found_use((0.5, 1.0, 0.5), 0.5, 64, reports, is_promised=True, seed=seed),
            found_use((0.75, 0.75, 0.95), 0.75, 512, reports, is_promised=True, seed=seed),
            found_use((0.8, 0.8, 0.8), 0.75, 512, reports, is_promised=False, seed=seed),
            found_use((0.8, 0.8, 0.8), 0.75, 2048, reports, is_promised=False, seed=seed),
        ],
        [
            coverage("equal, 0.9", equal(0.9), 0.9, 1, reports, is_promised=True, seed=seed),
            coverage("equal, 0.99", equal(0.99), 0.99, 1, reports, is_promised=True, seed=seed),
            coverage("equal, 0.99", equal(0.99), 0.99, 2, reports, is_promised=True, seed=seed),
            coverage("equal, 0.99", equal(0.99), 0.99, 3, reports, is_promised=True, seed=seed),
            coverage("normal", normal(0.7), 0.7, 3, reports, is_promised=True, seed=seed),
            coverage("normal", normal(0.7), 0.7, 5, reports, is_promised=True, seed=seed),
            coverage("bimodal, ½", bimodal(0.5), 0.55, 3, reports, is_promised=False, seed=seed),
            coverage("bimodal, ½", bimodal(0.5), 0.55, 5, reports, is_promised=False, seed=seed),
        ],
        [
            *(
                false_letters(title, accuracies, archs, seeds, reports, is_promised=True, seed=seed)
                for title, accuracies in (("equal, 0.5", equal(0.5)), ("equal, 1", equal(1.0)), ("normal", normal(0.7)))
                for archs, seeds in ((2, 2), (5, 3))
            ),
            *(
                false_letters("bimodal, ½", bimodal(0.5), archs, seeds, reports, is_promised=True, seed=seed)
                for archs, seeds in ((2, 2), (2, 3), (3, 3), (5, 3), (2, 5), (5, 5))
            ),
            *(
                false_letters("bimodal, ¼", bimodal(0.25), archs, seeds, reports, is_promised=True, seed=seed)
                for archs, seeds in ((2, 3), (5, 3), (5, 5))
            ),
        ],
        [true_letters(seeds, max(1, reports // 10), seed) for seeds in (2, 3, 5)],
    ]


def _evidence(scores: list[float], floor: float, sequences: int) -> ScoreEvidence:
    return score_evidence(
        scores, [score >= 0.99 for score in scores], floor=floor, sequences=sequences, judged=GROUPS * SEEDS
    )


def _estimates(scores_GS: Sequence[Sequence[float]]) -> dict[str, Estimate]:
    return {
        str(number): Estimate.of(scores, test_variance=fmean(score_variance(score, 512) for score in scores))
        for number, scores in enumerate(scores_GS)
    }


def _share(title: str, count: int, trials: int, low: float = 0.0, high: float = 1.0) -> Promise:
    return Promise(title=title, share=count / trials, trials=trials, low=low, high=high)


def _as_markdown(rows: Iterable[Row]) -> str:
    """Return one table of docs/statistics.md."""
    rows = list(rows)
    headings = [heading for heading, _ in max((row.cells for row in rows), key=len)]
    lines = [f"| planted | {' | '.join(headings)} |", f"|---|{'--:|' * len(headings)}"]
    for row in rows:
        cells = dict(row.cells)
        shares = [f"{cells[heading].share:.1%}" if heading in cells else "" for heading in headings]
        lines.append(f"| {row.planted} | {' | '.join(shares)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulate how often scores are judged wrongly.")
    parser.add_argument("--reports", type=int, default=1000, help="number of simulated reports per row")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulated scores")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/statistics.md")
    given = parser.parse_args()
    found = tables(given.reports, given.seed)
    if given.markdown:
        print("\n\n".join(map(_as_markdown, found)))
    promises = [promise for rows in found for row in rows for _, promise in row.cells]
    return report(promises, broken_only=given.markdown)


if __name__ == "__main__":
    sys.exit(main())
