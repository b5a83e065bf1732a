"""The optimizer of a training protocol."""

from __future__ import annotations

import torch

import arch
from results import Protocol


def optimizer_of(model: arch.SequenceModel, protocol: Protocol) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015), with decoupled weight decay (Loshchilov & Hutter 2019) where there is any."""
    if protocol.weight_decay:
        return torch.optim.AdamW(
            model.parameters(), lr=protocol.learning_rate, weight_decay=protocol.weight_decay, fused=True
        )
    return torch.optim.Adam(model.parameters(), lr=protocol.learning_rate, fused=True)
