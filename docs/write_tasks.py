"""Write docs/tasks.md from the docstrings and properties of the tasks. Run this file to update the page."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import itertools
import re
import sys
import textwrap
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "tasks.md"

STRATEGY_LENGTH = 64
"""Length for which the scores of strategies are given, in steps."""

INTRODUCTION = """\
# The tasks

<!-- Written by docs/write_tasks.py from the docstrings in tasks/; edit those, then run it again. -->

`length` is the number of time steps that the model reads; each task derives its delays from it. The *score* is the
share of scored positions with a correct answer. *Chance* is the score of the best answer that does not read the input.
The *memoryless baseline* is the score of the best answer from the current input alone; it is given only if it exceeds
chance. A *partial strategy* uses some of the past, but not all that the task asks for, and networks often stay at its
score or loss for a while. [method.md](method.md) describes how models are trained and tested, and
[the README](../README.md) how to add a task in one file.

A task spec is a name with optional parameters, such as `recall:pairs=4,vocabulary=32`. A preset sets the parameters of
a published protocol, as in `copy_memory:preset=urnn`. `carousel show-task NAME` prints one sequence.

| task | description | minimum length | source |
|---|---|---|---|
"""


def page() -> str:
    """Return the content of docs/tasks.md."""
    import tasks

    built = [tasks.build(name) for name in tasks.built_in()]
    rows = [
        f"| [`{task}`](#{task}) | {_cell(task.summary())} | {task.min_length} | {_cell(task.source)} |"
        for task in built
    ]
    return INTRODUCTION + "\n".join(rows) + "\n" + "".join(f"\n{_section(task)}" for task in built)


def _section(task: object) -> str:
    import tasks

    assert isinstance(task, tasks.Task)
    module = importlib.import_module(type(task).__module__)
    text, _, example = (inspect.getdoc(module) or "").partition("\n>>> ")
    question, _, details = text.partition("\n\n")
    parts = [f"## {task}", _sentence(question.partition(": ")[2]), _prose(details.strip("\n")), *_facts(task)]
    if example:
        parts.append(f"```python\n>>> {example.strip()}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(task: object) -> list[str]:
    import tasks

    assert isinstance(task, tasks.Task)
    lines = []
    if parameters := dataclasses.fields(task):
        lines.append(
            "- Parameters: " + ", ".join(f"`{field.name}={getattr(task, field.name)}`" for field in parameters)
        )
    if task.presets:
        lines.append("- Presets: " + ", ".join(f"`preset={name}`" for name in task.presets))
    if task.data_digest is None:  # a data set on disk may differ between machines
        length = task.min_length
        memoryless = task.memoryless_score(length)
        baseline = "" if memoryless is None else f", memoryless baseline {memoryless:.3f}"
        steps = "1 step" if length == 1 else f"{length} steps"
        lines.append(f"- Reference scores at the minimum length of {steps}: chance {task.chance(length):.3f}{baseline}")
        if (constant := task.constant_loss(length)) is not None:
            lines.append(f"- Mean squared error of the best constant answer: {constant:.3f}")
    lines.append(f"- Data version: {task.version}")
    return ["\n".join(lines), *_strategies(task), *_parameter_descriptions(task)]


def _strategies(task: object) -> list[str]:
    """Return `[text]`, with the partial strategies as a Markdown table, or `[]` if there are none.

    They are computed at `STRATEGY_LENGTH`, or at the next length that the task supports. Strategies for real data are
    left out, because a data set on disk may differ between machines.
    """
    import tasks

    assert isinstance(task, tasks.Task)
    if task.data_digest is not None:
        return []
    length = next(n for n in itertools.count(STRATEGY_LENGTH) if task.supports_length(n))
    rows = [
        f"| {strategy.name} | {strategy.description} | {_value(strategy.score)} | {_value(strategy.loss)} |"
        for strategy in task.strategies(length)
    ]
    head = f"Partial strategies at {length} steps:\n\n| strategy | what it does | score | loss |\n|---|---|---|---|\n"
    return [head + "\n".join(rows)] if rows else []


def _value(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def _parameter_descriptions(task: object) -> list[str]:
    """Return `[text]`, with the parameters of the class docstring as a Markdown list in `text`.

    Returns `[]` if the docstring has no parameters.
    """
    _, _, rest = (inspect.getdoc(type(task)) or "").partition("\n\n")
    rows = re.findall(r"^`(\w+)` +(.+(?:\n +.+)*)", rest, re.MULTILINE)
    return ["\n".join(f"- `{name}`: {_sentence(' '.join(words.split()))}" for name, words in rows)] if rows else []


def _prose(text: str) -> str:
    """Return `text` with each indented paragraph fenced as code. Other paragraphs are not changed."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return "\n\n".join(
        f"```text\n{textwrap.dedent(block).rstrip()}\n```" if block.startswith("    ") else block for block in blocks
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.path.insert(0, str(HOME))
    PAGE.write_text(page(), encoding="utf-8")
