"""Describe a task in words, and show one of its sequences as a table."""

# Shape suffixes: D channels

from __future__ import annotations

import dataclasses
import inspect
import sys

from torch import Tensor

from tasks.core.task import Batch, MissingData, Reals, Strategy, Task, Tokens, generator

LINE_WIDTH = 100
"""Maximum number of characters per line of a table. A line with a single wide column may be longer."""
NOT_SCORED = "·"
"""The entry of the answer row at steps that are not scored."""


def describe(task: Task, length: int, seed: int = 0) -> str:
    """Return the task's summary, rules, reference scores and strategies, and one training sequence as a table.

    `length` is the number of time steps, for which scores and strategies are given. `seed` selects the sequence. If the
    data of the task are not installed, the last part says so instead, and what to install. Raises `ImpossibleLength` if
    the task does not support this length.

    >>> import tasks
    >>> print(describe(tasks.build("parity"), length=5))
    parity: Say whether the number of ones is odd; scored at the last step, two classes.
    <BLANKLINE>
    Flipping any single bit changes the answer, so every step matters and no approximation helps. Delétang et
    al. 2022 train on lengths 1 to 40 and test on 41 to 500 (preset `deletang`).
    <BLANKLINE>
    `every_step`  whether every prefix is scored, not only the whole sequence.
    <BLANKLINE>
    Parameters here: every_step=False
    <BLANKLINE>
    At 5 steps, chance is 0.500.
    <BLANKLINE>
    step    1 2 3 4   5
    input   0 0 1 0   0
    answer  · · · · odd
    """
    task.check_length(length)
    try:
        examples = _examples(task, length, seed)
    except MissingData as error:
        examples = [f"Neither scores nor a sequence can be shown: {error}."]
    return "\n\n".join([f"{task}: {task.summary()}", *_rules(task), *examples])


def _examples(task: Task, length: int, seed: int) -> list[str]:
    """Return the scores and strategies at `length`, and one sequence as a table."""
    batch = task.sample(generator(seed, "train"), 1, length)
    references = f"At {length} steps, chance is {task.chance(length):.3f}"
    memoryless = task.memoryless_score(length)
    if memoryless is not None:
        references += f" and the best score from the present step alone is {memoryless:.3f}"
    scores = "\n".join([f"{references}.", *map(_strategy, task.strategies(length))])
    return [scores, show(task, batch, 0)]


def _rules(task: Task) -> list[str]:
    """Return the rules and the parameters of a task, as the docstrings of its module and its class state them.

    The first line of each docstring and the examples are left out. A docstring with nothing else has no part.
    """
    documented = [inspect.getdoc(sys.modules[type(task).__module__]), inspect.getdoc(type(task))]
    parts = [(text or "").partition("\n>>> ")[0].partition("\n\n")[2].strip("\n") for text in documented]
    values = ", ".join(f"{field.name}={getattr(task, field.name)}" for field in dataclasses.fields(task))
    return [*(part.rstrip() for part in parts if part.strip()), *([f"Parameters here: {values}"] if values else [])]


def show(task: Task, batch: Batch, row: int) -> str:
    """Return a table of sequence `row` of a batch: one column per step, with the input and any scored answer."""
    mask = batch.mask[row].tolist()
    inputs = _cells(batch.inputs[row], task.inputs, task.input_names)
    answers = [
        cell if is_scored else NOT_SCORED
        for cell, is_scored in zip(_cells(batch.targets[row], task.targets, task.target_names), mask, strict=True)
    ]
    columns = [(str(step), *column) for step, *column in zip(range(1, len(mask) + 1), inputs, answers, strict=True)]
    lines: list[list[str]] = []
    for column in columns:
        width = max(len(cell) for cell in column)
        if not lines or len(lines[-3]) + width + 1 > LINE_WIDTH:
            lines += [[*f"{head:<6} "] for head in ("step", "input", "answer")]
        for line, cell in zip(lines[-3:], column, strict=True):
            line.extend(f" {cell:>{width}}")
    blocks = ["\n".join("".join(line) for line in lines[i : i + 3]) for i in range(0, len(lines), 3)]
    return "\n\n".join(blocks)


def _strategy(strategy: Strategy) -> str:
    """Return a strategy as a line: its name, its score and loss, and what it does."""
    known = {"score": strategy.score, "loss": strategy.loss}
    values = ", ".join(f"{name} {value:.3f}" for name, value in known.items() if value is not None)
    return f"Partial strategy “{strategy.name}” ({values}): {strategy.description}"


def _cells(values: Tensor, kind: Tokens | Reals, names: tuple[str, ...]) -> list[str]:
    """Return one text per step. A channel of whole numbers has no decimals, such as the marks of `adding`."""
    if isinstance(kind, Tokens):
        return [names[int(value)] for value in values]
    decimals = [0 if bool((channel == channel.round()).all()) else 2 for channel in values.unbind(-1)]
    return [
        "/".join(f"{number:.{places}f}" for number, places in zip(value.tolist(), decimals, strict=True))
        for value in values
    ]
