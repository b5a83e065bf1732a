"""The block around a layer: norm, residual connections, a short convolution and an MLP, for every architecture.

x is the block's input, of width D. f is the layer, of width H. u is the convolution's input, and e is `expansion`.

    c_t = b + Σ_k w_k ⊙ u_(t-3+k)         (1)  conv=4: one filter per channel, over steps t - 3 to t; conv=0: c = u
    bare:      z = f(conv(x))             (2)
    residual:  y = x + f(conv(norm(x)))   (3)
               z = y + W_2 gelu(W_1 norm(y) + b_1) + b_2      (4)  if e > 0; else z = y

Inputs before the first step are zero. The last residual block of a model ends with one more norm. These are the
equations of a pre-norm Transformer block (`arch/transformer.py`) with f in the place of attention. The convolution is
that of Mamba (Gu & Dao 2023) without its activation. Its last three inputs are part of the state.

    FLOPs per step, besides f: 8 D for (1), 4 e H² for (4)                                            (5)
    numbers moved, besides f: 5 D weights, 3 D read and 3 D written for (1); 2 H per norm;
        2 e H² + (e + 1) H for (4)                                                                    (6)
"""

# Shape suffixes: B batch, T time, K taps of the convolution, D input width, H width

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import (
    Backend,
    Weight,
    class_obstacle,
    context_obstacle,
    linear_weights,
    module_obstacle,
    norm_weights,
    tensors_of,
    weights_obstacle,
)
from arch.core.convolution import convolve
from arch.core.layer import BlockOptions, Layer, require_steps
from arch.core.state import State, element_bytes
from arch.core.streaming_spec import Bound, StreamingSpec
from arch.kernels.runtime.tensors import CONV_STEPS, tensor_obstacle


class BlockState(NamedTuple):
    """The state of a block with a convolution."""

    inputs_BKD: Tensor
    """The last three inputs of the convolution, oldest first."""
    layer: State
    """The state of the layer. A block without a convolution has this state alone."""


