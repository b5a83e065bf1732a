"""The optimizer of a training protocol."""

from __future__ import annotations

import torch

import arch
from results import Protocol


def optimizer_of(model: arch.SequenceModel, protocol: Protocol) -> torch.optim.Optimizer:
    """Return Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019) if the protocol sets a weight decay."""
    if protocol.weight_decay:
        return torch.optim.AdamW(
            model.parameters(), lr=protocol.learning_rate, weight_decay=protocol.weight_decay, fused=True
        )
    return torch.optim.Adam(model.parameters(), lr=protocol.learning_rate, fused=True)
