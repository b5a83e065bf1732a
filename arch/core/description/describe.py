"""Describe an architecture: what it computes, its options, its state, and what a step costs.

Numbers are those of the layers with the blocks around them, without the encoder and the readout of a model.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from arch.core.backend import class_obstacle
from arch.core.build import build
from arch.core.description.docstrings import arguments, attribute_texts, citations, split_summary
from arch.core.description.families import NOTES
from arch.core.layer import BlockOptions, Family, Layer
from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.registry import BLOCK_OPTIONS, MODEL_OPTIONS, Arch, own_block_options
from arch.core.state import State
from arch.kernels.runtime import compiler

WIDTH = 64
"""Width of the layers that a description measures. If options forbid it, the next larger allowed width is taken."""
MAX_WIDTH = 1024
MAX_DEPTH = 64
"""Upper limits of the search for an allowed width and depth."""
POSITIONS = (1, 1024, 16384)
"""Numbers of steps after which state and cost are stated."""
MODEL_TEXTS = {"dropout": "Dropout probability between the layers of a model, in [0, 1)."}


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionText:
    """An option with its allowed values, as text."""

    name: str
    values: str
    """The allowed values, such as `after or before`, or their type."""
    default: str
    value: str
    """The value in the described spec."""
    meaning: str
    """The description in the docstring, or an empty text."""
    group: Literal["layer", "block", "model"]
    """What the option belongs to: the layer, the block around it, or the whole model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePart:
    """A tensor of the state of one stream, after one step."""

    name: str
    shape: tuple[int, ...]
    """The shape without the batch dimension."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """State and cost of one stream after some steps. Costs are None if the architecture does not state them."""

    position: int
    state_bytes: int
    step_flops: int | None
    step_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """An architecture with options, as people read about it."""

    name: str
    spec: str
    """The name with the options that differ from their defaults."""
    summary: str
    family: Family | None
    text: str
    """The module docstring below its first line: equations, sources and closed forms of the costs."""
    sources: tuple[str, ...]
    """The papers that the docstrings cite."""
    note: str
    """What theory says about this architecture, or an empty text."""
    block: dict[str, Any]
    options: tuple[OptionText, ...]
    width: int
    depth: int
    parameters: int
    """Learned parameters of the layers."""
    state: tuple[StatePart, ...]
    costs: tuple[Costs, ...]
    training_obstacle: str | None
    """Why `scan` runs the equations and no kernel; None if it is compiled."""
    streaming_obstacle: str | None
    """Why streamed steps run the equations and no kernel; None if they are compiled."""


def describe(arch: Arch, *, width: int | None = None, depth: int | None = None) -> Description:
    """Return the description of an architecture.

    Args:
        arch: The architecture with its options.
        width: Width of the layers; None for `WIDTH`, or the next larger width that the options allow.
        depth: Number of layers; None for one layer, or for as many as an arrangement of other architectures needs.

    Raises `ValueError` if a size is impossible.
    """
    width = _usual_width(arch, depth or 1) if width is None else width
    depth = _usual_depth(arch, width) if depth is None else depth
    model = _model(arch, width, depth).eval()
    layers = _layers(model)
    module_text = inspect.getdoc(inspect.getmodule(arch.layer))
    positions = [steps for steps in POSITIONS if model.max_length is None or steps <= model.max_length]
    return Description(
        name=arch.name,
        spec=str(arch),
        summary=arch.summary,
        family=arch.layer.family,
        text=split_summary(module_text)[1],
        sources=citations(module_text, inspect.getdoc(arch.layer)),
        note=NOTES.get(arch.name, "") if arch.layer.__module__ == f"arch.{arch.name}" else "",
        block=_block(arch),
        options=option_texts(arch),
        width=width,
        depth=depth,
        parameters=sum(parameter_count(layer) for layer in layers),
        state=_state_parts(model),
        costs=tuple(
            Costs(
                position=steps,
                state_bytes=_state_bytes(arch, model, steps),
                step_flops=_total([layer.step_flops(steps) for layer in layers]),
                step_bytes=_total([layer.step_bytes(steps) for layer in layers]),
            )
            for steps in positions
        ),
        training_obstacle=_training_obstacle(model),
        streaming_obstacle=_streaming_obstacle(layers),
    )


def option_texts(arch: Arch) -> tuple[OptionText, ...]:
    """Return all options of an architecture: those of the layer, of the block around it and of the model."""
    own = arguments(inspect.getdoc(arch.layer))
    of_block, built = attribute_texts(BlockOptions), own_block_options(arch.layer)
    block = _block(arch)
    texts = []
    for name, (annotation, default) in arch.parameters.items():
        group: Literal["layer", "block", "model"] = "layer"
        meaning, value = own.get(name, ""), arch.options.get(name, default)
        if name in BLOCK_OPTIONS:
            default = "that of each part" if arch.layer.parts_have_blocks else default
            group, value = "block", block.get(name, default)
            meaning = meaning if name in built and meaning else of_block[name]
        elif name in MODEL_OPTIONS:
            group, meaning = "model", MODEL_TEXTS[name]
        texts.append(
            OptionText(
                name=name,
                values=allowed_values(annotation),
                default=str(default),
                value=str(value),
                meaning=meaning,
                group=group,
            )
        )
    order = ("layer", "block", "model")
    return tuple(sorted(texts, key=lambda text: order.index(text.group)))


def _block(arch: Arch) -> dict[str, Any]:
    """Return the options of the block around each layer, without those that each part chooses."""
    of_parts = arch.layer.parts_have_blocks
    names = (name for name in BLOCK_OPTIONS if not of_parts or name in arch.options)
    return {name: getattr(arch.block, name) for name in names}


def allowed_values(annotation: Any) -> str:
    """Return the allowed values of an annotation as text.

    >>> allowed_values(Literal["after", "before"]), allowed_values(int | None), allowed_values(bool)
    ('after or before', 'int or None', 'True or False')
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return allowed_values(parts[0])
    if origin is Literal:
        return _either([str(part) for part in parts])
    if origin in (types.UnionType, typing.Union):
        return _either([allowed_values(part) for part in parts])
    if annotation is bool:
        return "True or False"
    if annotation is None or annotation is type(None):
        return "None"
    return getattr(annotation, "__name__", str(annotation))


