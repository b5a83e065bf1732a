"""The checks that every task must pass, at one length. A check that fails raises an error."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import tasks
from bench.validation.examples import CheckFailed
from bench.validation.memoryless import measure_reference_score

SPLITS: tuple[tasks.Split, ...] = ("train", "validation", "test")
REFERENCE_SEQUENCES = 8_000
"""Sequences per sample for measuring chance and the memoryless baseline."""
DEVIATIONS = 4.5
"""Tolerance in standard errors. It is so large that hundreds of comparisons all pass if nothing is wrong."""
SELECTION_LOSS = 0.01
"""Largest loss of score from choosing the best answers on a finite sample.

The task `text` needs this margin, because its best answers are chosen among thousands of pairs of characters.
"""
MAX_STRATEGY_NAME = 40
"""Maximum length of the name of a partial strategy in characters. Figures have no room for more."""
MAX_SUMMARY = 120
"""Maximum length of the summary of a task in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskExample:
    """A task at one length, as the input of a check."""

    task: tasks.Task
    length: int
    batch: int = 12

    def sample(self, seed: int = 0, split: tasks.Split = "train") -> tasks.Batch:
        """Sample a batch; the same seed and split give the same batch."""
        return self.task.sample(tasks.generator(seed, split), self.batch, self.length, split)


def lengths(example: TaskExample) -> None:
    """Check that `min_length` is supported, and that the lengths just below it are refused."""
    shortest = example.task.min_length
    if not isinstance(shortest, int) or shortest < 1:
        raise CheckFailed(f"min_length is {shortest!r}, not an integer of at least 1")
    example.task.check_length(shortest)
    for length in range(max(1, shortest - 2), shortest):
        try:
            example.task.sample(tasks.generator(0, "train"), 1, length)
        except tasks.ImpossibleLength:
            continue
        raise CheckFailed(f"length {length} is accepted although min_length is {shortest}")


def batch_format(example: TaskExample) -> None:
    """Check the shapes, dtypes and values of inputs, targets and mask."""
    batch, task = example.sample(), example.task
    for name, values, kind in (("inputs", batch.inputs, task.inputs), ("targets", batch.targets, task.targets)):
        tokens = isinstance(kind, tasks.Tokens)
        shape = (example.batch, example.length) if tokens else (example.batch, example.length, kind.size)
        dtype = torch.int64 if tokens else torch.float32
        if tuple(values.shape) != shape:
            raise CheckFailed(f"{name} have the shape {tuple(values.shape)}, not {shape}")
        if values.dtype != dtype:
            raise CheckFailed(f"{name} are {values.dtype}, not {dtype}")
        if tokens and not (values.min() >= 0 and values.max() < kind.size):
            raise CheckFailed(
                f"{name} range from {values.min().item()} to {values.max().item()}, not within 0 to {kind.size - 1}"
            )
        if not values.isfinite().all():
            raise CheckFailed(f"{name} are not all finite")
        if not values.is_contiguous():
            raise CheckFailed(f"{name} are not contiguous; return contiguous tensors")
    shape = (example.batch, example.length)
    if batch.mask.dtype != torch.bool or tuple(batch.mask.shape) != shape:
        actual = f"{batch.mask.dtype} of shape {tuple(batch.mask.shape)}"
        raise CheckFailed(f"mask is {actual}, not torch.bool of shape {shape}")


def mask(example: TaskExample) -> None:
    """Check that every sequence has at least one scored position."""
    has_scored = example.sample().mask.any(1)
    if not has_scored.all():
        raise CheckFailed(f"sequence {int(has_scored.int().argmin()) + 1} has no scored position: its mask is empty")


def solver(example: TaskExample) -> None:
    """Check that `solve` is correct at every solvable position without seeing the targets."""
    for split in SPLITS:
        batch = example.sample(split=split)
        without_targets = dataclasses.replace(batch, targets=torch.full_like(batch.targets, 1))
        answers = example.task.solve(without_targets)
        if answers.shape != batch.targets.shape:
            expected = tuple(batch.targets.shape)
            raise CheckFailed(f"`solve` returns answers of shape {tuple(answers.shape)}, not {expected}")
        correct = example.task.correct(answers, batch)
        wrong = (example.task.solvable(batch) & ~correct).nonzero()
        if len(wrong):
            row, step = wrong[0].tolist()
            raise CheckFailed(
                f"`solve` answers {answers[row, step].tolist()} at step {step + 1} of {split} sequence {row + 1}, "
                f"but the target is {batch.targets[row, step].tolist()}"
            )


