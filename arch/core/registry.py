"""The architecture registry: `arch/lstm.py` defines `lstm`, and each new file in `arch` adds a name.

A spec is `name` or `name:option=value,option=value`. An architecture's options are `dropout` and the keyword-only
parameters of its layer's constructor.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arch.core.layer import Layer
from results.specs import Option, Registry, Spec, parse_options

MODEL_OPTIONS: Mapping[str, Option] = {"dropout": Option(float, 0.0)}
"""Options of the model, which every architecture has."""
RESERVED_OPTIONS = frozenset(
    {*MODEL_OPTIONS, "inputs", "width", "depth", "params", "state", "step_flops", "length", "seed", "channels"}
    | {"vocabulary", "outputs"}
)
"""Names that options of a layer cannot have: `arch.build` uses them, so that the option would not reach the layer."""

_layers: Registry[Layer] = Registry(
    package="arch",
    folder=Path(__file__).parents[1],
    base=Layer,  # type: ignore[type-abstract]  # only its subclasses are instantiated
    kind="architecture",
)

names = _layers.names
built_in = _layers.built_in
defined_in = _layers.defined_in
add = _layers.add
disable = _layers.disable
remove = _layers.remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """An architecture with options. `str()` returns its spec, without options that have their default value."""

    name: str
    layer: type[Layer]
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that differ from their defaults."""

    def __str__(self) -> str:
        return str(Spec(self.name, self.options))

    @property
    def summary(self) -> str:
        """The first line of the module docstring, without the leading name."""
        module = inspect.getmodule(self.layer)
        return (inspect.getdoc(module) or "").partition("\n")[0].partition(": ")[2]

    @property
    def parameters(self) -> dict[str, Option]:
        """All options of the architecture by name, including those of the model."""
        hints = typing.get_type_hints(self.layer.__init__)
        parameters = inspect.signature(self.layer).parameters.values()
        own = {p.name: Option(hints.get(p.name, Any), p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
        return own | dict(MODEL_OPTIONS)

    def with_options(self, given: Mapping[str, Any]) -> Arch:
        """Return this architecture with the options in `given` set, as text or as Python values.

        Raises `UnknownName` for an option that the architecture does not have, and `ValueError` for an invalid value.
        """
        signature = self.parameters
        options = {**self.options, **parse_options(self.name, signature, given)}
        changed = {key: value for key, value in options.items() if value != signature[key].default}
        return Arch(name=self.name, layer=self.layer, options=changed)


def get(spec: str) -> Arch:
    """Return the architecture that `spec` names. Of the modules in `arch`, only the module of that name is imported.

    Raises `UnknownName` for an unknown name or option. Raises `ValueError` for a malformed spec, an invalid value or a
    disabled plugin.

    >>> str(get("lstm:forget_bias=1,bias=True"))
    'lstm:forget_bias=1.0'
    """
    parsed = Spec.parse(spec)
    return Arch(name=parsed.name, layer=_layers.get(parsed.name)).with_options(parsed.options)
