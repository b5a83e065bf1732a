"""The laws that every task obeys, at one length. A law raises where it is broken."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import tasks
from bench.validation.memoryless import memoryless_score
from bench.validation.subjects import CheckFailed

SPLITS: tuple[tasks.Split, ...] = ("train", "validation", "test")
CHANCE_SEQUENCES = 8_000
DEVIATIONS = 4.5
"""Normal deviations; wide enough that hundreds of comparisons all hold when nothing is wrong."""
ANSWERS_LOST = 0.01
"""What choosing the best answers from a finite sample may cost: thousands of cells for a text's pairs of letters."""
MAX_SUMMARY = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTrial:
    """A task at one length."""

    task: tasks.Task
    length: int
    batch: int = 12

    def sample(self, seed: int = 0, split: tasks.Split = "train") -> tasks.Batch:
        return self.task.sample(tasks.generator(seed, split), self.batch, self.length, split)


def form(trial: TaskTrial) -> None:
    """Inputs, targets and mask have exactly `length` steps, and the kinds that the task states."""
    batch, task = trial.sample(), trial.task
    for name, values, kind in (("inputs", batch.inputs, task.inputs), ("targets", batch.targets, task.targets)):
        tokens = isinstance(kind, tasks.Tokens)
        shape = (trial.batch, trial.length) if tokens else (trial.batch, trial.length, kind.size)
        dtype = torch.int64 if tokens else torch.float32
        if tuple(values.shape) != shape:
            raise CheckFailed(f"{name} have the shape {tuple(values.shape)}, not {shape}")
        if values.dtype != dtype:
            raise CheckFailed(f"{name} are {values.dtype}, not {dtype}")
        if tokens and not (values.min() >= 0 and values.max() < kind.size):
            raise CheckFailed(
                f"{name} lie in {values.min().item()} to {values.max().item()}, not in 0 to {kind.size - 1}"
            )
        if not values.isfinite().all():
            raise CheckFailed(f"{name} are not all finite")
        if not values.is_contiguous():
            raise CheckFailed(f"{name} share memory between steps or sequences; return them contiguous")
    if batch.mask.dtype != torch.bool or tuple(batch.mask.shape) != (trial.batch, trial.length):
        raise CheckFailed(
            f"mask is {batch.mask.dtype} of the shape {tuple(batch.mask.shape)}, not one torch.bool a step"
        )


def asks_something(trial: TaskTrial) -> None:
    """Every sequence is asked at one step at least."""
    asked = trial.sample().mask.any(1)
    if not asked.all():
        raise CheckFailed(f"sequence {int(asked.int().argmin()) + 1} is asked nothing: its mask is empty")


def solver_is_right(trial: TaskTrial) -> None:
    """`solve` scores 1.0, from the inputs alone."""
    for split in SPLITS:
        batch = trial.sample(split=split)
        unseen = dataclasses.replace(batch, targets=torch.full_like(batch.targets, 1))
        answers = trial.task.solve(unseen)
        if answers.shape != batch.targets.shape:
            raise CheckFailed(f"`solve` gives the shape {tuple(answers.shape)}, not {tuple(batch.targets.shape)}")
        right = trial.task.right(answers, batch)
        wrong = (trial.task.solvable(batch) & ~right).nonzero()
        if len(wrong):
            row, step = wrong[0].tolist()
            raise CheckFailed(
                f"`solve` answers {answers[row, step].tolist()} at step {step + 1} of {split} sequence {row + 1}, "
                f"where {batch.targets[row, step].tolist()} is right"
            )


def scores_tell_right_from_wrong(trial: TaskTrial) -> None:
    """Right answers as a model's outputs score 1 and cost nothing; wrong ones score 0."""
    batch, task = trial.sample(), trial.task
    outputs: Tensor = batch.targets
    wrong: Tensor = batch.targets + 2 * tasks.REAL_TOLERANCE
    if isinstance(task.targets, tasks.Tokens):
        outputs = 1e3 * torch.nn.functional.one_hot(batch.targets, task.targets.size).float()
        everywhere = [torch.full_like(batch.targets, answer) for answer in range(task.targets.size)]
        wrong = torch.stack([task.right(answers, batch) for answers in everywhere]).int().argmin(0)
    for said, score, expected in (
        ("right", task.score(task.answer(outputs), batch), 1.0),
        ("wrong", task.score(wrong, batch), 0.0),
    ):
        if score != expected:
            raise CheckFailed(f"answers that are all {said} score {score:.3f}, not {expected:.0f}")
    loss = task.loss(outputs, batch).item()
    if not -1e-9 < loss < 1e-9:
        raise CheckFailed(f"the loss of answers that are all right is {loss:.3g}, not 0")


def lines_are_sound(trial: TaskTrial) -> None:
    """Chance, what the present alone gives, and the risk of meeting a sequence twice lie where they can."""
    task, length = trial.task, trial.length
    chance, blind, collision = task.chance(length), task.memoryless_score(length), task.collision(length)
    if not 0 < chance <= 1:
        raise CheckFailed(f"chance is {chance}, which is not in (0, 1]")
    if blind is not None and not chance < blind <= 1 + 1e-12:
        raise CheckFailed(f"memoryless_score is {blind}, which is not over chance, {chance}, and at most 1")
    if not 0 <= collision <= 1:
        raise CheckFailed(f"collision is {collision}, which is not in [0, 1]")


