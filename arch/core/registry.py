"""The architecture registry: `arch/lstm.py` defines `lstm`, and each new file in `arch` adds a name.

A spec is `name` or `name:option=value,option=value`. An architecture's options are the keyword-only parameters of its
layer's constructor, those of the block around each layer (`block`, `conv`, `expansion`), and `dropout`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from arch.core.layer import BlockOptions, Layer
from results.specs import Option, Registry, Spec, parse_options

MODEL_OPTIONS: Mapping[str, Option] = {"dropout": Option(float, 0.0)}
"""Options of the model, which every architecture has."""
BLOCK_OPTIONS: Mapping[str, Any] = typing.get_type_hints(BlockOptions)
"""Types of the options of the block around each layer, which every architecture has too."""
RESERVED_OPTIONS = frozenset(
    {*MODEL_OPTIONS, *BLOCK_OPTIONS, "inputs", "width", "depth", "params", "layer_params", "state", "step_flops"}
    | {"length", "seed", "channels", "vocabulary", "outputs"}
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


def own_block_options(layer: type[Layer]) -> frozenset[str]:
    """Return which options of the block the layers of a class build themselves, and have in their constructor.

    Layers that are whole blocks, such as those of `transformer`, build all of them. Others may build `conv`.
    """
    own = inspect.signature(layer).parameters
    if "block" in own and layer.block_stack.__func__ is not Layer.block_stack.__func__:  # type: ignore[attr-defined]
        return frozenset(BLOCK_OPTIONS)
    return frozenset({"conv"} if layer.builds_convolution() else ())


@lru_cache(maxsize=128)
def _parameters(layer: type[Layer]) -> Mapping[str, Option]:
    """Return all options of the architectures that use `layer`. Reading the signature takes a millisecond."""
    hints = typing.get_type_hints(layer.__init__, include_extras=True)
    parameters = inspect.signature(layer).parameters.values()
    own = {p.name: Option(hints.get(p.name, Any), p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    block = {name: Option(hint, getattr(layer.default_block, name)) for name, hint in BLOCK_OPTIONS.items()}
    built = own_block_options(layer)
    block |= {name: option for name, option in own.items() if name in built}
    return own | block | dict(MODEL_OPTIONS)


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
        """All options of the architecture by name, including those of the block and of the model.

        A layer that is a whole block, or has a convolution of its own, states these defaults in its constructor.
        """
        return dict(_parameters(self.layer))

    @property
    def block(self) -> BlockOptions:
        """The block around each layer."""
        parameters = _parameters(self.layer)
        chosen = {name: self.options.get(name, parameters[name].default) for name in BLOCK_OPTIONS}
        if chosen["block"] == "bare" and "expansion" not in self.options:
            chosen["expansion"] = 0
        return BlockOptions(**chosen)

    @property
    def layer_options(self) -> dict[str, Any]:
        """The options of the layer itself that differ from their defaults."""
        others = {*BLOCK_OPTIONS, *MODEL_OPTIONS}
        return {name: value for name, value in self.options.items() if name not in others}

    @property
    def is_residual(self) -> bool:
        """Whether the first layer needs an input of the model's width."""
        return self.layer.needs_model_width(self.block, **self.layer_options)

    def with_options(self, given: Mapping[str, Any]) -> Arch:
        """Return this architecture with the options in `given` set, as text or as Python values.

        Raises `UnknownName` for an option that the architecture does not have. Raises `ValueError` for an invalid
        value, or for options of the block that contradict each other.
        """
        signature = self.parameters
        parsed = parse_options(self.name, signature, given)
        options = {**self.options, **parsed}
        if self.layer.parts_have_blocks:
            for name in BLOCK_OPTIONS.keys() & parsed.keys():
                if parsed[name] == signature[name].default:
                    raise ValueError(
                        f"{self.name}: {name}={parsed[name]} leaves each part its own {name}; "
                        f"write it in the parts, such as pattern=gru:{name}={parsed[name]}+transformer"
                    )
        try:
            block = Arch(name=self.name, layer=self.layer, options=options).block
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if block.block == "bare":
            options.pop("expansion", None)  # a bare layer has no MLP, whatever the default is
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
