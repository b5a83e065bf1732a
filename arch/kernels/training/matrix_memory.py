"""Matrix memories over a whole sequence: equations (1) to (3) of `arch/core/matrix_memory.py`, and their derivatives.

d· is the derivative of the loss with respect to ·. dS collects the contributions of later steps. At step t:

    dq  = S_t dy,    dS  ← dS + q dyᵀ                          (4)  if the step is read
    dw  = s dS v,    dv  = s dSᵀ w                             (5)
    dp  = dS u,      du  = dSᵀ p,    dr = S_(t-1) du           (6)
    da  = Σ_v dS ⊙ S_(t-1)                                     (7)  summed over the keys too if they decay equally
    dS  ← diag(a) dS + r duᵀ                                   (8)
    ds  = wᵀ dS (v - u)                                        (9)  without u if p is given

The forward pass runs LANES values at a time. It stores the memory every √T steps or so. From there, the backward pass
computes the memories of the steps in between again, so that no array has T · K · V numbers. It runs with the keys
along the lanes: S and dS are transposed. Then only dv and du need sums over lanes. Without a correction, (8) waits for
the next pass over dS. If p = -s w, as in a delta rule, the step writes s w (v - u)ᵀ, and du is -dv.
"""

# Shape suffixes: B batch, T time, N heads, K key width, V value width, Q steps that are read, C checkpoints

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arch.kernels.cells.matrix_memory import read, write, write_and_read, write_corrected, write_corrected_and_read
from arch.kernels.runtime.jit import ROWS_SIGNATURE, arguments_at, kernel
from arch.kernels.runtime.launch import (
    Reference,
    needs_gradients,
    needs_reference,
    reference_gradients,
    run_rows,
    without_autocast,
)
from arch.kernels.runtime.threads import TILED
from arch.kernels.simd.matvec import floats, keep, load_if, memory_of, row_sums
from arch.kernels.simd.reduction import lane_sum
from arch.kernels.simd.scratch import empty
from arch.kernels.simd.transpose import transpose
from arch.kernels.simd.vector import LANES, first_or, fma, load, load_first, splat, store, store_first
from arch.kernels.training.heads.memory_step import (
    copy_padded,
    decay_of,
    prefetch_steps,
    step_back,
    whole_vectors,
    write_step,
    written_values,
)

MIN_SEGMENT = 16
"""Minimum number of steps from one checkpoint to the next."""
PREFETCHED_STEPS = 4
"""Number of steps that are prefetched at once, because neighbouring steps share cache lines."""


class Sizes(NamedTuple):
    """The sizes that both passes read.

    Args:
        T, B, N, K, V: Steps, batch size, heads, key width, value width.
        decays: Length of the decay: K, 1, or 0 if there is none.
        corrects: Whether there is a correction.
        scales: Whether the writes have strengths.
        reads_every: Number of steps per read.
        segment: Number of steps from one checkpoint to the next.
    """

    T: int
    B: int
    N: int
    K: int
    V: int
    decays: int
    corrects: bool
    scales: bool
    reads_every: int
    segment: int


class Forward(NamedTuple):
    """Arguments of `forward_rows`.

    Args:
        q, w, v: Queries (B, Q, N, K), keys (B, T, N, K) and values (B, T, N, V).
        S_0: Memory before the first step, (B, N, K, V).
        a: Decay (B, T, N, K) or (B, T, N, 1), or None.
        r, p: Vectors of the correction (B, T, N, K), or None. p is None if it is -s w.
        s: Strengths (B, T, N, 1), or None.
        y: Reads (B, Q, N, V), written.
        S_T: Memory after the last step, (B, N, K, V), written.
        u: What the correction read (B, T, N, V), written, or None if there is no correction.
        checkpoints: Memory before every `segment`-th step (B, N, C, K, V), written, or None if no gradient is needed.
        T, B, N, K, V, decays, corrects, scales, reads_every, segment: See `Sizes`.
    """

    q: Tensor
    w: Tensor
    v: Tensor
    S_0: Tensor
    a: Tensor | None
    r: Tensor | None
    p: Tensor | None
    s: Tensor | None
    y: Tensor
    S_T: Tensor
    u: Tensor | None
    checkpoints: Tensor | None
    T: int
    B: int
    N: int
    K: int
    V: int
    decays: int
    corrects: bool
    scales: bool
    reads_every: int
    segment: int


