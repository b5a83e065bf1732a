"""Random changes of a model that are legal in torch. Each takes a model and a random generator."""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from arch import SequenceModel
from arch.gru import GRU
from arch.lstm import LSTM
from arch.rnn import RNN
from arch.transformer import Transformer

Edit = Callable[[SequenceModel, random.Random], None]


class CoupledLSTM(LSTM):
    """An LSTM whose forget gate is 1 - i."""

    def activations(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, ...]:
        i_BH, _, g_BH, o_BH = super().activations(projected_BG, state)
        return i_BH, 1 - i_BH, g_BH, o_BH


class SlowGRU(GRU):
    """A GRU that moves half as far."""

    def update(self, projected_BG: Tensor, state: Any) -> tuple[Tensor, Any]:
        h_BH, after = super().update(projected_BG, state)
        return h_BH, type(after)((h_BH + state.h_BH) / 2)


class SineRNN(RNN):
    """An RNN whose input is squashed by a sine."""

    def project(self, x: Tensor) -> Tensor:
        return super().project(x).sin()


class ScaledTransformer(Transformer):
    """A block whose output is halved."""

    def scan(self, x_BTD: Tensor, state: Any) -> tuple[Tensor, Any]:
        y_BTD, state = super().scan(x_BTD, state)
        return y_BTD / 2, state


SUBCLASSES: dict[type, type] = {LSTM: CoupledLSTM, GRU: SlowGRU, RNN: SineRNN, Transformer: ScaledTransformer}


class Scaled(nn.Module):
    """The parametrization W ↦ 0.7 W."""

    def forward(self, weight: Tensor) -> Tensor:
        return 0.7 * weight


def shrink_output(module: nn.Module, given: Any, output: Any) -> Any:
    """Scale the output of a module, as a forward hook."""
    return 0.8 * output if isinstance(output, Tensor) else output


def shrink_input(module: nn.Module, given: Any) -> Any:
    """Scale the inputs of a module, as a hook before `forward`."""
    return tuple(0.9 * part if isinstance(part, Tensor) and part.is_floating_point() else part for part in given)


def scaled_project(self: Any, x: Tensor) -> Tensor:
    """Compute `project` at another scale, as a method of one instance."""
    projected: Tensor = type(self).project(self, x)
    return 0.6 * projected


def _modules(model: SequenceModel, *classes: type[nn.Module]) -> list[Any]:
    return [module for module in model.modules() if type(module) in classes]


def _parameters(model: SequenceModel) -> list[tuple[nn.Module, str]]:
    return [(module, name) for module in model.modules() for name, p in module._parameters.items() if p is not None]


def hook(model: SequenceModel, rng: random.Random) -> None:
    module = rng.choice(list(model.modules())[1:])
    rng.choice(
        [
            lambda: module.register_forward_hook(shrink_output),
            lambda: module.register_forward_pre_hook(shrink_input),
        ]
    )()


def parametrized(model: SequenceModel, rng: random.Random) -> None:
    module, name = rng.choice(_parameters(model))
    if "original" not in name:
        parametrize.register_parametrization(module, name, Scaled())


def pruned(model: SequenceModel, rng: random.Random) -> None:
    module, name = rng.choice(_parameters(model))
    if "original" not in name and not name.endswith("_orig"):
        prune.l1_unstructured(module, name, 0.4)


def weight_normed(model: SequenceModel, rng: random.Random) -> None:
    linears = _modules(model, nn.Linear)
    if linears:
        parametrizations.weight_norm(rng.choice(linears))


def linear_replaced(model: SequenceModel, rng: random.Random) -> None:
    parents = [(m, n, c) for m in model.modules() for n, c in m.named_children() if type(c) is nn.Linear]
    if parents:
        parent, name, old = rng.choice(parents)
        inputs, outputs = old.in_features, old.out_features + rng.choice([0, 0, 0, 1])
        setattr(parent, name, nn.Linear(inputs, outputs, bias=rng.random() < 0.6))


def bias_removed(model: SequenceModel, rng: random.Random) -> None:
    owners = [(module, name) for module, name in _parameters(model) if name in ("bias", "b_G", "b_H", "u_H")]
    if owners:
        module, name = rng.choice(owners)
        module.register_parameter(name, None)


def bias_added(model: SequenceModel, rng: random.Random) -> None:
    for layer in model.layers:
        for name in ("b_G", "b_H", "u_H"):
            if getattr(layer, name, 0) is None:
                rows = layer.U_GH.shape[0] if name == "b_G" else layer.width  # type: ignore[union-attr]
                setattr(layer, name, nn.Parameter(torch.randn(rows)))
                return


