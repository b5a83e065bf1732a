"""Flush denormal numbers to zero, and check that the processor does."""

from __future__ import annotations

import torch


def can_flush() -> bool:
    """Whether denormal numbers can be flushed to zero here; leaves it as it was."""
    import torch

    was_flushing = flushes_denormals()
    can = bool(torch.set_flush_denormal(True))
    torch.set_flush_denormal(was_flushing)
    return can


def flushes_denormals() -> bool:
    """Whether this thread flushes denormal numbers to zero, found by making one."""
    return (torch.tensor([1e-38], dtype=torch.float32) * 1e-3).item() == 0.0