def scores(example: TaskExample) -> None:
    """Check that correct outputs score 1 with a loss of 0, and that wrong answers score 0."""
    batch, task = example.sample(), example.task
    outputs: Tensor = batch.targets
    wrong: Tensor = batch.targets + 2 * task.tolerance
    if isinstance(task.targets, tasks.Tokens):
        outputs = 1e3 * torch.nn.functional.one_hot(batch.targets, task.targets.size).float()
        constants = [torch.full_like(batch.targets, answer) for answer in range(task.targets.size)]
        wrong = torch.stack([task.correct(answers, batch) for answers in constants]).int().argmin(0)
    for description, score, expected in (
        ("correct", task.score(task.answer(outputs), batch), 1.0),
        ("wrong", task.score(wrong, batch), 0.0),
    ):
        if score != expected:
            raise CheckFailed(f"`score` returns {score:.3f}, not {expected:.0f}, if all answers are {description}")
    loss = task.loss(outputs, batch).item()
    if not -1e-9 < loss < 1e-9:
        raise CheckFailed(f"`loss` returns {loss:.3g}, not 0, if all answers are correct")


def reference_scores(example: TaskExample) -> None:
    """Check that chance, the memoryless baseline, both losses and the collision probability are in valid ranges.

    The same is checked for the partial strategies.
    """
    task, length = example.task, example.length
    chance, memoryless, collision = task.chance(length), task.memoryless_score(length), task.collision(length)
    if not 0 < chance <= 1:
        raise CheckFailed(f"chance is {chance}, which is not in (0, 1]")
    if memoryless is not None and not chance < memoryless <= 1 + 1e-12:
        raise CheckFailed(f"memoryless_score is {memoryless}, which is not above chance ({chance}) and at most 1")
    losses = {"constant_loss": task.constant_loss(length), "memoryless_loss": task.memoryless_loss(length)}
    for name, loss in losses.items():
        if loss is not None and not 0 <= loss < math.inf:
            raise CheckFailed(f"{name} is {loss}, which is not a finite number of at least 0")
    constant, memoryless_loss = losses.values()
    if constant is not None and memoryless_loss is not None and memoryless_loss > constant:
        raise CheckFailed(f"memoryless_loss is {memoryless_loss}, which is above constant_loss ({constant})")
    if not 0 <= collision <= 1:
        raise CheckFailed(f"collision is {collision}, which is not in [0, 1]")
    _check_strategies(task.strategies(length))


def _check_strategies(strategies: object) -> None:
    if not isinstance(strategies, list | tuple) or not all(isinstance(each, tasks.Strategy) for each in strategies):
        raise CheckFailed(f"strategies returns {strategies!r:.80}, not a list of tasks.Strategy")
    for index, strategy in enumerate(strategies):
        name, score, loss = strategy.name, strategy.score, strategy.loss
        if not name or len(name) > MAX_STRATEGY_NAME or any(name == other.name for other in strategies[:index]):
            raise CheckFailed(
                f"a strategy has the name {name!r}; give each one a name of its own, of at most "
                f"{MAX_STRATEGY_NAME} characters"
            )
        if score is None and loss is None:
            raise CheckFailed(f"strategy {name!r} has neither a score nor a loss; give at least one")
        if score is not None and not 0 <= score <= 1:
            raise CheckFailed(f"the score of strategy {name!r} is {score}, which is not in [0, 1]")
        for quantity, value in (("loss", loss), ("error", strategy.error)):
            if value is not None and not 0 <= value < math.inf:
                raise CheckFailed(
                    f"the {quantity} of strategy {name!r} is {value}, which is not a finite number of at least 0"
                )


