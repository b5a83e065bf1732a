"""The contract of every architecture: a causal sequence mixer with equivalent `step` and `scan` methods.

`step` processes one time step (streaming). `scan` processes a chunk of steps (training). Both take a state and return
the next one. Any chunking of a sequence must give the same outputs and final state, to 1e-9 in float64.

Costs are closed-form functions with one convention for all architectures:

FLOPs   A multiply-add of a matrix product counts as 2, including the two products of attention. So does one of a
        convolution. Element-wise work (biases, gates, activations, norms, softmax, positions), look-ups and masked
        products count as 0.
Bytes   A step reads each weight once, but only one row of an embedding or position table. It reads the needed part of
        the state, and writes the changed part.
"""

# Shape suffixes: B batch, T time, D input width, H hidden width, G gate rows (a multiple of H)

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn

from arch.core.backend import (
    Backend,
    Weight,
    changes_of_layers,
    class_obstacle,
)
from arch.core.state import State, element_bytes, first_weight
from arch.core.streaming_spec import CellCosts, StreamingSpec
from arch.kernels.runtime.tensors import CONV_STEPS


class LayerType(ABCMeta):
    """The class of layer classes. It notices when a method of a layer class is replaced after its definition.

    A kernel computes the equations as they were defined, so it must not run after such a change.
    """

    methods: frozenset[str]
    """Names of the methods of this class, including inherited ones."""

    replaced_methods: ClassVar[dict[str, object]] = {}
    """The original of each replaced method of any layer class, by `Class.method`."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        inherited = (base.methods for base in bases if isinstance(base, LayerType))
        own = (key for key, value in namespace.items() if callable(value) or hasattr(type(value), "__get__"))
        type.__setattr__(cls, "methods", frozenset(own).union(*inherited) - {"__init__", "__annotations__"})

    def __setattr__(cls, name: str, value: object) -> None:
        cls._note(name, value)
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        cls._note(name, _ABSENT)
        super().__delattr__(name)

    def _note(cls, name: str, value: object) -> None:
        changes_of_layers[0] += 1
        if name not in getattr(cls, "methods", ()):  # the first class is still being made
            return
        key = f"{cls.__module__}.{cls.__qualname__}.{name}"
        original = cls.replaced_methods.setdefault(key, vars(cls).get(name, _ABSENT))
        if value is original:
            del cls.replaced_methods[key]


_ABSENT = object()
"""Stands for a method that a class does not define in its own body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOptions:
    """The block around each layer of a model. `arch.core.block` has the equations.

    Raises `ValueError` if an option is impossible, or if the options contradict each other.
    """

    block: Literal["bare", "residual"] = "bare"
    """`bare` is the layer itself. `residual` is a pre-norm block: a norm, the layer and a residual connection."""
    conv: int = 0
    """Number of steps that a causal depthwise convolution before the layer reads: 4, or 0 for no convolution."""
    expansion: int = 0
    """Width of the hidden layer of the residual block's MLP, in model widths. 0 is no MLP."""

    def __post_init__(self) -> None:
        if self.block not in ("bare", "residual"):
            raise ValueError(f"block must be 'bare' or 'residual', not {self.block!r}")
        if self.conv not in (0, CONV_STEPS):
            raise ValueError(f"conv must be 0 or {CONV_STEPS}, not {self.conv}")
        if self.expansion < 0:
            raise ValueError(f"expansion must be at least 0, not {self.expansion}")
        if self.expansion > 0 and self.block == "bare":
            raise ValueError(
                f"expansion={self.expansion} is the MLP of a residual block; add block=residual, or omit expansion"
            )


Family = Literal["nonlinear", "diagonal", "matrix", "attention", "convolution"]
"""A family of architectures. `arch.core.description.families` says what each family is, and what it can do."""


class ParameterGroup(NamedTuple):
    """Parameters that the optimizer treats differently from the others.

    `learning_rate` multiplies the learning rate of the protocol. `weight_decay` says whether the weight decay of the
    protocol applies.
    """

    parameters: Iterable[nn.Parameter]
    learning_rate: float = 1.0
    weight_decay: bool = True


