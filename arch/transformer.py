"""Transformer: attention over all past steps, which are kept in a cache.

A causal pre-norm block (Vaswani et al. 2017; Xiong et al. 2020):

    y  = x + W_o attention(q, k, v)       (1)  q, k, v = W_qkv norm(x)
    x' = y + W_2 gelu(W_1 norm(y))        (2)
    attention_t = Σ_s softmax_s(q_t·k_s / √K + bias(t - s)) v_s    over s ≤ t, t - s < window   (3)

bias is 0 except with ALiBi. The state is a cache of the keys and values of past steps. If a window is set, the cache
may drop steps that no later step reads. Step t = 0, 1, … attends to S_t = min(t + 1, window) steps. e is `expansion`:

    FLOPs of step t: (8 + 4e) D² + 4 D S_t                                                       (4)
    numbers moved by step t: (4 + 2e) D² + (9 + e) D weights, 2 D S_t read and 2 D written       (5)

The last block has 2 D more weights, for its final norm. With learned positions, a step of the first block also reads
D position weights. With block=bare, the layer is W_o attention(q, k, v) of x itself: e is 0, and (5) has 4 D² + 4 D
weights. With a convolution or without an MLP, the block around this bare layer is that of `arch.core.block`.
"""

# Shape suffixes: B batch, T time, S cached time, D model width, N heads, K head width

from __future__ import annotations

import functools
import inspect
import math
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.attention import cache as caches
from arch.core.attention.positions import alibi_slopes, apply_rotary, frequencies, rotary_factors, sinusoids
from arch.core.backend import (
    Backend,
    Weight,
    class_obstacle,
    context_obstacle,
    module_obstacle,
    tensors_of,
    weights_obstacle,
)
from arch.core.layer import BlockOptions, Layer, Stack, require_steps
from arch.core.state import copy_state, element_bytes
from arch.core.streaming_spec import Bound, StreamingSpec
from arch.kernels.runtime.tensors import tensor_obstacle

MASKED_BLOCK = 512
"""Maximum number of queries per masked attention call. It limits the size of the mask."""


