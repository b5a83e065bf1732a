"""The terms of the page with their definitions, which readers open beside a term and find in one list."""

from __future__ import annotations

from typing import NamedTuple

from reports.analysis.noise import MANY_NOISY
from reports.text.streaming import LIMIT_EXPLANATION
from results import MAX_MISFIT, SOLVED_SHARE


class Term(NamedTuple):
    """A term and its definition in plain text."""

    name: str
    definition: str


TERMS = {
    "memory-share": Term(
        "memory share",
        "Position of the score between the best score without memory (0%) and a perfect score (100%), with its 95% "
        "interval. Papers call it the scaled accuracy.",
    ),
    "without-memory": Term(
        "best score without memory",
        "The higher of two reference scores. The chance level is the score of the best answer that does not read the "
        "input. The memoryless baseline is that of the best answer from the current input alone.",
    ),
    "ties": Term(
        "ties",
        "Architectures that share a letter are statistically indistinguishable. One that was still learning shares a "
        "letter with every better one.",
    ),
    "rank": Term(
        "rank",
        "The rank among the architectures on the same task and length. It is a range if the seeds do not determine it, "
        "and a dash for a single seed. Architectures that share a letter are statistically indistinguishable. One that "
        "was still learning when its training ended is undecided: it never ranks below another, since more steps could "
        "raise its score.",
    ),
    "beyond-length": Term(
        "at a multiple of the length",
        "Memory share on sequences that are so many times as long as those of the training.",
    ),
    "effective-length": Term(
        "effective length",
        "The longest tested length up to which the score stays high, with an interval over seeds.",
    ),
    "solved": Term(
        "seeds solved",
        f"The seeds whose test score reaches {SOLVED_SHARE:.0%} of the span from the chance level to 1. Training stops "
        "early by the scores of fewer validation sequences, so a seed that stopped early need not be among them.",
    ),
    "past": Term(
        "the past",
        "Whether the test sequences of a seed show that its model solves the task, or uses the past. The section on "
        "the method has the rule.",
    ),
    "still-learning": Term(
        "still learning",
        "The model still improved when its training ended, so more steps could raise its score. It never ranks below "
        "another, and no recommendation rests on it.",
    ),
    "mse": Term("mse", "Mean squared error with its 95% interval, in brackets that of the best constant answer."),
    "best-validated": Term(
        "best validated weights",
        "Test score of the weights with the best validation score (keep_best), with its 95% interval. The score beside "
        "it is that of the last weights. Figures of overfitting call this early stopping.",
    ),
    "parameters": Term("parameters", "Numbers that learn. Fixed weights, as in a reservoir, do not count."),
    "step": Term(
        "step",
        "Median time of one streamed step at batch size 1 on one core, inside a compiled loop. Interpreted steps are "
        "called from Python instead and not ranked. Quantiles such as p99 are taken within each case, and then the "
        "median over cases.",
    ),
    "cost-growth": Term(
        "growth", "Step time at the compared position, divided by the step time at the first position."
    ),
    "state": Term("state", "Measured bytes of the state of one stream, which a stream keeps from step to step."),
    "work": Term(
        "work of a step",
        "FLOPs of matrix products, and the bytes that a step reads and writes, as the architecture states them. Their "
        "ratio is the arithmetic intensity of the step.",
    ),
    "limit-share": Term("share of the limit", LIMIT_EXPLANATION),
    "misfit": Term(
        "largest misfit",
        "Largest relative distance of a measured cost from the fitted cost a + b · position. If measured costs are too "
        f"far from the fitted growth (more than {MAX_MISFIT:.0%} for a flat cost), growth cannot be told.",
    ),
    "noisy": Term(
        "noisy",
        "Other work on the machine disturbed at least half of the timings behind the number. A run with more than "
        f"{MANY_NOISY:.0%} noisy timings has an amber status. Repeat it on a quiet machine.",
    ),
    "single-process": Term(
        "1 process",
        "The number rests on a single process. Timings differ between processes, and a single one does not show by "
        "how much. More seeds, or --repeat 6, give more processes.",
    ),
}
"""The definitions by the last part of their anchors, in the order of the list."""
