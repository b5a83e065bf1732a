"""The recurrence of matrix memories: linear attention, gated linear attention, delta rules and their relatives.

Each head keeps a K×V matrix S, for keys of K and values of V numbers. One step decays it, corrects it by what it reads
for a key, writes and reads:

    u_t = S_(t-1)ᵀ r_t                                  (1)  correction read; absent if there is no correction
    S_t = diag(a_t) S_(t-1) + p_t u_tᵀ + s_t w_t v_tᵀ   (2)  a_t = 1 if there is no decay, and s_t = 1 by default
    y_t = S_tᵀ q_t                                      (3)

An architecture chooses q, w, v, a, r, p and s. Linear attention has w = φ(k) and q = φ(q) (Katharopoulos et al. 2020).
The delta rule has r = w = k, s = β and p = -s w (Yang et al. 2024). If it decays by α first, r = α k.

    FLOPs per step and head: 2 K V for each of write and read, 4 K V for a correction              (4)
    numbers moved per step and head: K V read and K V written                                      (5)
"""

# Shape suffixes: B batch, T time, N heads, K key width, V value width, Q steps that are read, M = B · N

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from arch.core.backend import Backend, is_fused


def scan(
    q_BQNK: Tensor,
    w_BTNK: Tensor,
    v_BTNV: Tensor,
    S_BNKV: Tensor,
    *,
    decay: Tensor | None = None,
    correction: tuple[Tensor, Tensor | None] | None = None,
    strength: Tensor | None = None,
    reads_every: int = 1,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Return the reads y (B, Q, N, V) of T ≥ 1 steps and the memory after the last one, (B, N, K, V).

    No argument is changed. The kernel reads tensors in any layout.

    Args:
        q_BQNK: Queries q of the steps that are read. If all heads share them and the keys, (B, Q, 1, K): no kernel
            reads those here, see `arch/mamba2.py`.
        w_BTNK: Keys w of the writes, or (B, T, 1, K).
        v_BTNV: Values v of the writes.
        S_BNKV: Memory before the first step.
        decay: Factors a (B, T, N, K), or (B, T, N, 1) if all keys of a head decay equally. None keeps everything.
        correction: The pair r and p, each (B, T, N, K), or None. In the pair, None stands for p = -s w.
        strength: Factors s (B, T, N, 1) of the writes, or None for 1.
        reads_every: Number of steps per read. Steps reads_every, 2 · reads_every, … are read: T is a multiple of it,
            and Q = T / reads_every.
        backend: `auto`, `reference` or `fused`, see `arch.core.backend`. `auto` runs the equations for a single step.

    Raises `ValueError` if `backend` is `fused` but the kernel cannot run.
    """
    r_BTNK, p_BTNK = (None, None) if correction is None else correction
    inputs = (q_BQNK, w_BTNK, v_BTNV, S_BNKV, decay, r_BTNK, p_BTNK, strength)
    assert w_BTNK.shape[1] == q_BQNK.shape[1] * reads_every
    is_batch = w_BTNK.dim() == v_BTNV.dim() == 4 and w_BTNK.numel() > 0  # the equations raise errors of their own
    if not is_batch or not is_fused(backend, _shapes(inputs, reads_every), q_BQNK.shape[1]):
        return by_equations(*inputs, reads_every=reads_every)
    from arch.kernels.training import matrix_memory

    def reference(*present: Tensor) -> tuple[Tensor, ...]:
        given = iter(present)
        own: Any = (None if x is None else next(given) for x in inputs)
        return by_equations(*own, reads_every=reads_every)

    y_BQNV, last_BNKV = matrix_memory.scan(reference, reads_every, *inputs)
    return y_BQNV, last_BNKV


def by_equations(
    q_BQNK: Tensor,
    w_BTNK: Tensor,
    v_BTNV: Tensor,
    S_BNKV: Tensor,
    decay: Tensor | None,
    r_BTNK: Tensor | None,
    p_BTNK: Tensor | None,
    strength: Tensor | None,
    *,
    reads_every: int,
) -> tuple[Tensor, Tensor]:
    """Return what `scan` returns, by equations (1) to (3) in plain torch. The arguments are those of `scan`."""
    B, N = S_BNKV.shape[:2]
    q_BQNK, w_BTNK = (x.expand(-1, -1, N, -1) for x in (q_BQNK, w_BTNK))
    w_BTNK = w_BTNK if strength is None else strength * w_BTNK
    if r_BTNK is not None and p_BTNK is None:
        p_BTNK = -w_BTNK
    S_MKV, reads = S_BNKV.flatten(0, 1), []
    q_QM1K, r_TM1K, v_TM1V = (_steps(x, -2) for x in (q_BQNK, r_BTNK, v_BTNV))
    a_TMK1, p_TMK1, w_TMK1 = (_steps(x, -1) for x in (decay, p_BTNK, w_BTNK))
    for t in range(w_BTNK.shape[1]):
        kept_MKV = S_MKV if decay is None else a_TMK1[t] * S_MKV
        if r_BTNK is not None:
            kept_MKV = torch.baddbmm(kept_MKV, p_TMK1[t], torch.bmm(r_TM1K[t], S_MKV))  # (1)
        S_MKV = torch.baddbmm(kept_MKV, w_TMK1[t], v_TM1V[t])  # (2)
        if (t + 1) % reads_every == 0:
            reads.append(torch.bmm(q_QM1K[t // reads_every], S_MKV))  # (3)
    y_QM1V = torch.stack(reads)
    return y_QM1V.squeeze(2).unflatten(1, (B, N)).transpose(0, 1), S_MKV.unflatten(0, (B, N))


def _steps(x_BTNK: Tensor | None, dim: int) -> tuple[Tensor, ...]:
    """Return the vectors of each step for all streams and heads, as rows (M, 1, K) or columns (M, K, 1)."""
    return () if x_BTNK is None else x_BTNK.transpose(0, 1).flatten(1, 2).unsqueeze(dim).unbind()


def flops_per_step(keys: int, values: int, heads: int, *, corrects: bool = False, reads: bool = True) -> int:
    """Return the FLOPs of one step of one stream by (4).

    Args:
        keys: Key width K of a head.
        values: Value width V of a head.
        heads: Number of heads N.
        corrects: Whether there is a correction.
        reads: Whether the step is read.
    """
    return 2 * keys * values * heads * (1 + 2 * corrects + reads)


def _shapes(inputs: tuple[Tensor | None, ...], reads_every: int) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield each tensor of q, w, v, S, decay, r, p and s that is given, with the shape that the kernel needs."""
    w_BTNK, v_BTNV, decay = inputs[1], inputs[2], inputs[4]
    assert w_BTNK is not None and v_BTNV is not None
    (B, T, N, V), K = v_BTNV.shape, w_BTNK.shape[-1]
    decays = 1 if decay is not None and decay.shape[-1] == 1 else K
    keys, values = ((B, T // reads_every, N, K), (B, T, N, K)), ((B, T, N, V), (B, N, K, V))
    shapes = (*keys, *values, (B, T, N, decays), (B, T, N, K), (B, T, N, K), (B, T, N, 1))
    for tensor, shape in zip(inputs, shapes, strict=True):
        if tensor is not None:
            yield tensor, shape