def chance_holds(trial: TaskTrial) -> None:
    """The best answers that do not look, found by sampling, score `chance`."""
    score, deviation = memoryless_score(trial.task, trial.length, sees_the_present=False, sequences=CHANCE_SEQUENCES)
    stated, margin = trial.task.chance(trial.length), DEVIATIONS * deviation + 1 / CHANCE_SEQUENCES
    if abs(score - stated) > margin:
        raise CheckFailed(
            f"chance is stated as {stated:.4f}, but the best answer that does not look scores {score:.4f}"
        )


def present_alone_gives_what_is_stated(trial: TaskTrial) -> None:
    """The best answers from the present input alone score `memoryless_score`, or no more than `chance`."""
    score, deviation = memoryless_score(trial.task, trial.length, sees_the_present=True, sequences=CHANCE_SEQUENCES)
    blind, margin = trial.task.memoryless_score(trial.length), DEVIATIONS * deviation + 1 / CHANCE_SEQUENCES
    stated = trial.task.chance(trial.length) if blind is None else blind
    low = -1.0 if blind is None else stated - margin - ANSWERS_LOST
    if not low <= score <= stated + margin:
        what = "chance, with no memoryless_score," if blind is None else "memoryless_score"
        raise CheckFailed(f"{what} is stated as {stated:.4f}, but the present input alone scores {score:.4f}")


def seeds_decide_everything(trial: TaskTrial) -> None:
    """One seed samples one batch, and touches no other source of randomness; a generator goes on."""
    before = torch.random.get_rng_state()
    first, again = trial.sample(), trial.sample()
    for name in ("inputs", "targets", "mask"):
        if not torch.equal(getattr(first, name), getattr(again, name)):
            raise CheckFailed(f"one seed sampled two batches: their {name} differ")
    if not torch.equal(before, torch.random.get_rng_state()):
        raise CheckFailed("sampling moved torch's global generator; draw from the generator that is given")
    generator = tasks.generator(0, "train")
    one, other = (trial.task.sample(generator, 12, trial.length).inputs for _ in range(2))
    if torch.equal(one, other):
        raise CheckFailed("a generator gave the same sequences twice; draw from the generator that is given")


def splits_differ(trial: TaskTrial) -> None:
    """Other splits and other seeds give other sequences."""
    first = trial.sample()
    others = {f"split {split}": trial.sample(split=split) for split in SPLITS[1:]} | {"seed 1": trial.sample(seed=1)}
    for name, other in others.items():
        if torch.equal(first.inputs, other.inputs):
            raise CheckFailed(f"{name} has the same sequences as split train, seed 0")


def too_short_is_refused(trial: TaskTrial) -> None:
    """Lengths under `min_length` are refused, and `min_length` is not."""
    least = trial.task.min_length
    if not isinstance(least, int) or least < 1:
        raise CheckFailed(f"min_length is {least!r}, not a whole number of at least 1")
    trial.task.check_length(least)
    for length in range(max(1, least - 2), least):
        try:
            trial.task.sample(tasks.generator(0, "train"), 1, length)
        except tasks.ImpossibleLength:
            continue
        raise CheckFailed(f"{length} steps are accepted, although min_length is {least}")


def is_well_described(trial: TaskTrial) -> None:
    """A spec, a source, one line of summary, and a name for each token."""
    task = trial.task
    if tasks.build(str(task)) != task:
        raise CheckFailed(f"the spec {task} builds another task than this one")
    for kind, names in (("input", task.input_names), ("target", task.target_names)):
        size = task.inputs.size if kind == "input" else task.targets.size
        if len(names) != size:
            raise CheckFailed(f"{kind}_names are {len(names)} for {size} {kind}s")
    if len(set(task.input_names)) != len(task.input_names):
        raise CheckFailed("two inputs have one name in input_names")
    summary = task.summary()
    if not summary.endswith(".") or len(summary) > MAX_SUMMARY:
        raise CheckFailed(f"the first line of its docstring must be one sentence of at most {MAX_SUMMARY} characters")
    if not task.source:
        raise CheckFailed("source is empty")
    tasks.describe(task, trial.length)


CHECKS: dict[str, Callable[[TaskTrial], None]] = {
    "lengths": too_short_is_refused,
    "form": form,
    "mask": asks_something,
    "solver": solver_is_right,
    "scores": scores_tell_right_from_wrong,
    "lines": lines_are_sound,
    "determinism": seeds_decide_everything,
    "splits": splits_differ,
    "described": is_well_described,
    "chance": chance_holds,
    "present_input": present_alone_gives_what_is_stated,
}
"""By the names under which `carousel validate` speaks of them."""


def lengths_of(task: tasks.Task) -> list[int]:
    """The smallest length, the next ones, and two longer ones, as far as the task can be asked there."""
    least = task.min_length
    wanted = dict.fromkeys((least, least + 1, least + 2, 2 * least + 9, 192))
    return [length for length in wanted if length >= least and _can_be_asked(task, length)]


def _can_be_asked(task: tasks.Task, length: int) -> bool:
    try:
        task.check_length(length)
    except tasks.ImpossibleLength:
        return False
    return True
