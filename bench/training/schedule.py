"""Numbers of training steps and sequences, and the learning-rate schedule."""

from __future__ import annotations

import math

from results import Protocol


def steps_per_epoch(protocol: Protocol) -> int | None:
    """Return the number of steps per pass over the fixed training set, or None if batches are sampled afresh."""
    return None if protocol.train_sequences is None else math.ceil(protocol.train_sequences / protocol.batch)


def total_steps(protocol: Protocol) -> int:
    """Return the number of training steps if training does not stop early; 0 for untrained cases."""
    if not protocol.trains:
        return 0
    if protocol.steps is not None:
        return protocol.steps
    per_epoch = steps_per_epoch(protocol)
    assert per_epoch is not None and protocol.epochs is not None
    return per_epoch * protocol.epochs


def warmup_steps(protocol: Protocol) -> int:
    """Return the number of steps over which the learning rate rises."""
    return protocol.warmup_steps or round(protocol.warmup_share * total_steps(protocol))


def learning_rate_factor(protocol: Protocol, step: int, learning_rate: float | None = None) -> float:
    """Return the factor that multiplies the learning rate at `step`, counted from 0.

    Warm-up is linear. The cosine schedule falls over all steps, including the warm-up, to the final learning rate of
    the protocol. The halving schedule halves the factor every `halve_every` epochs. If batches are sampled afresh, each
    step counts as an epoch.

    Args:
        protocol: The training protocol.
        step: The number of steps taken before.
        learning_rate: The highest rate of the schedule; None for that of the protocol.
    """
    warmup = warmup_steps(protocol)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if protocol.schedule == "cosine":
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps(protocol))))
        rate = protocol.learning_rate if learning_rate is None else learning_rate
        final = 0.0 if rate is None else protocol.final_learning_rate / rate
        return final + (1 - final) * falling
    if protocol.schedule == "halving":
        per_epoch = steps_per_epoch(protocol) or 1
        return 0.5 ** (step // per_epoch // protocol.halve_every)
    return 1.0


def sequences_after(protocol: Protocol, step: int) -> int:
    """Return the number of training sequences of the first `step` steps. The last batch of an epoch may be smaller."""
    per_epoch = steps_per_epoch(protocol)
    if per_epoch is None:
        return step * protocol.batch
    assert protocol.train_sequences is not None
    epochs, rest = divmod(step, per_epoch)
    return epochs * protocol.train_sequences + rest * protocol.batch