def resized(model: SequenceModel, rng: random.Random) -> None:
    module, name = rng.choice(_parameters(model))
    shape = list(module._parameters[name].shape)  # type: ignore[union-attr]
    axis = rng.randrange(len(shape))
    shape[axis] = max(1, shape[axis] + rng.choice([-1, 1, 3]))
    setattr(module, name, nn.Parameter(0.1 * torch.randn(shape)))


def eps(model: SequenceModel, rng: random.Random) -> None:
    norms = _modules(model, nn.LayerNorm)
    if norms:
        rng.choice(norms).eps = rng.choice([1e-5, 1e-2, 0.1])


def norm_replaced(model: SequenceModel, rng: random.Random) -> None:
    blocks = _modules(model, Transformer)
    if blocks:
        block = rng.choice(blocks)
        norm = rng.choice([nn.RMSNorm(block.width), nn.Identity(), nn.LayerNorm(block.width, bias=False)])
        setattr(block, rng.choice(["attention_norm", "perceptron_norm", "final_norm"]), norm)


def option(model: SequenceModel, rng: random.Random) -> None:
    layer: Any = rng.choice(list(model.layers))
    values: dict[str, list[Any]] = {
        "nonlinearity": ["tanh", "relu"],
        "reset": ["after", "before"],
        "window": [None, 1, 2, 5],
        "heads": [1, 2, 3, 4],
        "positions": ["rotary", "alibi", "none"],
        "adds_positions": [True, False],
        "backend": ["auto", "auto", "reference"],
        "width": [layer.width, layer.width, layer.width + 1],
    }
    name = rng.choice([name for name in values if name in vars(layer)])
    setattr(layer, name, rng.choice(values[name]))


def subclassed(model: SequenceModel, rng: random.Random) -> None:
    layer = rng.choice(list(model.layers))
    layer.__class__ = SUBCLASSES.get(type(layer), type(layer))


class HalvedLinear(nn.Linear):
    """A linear map with half of its weight, which keeps the `forward` of its base."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        weight = self._parameters["weight"]
        assert weight is not None
        return weight / 2


def class_changed(model: SequenceModel, rng: random.Random) -> None:
    linears = _modules(model, nn.Linear)
    if linears:
        rng.choice(linears).__class__ = HalvedLinear


def method_overridden(model: SequenceModel, rng: random.Random) -> None:
    layers = [layer for layer in model.layers if hasattr(layer, "project")]
    if layers:
        layer: Any = rng.choice(layers)
        layer.project = scaled_project.__get__(layer)


def layout(model: SequenceModel, rng: random.Random) -> None:
    module, name = rng.choice(_parameters(model))
    parameter = module._parameters[name]
    assert parameter is not None
    made: list[Callable[[Tensor], Tensor]] = [
        torch._neg_view,
        lambda data: data.mT.contiguous().mT if data.dim() == 2 else data.repeat_interleave(2)[::2],
        lambda data: data[:1].expand(data.shape),
        lambda data: torch.cat([data, data])[len(data) :],
        torch.clone,
    ]
    parameter.data = rng.choice(made)(parameter.data)


def frozen(model: SequenceModel, rng: random.Random) -> None:
    module, name = rng.choice(_parameters(model))
    module._parameters[name].requires_grad_(False)  # type: ignore[union-attr]


def weights_moved(model: SequenceModel, rng: random.Random) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_contiguous():
                parameter.mul_(rng.uniform(0.8, 1.1))


def layers_swapped(model: SequenceModel, rng: random.Random) -> None:
    if len(model.layers) > 1:
        last, first = model.layers[-1], model.layers[-2]
        model.layers[-1], model.layers[-2] = first, last


def layer_shared(model: SequenceModel, rng: random.Random) -> None:
    if len(model.layers) > 1:
        model.layers[-1] = model.layers[-2]


def encoder_limited(model: SequenceModel, rng: random.Random) -> None:
    if isinstance(model.encoder, nn.Embedding):
        model.encoder.max_norm = rng.choice([None, 0.5])  # type: ignore[assignment]


def dropout_changed(model: SequenceModel, rng: random.Random) -> None:
    model.dropout = rng.choice([nn.Dropout(0.0), nn.Identity(), nn.Hardtanh(-0.3, 0.3)])  # type: ignore[assignment]


EDITS: list[Edit] = [
    *(hook, parametrized, pruned, weight_normed, linear_replaced, bias_removed, bias_added, resized, eps),
    *(norm_replaced, option, option, subclassed, method_overridden, layout, frozen, weights_moved, weights_moved),
    *(layers_swapped, layer_shared, encoder_limited, dropout_changed, class_changed),
]
