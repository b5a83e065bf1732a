"""Sampled data changes only with a new task version: `digests.json` stores a version and a hash for each spec.

After a deliberate change, raise the task's `version` and run this command in the root of the repository:

    python -m tests.tasks.test_digests

The command rewrites `digests.json`, but fails if a hash has changed and the version has not. The default text is
excluded, because this text differs slightly between Python releases.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from torch import Tensor

import tasks
from bench.validation import lengths_to_check
from tests.tasks.specs import SPECS, short

STORED = Path(__file__).with_name("digests.json")
DIGESTED = [spec for spec in SPECS if spec != "text"]
DECIMALS = 3
"""Decimals of the hashed real numbers, so that rounding differences between processors do not matter."""


def digest_of(spec: str) -> dict[str, object]:
    task = tasks.build(spec)
    sha256 = hashlib.sha256()
    for length in lengths_to_check(task)[:2]:
        for split in ("train", "validation", "test"):
            batch = task.sample(tasks.generator(7, split), 5, length, split)
            for values in (batch.inputs, batch.targets, batch.mask):
                sha256.update(_bytes(values))
    return {"version": task.version, "sha256": sha256.hexdigest()}


def _bytes(values: Tensor) -> bytes:
    integers = (values * 10**DECIMALS).round() if values.is_floating_point() else values
    return integers.long().numpy().tobytes()


@pytest.mark.parametrize("spec", DIGESTED, ids=short)
def test_samples_match_the_stored_digest(spec: str) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert digest_of(spec) == stored[short(spec)], "samples changed: see this file's docstring"


def test_every_stored_digest_is_tested() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert sorted(stored) == sorted(short(spec) for spec in DIGESTED)


def write() -> None:
    """Write the versions and hashes of the current samples to `digests.json`.

    Raises `SystemExit` if a hash has changed but the version has not.
    """
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() else {}
    digests = {short(spec): digest_of(spec) for spec in DIGESTED}
    for spec, digest in digests.items():
        before = stored.get(spec, digest)
        if digest != before and digest["version"] == before["version"]:
            raise SystemExit(f"the samples of {spec} changed: raise its version ({digest['version']}) first")
    STORED.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {len(digests)} digests to {STORED}")


if __name__ == "__main__":
    write()
