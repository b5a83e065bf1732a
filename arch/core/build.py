"""Build a model from a spec, of a given width or of the width that meets a budget."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from arch.core.block import in_blocks
from arch.core.model import SequenceModel
from arch.core.registry import Arch, get
from arch.core.width import Budget, BudgetKind, solve_width

solved_widths: dict[tuple[object, ...], int] = {}
"""Cached results of the width search, by architecture, budget and sizes. Each search builds many models."""


def build(
    spec: str | Arch,
    *,
    outputs: int,
    vocabulary: int | None = None,
    channels: int | None = None,
    width: int | None = None,
    params: int | None = None,
    layer_params: int | None = None,
    state: int | None = None,
    step_flops: int | None = None,
    length: int | None = None,
    depth: int = 2,
    seed: int | None = None,
) -> SequenceModel:
    """Return a model with `depth` layers of the architecture that `spec` names.

    Args:
        spec: A spec such as `lstm:bias=False`, or the `Arch` that `get` returns for a spec.
        outputs: Output size per time step.
        vocabulary: Number of distinct tokens, for token inputs. Give either `vocabulary` or `channels`.
        channels: Input size per time step, for real-valued inputs.
        width: Width of the layers. Give exactly one of `width`, `params`, `layer_params`, `state` and `step_flops`. The
            last four are budgets: the width is used that comes nearest.
        params: Number of parameters.
        layer_params: Number of parameters of the layers, without embedding and readout.
        state: Bytes of the state of one stream after `length` steps.
        step_flops: FLOPs of one step of one stream after `length` steps.
        length: Trained length in steps. The budgets `state` and `step_flops` need it.
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
    optional = {
        "width": width,
        "params": params,
        "layer_params": layer_params,
        "state": state,
        "step_flops": step_flops,
    }
    amounts = {name: amount for name, amount in optional.items() if amount is not None}
    if len(amounts) != 1:
        given = ", ".join(f"{name}={amount}" for name, amount in amounts.items()) or "none of them"
        raise ValueError(f"give exactly one of {', '.join(optional)}; given: {given}")
    sizes = {"vocabulary": vocabulary, "channels": channels, "outputs": outputs, "depth": depth}
    for name, size in {**sizes, **amounts, "length": length}.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    if length is None and (state is not None or step_flops is not None):
        raise ValueError("a budget of state or step_flops needs length, the trained length in steps")

    def build_model(width: int) -> SequenceModel:
        encoder: nn.Module = nn.Identity()
        inputs = channels or width
        if vocabulary is not None:
            encoder = nn.Embedding(vocabulary, width)
        elif arch.is_residual:
            assert channels is not None
            encoder, inputs = nn.Linear(channels, width), width
        if not arch.layer.encoder_learns:
            _fix_weights(encoder)
        own_layers, block = arch.layer.block_stack(inputs, width, depth, arch.block, **arch.layer_options)
        layers = in_blocks(own_layers, inputs, width, block)
        return SequenceModel(encoder, layers, nn.Linear(width, outputs), arch.options.get("dropout", 0.0))

    def stream(steps: int) -> Tensor:
        return torch.zeros(1, steps, dtype=torch.int64) if channels is None else torch.zeros(1, steps, channels)

    if width is None:
        budget = _budget(amounts, length)
        key = (str(arch), arch.layer, budget, *sizes.values())
        width = solved_widths.get(key) or solved_widths.setdefault(key, solve_width(budget, build_model, stream, arch))
    if seed is None:
        return build_model(width)
    with torch.random.fork_rng(devices=[]):
        # `torch.manual_seed` would also reseed other devices, and take 500 times as long
        torch.default_generator.manual_seed(seed)
        return build_model(width)


def _fix_weights(module: nn.Module) -> None:
    """Turn the parameters of a module into buffers, so that they are saved but neither trained nor counted."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        delattr(module, name)
        module.register_buffer(name, parameter.detach())


def _budget(amounts: dict[str, int], length: int | None) -> Budget:
    """Return the only budget among the given amounts, which `build` has checked."""
    ((name, amount),) = amounts.items()
    kind = next(kind for kind in get_args(BudgetKind) if kind == name)
    depends_on_length = kind in ("state", "step_flops")
    return Budget(kind=kind, amount=amount, length=(length or 0) if depends_on_length else 0)
