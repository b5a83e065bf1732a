"""Causal attention and its gradients, head by head. Equation numbers are those of `arch/kernels/training/attention.py`.

A head is one of B · N: head `n` of sequence `b` has the number b · N + n.
"""

# Shape suffixes: T queries, S keys, K head width

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from arch.kernels.training import attention


def attention_forward(args: attention.Forward, first: int, last: int) -> None:
    """Write what `attention.forward_rows` writes."""
    for head in range(first, last):
        b, n = divmod(head, args.N)
        l_TS = _logits(args.q[b, n], args.k[b, n])
        top_T = l_TS.amax(1)
        weights_TS = (l_TS - top_T[:, None]).exp()
        total_T = weights_TS.sum(1)
        of_head(args.result, b, n, args.N).copy_(weights_TS / total_T[:, None] @ args.v[b, n])  # (1)
        args.moments[b, n] = torch.stack([top_T, 1 / total_T], 1)


def attention_backward(args: attention.Backward, first: int, last: int) -> None:
    """Write what `attention.backward_rows` writes."""
    for head in range(first, last):
        b, n = divmod(head, args.N)
        q_TK, k_TK, v_TK = args.q[b, n], args.k[b, n], args.v[b, n]
        top_T, share_T = args.moments[b, n].unbind(1)
        p_TS = (_logits(q_TK, k_TK) - top_T[:, None]).exp() * share_T[:, None]
        a_TK, da_TK = of_head(args.result, b, n, args.N), of_head(args.d_result, b, n, args.N)
        dl_TS = p_TS * (da_TK @ v_TK.T - (da_TK * a_TK).sum(1, keepdim=True))  # (2)
        args.d_q[b, n] = dl_TS @ k_TK / math.sqrt(args.K)  # (3)
        args.d_k[b, n] = dl_TS.T @ q_TK / math.sqrt(args.K)
        args.d_v[b, n] = p_TS.T @ da_TK


def _logits(q_TK: Tensor, k_SK: Tensor) -> Tensor:
    l_TS = q_TK @ k_SK.T / math.sqrt(q_TK.shape[1])
    return l_TS.masked_fill(torch.ones_like(l_TS).triu(1) > 0, -math.inf)


def of_head(together: Tensor, b: int, n: int, heads: int) -> Tensor:
    """Return a view of the numbers of one head, (T, K).

    Args:
        together: Numbers of all heads, (B, T, N · K).
        b, n: Sequence and head.
        heads: N, the number of heads.
    """
    numbers_TNK: Tensor = together[b].unflatten(1, (heads, -1))
    return numbers_TNK[:, n]
