"""The tasks under test: every task with its defaults, and variants that exercise other code paths."""

from collections.abc import Collection
from pathlib import Path

import pytest

import tasks
from bench.validation import lengths_to_check

__all__ = ["for_every_task", "lengths_to_check"]

SAMPLE = Path(__file__).with_name("sample.txt")
VARIANTS = [
    "adding:marks=anywhere",
    "adding:preset=hs1997",
    "brackets:resampled=1",
    "chaotic_series:system=lorenz,horizon=40",
    "copy_memory:symbols=3,alphabet=4",
    "copy_memory:preset=tcn",
    "cycle_navigation:places=8",
    "delayed_copy:delay=3,alphabet=2",
    "digits:permuted=True",
    "dyck:types=6,depth=2",
    "first_last:rule=equal",
    "first_last:rule=product",
    "flip_flop:ignore=0",
    "group_word:group=A5",
    "group_word:group=Z60",
    "group_word:group=S3,generators=2",
    "group_word:group=D4,generators=3,every_step=False",
    "induction:vocabulary=2",
    "k_hop:hops=1,alphabet=3",
    "k_hop:hops=5",
    "listops:depth=3,arguments=4,shortest=0.1",
    "modular_arithmetic:modulus=4",
    "nested_arithmetic:modulus=3,multiply=False",
    "parity:every_step=True",
    "recall:filler=random,pairs=2,power=1,vocabulary=12",
    "recall:preset=overwriting",
    "recall:preset=compositional,noise=5",
    "recall:preset=fuzzy",
    "selective_copy:alphabet=3,symbols=2",
    "temporal_order:symbols=3",
    f"text:path={SAMPLE}",
    "two_sequences:variant=3b,informative=1",
    "two_sequences:variant=3c",
]
SPECS = [*tasks.names(), *VARIANTS]


def for_every_task(slow: Collection[str] = ()) -> pytest.MarkDecorator:
    """Return a mark that runs a test once per task and variant. The test receives the built task as `task`.

    The test is marked as slow for the specs in `slow`.
    """
    built = [
        pytest.param(tasks.build(spec), id=short(spec), marks=[pytest.mark.slow] if spec in slow else [])
        for spec in SPECS
    ]
    return pytest.mark.parametrize("task", built)


def short(spec: str) -> str:
    """Return the spec without the folder of the sample text."""
    return spec.replace(f"{SAMPLE.parent}/", "")