def determinism(example: TaskExample) -> None:
    """Check that sampling depends only on the given generator and advances its state."""
    before = torch.random.get_rng_state()
    first, again = example.sample(), example.sample()
    for name in ("inputs", "targets", "mask"):
        if not torch.equal(getattr(first, name), getattr(again, name)):
            raise CheckFailed(
                f"the same seed sampled two different batches: their {name} differ; "
                "use the given generator for all random numbers"
            )
    if not torch.equal(before, torch.random.get_rng_state()):
        raise CheckFailed("`sample` changed torch's global generator; use the given generator for all random numbers")
    generator = tasks.generator(0, "train")
    first_inputs, next_inputs = (example.task.sample(generator, 12, example.length).inputs for _ in range(2))
    if torch.equal(first_inputs, next_inputs):
        raise CheckFailed(
            "`sample` returned the same inputs twice in a row; use the given generator for all random numbers"
        )


def splits(example: TaskExample) -> None:
    """Check that different splits and different seeds give different batches."""
    first = example.sample()
    others = {f"split {split}": example.sample(split=split) for split in SPLITS[1:]}
    others["seed 1"] = example.sample(seed=1)
    for name, other in others.items():
        if torch.equal(first.inputs, other.inputs):
            raise CheckFailed(f"{name} has the same sequences as split train, seed 0")


def description(example: TaskExample) -> None:
    """Check that the spec builds the same task, and that source, data digest, summary and token names are valid."""
    task = example.task
    if not isinstance(task.data_digest, str | None):
        raise CheckFailed(f"`data_digest` is {task.data_digest!r}, not a text or None")
    if tasks.build(str(task)) != task:
        raise CheckFailed(f"the spec {task} builds a different task")
    for kind, names in (("input", task.input_names), ("target", task.target_names)):
        size = task.inputs.size if kind == "input" else task.targets.size
        if len(names) != size:
            raise CheckFailed(f"{kind}_names has {len(names)} names for {size} {kind}s")
    if len(set(task.input_names)) != len(task.input_names):
        repeated = next(name for name in task.input_names if task.input_names.count(name) > 1)
        raise CheckFailed(f"input_names contains {repeated!r} twice; give every input its own name")
    summary = task.summary()
    if not summary.endswith(".") or len(summary) > MAX_SUMMARY:
        raise CheckFailed(
            f"the docstring starts with {summary!r}; its first line must be one sentence of at most {MAX_SUMMARY} "
            "characters"
        )
    if not task.source:
        raise CheckFailed("`source` is empty; set it to the publication or the data behind the task")
    tasks.describe(task, example.length)


def chance(example: TaskExample) -> None:
    """Check the stated chance level against the measured chance level."""
    score, margin = _measure(example, sees_input=False)
    stated = example.task.chance(example.length)
    if abs(score - stated) > margin:
        raise CheckFailed(f"the stated chance is {stated:.4f}, but the best answer without input scores {score:.4f}")


def memoryless_score(example: TaskExample) -> None:
    """Check the stated memoryless baseline against the measured baseline.

    If the task states no baseline, the measured score must not exceed the chance level.
    """
    score, margin = _measure(example, sees_input=True)
    memoryless = example.task.memoryless_score(example.length)
    if memoryless is None:
        stated, low, name = example.task.chance(example.length), -1.0, "chance (memoryless_score is None)"
    else:
        stated, low, name = memoryless, memoryless - margin - SELECTION_LOSS, "memoryless_score"
    if not low <= score <= stated + margin:
        raise CheckFailed(
            f"the stated {name} is {stated:.4f}, but the best answer from the present input scores {score:.4f}"
        )


CHECKS: dict[str, Callable[[TaskExample], None]] = {
    check.__name__: check
    for check in (
        lengths,
        batch_format,
        mask,
        solver,
        scores,
        reference_scores,
        determinism,
        splits,
        description,
        chance,
        memoryless_score,
    )
}
"""The checks by name. `carousel validate` prints the name of each failed check."""


def lengths_to_check(task: tasks.Task) -> list[int]:
    """Return up to five lengths: the shortest length, the next two and two longer lengths.

    Unsupported lengths are omitted.
    """
    shortest = task.min_length
    candidates = dict.fromkeys((shortest, shortest + 1, shortest + 2, 2 * shortest + 9, 192))
    return [length for length in candidates if length >= shortest and task.supports_length(length)]


def _measure(example: TaskExample, *, sees_input: bool) -> tuple[float, float]:
    """Return the measured reference score and its tolerance."""
    score, deviation = measure_reference_score(
        example.task, example.length, sees_input=sees_input, sequences=REFERENCE_SEQUENCES
    )
    return score, DEVIATIONS * deviation + 1 / REFERENCE_SEQUENCES