class Block(Layer):
    """A layer with the block around it.

    Args:
        layer: The layer f.
        inputs: Input width D of the block. It equals the width of the layer if the block is residual.
        options: The block.
        is_last: Whether the block is the last one of a model.
    """

    def __init__(self, layer: Layer, inputs: int, options: BlockOptions, *, is_last: bool) -> None:
        super().__init__()
        H = layer.width
        self.layer = layer
        self.width = H
        self.max_length = layer.max_length
        self.input_width = inputs
        self.connects = options.block == "residual"
        self.conv_KD: Tensor | None = None
        self.conv_D: Tensor | None = None
        self.norm: nn.Module = nn.LayerNorm(H) if self.connects else nn.Identity()
        if options.conv:
            bound = 1 / math.sqrt(options.conv)  # as in torch.nn.Conv1d with one channel per group
            self.conv_KD = nn.Parameter(torch.empty(options.conv, inputs).uniform_(-bound, bound))
            self.conv_D = nn.Parameter(torch.empty(inputs).uniform_(-bound, bound))
        self.mlp_norm: nn.Module = nn.Identity()
        self.W_1: nn.Module = nn.Identity()
        self.W_2: nn.Module = nn.Identity()
        if options.expansion:
            self.mlp_norm = nn.LayerNorm(H)
            self.W_1 = nn.Linear(H, options.expansion * H)
            self.W_2 = nn.Linear(options.expansion * H, H)
        self.final_norm: nn.Module = nn.LayerNorm(H) if self.connects and is_last else nn.Identity()

    @property
    def residual(self) -> bool:  # type: ignore[override]
        """Whether the block needs an input of the layer's width."""
        return self.connects or self.layer.residual

    @property
    def inputs(self) -> int:
        """D, the input width."""
        return self.input_width

    @property
    def backend(self) -> Backend:
        """The layer's choice of implementation, which is that of the block too."""
        return self.layer.backend

    @backend.setter
    def backend(self, backend: Backend) -> None:
        self.layer.backend = backend

    @property
    def has_mlp(self) -> bool:
        """Whether the block has an MLP."""
        return not isinstance(self.W_1, nn.Identity)

    def init_state(self, batch: int) -> State:
        state = self.layer.init_state(batch)
        return state if self.conv_KD is None else BlockState(self.empty(batch, CONV_STEPS - 1, self.inputs), state)

    def step(self, x_BD: Tensor, state: State) -> tuple[Tensor, State]:
        x_BTD = x_BD.unsqueeze(1)
        u_BTD, before, rest = self._enter(x_BTD, state, None)
        h_BH, after = self.layer.step(u_BTD.squeeze(1), before)
        return self._leave(x_BTD, h_BH.unsqueeze(1), None).squeeze(1), _joined(rest, after)

    def scan(self, x_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        require_steps(x_BTD)
        fused = self._fused_weights(x_BTD)
        u_BTD, before, rest = self._enter(x_BTD, state, fused)
        h_BTH, after = self.layer.scan(u_BTD, before)
        return self._leave(x_BTD, h_BTH, fused), _joined(rest, after)

    def gates(self, x_BD: Tensor, state: State) -> dict[str, Tensor]:
        u_BTD, before, _ = self._enter(x_BD.unsqueeze(1), state, None)
        return self.layer.gates(u_BTD.squeeze(1), before)

    def _enter(
        self, x_BTD: Tensor, state: State, fused: Sequence[Tensor] | None
    ) -> tuple[Tensor, State, Tensor | None]:
        """Return the layer's inputs (B, T, D), the layer's state, and the convolution's next inputs (B, 3, D), if any.

        Args:
            x_BTD: Inputs of the block.
            state: State of the block.
            fused: The weights that the kernels read, or None to run the equations.
        """
        if fused is None or not self.connects:
            u_BTD = self.norm(x_BTD)
        else:
            from arch.kernels.training import mlp

            u_BTD = mlp.in_memory_order(
                lambda x_BTD: mlp.normalise_rows(lambda x, *_: (self.norm(x),), x_BTD, *fused[:2]), x_BTD
            )
        if self.conv_KD is None or self.conv_D is None:
            return u_BTD, state, None
        weights = (state.inputs_BKD, self.conv_KD, self.conv_D)
        backend: Backend = "reference" if fused is None else "auto"
        if fused is not None and not u_BTD.is_contiguous() and u_BTD.transpose(0, 1).is_contiguous():
            c_TBD, last_BKD = convolve(u_BTD.transpose(0, 1), *weights, time=0, backend=backend)  # (1)
            return c_TBD.transpose(0, 1), state.layer, last_BKD
        c_BTD, last_BKD = convolve(u_BTD, *weights, backend=backend)  # (1)
        return c_BTD, state.layer, last_BKD

    def _leave(self, x_BTD: Tensor, h_BTH: Tensor, fused: Sequence[Tensor] | None) -> Tensor:
        """Return the outputs (B, T, H) of the block for its inputs (B, T, D) and the layer's outputs (B, T, H).

        If `fused` is None, the equations run. Otherwise, it contains the weights that the kernels read.
        """
        if not self.connects:
            return h_BTH  # (2)

        def reference(x_BTD: Tensor, h_BTH: Tensor, *_: Tensor) -> tuple[Tensor]:
            y_BTH = x_BTD + h_BTH  # (3)
            if self.has_mlp:
                y_BTH = y_BTH + self.W_2(functional.gelu(self.W_1(self.mlp_norm(y_BTH))))  # (4)
            return (self.final_norm(y_BTH),)

        is_sum = not self.has_mlp and isinstance(self.final_norm, nn.Identity)
        if fused is None or tensor_obstacle(h_BTH, tuple(x_BTD.shape)) is not None:
            return reference(x_BTD, h_BTH)[0]
        if is_sum:
            return h_BTH + x_BTD  # (3), in the order in which h lies in memory
        from arch.kernels.training import mlp

        if not self.has_mlp:
            return mlp.in_memory_order(
                lambda y_BTH: mlp.normalise_rows(lambda y, *_: (self.final_norm(y),), y_BTH, *fused[2:]), h_BTH + x_BTD
            )

        def finish(h_BTH: Tensor, x_BTD: Tensor) -> Tensor:
            return mlp.finish(reference, x_BTD, h_BTH, *fused[2:], projects=False)

        return mlp.in_memory_order(finish, h_BTH, x_BTD)

    def backend_for(self, x_BTD: Tensor) -> Literal["reference", "fused"]:
        """Return the implementation of the layer's `scan`. Raises `ValueError` as the layer does."""
        return self.layer.backend_for(x_BTD)

    def _fused_weights(self, x_BTD: Tensor) -> list[Tensor] | None:
        """Return the weights that the kernels read: those of (3), (4) and the final norm. None if the equations run.

        Raises `ValueError` if `backend` is `fused` but the kernels cannot run.
        """
        if not self.connects or self.backend == "reference" or x_BTD.numel() == 0:
            return None
        weights = [weight for weight in (*self._norm_weights(), *self._mlp_weights()) if weight is not None]
        obstacle = (
            context_obstacle()
            or class_obstacle(self, "streaming_spec")
            or self._modules_obstacle()
            or weights_obstacle([*weights, *self._conv_weights()])
            or tensor_obstacle(x_BTD, (*x_BTD.shape[:2], self.width))
        )
        if self.backend == "fused" and obstacle is not None:
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        return None if obstacle is not None else tensors_of(weights)

    def _replaced_modules(self) -> tuple[tuple[nn.Module, tuple[type[nn.Module], ...]], ...]:
        """Return the modules that the kernels replace, with the classes that they may have."""
        norm, linear = (nn.LayerNorm,), (nn.Linear,)
        of_mlp = ((self.mlp_norm, norm), (self.W_1, linear), (self.W_2, linear)) if self.has_mlp else ()
        return (
            (self.norm, norm if self.connects else (nn.Identity,)),
            *of_mlp,
            (self.final_norm, (nn.LayerNorm, nn.Identity)),
        )

    def _modules_obstacle(self) -> str | None:
        """Return why kernels cannot replace the block's modules, or None if they can."""
        if self.connects and self.input_width != self.width:
            return "the widths of the input and of the layer differ"
        obstacles = (module_obstacle(module, *classes) for module, classes in self._replaced_modules())
        return next((obstacle for obstacle in obstacles if obstacle is not None), None)

    def _norm_weights(self) -> tuple[Weight | None, Weight | None]:
        """Return gain and offset of the first norm."""
        return norm_weights(self.norm, self.width) if self.connects else (None, None)

    def _conv_weights(self) -> tuple[Weight, ...]:
        """Return w and b of (1), if there is a convolution."""
        D = self.inputs
        return () if self.conv_KD is None else (Weight(self, "conv_KD", (CONV_STEPS, D)), Weight(self, "conv_D", (D,)))

    def _mlp_weights(self) -> tuple[Weight | None, ...]:
        """Return gain and offset of the norm of (4), W_1, b_1, W_2, b_2, gain and offset of the final norm."""
        H = self.width
        of_mlp: tuple[Weight | None, ...] = (None,) * 6
        if isinstance(self.W_1, nn.Linear):
            E = self.W_1.out_features
            of_mlp = (*norm_weights(self.mlp_norm, H), *linear_weights(self.W_1, E, H), *linear_weights(self.W_2, H, E))
        is_normed = not isinstance(self.final_norm, nn.Identity)
        return (*of_mlp, *(norm_weights(self.final_norm, H) if is_normed else (None, None)))

    def kernel_weights(self) -> tuple[Weight, ...]:
        own = (*self._norm_weights(), *self._conv_weights(), *self._mlp_weights())
        return tuple(weight for weight in own if weight is not None)

    def streaming_spec(self) -> StreamingSpec | None:
        layer = self.layer
        if self._modules_obstacle() is not None or class_obstacle(layer, "streaming_spec") is not None:
            return None
        inner = layer.streaming_spec()
        if inner is None:
            return None
        D, H, has_conv = self.inputs, self.width, self.conv_KD is not None
        conv = self._conv_weights() or (None, None)
        enter = StreamingSpec(
            kind="enter",
            inputs=D,
            outputs=D,
            sizes=(D, D, int(self.connects), int(has_conv)),
            weights=(*self._norm_weights(), *conv),
            workspace=0,
            bind=inner.bind,
        )
        E = self.W_1.out_features if isinstance(self.W_1, nn.Linear) else 0
        leave = StreamingSpec(
            kind="leave",
            inputs=H,
            outputs=H,
            sizes=(H, H, E),
            weights=self._mlp_weights(),
            workspace=E,
            bind=inner.bind,
        )

        def bind(state: State, batch: int, is_checked: bool, steps: int) -> Bound | None:
            return (
                _bound(inner, D, state, batch, is_checked, steps)
                if has_conv
                else inner.bind(state, batch, is_checked, steps)
            )

        return dataclasses.replace(
            inner,
            bind=bind,
            modules=(*inner.modules, *self._replaced_modules()),
            before=(enter,),
            after=(leave,) if self.connects else (),
            wrapped=layer,
        )

    def step_flops(self, position: int) -> int | None:
        layer = self.layer.step_flops(position)
        return None if layer is None else layer + self._conv_flops() + self._mlp_flops()

    def scan_flops(self, batch: int, length: int) -> int | None:
        layer = self.layer.scan_flops(batch, length)
        return None if layer is None else layer + batch * length * (self._conv_flops() + self._mlp_flops())

    def backward_flops(self, batch: int, length: int, *, inputs_learn: bool) -> int | None:
        conv_inputs_learn = inputs_learn or self.connects
        layer = self.layer.backward_flops(batch, length, inputs_learn=conv_inputs_learn or self.conv_KD is not None)
        if layer is None:
            return None
        conv = (2 if conv_inputs_learn else 1) * self._conv_flops()
        return layer + batch * length * (conv + 2 * self._mlp_flops())

    def step_bytes(self, position: int) -> int | None:
        layer = self.layer.step_bytes(position)
        if layer is None:
            return None
        own = sum(parameter.numel() for parameter in self.parameters())
        own -= sum(parameter.numel() for parameter in self.layer.parameters())
        moved = 0 if self.conv_KD is None else 2 * (CONV_STEPS - 1) * self.inputs
        return layer + (own + moved) * element_bytes(self)  # (6)

    def _conv_flops(self) -> int:
        """Return the FLOPs of equation (1) per step."""
        return 0 if self.conv_KD is None else 2 * self.conv_KD.numel()  # (5)

    def _mlp_flops(self) -> int:
        """Return the FLOPs of equation (4) per step."""
        return 4 * self.W_1.weight.numel() if isinstance(self.W_1, nn.Linear) else 0  # (5)


def in_blocks(layers: Sequence[Layer], inputs: int, width: int, options: BlockOptions) -> list[Layer]:
    """Return the layers of a model with the block around each of them.

    Args:
        layers: The layers, from input to output.
        inputs: Input width of the first layer.
        width: Input width of the other layers.
        options: The block. If it is bare and has no convolution, the layers themselves are returned.
    """
    last = len(layers) - 1
    return [in_block(layer, width if i else inputs, options, is_last=i == last) for i, layer in enumerate(layers)]


def in_block(layer: Layer, inputs: int, options: BlockOptions, *, is_last: bool) -> Layer:
    """Return a layer with its block around it, or the layer itself if it stands bare without a convolution.

    The arguments are those of `Block`.
    """
    return layer if options == BlockOptions() else Block(layer, inputs, options, is_last=is_last)


def have_constant_cost(layers: Iterable[nn.Module]) -> bool:
    """Return whether all layers, each in a block or not, have steps that always cost the same."""
    inner = (each.layer if isinstance(each, Block) else each for each in layers)
    return all(isinstance(layer, Layer) and layer.constant_cost for layer in inner)


def _joined(inputs_BKD: Tensor | None, layer: State) -> State:
    """Return the state of a block. `inputs_BKD` is None if the block has no convolution."""
    return layer if inputs_BKD is None else BlockState(inputs_BKD, layer)


def _bound(inner: StreamingSpec, width: int, state: State, batch: int, is_checked: bool, steps: int) -> Bound | None:
    """Prepare the state of a block with a convolution for steps of the kernel. See `StreamingSpec.bind`.

    Args:
        inner: The description of the layer.
        width: Input width D of the convolution.
        state: State of the block.
        batch: Number of streams B.
        is_checked: Whether the tensors of the state are known to be as the kernel needs them.
        steps: Number of steps.
    """
    if type(state) is not BlockState:
        return None
    inputs_BKD = state.inputs_BKD
    if not is_checked:
        if tensor_obstacle(inputs_BKD, (batch, CONV_STEPS - 1, width)) is not None:
            return None
        inputs_BKD = inputs_BKD.detach().clone(memory_format=torch.contiguous_format)
    bound = inner.bind(state.layer, batch, is_checked, steps)
    if bound is None:
        return None
    advance = bound.advance
    return bound._replace(
        outer_words=(inputs_BKD.data_ptr(),),
        after=BlockState(inputs_BKD, bound.after),
        written=(inputs_BKD, *bound.written),
        advance=None
        if advance is None
        else lambda later, steps: BlockState(later.inputs_BKD, advance(later.layer, steps)),
    )
