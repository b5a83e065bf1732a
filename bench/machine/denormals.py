"""Denormal numbers: whether the processor can flush them to zero, and whether this thread does."""

from __future__ import annotations

import torch


def can_flush() -> bool:
    """Return whether this processor can flush denormal numbers to zero. The call restores the current setting."""
    was_flushing = flushes_denormals()
    can = bool(torch.set_flush_denormal(True))
    torch.set_flush_denormal(was_flushing)
    return can


def flushes_denormals() -> bool:
    """Compute a denormal number, and return whether this thread flushes the result to zero."""
    return (torch.tensor([1e-38], dtype=torch.float32, device="cpu") * 1e-3).item() == 0.0
