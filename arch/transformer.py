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
D position weights.
"""

# Shape suffixes: B batch, T time, S cached time, D model width, N heads, K head width

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from arch.core.backend import Backend, obstacle_to_kernels
from arch.core.layer import Layer
from arch.core.positions import alibi_slopes, apply_rotary, rotary_table, sinusoids
from arch.core.state import copy_state, element_bytes
from arch.core.streaming_spec import ParameterRef, StreamingSpec

MASKED_BLOCK = 512
"""Maximum number of queries per masked attention call. It limits the size of the mask."""


class Cache(NamedTuple):
    """The keys and values (B, N, S, K), in slots 0 to `length` - 1. Slot `length` - 1 holds step `position` - 1."""

    keys_BNSK: Tensor
    values_BNSK: Tensor
    length: int
    position: int


class Transformer(Layer):
    """A block of causal multi-head self-attention and a two-layer perceptron (MLP).

    Args:
        inputs: Input width. It must equal `width`, because the block is residual.
        width: Model width D.
        heads: Number of attention heads N. The width must be a multiple of N, or of 2N with rotary positions.
        positions: `rotary` rotates queries and keys (Su et al. 2021). `alibi` sets bias(t - s) in equation (3)
            (Press et al. 2022). `sinusoidal` (Vaswani et al. 2017) and `learned` are added to the input of the first
            block. `none` adds nothing: the causal mask alone carries the order.
        window: Number of steps that attention reads, including the current one. None reads all steps.
        expansion: Width of the hidden layer of the MLP, in model widths.
        max_length: Number of learned positions. It has no effect unless `positions` is `learned`.
        backend: Implementation of `scan` and of a model's `step`: `auto`, `reference` or `fused`
            (see `arch.core.backend`).

    Raises `ValueError` if a numeric option is below 1, or if `width` does not fit `heads` and `positions`.
    """

    residual: ClassVar[bool] = True

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        heads: int = 2,
        positions: Literal["rotary", "sinusoidal", "learned", "alibi", "none"] = "rotary",
        window: int | None = None,
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
        assert inputs == width
        self.width, self.heads, self.positions, self.window = width, heads, positions, window
        self.expansion = expansion
        self.max_length = max_length if positions == "learned" else None
        self.attention_norm = nn.LayerNorm(width)
        self.W_qkv = nn.Linear(width, 3 * width)
        self.W_o = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.W_1 = nn.Linear(width, expansion * width)
        self.W_2 = nn.Linear(expansion * width, width)
        self.adds_positions = False
        self.position_SD: Tensor | None = None
        self.rotary_SJ: Tensor | None = None
        self.added_TD: Tensor | None = None
        self.final_norm: nn.Module = nn.Identity()

    @classmethod
    def stack(cls, inputs: int, width: int, depth: int, **options: Any) -> list[Self]:
        """Return `depth` blocks. The first adds sinusoidal or learned positions, if chosen. The last ends with a norm.

        Args:
            inputs, width: Input and output width D. The two must be equal.
            depth: Number of blocks.
            options: Options of the constructor, by name.
        """
        layers = super().stack(inputs, width, depth, **options)
        first, last = layers[0], layers[-1]
        first.adds_positions = first.positions in ("sinusoidal", "learned")
        if first.positions == "learned":
            assert first.max_length is not None
            first.position_SD = nn.Parameter(torch.randn(first.max_length, width) / math.sqrt(width))
        last.final_norm = nn.LayerNorm(width)
        return layers

    def step_flops(self, position: int) -> int:
        return self._linear_flops() + 4 * self.width * self._steps_read(position)  # (4)

    def scan_flops(self, batch: int, length: int) -> int:
        growing = length if self.window is None else min(length, self.window)  # steps until the window is full
        steps_read = growing * (growing + 1) // 2 + (length - growing) * growing
        return batch * (length * self._linear_flops() + 4 * self.width * steps_read)  # (4), summed over the steps

    def step_bytes(self, position: int) -> int:
        D, e = self.width, self.expansion
        weights = (4 + 2 * e) * D**2 + (9 + e) * D
        weights += 2 * D * (not isinstance(self.final_norm, nn.Identity)) + D * (self.position_SD is not None)
        return (weights + 2 * D * (self._steps_read(position) + 1)) * element_bytes(self)  # (5)

    def _linear_flops(self) -> int:
        """Return the part of (4) that does not depend on the step."""
        return (8 + 4 * self.expansion) * self.width**2

    def _steps_read(self, position: int) -> int:
        """Return S_t of equations (4) and (5) for step t = `position`."""
        return position + 1 if self.window is None else min(position + 1, self.window)

    def init_state(self, batch: int) -> Cache:
        empty = self.empty(batch, self.heads, 0, self.width // self.heads)
        return Cache(empty, empty, 0, 0)

    def step(self, x_BD: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        y_BTD, state = self.scan(x_BD.unsqueeze(1), state)
        return y_BTD.squeeze(1), state

    def scan(self, x_BTD: Tensor, state: Cache) -> tuple[Tensor, Cache]:
        if self.adds_positions:
            x_BTD = x_BTD + self._added_positions(state.position, x_BTD.shape[1], x_BTD)
        fused = self.backend_for(x_BTD) == "fused"
        q_BNTK, k_BNTK, v_BNTK = self._project(x_BTD, state, fused)
        attended_BTD, state = self._attend(q_BNTK, k_BNTK, v_BNTK, state, fused)
        return self._finish(x_BTD, attended_BTD, fused), state

    def _finish(self, x_BTD: Tensor, attended_BTD: Tensor, fused: bool) -> Tensor:
        """Return the block's output (B, T, D): equations (1) and (2), and the final norm if the block has one."""

        def reference(x_BTD: Tensor, attended_BTD: Tensor, *_: Tensor) -> tuple[Tensor]:
            y_BTD = x_BTD + self.W_o(attended_BTD)  # (1)
            z_BTD = y_BTD + self.W_2(functional.gelu(self.W_1(self.perceptron_norm(y_BTD))))  # (2)
            return (self.final_norm(z_BTD),)

        if not fused:
            return reference(x_BTD, attended_BTD)[0]
        from arch.kernels.training import mlp

        modules = (self.W_o, self.perceptron_norm, self.W_1, self.W_2, self.final_norm)
        weights = [parameter for module in modules for parameter in module.parameters()]
        return mlp.finish(reference, x_BTD, attended_BTD, *weights)

    def backend_for(self, x_BTD: Tensor) -> Literal["reference", "fused"]:
        """Return the implementation of `scan`. Raises `ValueError` if `backend` is `fused` but no kernel can run."""
        if self.backend == "reference":
            return "reference"
        obstacle = obstacle_to_kernels([x_BTD, *self.parameters()])
        if self.backend == "fused" and obstacle is not None:
            raise ValueError(f"backend=fused cannot run here: {obstacle}; use backend=auto")
        return "reference" if obstacle is not None else "fused"

    def streaming_spec(self) -> StreamingSpec | None:
        if type(self) is not Transformer:
            return None
        modules: list[nn.Module] = [self.attention_norm, self.W_qkv, self.W_o, self.perceptron_norm, self.W_1, self.W_2]
        if not isinstance(self.final_norm, nn.Identity):
            modules.append(self.final_norm)
        weights: list[ParameterRef] = [(module, name) for module in modules for name in ("weight", "bias")]
        D, N, E = self.width, self.heads, self.W_1.out_features
        return StreamingSpec(
            kind="transformer",
            sizes=(D, N, E, int(self.positions == "rotary"), int(self.positions == "alibi")),
            weights=tuple(weights),
            workspace=5 * D + E,
            bind=self._bind,
        )

    def _bind(self, cache: Cache, batch: int) -> tuple[tuple[int, ...], Cache] | None:
        """Return the numbers for one step of the kernel, and the cache after that step. See `StreamingSpec.bind`.

        The numbers are, in this order: the addresses of the keys, the values and the rotary factors; the number of
        slots; the number of cached steps; the first slot to read; the address of the added positions. An address is 0
        if the block has no such tensor. The result is None if the kernel cannot use the cache.
        """
        for part in (cache.keys_BNSK, cache.values_BNSK):
            if part.dtype is not torch.float32 or part.requires_grad or not part.is_contiguous() or not part.is_cpu:
                return None
        D, N = self.width, self.heads
        slots = cache.keys_BNSK.shape[2]
        if not cache.keys_BNSK.shape == cache.values_BNSK.shape == (batch, N, slots, D // N):
            return None
        keys_BNSK, values_BNSK, length, position = _reserve(cache, 1, self.window)
        rotary = added = 0
        if self.positions == "rotary":
            rotary = self._rotary(position, 1, keys_BNSK).data_ptr()
        if self.adds_positions:
            self.added_TD = self._added_positions(position, 1, keys_BNSK.new_empty(0, D))
            added = self.added_TD.data_ptr()
        first = 0 if self.window is None else max(0, length + 1 - self.window)
        addresses = (keys_BNSK.data_ptr(), values_BNSK.data_ptr(), rotary, keys_BNSK.shape[2], length, first, added)
        return addresses, Cache(keys_BNSK, values_BNSK, length + 1, position + 1)

    def gates(self, x_BD: Tensor, state: Cache) -> dict[str, Tensor]:
        """Return the softmax weights (B, N, S) of equation (3) as `attention`. The current step is the last."""
        x_BTD, cache = x_BD.unsqueeze(1), copy_state(state)
        if self.adds_positions:
            x_BTD = x_BTD + self._added_positions(cache.position, 1, x_BTD)
        q_BNTK, k_BNTK, v_BNTK = self._project(x_BTD, cache, fused=False)
        cache = _append(cache, k_BNTK, v_BNTK, self.window)
        S = cache.length if self.window is None else min(cache.length, self.window)
        k_BNSK = cache.keys_BNSK[:, :, cache.length - S : cache.length]
        logit_BNS = (k_BNSK @ q_BNTK.mT).squeeze(3) / math.sqrt(q_BNTK.shape[3])
        if self.positions == "alibi":
            age_S = torch.arange(S - 1, -1, -1, dtype=logit_BNS.dtype, device=logit_BNS.device)
            logit_BNS = logit_BNS - alibi_slopes(self.heads, q_BNTK)[:, None] * age_S
        return {"attention": logit_BNS.softmax(2)}

    def _project(self, x_BTD: Tensor, cache: Cache, fused: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (B, N, T, K) of a chunk that follows the cached steps."""
        (B, T, D), N = x_BTD.shape, self.heads
        rotary_TJ = self._rotary(cache.position, T, x_BTD) if self.positions == "rotary" else None

        def reference(x_BTD: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            qkv_BTD = self.W_qkv(self.attention_norm(x_BTD))
            qk_2BNTK, v_1BNTK = qkv_BTD.view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4).split([2, 1])
            qk_2BNTK = qk_2BNTK if rotary_TJ is None else apply_rotary(qk_2BNTK, rotary_TJ)
            return qk_2BNTK[0], qk_2BNTK[1], v_1BNTK[0]

        if not fused:
            q_BNTK, k_BNTK, v_BNTK = reference(x_BTD)
        else:
            from arch.kernels.training import qkv

            weights = (*self.attention_norm.parameters(), *self.W_qkv.parameters())
            q_BNTK, k_BNTK, v_BNTK = qkv.project(reference, N, rotary_TJ, x_BTD, *weights)
        return q_BNTK, k_BNTK, v_BNTK

    def _attend(
        self, q_BNTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor, cache: Cache, fused: bool
    ) -> tuple[Tensor, Cache]:
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

            return attention.attend(_causal, q_BNTK, k_BNTK, v_BNTK), _append(cache, k_BNTK, v_BNTK, self.window)
        blocks = []
        for start in range(0, T, T if is_plain_causal else MASKED_BLOCK):
            block = slice(start, T if is_plain_causal else start + MASKED_BLOCK)
            cache = _append(cache, k_BNTK[:, :, block], v_BNTK[:, :, block], self.window)
            blocks.append(self._cached_attention(q_BNTK[:, :, block], cache))
        if not is_plain_causal:
            cache = _trim(cache, self.window)
        attended_BNTK = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
        return attended_BNTK.transpose(1, 2).flatten(2), cache

    def _cached_attention(self, q_BNTK: Tensor, cache: Cache) -> Tensor:
        """Return the result (B, N, T, K) of equation (3) for the queries of the last T steps in the cache."""
        T = q_BNTK.shape[2]
        first = 0 if self.window is None else max(0, cache.length - T - self.window + 1)
        k_BNSK = cache.keys_BNSK[:, :, first : cache.length]
        v_BNSK = cache.values_BNSK[:, :, first : cache.length]
        S = k_BNSK.shape[2]
        fits = self.window is None or self.window >= S
        if self.positions != "alibi" and fits and (T in (1, S)):
            return functional.scaled_dot_product_attention(q_BNTK, k_BNSK, v_BNSK, is_causal=T > 1)
        age_TS = torch.arange(S - T, S, device=q_BNTK.device)[:, None] - torch.arange(S, device=q_BNTK.device)
        visible_TS = (age_TS >= 0) & (age_TS < (self.window or S + 1))
        bias: Tensor = visible_TS
        if self.positions == "alibi":
            slope_N11 = alibi_slopes(self.heads, q_BNTK)[:, None, None]
            bias = (-slope_N11 * age_TS).masked_fill(~visible_TS, -math.inf)
        return functional.scaled_dot_product_attention(q_BNTK, k_BNSK, v_BNSK, attn_mask=bias)

    def _rotary(self, start: int, steps: int, like: Tensor) -> Tensor:
        """Return rotary factors (T, K/2) of `steps` steps from `start` on. Their cached table grows by doubling."""
        pairs = self.width // self.heads // 2
        table_SJ, dtype = self.rotary_SJ, like.dtype.to_complex()
        known = 0 if table_SJ is None or (table_SJ.dtype, table_SJ.device) != (dtype, like.device) else len(table_SJ)
        if table_SJ is None or known < start + steps:
            with torch.inference_mode(False):  # training may use a table made in inference mode
                table_SJ = rotary_table(_power_of_two(start + steps), pairs, like.device).to(dtype)
            self.rotary_SJ = table_SJ
        return table_SJ[start : start + steps]

    def _added_positions(self, start: int, steps: int, like: Tensor) -> Tensor:
        if self.position_SD is None:
            return sinusoids(start, steps, like)
        if start + steps > len(self.position_SD):
            raise ValueError(
                f"step {start + steps} is beyond the {len(self.position_SD)} learned positions; "
                f"set transformer:max_length={start + steps} or choose other positions"
            )
        return self.position_SD[start : start + steps]


def _causal(q_BNTK: Tensor, k_BNTK: Tensor, v_BNTK: Tensor) -> tuple[Tensor]:
    """Return equation (3) without bias or window, (B, T, D). Torch can differentiate the result twice."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        attended_BNTK = functional.scaled_dot_product_attention(q_BNTK, k_BNTK, v_BNTK, is_causal=True)
    return (attended_BNTK.transpose(1, 2).flatten(2),)


def _append(cache: Cache, k_BNTK: Tensor, v_BNTK: Tensor, window: int | None) -> Cache:
    """Return the cache with T more steps. If no gradient is needed, free slots are filled in place.

    Args:
        cache: The cache before the new steps.
        k_BNTK, v_BNTK: Keys and values of the new steps.
        window: Number of steps that attention reads, or None for all steps.
    """
    T, length, position = k_BNTK.shape[2], cache.length, cache.position + k_BNTK.shape[2]
    if length == 0:
        return Cache(_own_memory(k_BNTK), _own_memory(v_BNTK), T, position)
    if k_BNTK.requires_grad or cache.keys_BNSK.requires_grad:  # autograd needs the old values unchanged
        keep = _steps_to_keep(length, window)
        old_keys, old_values = (old[:, :, length - keep : length] for old in (cache.keys_BNSK, cache.values_BNSK))
        return Cache(torch.cat([old_keys, k_BNTK], 2), torch.cat([old_values, v_BNTK], 2), keep + T, position)
    keys_BNSK, values_BNSK, length, _ = _reserve(cache, T, window)
    keys_BNSK[:, :, length : length + T] = k_BNTK
    values_BNSK[:, :, length : length + T] = v_BNTK
    return Cache(keys_BNSK, values_BNSK, length + T, position)


def _own_memory(tensor: Tensor) -> Tensor:
    """Return the tensor, or a contiguous clone if the tensor is not contiguous or is only a part of its storage."""
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)


def _reserve(cache: Cache, T: int, window: int | None) -> Cache:
    """Return a cache with at least T free slots. If the cache must grow, steps outside the window are dropped."""
    keys_BNSK, values_BNSK, length, position = cache
    if length + T <= keys_BNSK.shape[2]:
        return cache
    keep = _steps_to_keep(length, window)
    slots = _power_of_two(keep + (T if window is None else max(T, window)))
    keys_BNSK, values_BNSK = (
        torch.cat([old[:, :, length - keep : length], old.new_empty(*old.shape[:2], slots - keep, old.shape[3])], 2)
        for old in (keys_BNSK, values_BNSK)
    )
    return Cache(keys_BNSK, values_BNSK, keep, position)


def _steps_to_keep(length: int, window: int | None) -> int:
    """Return the number of cached steps that the next step still reads."""
    return length if window is None else min(length, window - 1)


def _trim(cache: Cache, window: int | None) -> Cache:
    """Return the cache without the steps that no later step reads. If there are such steps, the result is a copy."""
    if window is None or cache.length < window:
        return cache
    keys_BNSK, values_BNSK = (
        old[:, :, cache.length - window + 1 : cache.length].clone() for old in (cache.keys_BNSK, cache.values_BNSK)
    )
    return Cache(keys_BNSK, values_BNSK, window - 1, cache.position)


def _power_of_two(minimum: int) -> int:
    """Return the smallest power of two that is at least `minimum`."""
    return 1 << (minimum - 1).bit_length()
