"""Writes docs/tasks.md from the docstrings of the tasks: python3 docs/write_tasks.py."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
PAGE = HOME / "docs" / "tasks.md"

BEGINNING = """\
# The tasks

<!-- Written by docs/write_tasks.py from the docstrings in tasks/; edit those, then run it again. -->

`length` is the number of steps fed, and each task derives its delays from it. A *score* is the share of asked positions
that are answered rightly. *Chance* is the score of the best answer that does not look at the input; *blind to the past*
is that of the best answer from the present step alone, where it is better. How models are trained and tested on them is
in [method.md](method.md); adding one of your own, in one file, is in [the README](../README.md).

A task is named with its parameters, `recall:pairs=4,vocabulary=32`, or with the parameters of a published protocol,
`copy_memory:preset=urnn`. `carousel show-task NAME` prints a sequence in words.

| task | what is asked | shortest | source |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    import tasks

    built = [tasks.build(name) for name in tasks.built_in()]
    rows = [
        f"| [`{task}`](#{task}) | {_cell(task.summary())} | {task.min_length} | {_cell(task.source)} |"
        for task in built
    ]
    return BEGINNING + "\n".join(rows) + "\n" + "".join(f"\n{_section(task)}" for task in built)


def _section(task: object) -> str:
    import tasks

    assert isinstance(task, tasks.Task)
    module = importlib.import_module(type(task).__module__)
    text, _, example = (inspect.getdoc(module) or "").partition("\n>>> ")
    question, _, story = text.partition("\n\n")
    parts = [f"## {task}", _sentence(question.partition(": ")[2]), _prose(story.strip("\n")), *_about(task)]
    if example:
        parts.append(f"```python\n>>> {example.strip()}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(task: object) -> list[str]:
    import tasks

    assert isinstance(task, tasks.Task)
    lines = []
    if parameters := dataclasses.fields(task):
        lines.append(
            "- Parameters: " + ", ".join(f"`{field.name}={getattr(task, field.name)}`" for field in parameters)
        )
    if task.presets:
        lines.append("- Presets: " + ", ".join(f"`preset={name}`" for name in task.presets))
    if task.data_digest is None:  # what is read from files may differ from one machine to another
        shortest = task.min_length
        blind = task.memoryless_score(shortest)
        past = "" if blind is None else f", and blind to the past {blind:.3f}"
        lines.append(f"- Chance at {shortest} steps, the shortest: {task.chance(shortest):.3f}{past}")
    lines.append(f"- Version {task.version} of the samples")
    return ["\n".join(lines), *_parameters_explained(task)]


def _parameters_explained(task: object) -> list[str]:
    """What the class says of its parameters, after its summary."""
    _, _, rest = (inspect.getdoc(type(task)) or "").partition("\n\n")
    rows = re.findall(r"^`(\w+)` +(.+(?:\n +.+)*)", rest, re.MULTILINE)
    return ["\n".join(f"- `{name}`: {_sentence(' '.join(words.split()))}" for name, words in rows)] if rows else []


def _prose(text: str) -> str:
    """Paragraphs as they are; blocks that are set off by blanks stay as they stand."""
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
