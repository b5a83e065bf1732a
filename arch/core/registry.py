"""The folder listing is the registry: `arch/lstm.py` is `lstm`, and adding a file adds a name.

A plugin adds a name from elsewhere, for as long as the process lives.

A spec is written `name` or `name:option=value,option=value`. The options of an architecture are the
keyword-only parameters of its layer's constructor; `dropout` belongs to every architecture.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from arch.core.layer import Layer

MODEL_OPTIONS: Mapping[str, tuple[Any, Any]] = {"dropout": (float, 0.0)}
"""Options that the model takes, whatever its layers are: annotation and default."""


_added: dict[str, type[Layer]] = {}
_disabled: dict[str, str] = {}


class UnknownName(ValueError):
    """A name that no file answers to, or an option that its architecture does not have."""


@dataclass(frozen=True, kw_only=True)
class Arch:
    """An architecture with chosen options; `str()` writes it as a spec, defaults left out."""

    name: str
    layer: type[Layer]
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that differ from their defaults."""

    def __str__(self) -> str:
        written = ",".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name}:{written}" if written else self.name

    @property
    def summary(self) -> str:
        """The first line of the architecture's file."""
        module = inspect.getmodule(self.layer)
        return (inspect.getdoc(module) or "").partition("\n")[0].partition(": ")[2]

    @property
    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """Every option that the architecture has: annotation and default."""
        hints = typing.get_type_hints(self.layer.__init__)
        signature = inspect.signature(self.layer).parameters.values()
        own = {p.name: (hints[p.name], p.default) for p in signature if p.kind is p.KEYWORD_ONLY}
        return own | dict(MODEL_OPTIONS)

    def with_options(self, given: Mapping[str, Any]) -> Arch:
        """This architecture with further options, as text or as values.

        Raises `UnknownName` for an option that it does not have, `ValueError` for a value that the
        option does not take.
        """
        parameters, options = self.parameters, dict(self.options)
        for key, text in given.items():
            if key not in parameters:
                raise UnknownName(
                    f"{self.name} has no option {key!r}{_nearest(key, parameters)}; it has {', '.join(parameters)}"
                )
            annotation, default = parameters[key]
            value = _parse(annotation, text, f"{self.name}:{key}")
            options.pop(key, None)
            if value != default:
                options[key] = value
        return Arch(name=self.name, layer=self.layer, options=options)


def names() -> list[str]:
    """The architectures there are: every file of this folder without a leading underscore, and what plugins add."""
    return sorted({*built_in(), *_added})


def built_in() -> list[str]:
    """The architectures that are files of this folder."""
    folder = Path(__file__).parents[1]
    return sorted(m.name for m in pkgutil.iter_modules([str(folder)]) if not (m.ispkg or m.name.startswith("_")))


def get(spec: str) -> Arch:
    """The architecture that `spec` names; only its own file is imported.

    Raises `UnknownName` for a name or an option there is not, `ValueError` for a wrong value or a
    plugin that is disabled.
    """
    name, given = parse(spec)
    if name in _disabled:
        raise ValueError(_disabled[name])
    if name not in names():
        raise UnknownName(f"no architecture {name!r}{_nearest(name, names())}; there are {', '.join(names())}")
    if name in _added:
        return Arch(name=name, layer=_added[name]).with_options(given)
    layers = defined_in(importlib.import_module(f"arch.{name}"))
    if len(layers) != 1:
        raise ValueError(f"arch/{name}.py must define exactly one Layer, but defines {len(layers)}")
    return Arch(name=name, layer=layers[0]).with_options(given)


def defined_in(module: ModuleType) -> list[type[Layer]]:
    """The layers that a module defines itself, rather than imports."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Layer) and value.__module__ == module.__name__
    ]


def add(name: str, layer: type[Layer]) -> None:
    """Make a layer from elsewhere an architecture of that name. Raises `ValueError` where the name is taken."""
    if name in names():
        raise ValueError(f"there is an architecture {name!r} already; give the plugin's file another name")
    _added[name] = layer


def disable(name: str, reason: str) -> None:
    """Let whoever asks for that name hear why it cannot be had."""
    _disabled[name] = reason


def remove(name: str) -> None:
    """Forget what was added, or disabled, under that name."""
    _added.pop(name, None)
    _disabled.pop(name, None)


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """`name:key=value,key=value` taken apart. Raises `ValueError` where it is not of that form."""
    name, _, rest = spec.partition(":")
    pairs = [item.partition("=") for item in rest.split(",")] if rest else []
    given = {key.strip(): value.strip() for key, _, value in pairs}
    if not name or not all(sign for _, sign, _ in pairs) or len(given) != len(pairs):
        raise ValueError(f"{spec!r} is not of the form name:option=value,option=value, each option once")
    return name.strip(), given


def _parse(annotation: Any, text: Any, where: str) -> Any:
    adapter = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        if isinstance(text, str) and text.lower() == "none":
            with contextlib.suppress(ValidationError):
                return adapter.validate_python(None)
        message = error.errors()[0]["msg"]
        raise ValueError(f"{where}={text} is not allowed: {message[:1].lower() + message[1:]}") from None


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
