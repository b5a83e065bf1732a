"""How a new LRU layer is drawn near the limits of float32."""

# Shape suffixes: N complex states

from __future__ import annotations

from typing import Any

import torch

import arch


def test_a_ring_of_lru_near_1_is_drawn_exactly() -> None:
    """Check |a|² and γ² = 1 - |a|² of a ring so thin that rounding of |a| would show."""
    low, high = 0.9999**2, 0.99995**2
    layer: Any = arch.get("lru").layer(256, 256, r_min=0.9999, r_max=0.99995)
    lost_N = -torch.expm1(-2 * layer.nu_N.double().exp())
    assert 1 - high < lost_N.min() * 1.001 and lost_N.max() < 1.001 * (1 - low)
    assert abs(lost_N.mean() - (1 - (low + high) / 2)) < 0.1 * (high - low)
    torch.testing.assert_close((2 * layer.gamma_log_N.double()).exp(), lost_N, rtol=1e-5, atol=0)
