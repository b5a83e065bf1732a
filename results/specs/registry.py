"""A registry of named classes: one per module of a package, plus the classes that plugins add.

Options are checked against a signature, `{name: Option(annotation, default)}`, by pydantic in lax mode. So the text
`"2"` is a valid value for a `float` option.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from results.specs.invalid_value import reason_of

T = TypeVar("T")


class UnknownName(ValueError):
    """Error for an unknown name, option or preset. The message suggests the closest match, if there is one."""


class Option(NamedTuple):
    """An option's type annotation and default value."""

    annotation: Any
    default: Any


class Registry(Generic[T]):
    """A registry of the subclasses of `base` that a user can name: one per module of `package`, plus plugins.

    Args:
        package: Import name of the package whose modules are the built-in entries.
        folder: Folder of that package.
        base: Base class of the entries. Each module defines exactly one subclass.
        kind: The word for an entry in messages, such as "architecture".
    """

    def __init__(self, *, package: str, folder: Path, base: type[T], kind: str) -> None:
        self._package = package
        self._folder = folder
        self._base = base
        self._kind = kind
        self._added: dict[str, type[T]] = {}
        self._disabled: dict[str, str] = {}
        self._listed: tuple[int, list[str]] | None = None

    def names(self) -> list[str]:
        """Return all names, built-in and added by plugins, in sorted order."""
        return sorted({*self.built_in(), *self._added})

    def built_in(self) -> list[str]:
        """Return the names of the package's modules. Subpackages and names with a leading underscore are omitted.

        The folder is listed again only if it has changed, because expanding a plan asks thousands of times.
        """
        changed = self._folder.stat().st_mtime_ns
        if self._listed is None or self._listed[0] != changed:
            modules = pkgutil.iter_modules([str(self._folder)])
            names = sorted(module.name for module in modules if not (module.ispkg or module.name.startswith("_")))
            self._listed = changed, names
        return list(self._listed[1])

    def get(self, name: str) -> type[T]:
        """Return the class registered under `name`. Only the module of that name is imported.

        Raises `UnknownName` if there is no such name. Raises `ValueError` if the name belongs to a disabled plugin, or
        if the module does not define exactly one subclass.
        """
        if name in self._disabled:
            raise ValueError(self._disabled[name])
        if name not in self.names():
            raise UnknownName(f"no {self._kind} {name!r}{suggestion(name, self.names())}")
        if name in self._added:
            return self._added[name]
        classes = self.defined_in(importlib.import_module(f"{self._package}.{name}"))
        if len(classes) != 1:
            raise ValueError(
                f"{self._package}/{name}.py must define exactly one {self._base.__name__}, but defines {len(classes)}"
            )
        return classes[0]

    def defined_in(self, module: ModuleType) -> list[type[T]]:
        """Return the subclasses of the base class that a module defines. Imported classes are left out."""
        return [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, self._base) and value.__module__ == module.__name__
        ]

    def add(self, name: str, entry: type[T]) -> None:
        """Register a plugin's class under `name`. Raises `ValueError` if the name is taken."""
        if name in self.names():
            raise ValueError(f"{self._kind} {name!r} already exists; rename the plugin")
        self._added[name] = entry

    def disable(self, name: str, reason: str) -> None:
        """Make `get` raise `ValueError` for this name, with `reason` as the message."""
        self._disabled[name] = reason

    def remove(self, name: str) -> None:
        """Undo `add` and `disable` for this name. Unknown names are ignored."""
        self._added.pop(name, None)
        self._disabled.pop(name, None)


def parse_options(name: str, signature: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options, with their values converted to the annotated types.

    Args:
        name: The architecture or task that has the options, for messages.
        signature: All options of the architecture or task.
        given: The chosen options, as text or as Python values.

    Raises `UnknownName` for an option that is not in the signature, and `ValueError` for an invalid value.
    """
    for key in given:
        if key not in signature:
            raise UnknownName(f"{name} has no option {key!r}{suggestion(key, signature)}")
    return {key: _parse_value(signature[key].annotation, value, f"{name}:{key}") for key, value in given.items()}


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of an "unknown name" message: the closest match, if any, and all known names."""
    names = list(known)
    available = ", ".join(names) or "none"
    as_written = {known.casefold(): known for known in reversed(names)}
    match = [as_written[found] for found in difflib.get_close_matches(name.casefold(), as_written, n=1)]
    return f"; did you mean {match[0]!r}? Available: {available}" if match else f"; available: {available}"


def _parse_value(annotation: Any, value: Any, label: str) -> Any:
    adapter = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        if isinstance(value, str) and value.lower() == "none":
            with contextlib.suppress(ValidationError):
                return adapter.validate_python(None)
        raise ValueError(f"{label}={value} is not allowed: the value {reason_of(error.errors()[0])}") from None