def _either(words: Sequence[str]) -> str:
    """Return `a`, `a or b`, or `a, b or c`."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _model(arch: Arch, width: int, depth: int) -> SequenceModel:
    """Return a model whose layers all have inputs of their own width."""
    return build(arch, channels=width, outputs=1, width=width, depth=depth, seed=0)


def _layers(model: SequenceModel) -> list[Layer]:
    return [layer for layer in model.layers if isinstance(layer, Layer)]


def _usual_width(arch: Arch, depth: int) -> int:
    """Return the smallest allowed width from `WIDTH`, or `WIDTH` itself if no width is allowed."""
    return next((width for width in range(WIDTH, MAX_WIDTH) if _is_allowed(arch, width, depth)), WIDTH)


def _usual_depth(arch: Arch, width: int) -> int:
    """Return 1, or the smallest allowed depth above 1 of an architecture that arranges layers of others."""
    (layer,) = _layers(_model(arch, width, 1))
    if isinstance(getattr(layer, "layer", layer), arch.layer):
        return 1
    return next((depth for depth in range(2, MAX_DEPTH + 1) if _is_allowed(arch, width, depth)), 1)


def _is_allowed(arch: Arch, width: int, depth: int) -> bool:
    """Return whether a model of these sizes can be built."""
    try:
        with meta_device():
            _model(arch, width, depth)
    except ValueError:
        return False
    except RuntimeError:  # the constructor reads values, and a tensor on the meta device has none
        pass
    return True


def _state_parts(model: SequenceModel) -> tuple[StatePart, ...]:
    """Return the tensors of the state after one step of one stream. Names of several layers begin with their index."""
    state = _state_after_one_step(model)
    leaves, _ = pytree.tree_flatten_with_path(state[0] if len(state) == 1 else state)
    return tuple(
        StatePart(name=_path(path), shape=tuple(leaf.shape[1:]), bytes=leaf.numel() * leaf.element_size())
        for path, leaf in leaves
        if isinstance(leaf, Tensor)
    )


def _state_after_one_step(model: SequenceModel) -> list[State]:
    with torch.enable_grad():  # the compiled step runs without gradients only, and takes long to load
        return model.step(torch.zeros(1, model.width), model.init_state(1))[1]


def _path(path: Sequence[Any]) -> str:
    """Return the way to a leaf of a pytree as dotted names, such as `layer.h_BH`."""
    keys = [getattr(entry, "name", getattr(entry, "idx", getattr(entry, "key", entry))) for entry in path]
    return ".".join(map(str, keys)) or "state"


def _state_bytes(arch: Arch, model: SequenceModel, steps: int) -> int:
    """Return the bytes of the state of one stream after so many steps.

    Each layer runs alone: one whose state does not grow needs two steps, whatever the other layers do.
    """
    width = model.width
    with meta_device():
        on_meta = _model(arch, width, len(model.layers)).eval()
        on_meta.use_reference()
        try:
            return sum(_alone(layer).state_bytes_after(torch.zeros(1, steps, width)) for layer in _layers(on_meta))
        except (RuntimeError, TypeError):  # a layer reads values, and a tensor on the meta device has none
            pass
    return sum(_alone(layer).state_bytes_after(torch.zeros(1, steps, width)) for layer in _layers(model))


def _alone(layer: Layer) -> SequenceModel:
    """Return a model of one layer that returns the layer's outputs."""
    return SequenceModel(nn.Identity(), [layer], nn.Identity())


def _total(costs: Sequence[int | None]) -> int | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _training_obstacle(model: SequenceModel) -> str | None:
    """Return why the equations run in training, or None if every layer has a kernel for a chunk of steps."""
    if (reason := compiler.obstacle()) is not None:
        return reason
    x_BTD = torch.zeros(1, 2, model.width)
    for layer in _layers(model):
        if layer.backend_for(x_BTD) == "reference":
            inner = getattr(layer, "layer", layer)
            is_built_in = type(inner).__module__.partition(".")[0] == __name__.partition(".")[0]
            return (
                f"{_class_name(layer)} has no kernel for these options"
                if is_built_in
                else f"{_class_name(layer)} is a plugin, and plugins train by their equations"
            )
    return None


def _streaming_obstacle(layers: Sequence[Layer]) -> str | None:
    """Return why the equations run in streams, or None if every layer describes a compiled step."""
    if (reason := compiler.obstacle()) is not None:
        return reason
    for layer in layers:
        reason = class_obstacle(layer, "streaming_spec")
        if reason is None and layer.streaming_spec() is None:
            reason = f"{_class_name(layer)} has no compiled step for these options"
        if reason is not None:
            return reason
    return None


def _class_name(layer: Layer) -> str:
    """Return the name of the layer's class, without the block around it."""
    inner = getattr(layer, "layer", layer)
    return type(inner).__name__
