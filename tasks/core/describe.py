"""One sample in words, so that a reader sees what is fed and what is asked."""

# Shape suffixes: D channels

from __future__ import annotations

from torch import Tensor

from tasks.core.task import Batch, Task, Tokens, generator

LINE_WIDTH = 100
"""How wide a line of steps may grow before it wraps."""
NOT_ASKED = "·"


def describe(task: Task, length: int, seed: int = 0) -> str:
    """The task, what guessing scores at `length`, and one training sequence of it.

    >>> import tasks
    >>> print(describe(tasks.build("parity"), length=5))
    parity: Say whether the number of ones is odd; asked at the last step, two classes.
    At 5 steps chance is 0.500.
    <BLANKLINE>
    step    1 2 3 4   5
    input   0 0 1 0   0
    answer  · · · · odd
    """
    batch = task.sample(generator(seed, "train"), 1, length)
    guessing = f"At {length} steps chance is {task.chance(length):.3f}"
    blind = task.memoryless_score(length)
    if blind is not None:
        guessing += f", and the best answer from the present step alone scores {blind:.3f}"
    return f"{task}: {task.summary()}\n{guessing}.\n\n{show(task, batch, 0)}"


def show(task: Task, batch: Batch, row: int) -> str:
    """One sequence of a batch: a column for each step, with its input and the answer where one is asked."""
    asked = batch.mask[row].tolist()
    inputs = [_written(value, task.inputs, task.input_names) for value in batch.inputs[row]]
    answers = [
        _written(value, task.targets, task.target_names) if is_asked else NOT_ASKED
        for value, is_asked in zip(batch.targets[row], asked, strict=True)
    ]
    columns = [(str(step), *column) for step, *column in zip(range(1, len(asked) + 1), inputs, answers, strict=True)]
    lines: list[list[str]] = []
    for column in columns:
        width = max(len(cell) for cell in column)
        if not lines or len(lines[-3]) + width + 1 > LINE_WIDTH:
            lines += [[*f"{head:<6} "] for head in ("step", "input", "answer")]
        for line, cell in zip(lines[-3:], column, strict=True):
            line.extend(f" {cell:>{width}}")
    blocks = ["\n".join("".join(line) for line in lines[i : i + 3]) for i in range(0, len(lines), 3)]
    return "\n\n".join(blocks)


def _written(value: Tensor, kind: object, names: tuple[str, ...]) -> str:
    if isinstance(kind, Tokens):
        return names[int(value)]
    return "/".join(f"{number:.2f}".removesuffix(".00") for number in value.tolist())