class Transformer(Layer):
    """A block of causal multi-head self-attention and a two-layer perceptron (MLP).

    Args:
        inputs: Input width. It must equal `width`.
        width: Model width D.
        heads: Number of attention heads N. The width must be a multiple of N, or of 2N with rotary positions.
        positions: `rotary` rotates queries and keys (Su et al. 2021). `alibi` sets bias(t - s) in equation (3)
            (Press et al. 2022). `sinusoidal` (Vaswani et al. 2017) and `learned` are added to the input of the first
            block or bare layer. `none` adds nothing: the causal mask alone carries the order.
        window: Number of steps that attention reads, including the current one. None reads all steps.
        block: `residual` is the whole block. `bare` is attention alone, with its projections.
        expansion: Width of the hidden layer of the MLP, in model widths. A spec with expansion=0 has no MLP.
        max_length: Number of learned positions. It has no effect unless `positions` is `learned`.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if a numeric option is below 1, or if `width` does not fit `heads`, `positions` and `inputs`.
    Second derivatives of the equations need `sdpa_kernel(SDPBackend.MATH)` of `torch.nn.attention` around `scan`.
    """

    family = "attention"
    residual = True

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 2,
        positions: Literal["rotary", "sinusoidal", "learned", "alibi", "none"] = "rotary",
        window: int | None = None,
        block: Literal["bare", "residual"] = "residual",
        expansion: int = 4,
        max_length: int = 4096,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.backend = backend
        for name, value in {"heads": heads, "expansion": expansion, "max_length": max_length}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1 step, not {window}; omit it to attend to all steps")
        multiple = 2 * heads if positions == "rotary" else heads
        if width % multiple:
            below = max(width // multiple, 1) * multiple
            raise ValueError(
                f"width {width} is not a multiple of {multiple}, as required by {heads} heads with "
                f"positions={positions}; try width {below} or {below + multiple}"
            )
        if inputs != width:
            raise ValueError(
                f"a transformer layer needs inputs of its own width, {width}, not {inputs}; use equal widths"
            )
        self.width, self.heads, self.positions, self.window = width, heads, positions, window
        self.is_bare = block == "bare"
        self.expansion = 0 if self.is_bare else expansion
        self.max_length = max_length if positions == "learned" else None
        self.attention_norm: nn.Module = nn.Identity() if self.is_bare else nn.LayerNorm(width)
        self.W_qkv, self.W_o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        if not self.is_bare:
            self.perceptron_norm = nn.LayerNorm(width)
            self.W_1, self.W_2 = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)
        self.adds_positions = False
        self.position_SD: Tensor | None = None
        self.final_norm: nn.Module = nn.Identity()

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return `depth` layers. The first adds sinusoidal or learned positions, if chosen. The last block has a norm.

        Args:
            inputs, width: Input and output width D. The two must be equal.
            depth: Number of layers.
            options: Options of the constructor, by name.
        """
        layers = super().stack(inputs, width, depth, **options)
        first, last = layers[0], layers[-1]
        first.adds_positions = first.positions in ("sinusoidal", "learned")
        if first.positions == "learned":
            assert first.max_length is not None
            first.position_SD = nn.Parameter(torch.randn(first.max_length, width) / math.sqrt(width))
        if not last.is_bare:
            last.final_norm = nn.LayerNorm(width)
        return layers

    @classmethod
    def block_stack(cls, inputs: int, width: int, depth: int, block: BlockOptions, **options: Any) -> Stack:
        """Return whole blocks if they have an MLP and no convolution. Other blocks are built around bare layers.

        The arguments are those of `Layer.block_stack`.
        """
        if "block" not in inspect.signature(cls).parameters:  # a subclass with another constructor
            return super().block_stack(inputs, width, depth, block, **options)
        if block.block == "residual" and block.expansion and not block.conv:
            return cls.stack(inputs, width, depth, expansion=block.expansion, **options), BlockOptions()
        return cls.stack(inputs, width, depth, block="bare", **options), block

    @property
    def inputs(self) -> int:
        """D, the input width, which equals the output width."""
        return self.width

    def step_flops(self, position: int) -> int:
        return self._linear_flops() + 4 * self.width * self._steps_read(position)  # (4)

    def scan_flops(self, batch: int, length: int) -> int:
        growing = length if self.window is None else min(length, self.window)  # steps until the window is full
        steps_read = growing * (growing + 1) // 2 + (length - growing) * growing
        return batch * (length * self._linear_flops() + 4 * self.width * steps_read)  # (4), summed over the steps

    def step_bytes(self, position: int) -> int:
        D, e = self.width, self.expansion
        weights = (4 + 2 * e) * D**2 + (4 if self.is_bare else 9 + e) * D
        weights += 2 * D * (not isinstance(self.final_norm, nn.Identity)) + D * (self.position_SD is not None)
        return (weights + 2 * D * (self._steps_read(position) + 1)) * element_bytes(self)  # (5)

    def _linear_flops(self) -> int:
        """Return the part of (4) that does not depend on the step."""
        return (8 + 4 * self.expansion) * self.width**2

    def _steps_read(self, position: int) -> int:
        """Return S_t of equations (4) and (5) for step t = `position`."""
        return position + 1 if self.window is None else min(position + 1, self.window)

    def init_state(self, batch: int) -> caches.Cache:
        empty = self.empty(batch, self.heads, 0, self.width // self.heads)
        return caches.Cache(empty, empty, 0, 0)

    def step(self, x_BD: Tensor, state: caches.Cache) -> tuple[Tensor, caches.Cache]:
        y_BTD, state = self.scan(x_BD.unsqueeze(1), state)
        return y_BTD.squeeze(1), state

    def scan(self, x_BTD: Tensor, state: caches.Cache) -> tuple[Tensor, caches.Cache]:
        require_steps(x_BTD)
        if self.adds_positions:
            x_BTD = x_BTD + self._added_positions(state.position, x_BTD.shape[1], x_BTD)
        is_fused = self.backend_for(x_BTD) == "fused"
        fused = tensors_of(self.kernel_weights()) if is_fused and not self.is_bare else None
        q_BNTK, k_BNTK, v_BNTK = self._project(x_BTD, state, fused)
        attended_BTD, state = self._attend(q_BNTK, k_BNTK, v_BNTK, state, is_fused)
        return self._finish(x_BTD, attended_BTD, fused), state

    def _finish(self, x_BTD: Tensor, attended_BTD: Tensor, fused: list[Tensor] | None) -> Tensor:
        """Return the output (B, T, D): equations (1) and (2), and the final norm if the block has one.

        The output of a bare layer is the projection of (1).
        """
        if self.is_bare:
            return self.W_o(attended_BTD)  # type: ignore[no-any-return]

        def reference(x_BTD: Tensor, attended_BTD: Tensor, *_: Tensor) -> tuple[Tensor]:
            y_BTD = x_BTD + self.W_o(attended_BTD)  # (1)
            z_BTD = y_BTD + self.W_2(functional.gelu(self.W_1(self.perceptron_norm(y_BTD))))  # (2)
            return (self.final_norm(z_BTD),)

        if fused is None:
            return reference(x_BTD, attended_BTD)[0]
        from arch.kernels.training import mlp

        return mlp.finish(reference, x_BTD, attended_BTD, *fused[4:])

    def backend_for(self, x_BTD: Tensor) -> Literal["reference", "fused"]:
        """Return the implementation of `scan`. Raises `ValueError` if `backend` is `fused` but no kernel can run."""
        if self.backend == "reference" or x_BTD.numel() == 0:
            return "reference"
        obstacle = (
            context_obstacle()
            or class_obstacle(self, "streaming_spec")
            or self._modules_obstacle()
            or weights_obstacle(self.kernel_weights())
            or tensor_obstacle(x_BTD, (*x_BTD.shape[:2], self.width))
        )
        if self.backend == "fused" and obstacle is not None:
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        return "reference" if obstacle is not None else "fused"

    def _modules_obstacle(self) -> str | None:
        """Return why kernels cannot replace the block's modules, or None if they can."""
        if self.heads < 1 or self.width % self.heads or (self.positions == "rotary" and self.width // self.heads % 2):
            return f"a width of {self.width} cannot be divided into {self.heads} heads"
        if self.positions == "rotary" and self.adds_positions:
            return "positions are both rotary and added"
        if not (self.window is None or (type(self.window) is int and self.window >= 1)):
            return f"the window is {self.window}"
        obstacles = (module_obstacle(module, *classes) for module, classes in self._replaced_modules())
        return next((obstacle for obstacle in obstacles if obstacle is not None), None)

    def _replaced_modules(self) -> tuple[tuple[nn.Module, tuple[type[nn.Module], ...]], ...]:
        """Return the modules that the kernels replace, in the kernels' order, with the classes that they may have."""
        if self.is_bare:
            return (self.attention_norm, (nn.Identity,)), (self.W_qkv, (nn.Linear,)), (self.W_o, (nn.Linear,))
        return (
            (self.attention_norm, (nn.LayerNorm,)),
            (self.W_qkv, (nn.Linear,)),
            (self.W_o, (nn.Linear,)),
            (self.perceptron_norm, (nn.LayerNorm,)),
            (self.W_1, (nn.Linear,)),
            (self.W_2, (nn.Linear,)),
            (self.final_norm, (nn.LayerNorm, nn.Identity)),
        )

    def kernel_weights(self) -> tuple[Weight, ...]:
        D, E = self.width, 0 if self.is_bare else self.W_1.out_features
        shapes = ((D,), (3 * D, D), (D, D), (D,), (E, D), (D, E), (D,))
        modules = self._replaced_modules()
        return tuple(
            Weight(module, name, shape if name == "weight" else shape[:1])
            for (module, _), shape in zip(modules, shapes[: len(modules)], strict=True)
            if type(module) is not nn.Identity
            for name in ("weight", "bias")
        )

    def streaming_spec(self) -> StreamingSpec | None:
        if self._modules_obstacle() is not None:
            return None
        from arch.kernels.streaming import block_step as kernel

        D, N, E = self.width, self.heads, 0 if self.is_bare else self.W_1.out_features
        kind, table, constants = kernel.NO_POSITIONS, None, None
        if self.positions == "rotary":
            kind, constants = kernel.ROTARY, frequencies(D // N // 2, torch.device("cpu"))
        elif self.adds_positions and self.position_SD is not None:
            kind, table = kernel.LEARNED, Weight(self, "position_SD", (len(self.position_SD), D))
        elif self.adds_positions:
            kind, constants = kernel.SINUSOIDAL, frequencies((D + 1) // 2, torch.device("cpu"))
        weights: list[Weight | None] = [*([None, None] if self.is_bare else []), *self.kernel_weights()]
        weights += [None] * (kernel.POSITIONS - len(weights))
        return StreamingSpec(
            kind="transformer",
            inputs=D,
            outputs=D,
            sizes=(D, N, E, kind, int(self.positions == "alibi"), self.window or 0),
            weights=(*weights, table),
            workspace=5 * D + E,
            bind=self._bind,
            modules=self._replaced_modules(),
            constants=constants,
        )

    def _bind(self, cache: caches.Cache, batch: int, is_checked: bool, steps: int) -> Bound | None:
        """Prepare the cache for `steps` steps of the kernel. See `StreamingSpec.bind`.

        The words are, in this order: the addresses of keys and values; the number of slots; the number of cached steps;
        the position. The result is None if the kernel cannot use the cache.
        """
        if not is_checked and not caches.is_usable(cache, (batch, self.heads, self.width // self.heads)):
            return None
        if self.position_SD is not None and cache.position + steps > len(self.position_SD):
            return None
        from arch.kernels.streaming.attention_step import CHUNK

        cache, room = caches.reserve_for_kernel(cache, steps, self.window)
        keys_BNSK, values_BNSK, length, position = cache
        words = (keys_BNSK.data_ptr(), values_BNSK.data_ptr(), keys_BNSK.shape[2], length, position)
        if self.position_SD is not None:
            room = min(room, len(self.position_SD) - position)
        later = functools.partial(caches.later_windowed_cache, self.window) if self.window else caches.later_cache
        scratch = 2 * keys_BNSK.shape[3] + CHUNK
        return Bound(words, later(cache, steps), (keys_BNSK, values_BNSK), room - steps, later, scratch)

    def gates(self, x_BD: Tensor, state: caches.Cache) -> dict[str, Tensor]:
        """Return the softmax weights (B, N, S) of equation (3) as `attention`. The current step is the last."""
        x_BTD, cache = x_BD.unsqueeze(1), copy_state(state)
        if self.adds_positions:
            x_BTD = x_BTD + self._added_positions(cache.position, 1, x_BTD)
        q_BNTK, k_BNTK, v_BNTK = self._project(x_BTD, cache, None)
        cache = caches.append(cache, k_BNTK, v_BNTK, self.window)
        S = cache.length if self.window is None else min(cache.length, self.window)
        k_BNSK = cache.keys_BNSK[:, :, cache.length - S : cache.length]
        logit_BNS = (k_BNSK @ q_BNTK.mT).squeeze(3) / math.sqrt(q_BNTK.shape[3])
        if self.positions == "alibi":
            age_S = torch.arange(S - 1, -1, -1, dtype=logit_BNS.dtype, device=logit_BNS.device)
            logit_BNS = logit_BNS - alibi_slopes(self.heads, q_BNTK)[:, None] * age_S
        return {"attention": logit_BNS.softmax(2)}

    def _project(self, x_BTD: Tensor, cache: caches.Cache, fused: list[Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (B, N, T, K) of a chunk that follows the cached steps."""
        (B, T, D), N = x_BTD.shape, self.heads
        rotary_TJ = rotary_factors(cache.position, T, D // N // 2, x_BTD) if self.positions == "rotary" else None

        def reference(x_BTD: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            qkv_BTD = self.W_qkv(self.attention_norm(x_BTD))
            qk_2BNTK, v_1BNTK = qkv_BTD.view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4).split([2, 1])
            qk_2BNTK = qk_2BNTK if rotary_TJ is None else apply_rotary(qk_2BNTK, rotary_TJ)
            return qk_2BNTK[0], qk_2BNTK[1], v_1BNTK[0]

        if fused is None:
            q_BNTK, k_BNTK, v_BNTK = reference(x_BTD)
        else:
            from arch.kernels.training import qkv

            q_BNTK, k_BNTK, v_BNTK = qkv.project(reference, N, rotary_TJ, x_BTD, *fused[:4])
        return q_BNTK, k_BNTK, v_BNTK

    def _attend(
        self, q_BNTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor, cache: caches.Cache, fused: bool
    ) -> tuple[Tensor, caches.Cache]:
        """Return the result (B, T, D) of equation (3) for a chunk of T steps, and the cache after the chunk.

        Args:
            q_BNTK, k_BNTK, v_BNTK: Queries, keys and values of the chunk.
            cache: The cache before the chunk.
            fused: Whether the compiled kernel may run.
        """
        T = q_BNTK.shape[2]
        is_plain_causal = self.positions != "alibi" and (self.window is None or self.window >= T)
        if fused and is_plain_causal and T > 1 and cache.length == 0:
            from arch.kernels.training import attention

            return attention.attend(q_BNTK, k_BNTK, v_BNTK), caches.append(cache, k_BNTK, v_BNTK, self.window)
        blocks = []
        for start in range(0, T, T if is_plain_causal else MASKED_BLOCK):
            block = slice(start, T if is_plain_causal else start + MASKED_BLOCK)
            cache = caches.append(cache, k_BNTK[:, :, block], v_BNTK[:, :, block], self.window)
            blocks.append(self._cached_attention(q_BNTK[:, :, block], cache))
        if not is_plain_causal:
            cache = caches.trim(cache, self.window)
        attended_BNTK = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
        return attended_BNTK.transpose(1, 2).flatten(2), cache

    def _cached_attention(self, q_BNTK: Tensor, cache: caches.Cache) -> Tensor:
        """Return the result (B, N, T, K) of equation (3) for the queries of the last T steps in the cache."""
        T = q_BNTK.shape[2]
        first = 0 if self.window is None else max(0, cache.length - T - self.window + 1)
        k_BNSK = cache.keys_BNSK[:, :, first : cache.length]
        v_BNSK = cache.values_BNSK[:, :, first : cache.length]
        S = k_BNSK.shape[2]
        if self.positions != "alibi" and (self.window is None or self.window >= S) and T in (1, S):
            return functional.scaled_dot_product_attention(q_BNTK, k_BNSK, v_BNSK, is_causal=bool(T > 1))
        age_TS = torch.arange(S - T, S, device=q_BNTK.device)[:, None] - torch.arange(S, device=q_BNTK.device)
        visible_TS = (age_TS >= 0) & (age_TS < (self.window or S + 1))
        bias: Tensor = visible_TS
        if self.positions == "alibi":
            slope_N11 = alibi_slopes(self.heads, q_BNTK)[:, None, None]
            bias = (-slope_N11 * age_TS).masked_fill(~visible_TS, -math.inf)
        return functional.scaled_dot_product_attention(q_BNTK, k_BNSK, v_BNSK, attn_mask=bias)

    def _added_positions(self, start: int, steps: int, like: Tensor) -> Tensor:
        if self.position_SD is None:
            return sinusoids(start, steps, like)
        if start + steps > len(self.position_SD):
            raise ValueError(
                f"step {start + steps} is beyond the {len(self.position_SD)} learned positions; "
                f"set transformer:max_length={start + steps} or choose other positions"
            )
        return self.position_SD[start : start + steps]
