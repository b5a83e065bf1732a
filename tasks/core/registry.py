"""The folder listing is the registry: `tasks/adding.py` is `adding`, and adding a file adds a name.

A plugin adds a name from elsewhere, for as long as the process lives.

A spec is written `name` or `name:parameter=value,parameter=value`; `preset=NAME` sets what a published
protocol sets, and parameters beside it win. The parameters are the fields of the task's dataclass.
The rooms know nothing of each other, so this is a smaller sibling of `arch/core/registry.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from pydantic import TypeAdapter, ValidationError

from tasks.core.task import Task

_added: dict[str, type[Task]] = {}
_disabled: dict[str, str] = {}


class UnknownName(ValueError):
    """A name that no file answers to, or a parameter that its task does not have."""


def names() -> list[str]:
    """The tasks there are: every file of this folder without a leading underscore, and what plugins add."""
    return sorted({*built_in(), *_added})


def built_in() -> list[str]:
    """The tasks that are files of this folder."""
    folder = Path(__file__).parents[1]
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not (m.ispkg or m.name.startswith("_")))


def get(name: str) -> type[Task]:
    """The task of that name; only its own file is imported.

    Raises `UnknownName` where there is none, `ValueError` where it is a plugin that is disabled.
    """
    if name in _disabled:
        raise ValueError(_disabled[name])
    if name not in names():
        raise UnknownName(f"no task {name!r}{_nearest(name, names())}; there are {', '.join(names())}")
    if name in _added:
        return _added[name]
    found = defined_in(importlib.import_module(f"tasks.{name}"))
    if len(found) != 1:
        raise ValueError(f"tasks/{name}.py must define exactly one Task, but defines {len(found)}")
    return found[0]


def defined_in(module: ModuleType) -> list[type[Task]]:
    """The tasks that a module defines itself, rather than imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Task) and value.__module__ == module.__name__
    ]


def add(name: str, task: type[Task]) -> None:
    """Make a class from elsewhere the task of that name. Raises `ValueError` where the name is taken."""
    if name in names():
        raise ValueError(f"there is a task {name!r} already; give the plugin's file another name")
    _added[name] = task


def disable(name: str, reason: str) -> None:
    """Let whoever asks for that name hear why it cannot be had."""
    _disabled[name] = reason


def remove(name: str) -> None:
    """Forget what was added, or disabled, under that name."""
    _added.pop(name, None)
    _disabled.pop(name, None)


def build(spec: str) -> Task:
    """The task that `spec` names, with its parameters.

    Raises `UnknownName` for a name, preset or parameter there is not, `ValueError` for a wrong value.

    >>> str(build("first_last:rule=product"))
    'first_last:rule=product'
    """
    name, _, rest = spec.partition(":")
    name, pairs = name.strip(), [item.partition("=") for item in rest.split(",")] if rest else []
    given: dict[str, object] = {key.strip(): value.strip() for key, _, value in pairs}
    if not name or not all(sign for _, sign, _ in pairs) or len(given) != len(pairs):
        raise ValueError(f"{spec!r} is not of the form name:parameter=value,parameter=value, each parameter once")
    task = get(name)
    parameters = [field.name for field in dataclasses.fields(task)]
    preset = given.pop("preset", None)
    if preset is not None and preset not in task.presets:
        known = ", ".join(task.presets) or "none"
        raise UnknownName(f"{name} has no preset {preset!r}{_nearest(str(preset), task.presets)}; it has {known}")
    for key in given:
        if key not in parameters:
            known = ", ".join([*parameters, *(["preset"] if task.presets else [])]) or "none"
            raise UnknownName(f"{name} has no parameter {key!r}{_nearest(key, parameters)}; it has {known}")
    values = {**(task.presets[str(preset)] if preset else {}), **given}
    try:
        return TypeAdapter(task).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise ValueError(f"{spec}: {first['ctx']['error']}") from None
        where = ".".join(str(part) for part in first["loc"])
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise ValueError(f"{name}:{where}={values.get(where)} is not allowed: {reason}") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
