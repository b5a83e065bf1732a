"""The task registry: `tasks/adding.py` defines `adding`, and each new file adds a name.

A spec is `name` or `name:option=value,option=value`. A task's options are the fields of its dataclass. `preset=NAME`
selects the options of a published protocol. Options given together with a preset override the preset's options.
"""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

from results.specs import Option, Registry, Spec, UnknownName, parse_options, suggestion
from tasks.core.task import Task

_tasks: Registry[Task] = Registry(
    package="tasks",
    folder=Path(__file__).parents[1],
    base=Task,  # type: ignore[type-abstract]  # only its subclasses are instantiated
    kind="task",
)

names = _tasks.names
built_in = _tasks.built_in
get = _tasks.get
defined_in = _tasks.defined_in
add = _tasks.add
disable = _tasks.disable
remove = _tasks.remove


def build(spec: str) -> Task:
    """Return the task that `spec` names, with its options.

    Raises `UnknownName` if the name, the preset or an option is unknown. Raises `ValueError` if the spec is malformed,
    a value is invalid, or the plugin is disabled.

    >>> str(build("first_last:rule=product"))
    'first_last:rule=product'
    """
    parsed = Spec.parse(spec)
    name, given = parsed.name, dict(parsed.options)
    task = get(name)
    preset = given.pop("preset", None)
    if preset is not None and preset not in task.presets:
        raise UnknownName(f"{name} has no preset {preset!r}{suggestion(preset, task.presets)}")
    chosen = {**(task.presets[preset] if preset else {}), **given}
    values = parse_options(name, _signature(task), chosen)
    try:
        return task(**values)
    except ValueError as error:
        raise ValueError(f"{spec}: {error}") from None


def _signature(task: type[Task]) -> dict[str, Option]:
    hints = typing.get_type_hints(task)
    signature = {field.name: Option(hints[field.name], field.default) for field in dataclasses.fields(task)}
    return signature | ({"preset": Option(str, None)} if task.presets else {})
