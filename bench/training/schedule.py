"""Numbers of training steps and the learning-rate schedule."""

from __future__ import annotations

import math

from results import Protocol


def steps_per_epoch(protocol: Protocol) -> int | None:
    """Return the number of steps per pass over the fixed training set, or None if batches are sampled afresh."""
    return None if protocol.train_sequences is None else math.ceil(protocol.train_sequences / protocol.batch)


def total_steps(protocol: Protocol) -> int:
    """Return the number of training steps if training does not stop early."""
    if protocol.steps is not None:
        return protocol.steps
    per_epoch = steps_per_epoch(protocol)
    assert per_epoch is not None and protocol.epochs is not None
    return per_epoch * protocol.epochs


def learning_rate_factor(protocol: Protocol, step: int) -> float:
    """Return the factor that multiplies the learning rate at `step`, counted from 0.

    Warm-up is linear. The cosine schedule falls to zero over all steps, including the warm-up. The halving schedule
    halves the factor every `halve_every` epochs. If batches are sampled afresh, each step counts as an epoch.
    """
    if step < protocol.warmup_steps:
        return (step + 1) / (protocol.warmup_steps + 1)
    if protocol.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps(protocol))))
    if protocol.schedule == "halving":
        per_epoch = steps_per_epoch(protocol) or 1
        return 0.5 ** (step // per_epoch // protocol.halve_every)
    return 1.0
