"""Build a model from a spec, and find the width for a parameter budget."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import torch
from torch import nn

from arch.core.block import in_blocks
from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.registry import Arch, get

MAX_SMALLEST_WIDTH = 256
"""Upper limit of the search for the smallest width that a layer accepts."""

solved_widths: dict[tuple[object, ...], int] = {}
"""Cached results of the width search, by architecture, budget and sizes. Each search builds many models."""


class NoWidth(ValueError):
    """Error for an architecture that accepts no width."""


def build(
    spec: str | Arch,
    *,
    outputs: int,
    vocabulary: int | None = None,
    channels: int | None = None,
    width: int | None = None,
    params: int | None = None,
    depth: int = 2,
    seed: int | None = None,
) -> SequenceModel:
    """Return a model with `depth` layers of the architecture that `spec` names.

    Args:
        spec: A spec such as `lstm:bias=False`, or the `Arch` that `get` returns for a spec.
        outputs: Output size per time step.
        vocabulary: Number of distinct tokens, for token inputs. Give either `vocabulary` or `channels`.
        channels: Input size per time step, for real-valued inputs.
        width: Width of the layers. Give either `width` or `params`.
        params: Parameter budget. The width with the nearest parameter count is used.
        depth: Number of layers.
        seed: Seed of the initial weights. None uses torch's global generator of the CPU. A seed leaves that generator
            unchanged.

    Raises `ValueError` if the spec is invalid, or if sizes are impossible or contradict each other.

    >>> model = build("lstm:bias=False", channels=1, outputs=2, width=128, depth=2)
    >>> sum(parameter.numel() for parameter in model.parameters())
    197378
    """
    arch = get(spec) if isinstance(spec, str) else spec
    if (vocabulary is None) == (channels is None):
        given = f"vocabulary={vocabulary}, channels={channels}"
        raise ValueError(f"give either vocabulary (token inputs) or channels (real inputs); given: {given}")
    if (width is None) == (params is None):
        raise ValueError(f"give either width or params (a parameter budget); given: width={width}, params={params}")
    sizes = {"vocabulary": vocabulary, "channels": channels, "outputs": outputs, "depth": depth}
    for name, size in (sizes | {"width": width, "params": params}).items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")

    def build_model(width: int) -> SequenceModel:
        encoder: nn.Module = nn.Identity()
        inputs = channels or width
        if vocabulary is not None:
            encoder = nn.Embedding(vocabulary, width)
        elif arch.is_residual:
            assert channels is not None
            encoder, inputs = nn.Linear(channels, width), width
        own_layers, block = arch.layer.block_stack(inputs, width, depth, arch.block, **arch.layer_options)
        layers = in_blocks(own_layers, inputs, width, block)
        return SequenceModel(encoder, layers, nn.Linear(width, outputs), arch.options.get("dropout", 0.0))

    if width is None:
        assert params is not None
        cache_key = (str(arch), arch.layer, params, *sizes.values())
        width = solved_widths.get(cache_key) or solved_widths.setdefault(
            cache_key, _width_nearest(params, build_model, arch)
        )
    if seed is None:
        return build_model(width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(width)


def _width_nearest(budget: int, build_model: Callable[[int], SequenceModel], arch: Arch) -> int:
    """Return the width whose parameter count is nearest to `budget`.

    The accepted widths of a layer are assumed to be the multiples of its smallest accepted width. Raises `NoWidth` if
    no width up to `MAX_SMALLEST_WIDTH` is accepted, and `ValueError` if the nearest width needs over 2 · `budget`
    parameters.
    """

    def count(width: int) -> int:
        with meta_device():
            return parameter_count(build_model(width))

    smallest, refusal = None, ""
    for width in range(1, MAX_SMALLEST_WIDTH + 1):
        try:
            count(width)
        except ValueError as error:
            refusal = str(error)
        else:
            smallest = width
            break
    if smallest is None:
        raise NoWidth(f"{arch} accepts no width up to {MAX_SMALLEST_WIDTH}: {refusal}")
    multiples = range(1, budget // smallest + 2)
    above = bisect.bisect_left(multiples, budget, key=lambda multiple: count(multiple * smallest))
    neighbours = [multiple * smallest for multiple in multiples[max(0, above - 1) : above + 1]]
    width = min(neighbours, key=lambda width: abs(count(width) - budget))
    if count(width) > 2 * budget:
        raise ValueError(
            f"{arch} has at least {count(smallest):,} parameters (at width {smallest}), over the budget of {budget:,}; "
            "raise the budget, or reduce the depth"
        )
    return width