class Layer(nn.Module, metaclass=LayerType):
    """A causal sequence mixer: (B, T, D) in, (B, T, H) out.

    The constructor takes the input width `inputs`, the output width `width` and, as keyword-only parameters, the
    architecture's options. The annotations of the options define their allowed values. The constructor raises
    `ValueError` if a width or an option is impossible.
    """

    residual: bool = False
    """Whether the layer needs an input of its own width, as residual connections do."""

    default_block: ClassVar[BlockOptions] = BlockOptions()
    """The block around the layer if a spec does not choose one: that of the architecture's paper."""

    parts_have_blocks: ClassVar[bool] = False
    """Whether the layers are parts with blocks of their own. Only values other than the default replace theirs."""

    width: int
    """H, the output width."""

    backend: Backend = "reference"
    """Choice of implementation for `scan` and a model's `step` (see `arch.core.backend`)."""

    max_budget_width: ClassVar[int | None] = None
    """Maximum width that a budget of parameters gives, or None if there is no limit.

    A layer needs a limit if its parameters do not grow with the square of its width.
    """

    encoder_learns: ClassVar[bool] = True
    """Whether a model of such layers learns its embedding of tokens, or its linear map of reals."""

    max_length: int | None = None
    """Maximum sequence length in steps, or None if there is no limit."""

    constant_cost: ClassVar[bool] = False
    """Whether every step costs the same, however many steps came before."""

    family: ClassVar[Family | None] = None
    """The family of the architecture, or None if the class does not state it. Subclasses inherit it."""

    def __setattr__(self, name: str, value: Any) -> None:
        changes_of_layers[0] += 1  # a compiled program depends on options, and on methods that an instance replaces
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        changes_of_layers[0] += 1
        super().__delattr__(name)

    @property
    def inputs(self) -> int | None:
        """D, the input width, or None if the layer does not state it. A layer with a kernel must state it."""
        return None

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return the `depth` layers of a model, from input to output.

        Args:
            inputs: Input width of the first layer. The input width of later layers is `width`.
            width: Output width H of every layer.
            depth: Number of layers.
            options: Options of the constructor, by name.
        """
        return [cls(inputs if i == 0 else width, width, **options) for i in range(depth)]

    @classmethod
    def least_depth(cls, **options: Any) -> int:
        """Return the smallest number of layers of a model that has all its parts. `options` are of the constructor."""
        return 1

    @classmethod
    def builds_convolution(cls) -> bool:
        """Return whether the layers build the short convolution themselves: the constructor has an option `conv: int`.

        `arch.core.block` builds it before all other layers.
        """
        conv = inspect.signature(cls).parameters.get("conv")
        return conv is not None and conv.kind is conv.KEYWORD_ONLY and conv.annotation in (int, "int")

    @classmethod
    def needs_model_width(cls, block: BlockOptions, **options: Any) -> bool:
        """Return whether the first layer of a model needs inputs of the model's width.

        Args:
            block: The block that the spec asks for.
            options: Other options of the constructor, by name.
        """
        return cls.residual or block.block == "residual"

    @classmethod
    def block_stack(cls, inputs: int, width: int, depth: int, block: BlockOptions, **options: Any) -> Stack:
        """Return the `depth` layers of a model, and the block that is still to be built around each layer.

        A class whose layers are whole blocks overrides this method, and has the constructor options `block` and
        `expansion`. For other classes, the block is built by `arch.core.block`. Layers that have the constructor option
        `conv` build the convolution themselves.

        Args:
            inputs: Input width of the first layer.
            width: Output width H of every layer.
            depth: Number of layers.
            block: The block that the spec asks for.
            options: Other options of the constructor, by name.
        """
        if cls.builds_convolution():
            options, block = {**options, "conv": block.conv}, replace(block, conv=0)
        return cls.stack(inputs, width, depth, **options), block

    @abstractmethod
    def init_state(self, batch: int) -> State:
        """Return the empty state of `batch` independent streams."""

    @abstractmethod
    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output (B, H) of one time step and the next state.

        `state` may be modified in place; do not reuse it.
        """

    @abstractmethod
    def scan(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the outputs (B, T, H) of T ≥ 1 steps and the state after the last one.

        `state` may be modified in place; do not reuse it. Raises `ValueError` if there are no steps.
        """

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the outputs (B, T, H) of `scan` from the empty state."""
        return self.scan(x_BTD, self.init_state(len(x_BTD)))[0]

    def gates(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        """Return the gate activations of one time step by name, or {} if the layer has no gates.

        `state` is the state before the step. It is not changed. An activation has the shape (B, H), (B, N) with one
        value per head, or (B, N, K).

        The names below have a fixed meaning. They lie in [0, 1] if they are to be described as gates:

        `input`      share of the new value that is written.
        `strength`   another name of `input`, used by matrix memories: the write strength β.
        `forget`     share of the memory that is kept.
        `decay`      another name of `forget`, used by linear recurrences: the factor of the memory. It may be negative,
                     down to -1. Its magnitude is the share that is kept.
        `output`     share of the memory that is read.
        `update`     share of the memory that is kept. The new value replaces the rest.
        `attention`  weight of each step that is read, (B, heads, steps), with the current step last.
        """
        return {}

    def backend_for(self, x_BTD: Tensor) -> Literal["reference", "fused"]:
        """Return the implementation that `scan` uses for inputs (B, T, D)."""
        return "reference"

    def step_flops(self, position: int) -> int | None:
        """Return the FLOPs of `step` for a single stream after `position` steps, or None if unknown.

        They are known of a layer with a compiled cell, as are those of `scan` and the bytes of a step.
        """
        costs = self._cell_costs()
        return None if costs is None else costs.project_flops + costs.update_flops

    def scan_flops(self, batch: int, length: int) -> int | None:
        """Return the FLOPs of `scan` for `batch` sequences of `length` steps from the empty state.

        Returns None if the FLOPs are unknown.
        """
        costs = self._cell_costs()
        return None if costs is None else batch * length * (costs.project_flops + costs.update_flops)

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int | None:
        """Return the FLOPs of the backward pass of `scan`, or None if they are unknown.

        Each product of the forward pass leads to one product per factor that needs a gradient. The method of
        `Layer` assumes that both factors of every product need a gradient, whatever `inputs_learn` is.

        Args:
            batch: Number of sequences.
            length: Number of steps.
            inputs_learn: Whether the gradient of the inputs is needed, because parameters precede the layer.
        """
        forward = self.scan_flops(batch, length)
        return None if forward is None else 2 * forward

    def step_bytes(self, position: int) -> int | None:
        """Return the bytes that `step` moves for a single stream after `position` steps, or None if unknown."""
        costs = self._cell_costs()
        return None if costs is None else costs.step_numbers * element_bytes(self)

    def _cell_costs(self) -> CellCosts | None:
        """Return the costs by the layer's compiled cell, or None if it has none that belongs to its equations."""
        if class_obstacle(self, "streaming_spec") is not None:
            return None
        spec = self.streaming_spec()
        if spec is None or any(
            weight.tensor is None or weight.tensor.shape != weight.shape
            for weight in spec.weights
            if weight is not None
        ):
            return None
        return spec.costs

    def kernel_weights(self) -> tuple[Weight, ...]:
        """Return the parameters and buffers that the layer's kernel reads, each with the shape that it must have."""
        return tuple(Weight(self, name, tuple(tensor.shape)) for name, tensor in self.named_parameters(recurse=False))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return groups of the layer's parameters that have their own learning rate or no weight decay.

        Parameters in no group are trained as usual.
        """
        return []

    def auxiliary_loss(self) -> Tensor | None:
        """Return a scalar to add to the training loss for the last forward pass, or None.

        It is read once after each forward pass in training. The layer keeps it from then.
        """
        return None

    def streaming_spec(self) -> StreamingSpec | None:
        """Return the layer's description for the compiled step, or None if the kernel does not support the layer.

        A subclass does not inherit the description: it may change the equations (see `arch.core.backend`).
        """
        return None

    def empty(self, *shape: int) -> Tensor:
        """Return zeros of the given shape for an empty state, with the dtype and device of the layer's weights."""
        weight = first_weight(self)
        return torch.zeros(shape, dtype=weight.dtype, device=weight.device)


Stack: TypeAlias = tuple[Sequence[Layer], BlockOptions]
"""The layers of a model from input to output, and the block that is still to be built around each of them."""


def require_steps(x: Tensor) -> None:
    """Raise `ValueError` if inputs (B, T, ...) contain no time step."""
    if x.dim() > 1 and x.shape[1] == 0:
        raise ValueError(f"the sequence has no steps: scan needs at least one, but the inputs are {tuple(x.shape)}")
