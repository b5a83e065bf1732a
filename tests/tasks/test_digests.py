"""Samples never change unnoticed: their hashes are stored beside the version of their task.

After a deliberate change raise the task's `version` and run, in the root of the repository,

    python -m tests.tasks.test_digests

which writes `digests.json` anew and refuses a changed hash under an unchanged version. The default text
is left out, as each release of Python words it a little differently.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from torch import Tensor

import tasks
from bench.validation import lengths_of
from tests.tasks.specs import SPECS, short

STORED = Path(__file__).with_name("digests.json")
DIGESTED = [spec for spec in SPECS if spec != "text"]
GRAIN = 1000
"""Real numbers are hashed to three decimals, so that the last bits of a processor's arithmetic do not matter."""


def digest_of(spec: str) -> dict[str, object]:
    task = tasks.build(spec)
    sha256 = hashlib.sha256()
    for length in lengths_of(task)[:2]:
        for split in ("train", "validation", "test"):
            batch = task.sample(tasks.generator(7, split), 5, length, split)
            for values in (batch.inputs, batch.targets, batch.mask):
                sha256.update(_bytes(values))
    return {"version": task.version, "sha256": sha256.hexdigest()}


def _bytes(values: Tensor) -> bytes:
    whole = (values * GRAIN).round() if values.is_floating_point() else values
    return whole.long().numpy().tobytes()


@pytest.mark.parametrize("spec", DIGESTED, ids=short)
def test_samples_are_those_of_the_stored_version(spec: str) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert digest_of(spec) == stored[short(spec)], "samples changed: see this file's docstring"


def test_nothing_stored_is_left_over() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert sorted(stored) == sorted(short(spec) for spec in DIGESTED)


def write() -> None:
    """Stores the hashes of today's samples."""
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    fresh = {short(spec): digest_of(spec) for spec in DIGESTED}
    for spec, digest in fresh.items():
        before = stored.get(spec, digest)
        if digest != before and digest["version"] == before["version"]:
            raise SystemExit(f"{spec} samples other data than before: raise its version, {digest['version']}, first")
    STORED.write_text(json.dumps(fresh, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {len(fresh)} digests to {STORED}")


if __name__ == "__main__":
    write()
