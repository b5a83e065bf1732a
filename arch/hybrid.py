"""Hybrid: layers of several architectures, in a pattern that repeats over the depth.

Large models often mix layers of constant state with a few layers of attention. The first are cheap per step, and the
second recall exactly. Examples are Griffin (De et al. 2024), Jamba (Lieber et al. 2024) and Samba (Ren et al. 2024).

A pattern joins parts by `+`. A part is the name of an architecture, with options after `:` and a number of layers after
`*`. The options have `:` between them, because `,` separates the options of the hybrid itself.

    gru+transformer                           one layer of each in turn
    gru*3+transformer                         three layers of `gru` before each layer of `transformer`
    gru+transformer:window=64:heads=4         attention to the last 64 steps by four heads

Layer i of a model is layer i mod n of a pattern of n layers. All layers of one part belong to one stack. So the
dilations of `tcn` grow from one of its layers to the next.

Each layer stands in the default block of its own architecture (`arch.core.block`). In a bare block, it reads what the
layer before it returns. A stream of residual blocks ends before a bare block, and before the readout. The last block of
each stream has a norm after it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from arch.core.backend import Backend
from arch.core.block import in_block
from arch.core.layer import BlockOptions, Layer, Stack
from arch.core.registry import MODEL_OPTIONS, Arch, get, names
from results.specs import UnknownName, suggestion

DEFAULT_PATTERN = "gated_delta_net+transformer"
MAX_LAYERS = 64
"""Maximum number of layers of a pattern."""
OWN_NAME = __name__.rpartition(".")[2]


def parse_pattern(pattern: str) -> list[Arch]:
    """Return the architecture of each layer of a pattern.

    Raises `ValueError` if the pattern is invalid. The message is the rest of a sentence about the pattern.

    >>> [str(layer) for layer in parse_pattern("gru*2+transformer:window=64")]
    ['gru', 'gru', 'transformer:window=64']
    """
    layers: list[Arch] = []
    for part in pattern.split("+"):
        spec, star, times = (text.strip() for text in part.partition("*"))
        if not spec:
            raise ValueError("has an empty part; join the parts by one +, as in gru*3+transformer")
        if star and (not times.isdecimal() or int(times) < 1):
            raise ValueError(f"has the count {times!r} after {spec}*; give a whole number of layers, at least 1")
        count = int(times or 1)
        if len(layers) + count > MAX_LAYERS:
            raise ValueError(f"has more than {MAX_LAYERS} layers; shorten it, since it repeats over the depth")
        layers += [_parse_part(spec)] * count
    return layers


def _parse_part(spec: str) -> Arch:
    name, _, options = spec.partition(":")
    if name.strip() == OWN_NAME:
        raise ValueError(f"contains {OWN_NAME} itself; write out the parts of the inner pattern")
    try:
        part = get(f"{name}:{options.replace(':', ',')}")
    except ValueError as error:
        reason = str(error)
        if isinstance(error, UnknownName) and name.strip() not in names():
            parts = (known for known in names() if known != OWN_NAME)
            reason = f"no architecture {name.strip()!r}{suggestion(name.strip(), parts)}"
        raise ValueError(f"has the part {spec}: {reason}") from None
    for option in MODEL_OPTIONS.keys() & part.options.keys():
        raise ValueError(f"sets {option} in the part {spec}, but it belongs to the whole model; write it after a comma")
    return part


def _written(pattern: str) -> str:
    """Return a valid pattern without spaces, default options and repeated parts. Raises as `parse_pattern` does."""
    specs = itertools.groupby(str(layer).replace(",", ":") for layer in parse_pattern(pattern))
    counts = [(spec, len(list(same))) for spec, same in specs]
    return "+".join(spec if count == 1 else f"{spec}*{count}" for spec, count in counts)


class Hybrid(Layer):
    """A pattern of layers of other architectures.

    The class is abstract: `block_stack` returns layers of the parts. If a model has fewer layers than the pattern, it
    has the first ones. It is refused if it would lack a part altogether, unless it has a single layer.

    Args:
        inputs: Input width of the first layer.
        width: Output width H of every layer.
        pattern: The parts, see above. The default suits a model of two layers.
        backend: `reference` and `fused` replace the choice of every layer. `auto` leaves it (see `arch.core.backend`).

    Every part has its own default block. `block=residual`, `conv` and `expansion` replace these options of all parts.
    A part without a block is written `transformer:block=bare`.
    """

    family = "attention"
    parts_have_blocks = True

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        pattern: Annotated[str, AfterValidator(_written)] = DEFAULT_PATTERN,
        backend: Backend = "auto",
    ) -> None:
        raise NotImplementedError  # the signature states the options

    @classmethod
    def least_depth(cls, **options: Any) -> int:
        return len(parse_pattern(options.get("pattern", DEFAULT_PATTERN)))

    @classmethod
    def needs_model_width(cls, block: BlockOptions, **options: Any) -> bool:
        first = parse_pattern(options.get("pattern", DEFAULT_PATTERN))[0]
        return first.layer.needs_model_width(_block_of(first, block), **first.layer_options)

    @classmethod
    def block_stack(cls, inputs: int, width: int, depth: int, block: BlockOptions, **options: Any) -> Stack:
        """Return the layers of a model, each in its block.

        The arguments are those of `Layer.block_stack`. Raises `ValueError` if the model would lack a part.
        """
        pattern = parse_pattern(options.get("pattern", DEFAULT_PATTERN))
        parts = list(itertools.islice(itertools.cycle(pattern), depth))
        lacking = [str(part) for part in pattern if part not in parts]
        if lacking and depth > 1:
            raise ValueError(
                f"the pattern has {len(pattern)} layers, but the model has {depth}, so it would have no {lacking[0]}; "
                "raise the depth, or shorten the pattern"
            )
        blocks = [_block_of(part, block) for part in parts]
        layers = []
        for i, (layer, own) in enumerate(_bare_layers(parts, blocks, inputs, width)):
            ends = i + 1 == depth or blocks[i + 1].block == "bare"
            layers.append(in_block(layer, width if i else inputs, own, is_last=ends))
        backend = options.get("backend", "auto")
        for layer in layers if backend != "auto" else ():
            layer.backend = backend
        return layers, BlockOptions()


def _bare_layers(
    parts: Sequence[Arch], blocks: Sequence[BlockOptions], inputs: int, width: int
) -> Iterator[tuple[Layer, BlockOptions]]:
    """Yield each layer of a model without its block, and the block that is still to be built around it.

    Args:
        parts: The architecture of each layer.
        blocks: The block of each layer.
        inputs: Input width of the first layer.
        width: Width of all layers.
    """
    stacks: dict[str, tuple[Iterator[Layer], BlockOptions]] = {}
    for i, (part, block) in enumerate(zip(parts, blocks, strict=True)):
        if str(part) not in stacks:
            bare, before = dataclasses.replace(block, block="bare", expansion=0), width if i else inputs
            stack, rest = part.layer.block_stack(before, width, parts.count(part), bare, **part.layer_options)
            stacks[str(part)] = iter(stack), dataclasses.replace(block, conv=rest.conv)
        layers, outer = stacks[str(part)]
        yield next(layers), outer


def _block_of(part: Arch, asked: BlockOptions) -> BlockOptions:
    """Return the block of a part: its own, with the options that the hybrid replaces.

    Args:
        part: The architecture of the part.
        asked: The options of the hybrid. Those that have their default value leave the part its own.
    """
    standard = dataclasses.asdict(Hybrid.default_block)
    replaced = {name: value for name, value in dataclasses.asdict(asked).items() if value != standard[name]}
    return dataclasses.replace(part.block, **replaced)