class Backward(NamedTuple):
    """Arguments of `backward_rows`.

    Args:
        q, w, v, a, r, p, s, u, checkpoints: As for `Forward`.
        d_y, d_S: Gradients of the reads and of the last memory.
        d_q, d_w, d_v, d_S_0, d_a, d_r, d_p, d_s: Gradients of the inputs, written. None for an input that is None, and
            for a decay that does not learn.
        T, B, N, K, V, decays, corrects, scales, reads_every, segment: See `Sizes`.
    """

    q: Tensor
    w: Tensor
    v: Tensor
    a: Tensor | None
    r: Tensor | None
    p: Tensor | None
    s: Tensor | None
    u: Tensor | None
    checkpoints: Tensor
    d_y: Tensor
    d_S: Tensor
    d_q: Tensor
    d_w: Tensor
    d_v: Tensor
    d_S_0: Tensor
    d_a: Tensor | None
    d_r: Tensor | None
    d_p: Tensor | None
    d_s: Tensor | None
    T: int
    B: int
    N: int
    K: int
    V: int
    decays: int
    corrects: bool
    scales: bool
    reads_every: int
    segment: int


@kernel(ROWS_SIGNATURE)
def forward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write reads, last memory, `u` and checkpoints of rows `first` to `last` of the batch."""
    args = arguments_at(record, Forward)
    T, N, K, V, decays, segment = args.T, args.N, args.K, args.V, args.decays, args.segment
    q, w, v, a, r, p = floats(args.q), floats(args.w), floats(args.v), floats(args.a), floats(args.r), floats(args.p)
    S_0, S_T, y, u, kept = floats(args.S_0), floats(args.S_T), floats(args.y), floats(args.u), floats(args.checkpoints)
    reads_every, C = args.reads_every, (T + segment - 1) // segment
    corrects, has_p = args.corrects != 0, args.p != 0
    strengths, room, heads = floats(args.s), empty(K * LANES), PREFETCHED_STEPS * N
    block = memory_of(room)
    for head in range(first * N, last * N):
        row, n = head // N, head % N
        for value in range(0, V, LANES):
            count = V - value
            for k in range(K):
                store(block, k * LANES, load_first(S_0, (head * K + k) * V + value, count))
            read_at, skipped, kept_at, until_kept = row * (T // reads_every), 0, head * C, 0
            for t in range(T):
                if args.checkpoints != 0 and until_kept == 0:
                    for k in range(K):
                        store_first(kept, (kept_at * K + k) * V + value, count, load(block, k * LANES))
                    kept_at, until_kept = kept_at + 1, segment
                until_kept, skipped = until_kept - 1, skipped + 1
                step = (row * T + t) * N + n
                keys, a_at, values = step * K, step * decays, load_first(v, step * V + value, count)
                if n == 0 and value == 0 and t % PREFETCHED_STEPS == 0:
                    arrays = (q, w, v, y, a, r, p, u)
                    prefetch_steps(arrays, step + MIN_SEGMENT * N, decays, corrects, has_p, heads, K, V)
                strength = splat(strengths[step]) if args.scales != 0 else splat(1.0)
                of_q = (read_at * N + n) * K
                seen, result, is_read = splat(0.0), splat(0.0), skipped == reads_every
                if corrects:
                    seen = read(block, 0, LANES, LANES, r, keys, K)  # (1)
                    store_first(u, step * V + value, count, seen)
                if has_p:
                    corrected = (p, keys, seen, w, keys, strength * values)
                    if is_read:
                        result = write_corrected_and_read(block, 0, LANES, a, a_at, decays, *corrected, q, of_q, K)
                    else:
                        write_corrected(block, 0, LANES, LANES, a, a_at, decays, *corrected, K)  # (2)
                elif is_read:
                    vectors = (w, keys, strength * (values - seen), q, of_q, K)
                    if decays == 0:
                        result = write_and_read(block, 0, LANES, a, a_at, 0, *vectors)  # (2), (3)
                    elif decays == 1:
                        result = write_and_read(block, 0, LANES, a, a_at, 1, *vectors)
                    else:
                        result = write_and_read(block, 0, LANES, a, a_at, 2, *vectors)
                else:
                    write(block, 0, LANES, LANES, a, a_at, decays, w, keys, strength * (values - seen), K)  # (2)
                if is_read:
                    store_first(y, (read_at * N + n) * V + value, count, result)
                    read_at, skipped = read_at + 1, 0
            for k in range(K):
                store_first(S_T, (head * K + k) * V + value, count, load(block, k * LANES))
    keep(room)


@kernel(ROWS_SIGNATURE)
def backward_rows(record, first, last):  # type: ignore[no-untyped-def]
    """Write the gradients of the inputs for rows `first` to `last` of the batch."""
    args = arguments_at(record, Backward)
    T, N, K, V, decays, segment = args.T, args.N, args.K, args.V, args.decays, args.segment
    q, w, v, a, r, p = floats(args.q), floats(args.w), floats(args.v), floats(args.a), floats(args.r), floats(args.p)
    u, kept, d_y, d_S = floats(args.u), floats(args.checkpoints), floats(args.d_y), floats(args.d_S)
    d_q, d_w, d_v, d_S_0 = floats(args.d_q), floats(args.d_w), floats(args.d_v), floats(args.d_S_0)
    d_a, d_r, d_p, d_s = floats(args.d_a), floats(args.d_r), floats(args.d_p), floats(args.d_s)
    strengths, scales = floats(args.s), args.scales != 0
    corrects, has_p, reads_every = args.corrects != 0, args.p != 0, args.reads_every
    replaces, wants_a = corrects and not has_p, args.d_a != 0
    C, padded = (T + segment - 1) // segment, whole_vectors(K)
    area, slack, heads = V * padded, LANES * padded, PREFETCHED_STEPS * N  # `transpose` writes whole blocks
    held = (empty((segment + 1) * area + slack), empty(area + slack), empty(padded), empty(V + LANES), empty(V + LANES))
    S, dS = memory_of(held[0]), memory_of(held[1])  # S: the memory before and after each step of a segment
    key, d_u, written = memory_of(held[2]), memory_of(held[3]), memory_of(held[4])
    for head in range(first * N, last * N):
        row, n = head // N, head % N
        transpose(d_S, head * K * V, K, V, dS, 0, padded)
        for begin in range((C - 1) * segment, -1, -segment):
            end, ahead = min(T, begin + segment), N * (-segment if begin > 0 else T + (C - 1) * segment)
            transpose(kept, (head * C + begin // segment) * K * V, K, V, S, 0, padded)
            for t in range(begin, end):
                step, here = (row * T + t) * N + n, (t - begin) * area
                if n == 0 and (t - begin) % PREFETCHED_STEPS == 0:
                    of_inputs, of_gradients = (q, w, v, d_y, a, r, p, u), (d_q, d_w, d_v, d_v, d_a, d_r, d_p, u)
                    prefetch_steps(of_inputs, step + ahead, decays, corrects, has_p, heads, K, V)
                    wanted = decays if wants_a else 0
                    prefetch_steps(of_gradients, step + ahead, wanted, corrects, has_p, heads, K, V)
                strength = splat(strengths[step]) if scales else splat(1.0)
                written_values(v, u, step * V, V, replaces, strength, written)
                vectors = (a, step * decays, decays, w, step * K, written, p, step * K, has_p, u, step * V)
                write_step(S, here, here + area, *vectors, K, V, padded)
            for t in range(end - 1, begin - 1, -1):
                step, here = (row * T + t) * N + n, (t - begin) * area
                strength = splat(strengths[step]) if scales else splat(1.0)
                written_values(v, u, step * V, V, replaces, strength, written)
                is_read, read_step = (t + 1) % reads_every == 0, row * (T // reads_every) + t // reads_every
                at, of_a = read_step * N + n, splat(0.0)
                q_at, w_at = at * K, step * K
                for k in range(0, K, LANES):
                    count, later = K - k, splat(1.0)
                    if t < T - 1 and not corrects:
                        later = decay_of(a, (step + N) * decays, decays, k, count)
                    of_q = load_if(is_read, q, q_at + k, count)
                    given = (dS, later, of_q, d_y, at * V, S, here, here + area, written, u, step * V, V, k, padded)
                    if wants_a:
                        dq, dw, dp, da = step_back(*given, True, True) if has_p else step_back(*given, False, True)
                    else:
                        dq, dw, dp, da = step_back(*given, True, False) if has_p else step_back(*given, False, False)
                    if is_read:
                        store_first(d_q, q_at + k, count, dq)
                    store_first(d_w, w_at + k, count, dw)
                    if wants_a and decays > 1:
                        store_first(d_a, step * K + k, count, da)
                    if has_p:
                        store_first(d_p, step * K + k, count, dp)
                    store(key, k, load_first(w, w_at + k, count))
                    of_a += da
                if wants_a and decays == 1:
                    d_a[step] = lane_sum(of_a)
                of_strength = splat(0.0)
                for value in range(0, V, LANES):
                    count = V - value
                    sums = row_sums(dS, value * padded, LANES, key, 0, padded)  # the last lanes sum what follows dS
                    of_value = first_or(sums, count, splat(0.0))
                    store_first(d_v, step * V + value, count, strength * of_value)  # (5)
                    if replaces:
                        store(d_u, value, -(strength * of_value))
                    if scales:
                        difference = load_first(v, step * V + value, count)
                        difference = difference - load_if(replaces, u, step * V + value, count)
                        of_strength = fma(of_value, difference, of_strength)
                if scales:
                    d_s[step] = lane_sum(of_strength)  # (9)
                if not corrects:
                    continue
                if has_p:
                    copy_padded(p, step * K, K, padded, key)
                    for value in range(0, V, LANES):
                        store(d_u, value, row_sums(dS, value * padded, LANES, key, 0, padded))  # (6)
                for k in range(0, K, LANES):
                    count, dr = K - k, splat(0.0)
                    kept_share, of_r = decay_of(a, step * decays, decays, k, count), load_first(r, step * K + k, count)
                    for value in range(V):
                        place, du = value * padded + k, splat(d_u[value])
                        store(dS, place, fma(of_r, du, kept_share * load(dS, place)))  # (8)
                        dr = fma(load(S, here + place), du, dr)  # (6)
                    store_first(d_r, step * K + k, count, dr)
        for k in range(K):
            kept_share = np.float32(1)
            if not corrects and decays > 0:
                kept_share = a[(row * T * N + n) * decays + (k if decays > 1 else 0)]
            for value in range(V):
                d_S_0[(head * K + k) * V + value] = kept_share * dS[value * padded + k]  # (8) of the first step
    keep(held)


class Scan(torch.autograd.Function):
    """The map from the inputs to the reads (B, Q, N, V) and the last memory (B, N, K, V).

    Its arguments are q, w, v and S, then a if there is a decay, r and p if there is a correction, and s if it is given.
    """

    @staticmethod
    def forward(ctx: Any, reference: Reference, sizes: Sizes, saves: bool, *inputs: Tensor) -> tuple[Tensor, ...]:
        q_BQNK, w_BTNK, v_BTNV, S_BNKV = inputs[:4]
        B, T, N, V = v_BTNV.shape
        y_BQNV = w_BTNK.new_empty(*q_BQNK.shape[:2], N, V)
        last_BNKV = torch.empty_like(S_BNKV)
        u_BTNV = torch.empty_like(v_BTNV) if sizes.corrects else None
        C = -(-T // sizes.segment)
        checkpoints_BNCKV = w_BTNK.new_empty(B, N, C, sizes.K, V) if saves else None
        written = (y_BQNV, last_BNKV, u_BTNV, checkpoints_BNCKV)
        arguments = Forward._make([*_all(sizes, inputs), *written, *sizes])
        run_rows(forward_rows, arguments, B, _work(sizes))
        ctx.reference, ctx.sizes = reference, sizes
        ctx.save_for_backward(*inputs, u_BTNV, checkpoints_BNCKV)
        return y_BQNV, last_BNKV

    @staticmethod
    @without_autocast
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, u_BTNV, checkpoints_BNCKV = ctx.saved_tensors
        if needs_reference(*gradients):
            return None, None, None, *reference_gradients(ctx.reference, inputs, gradients)
        sizes = ctx.sizes
        given = _all(sizes, inputs)
        q_BQNK, w_BTNK, v_BTNV, _, *optional = given
        found = [None if tensor is None else torch.empty_like(tensor) for tensor in given]
        if sizes.decays and not ctx.needs_input_grad[7]:
            found[4] = None
        kept = (u_BTNV, checkpoints_BNCKV)
        arguments = Backward._make([q_BQNK, w_BTNK, v_BTNV, *optional, *kept, *gradients, *found, *sizes])
        run_rows(backward_rows, arguments, sizes.B, 3 * _work(sizes))
        present = [gradient for gradient, tensor in zip(found, given, strict=True) if tensor is not None]
        return None, None, None, *present


def _all(sizes: Sizes, inputs: Any) -> list[Any]:
    """Return q, w, v, S, a, r, p and s, with None for those that are absent."""
    given, others = iter(inputs), (sizes.decays > 0) + sizes.corrects + sizes.scales
    has_p = len(inputs) > 4 + others
    present = (True, True, True, True, sizes.decays > 0, sizes.corrects, has_p, sizes.scales)
    return [next(given) if is_present else None for is_present in present]


def _work(sizes: Sizes) -> int:
    """Return the work of the forward pass, see `run_rows`."""
    return sizes.T * sizes.B * sizes.N * sizes.K * sizes.V // TILED


def scan(reference: Reference, reads_every: int, *inputs: Tensor | None) -> tuple[Tensor, ...]:
    """Return the reads (B, Q, N, V) and the last memory (B, N, K, V), by `Scan`.

    Args:
        reference: Function of the inputs that are not None. It computes the same results in plain torch, for second
            derivatives.
        reads_every: Number of steps per read.
        inputs: q (B, Q, N, K), w (B, T, N, K), v (B, T, N, V), S (B, N, K, V), a (B, T, N, K) or (B, T, N, 1) or None,
            r (B, T, N, K) or None, p like r, or None if it is -s w, and s (B, T, N, 1) or None.
    """
    present = [tensor.contiguous() for tensor in inputs if tensor is not None]
    _, w_BTNK, v_BTNV, _, a_BTNK, r_BTNK, _, s_BTN1 = inputs
    assert w_BTNK is not None and v_BTNV is not None
    (B, T, N, V), K = v_BTNV.shape, w_BTNK.shape[-1]
    decays, segment = 0 if a_BTNK is None else a_BTNK.shape[-1], max(MIN_SEGMENT, math.isqrt(T))
    sizes = Sizes(T, B, N, K, V, decays, r_BTNK is not None, s_BTN1 is not None, reads_every, segment)
    outputs: tuple[Tensor, ...] = Scan.apply(reference, sizes, needs_gradients(*present), *present)  # type: ignore[no-untyped-call]
    return outputs
