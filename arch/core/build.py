"""Build a model from a spec, and solve for the width that meets a parameter budget."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import torch
from torch import nn

from arch.core.meta import meta_device
from arch.core.model import SequenceModel, parameter_count
from arch.core.registry import Arch, get

MAX_UNIT = 256
"""How far the search for a layer's smallest width goes."""

solved_widths: dict[tuple[object, ...], int] = {}
"""Widths by architecture and sizes: a run asks for each many times, and each search builds dozens of models."""


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
    """A model of `depth` layers of the architecture that `spec` names.

    Give `vocabulary` for token inputs or `channels` for real ones, and `width` or a budget `params`,
    for which the width is solved_widths: the one whose parameter count is nearest. Initial
    weights are drawn from `seed` where it is given; the global generator is left as it was.

    Raises `ValueError` where the sizes are impossible or contradict each other.

    >>> model = build("lstm:bias=False", channels=1, outputs=2, width=128, depth=2)
    >>> sum(parameter.numel() for parameter in model.parameters())
    197378
    """
    arch = get(spec) if isinstance(spec, str) else spec
    if (vocabulary is None) == (channels is None):
        raise ValueError("give either vocabulary, for token inputs, or channels, for real ones")
    if (width is None) == (params is None):
        raise ValueError("give either width or params, a budget of parameters")
    sizes = {"vocabulary": vocabulary, "channels": channels, "outputs": outputs, "depth": depth}
    for name, size in (sizes | {"width": width, "params": params}).items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")

    def model_of(width: int) -> SequenceModel:
        options = dict(arch.options)
        dropout = options.pop("dropout", 0.0)
        encoder: nn.Module = nn.Identity()
        inputs = channels or width
        if vocabulary is not None:
            encoder = nn.Embedding(vocabulary, width)
        elif arch.layer.residual:
            assert channels is not None
            encoder, inputs = nn.Linear(channels, width), width
        layers = arch.layer.stack(inputs, width, depth, **options)
        return SequenceModel(encoder, list(layers), nn.Linear(width, outputs), dropout)

    if width is None:
        assert params is not None
        budgeted = (str(arch), arch.layer, params, *sizes.values())
        width = solved_widths.get(budgeted) or solved_widths.setdefault(
            budgeted, _width_nearest(params, model_of, arch)
        )
    if seed is None:
        return model_of(width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_of(width)


def _width_nearest(budget: int, model_of: Callable[[int], SequenceModel], arch: Arch) -> int:
    """The width whose parameter count is nearest to `budget`, so that no architecture is starved by rounding.

    The widths that a layer accepts are the multiples of the smallest one that it accepts.
    """

    def count(width: int) -> int:
        with meta_device():
            return parameter_count(model_of(width))

    unit, refusal = None, ""
    for width in range(1, MAX_UNIT + 1):
        try:
            count(width)
        except ValueError as error:
            refusal = str(error)
        else:
            unit = width
            break
    if unit is None:
        raise ValueError(f"{arch} accepts no width up to {MAX_UNIT}: {refusal}")
    multiples = range(1, budget // unit + 2)
    above = bisect.bisect_left(multiples, budget, key=lambda multiple: count(multiple * unit))
    neighbours = [multiple * unit for multiple in multiples[max(0, above - 1) : above + 1]]
    width = min(neighbours, key=lambda width: abs(count(width) - budget))
    if count(width) > 2 * budget:
        raise ValueError(
            f"{arch} has {count(unit):,} parameters at its least width {unit}, over the budget of {budget:,}"
        )
    return width
