"""The parts of a projection, as layers describe them and kernels read them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Activation = Literal["none", "sigmoid", "feature"]
"""A function of the numbers of a part. `feature` is φ(x) = elu(x) + 1 (Katharopoulos et al. 2020)."""

MAX_PARTS = 5
"""Largest number of parts of one projection."""


class Part(NamedTuple):
    """One part of a projection.

    Args:
        width: Number of its rows of W.
        activation: Function of its numbers.
        heads: Number of heads N, or 0 if the part is not split into heads. `width` is a multiple of it.
        counts: Whether a one follows the numbers of each head.
        rotates: Whether each pair of adjacent numbers of a head is multiplied by a complex factor of its step. Such a
            part has heads of even width, no activation, and no ones.
    """

    width: int
    activation: Activation = "none"
    heads: int = 0
    counts: bool = False
    rotates: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the part of one step: (width,), or (N, K) if it is split into heads."""
        return (self.width,) if self.heads == 0 else (self.heads, self.width // self.heads + self.counts)
