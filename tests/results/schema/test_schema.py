"""Test the schema: invalid documents are rejected, and valid documents survive a round trip."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from results import Case, Environment, Measurement, Protocol, Record, RunFile, Tuning, digest
from results.schema.migrations import migrated
from tests.results.examples import case, record, run_file

EXACT_DIGEST = "43258cff78"
"""First ten hexadecimal digits of the SHA-256 of {"a":1,"b":2}, computed with sha256sum."""
EXACT_KEY = "lstm_forget_bias=1.first_last.L32.s0.de6e3612ba"
"""Key of the example case. The key must never change, since stored records are looked up by key."""


def changed(path: str, value: Any) -> str:
    """Return the example record as JSON, with the field at the dotted `path` replaced by `value`."""
    document = json.loads(record().model_dump_json())
    *parents, field = path.split(".")
    parent = document
    for part in parents:
        parent = parent[int(part)] if part.isdigit() else parent[part]
    parent[field] = value
    return json.dumps(document)


INVALID = [
    ("surprise", 1),
    ("case.protocol.surprise", 1),
    ("measurements.0.surprise", None),
    ("status", "fine"),
    ("status", None),
    ("key", "../../etc/passwd"),
    ("key", "a/b"),
    ("key", ".hidden"),
    ("key", ""),
    ("key", "k\n"),
    ("case.seed", "0"),
    ("case.seed", 0.5),
    ("case.seed", -1),
    ("case.seed", True),
    ("case.seed", 10**30),
    ("case.length", 0),
    ("case.length", 2**31 + 1),
    ("case.arch", ""),
    ("case.arch", "x" * 401),
    ("case.arch", 7),
    ("case.protocol.learning_rate", 0),
    ("case.protocol.learning_rate", float("nan")),
    ("case.protocol.clip", float("inf")),
    ("case.protocol.schedule", "linear"),
    ("measurements.0.samples", [float("nan")]),
    ("measurements.0.samples", [float("-inf")]),
    ("measurements.0.samples", ["0.5"]),
    ("measurements.0.samples", 0.5),
    ("measurements.0.at", {"length": 1.5}),
    ("reference_scores.0.chance", float("nan")),
    ("artifacts", {"weights": "../weights.safetensors"}),
    ("artifacts", {"weights": "artifacts/../../weights.safetensors"}),
    ("artifacts", {"weights": "/etc/passwd"}),
    ("artifacts", {"weights": "artifacts//weights.safetensors"}),
    ("artifacts", {"weights": "artifacts\\..\\weights"}),
    ("artifacts", {"weights": "artifacts/.hidden"}),
    ("artifacts", {"weights": "artifacts/weights\n"}),
    ("probes", {"guessing": {"status": "ok", "seconds": 1.0}}),
    ("probes.accuracy.seconds", float("inf")),
    ("training.flushes_denormals", 1),
    ("training.curve.0.validation_score", None),
    ("reason", "x" * 10_001),
    ("schema_version", 9),
    ("schema_version", "1"),
]


@pytest.mark.parametrize(("path", "value"), INVALID, ids=[f"{path}={str(value)[:20]!r}" for path, value in INVALID])
def test_an_invalid_field_is_rejected_with_its_location(path: str, value: Any) -> None:
    text = changed(path, value)
    with pytest.raises(ValidationError) as caught:
        Record.model_validate_json(text)
    locations = [".".join(str(part) for part in error["loc"]) for error in caught.value.errors()]
    assert any(location.startswith(path) for location in locations)


def test_a_missing_field_is_rejected() -> None:
    document = json.loads(record().model_dump_json())
    for field in ("key", "case", "status"):
        with pytest.raises(ValidationError):
            Record.model_validate({name: value for name, value in document.items() if name != field})


def test_documents_are_immutable() -> None:
    with pytest.raises(ValidationError):
        record().status = "crashed"  # type: ignore[misc]


def test_records_and_run_files_survive_a_round_trip() -> None:
    for kind, document in ((Record, record()), (RunFile, run_file(finished="2026-01-02T04:00:00Z"))):
        again = kind.model_validate_json(document.model_dump_json(indent=1))
        assert again == document
        assert again.model_dump_json() == document.model_dump_json()


finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(codec="utf-8"), max_size=40)


@settings(deadline=None)
@given(samples=st.lists(finite, max_size=5), at=st.dictionaries(text.filter(bool), st.integers(), max_size=3))
def test_finite_samples_and_locations_survive_exactly(samples: list[float], at: dict[str, int]) -> None:
    measurement = Measurement(metric="accuracy", at=at, samples=tuple(samples))
    again = Measurement.model_validate_json(measurement.model_dump_json())
    assert [value.hex() for value in again.samples] == [value.hex() for value in samples]
    assert again.at == at


@settings(deadline=None)
@given(cpu=text)
def test_text_survives_exactly(cpu: str) -> None:
    whole = run_file().environment.model_copy(update={"cpu": cpu})
    assert Environment.model_validate_json(whole.model_dump_json()).cpu == cpu


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(text, json_values, max_size=5), st.randoms(use_true_random=False))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any], random: Any) -> None:
    names = list(value)
    random.shuffle(names)
    assert digest({name: value[name] for name in names}) == digest(value)


def test_a_digest_is_a_prefix_of_sha256_and_changes_with_the_value() -> None:
    assert digest({"b": 2, "a": 1}) == EXACT_DIGEST
    values = [{"a": 1}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"a": [1]}, {"a": [1, 2]}, {"a": [2, 1]}, {"b": 1}, {}]
    assert len({digest(value) for value in values}) == len(values)
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_the_key_is_stable() -> None:
    assert case().key == EXACT_KEY


def test_the_key_changes_with_every_field() -> None:
    first = case()
    others = {
        "arch": "lstm:forget_bias=2",
        "task": "adding",
        "task_version": 2,
        "task_data": "0123456789",
        "length": 33,
        "depth": 3,
        "params": 5,
        "params_of": "layers",
        "width": 17,
        "state": 1024,
        "step_flops": 4000,
        "seed": 1,
        "protocol": first.protocol.model_copy(update={"clip": 2.0}),
        "tuning": Tuning(learning_rates=(1e-3, 1e-2)),
        "purpose": "tuning",
    }
    assert set(others) == set(Case.model_fields)
    keys = {first.key} | {first.model_copy(update={name: value}).key for name, value in others.items()}
    assert len(keys) == len(others) + 1
    protocols = {
        first.protocol.model_copy(update={name: value}).digest()
        for name, value in {
            "batch": 9, "steps": 101, "train_sequences": 1, "epochs": 1, "learning_rate": 0.1, "schedule": "constant",
            "halve_every": 21, "warmup_steps": 1, "clip": 2.0, "weight_decay": 0.1, "evaluate_every": 1,
"validation_sequences": 1, "test_sequences": 1, "evaluate_at": ("1x",), "solved_after": None,
            "train_lengths": "up_to", "control": "shuffled_targets", "fit_sequences": 1, "keep_best": True,
            "patience": 1, "weight_decay_on": "matrices", "final_learning_rate": 1e-5, "warmup_share": 0.1,
            "solved_at": 0.999, "test_steps": 1, "optimizer": "guessing", "guess_range": 1.0,
        }.items()
    }  # fmt: skip
    assert len(protocols | {first.protocol.digest()}) == len(Protocol.model_fields) + 1


def test_a_case_has_a_learning_rate_or_a_grid_unless_it_guesses() -> None:
    document = json.loads(case().model_dump_json())
    grid = {"learning_rates": [1e-3]}
    for optimizer, rate, tuning, is_valid in (
        ("adam", 1e-3, None, True),
        ("adam", None, grid, True),
        ("adam", None, None, False),
        ("adam", 1e-3, grid, False),
        ("guessing", None, None, True),
        ("guessing", 1e-3, None, False),
        ("guessing", None, grid, False),
    ):
        protocol = document["protocol"] | {"optimizer": optimizer, "learning_rate": rate}
        given = json.dumps(document | {"protocol": protocol, "tuning": tuning})
        if is_valid:
            assert Case.model_validate_json(given).protocol.optimizer == optimizer
        else:
            with pytest.raises(ValidationError, match="a learning rate"):
                Case.model_validate_json(given)


@settings(deadline=None)
@given(arch=st.text(min_size=1, max_size=80), task=st.text(min_size=1, max_size=80))
def test_every_key_is_a_safe_file_name(arch: str, task: str) -> None:
    try:
        of = Case(arch=arch, task=task, length=1, width=1, seed=0, protocol=Protocol(steps=1))
        key = of.key
    except (ValidationError, UnicodeEncodeError):  # lone surrogates are not valid text
        return
    assert Record(key=key, case=of, status="crashed").key == key
    assert "/" not in key
    assert not key.startswith(".")


def test_measurements_and_reference_scores_are_looked_up_by_name_and_length() -> None:
    whole = record()
    assert [measurement.samples for measurement in whole.of("accuracy")] == [(0.875,), (0.625,)]
    assert whole.of("mse") == []
    first, missing = whole.reference_at(32), whole.reference_at(33)
    assert first is not None
    assert (first.chance, first.memoryless_score) == (0.5, 0.75)
    assert missing is None


def test_importing_results_loads_no_heavy_package() -> None:
    heavy = "{'scipy', 'pandas', 'torch', 'matplotlib'}"
    code = f"import sys, results, results.comparison; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[3]
    completed = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "[]"


def test_version_2_documents_get_the_present_field_names() -> None:
    record_2 = {
        "schema_version": 2,
        "lines": [{"length": 32, "chance": 0.5, "blind_to_the_past": 0.75}],
        "measurements": [{"metric": "m", "samples": [1.0], "blocks": [{"pulse_seconds": 0.1, "load": 0.5}]}],
        "spans": [{"work": "timing", "lane": "0", "began": 1.0, "ended": 2.0}],
    }
    assert json.loads(migrated(json.dumps(record_2).encode()) or b"") == {
        "schema_version": 8,
        "reference_scores": [{"length": 32, "chance": 0.5, "memoryless_score": 0.75}],
        "measurements": [{"metric": "m", "samples": [1.0], "blocks": [{"calibration_seconds": 0.1, "load": 0.5}]}],
        "spans": [{"work": "timing", "worker": "0", "began": 1.0, "ended": 2.0}],
    }
    run_2 = {"schema_version": 2, "lanes": 4, "repeat": 2}
    assert json.loads(migrated(json.dumps(run_2).encode()) or b"") == {"schema_version": 8, "workers": 4, "repeat": 2}


def test_version_1_documents_get_blocks_and_the_present_field_names() -> None:
    record_1 = {
        "schema_version": 1,
        "measurements": [{"metric": "m", "samples": [1.0, 2.0], "pulse_seconds": [0.1, 0.2]}],
    }
    assert json.loads(migrated(json.dumps(record_1).encode()) or b"") == {
        "schema_version": 8,
        "measurements": [
            {
                "metric": "m",
                "samples": [1.0, 2.0],
                "blocks": [{"calibration_seconds": 0.1}, {"calibration_seconds": 0.2}],
            }
        ],
    }


def test_steps_of_version_3_were_called_from_python() -> None:
    steps = {"at": {"position": 1}, "samples": [1.0]}
    record_3 = {
        "schema_version": 3,
        "measurements": [{"metric": name, **steps} for name in ("step_seconds", "stream_step_seconds", "accuracy")],
    }
    renamed = ("call_step_seconds", "call_stream_step_seconds", "accuracy")
    assert json.loads(migrated(json.dumps(record_3).encode()) or b"") == {
        "schema_version": 8,
        "measurements": [{"metric": name, **steps} for name in renamed],
    }


def test_claims_of_version_3_are_about_steps_called_from_python() -> None:
    """Check that a claim that was stored with a run is still judged by the measurements of that run."""
    words = {"name": "a", "text": "b", "source": "c", "what": "d", "at_least": 1.0}
    quantity = {"metric": "step_seconds", "at": {"position": 64}}
    against = {"quantity": {"metric": "step_seconds", "at": {"position": 1}}, "by": "ratio"}
    other = [
        words | {"quantity": {"metric": "accuracy"}, "against": {"cases": {"arch": ["lstm"]}}},
        words | {"quantity": {"curve": "fit_loss"}, "against": None},
    ]
    document = json.loads(run_file().model_dump_json()) | {"schema_version": 3}
    document["claims"] = [words | {"quantity": quantity, "against": against}, *other]
    new = RunFile.model_validate_json(migrated(json.dumps(document).encode()) or b"")
    assert [claim.quantity.metric for claim in new.claims] == ["call_step_seconds", "accuracy", None]
    first, second, third = (claim.against for claim in new.claims)
    assert first is not None and first.quantity is not None and second is not None and second.cases is not None
    assert (first.quantity.metric, first.quantity.at, first.by) == ("call_step_seconds", {"position": 1}, "ratio")
    assert (second.quantity, second.cases.arch, third) == (None, ("lstm",), None)


def test_trainings_of_version_4_used_the_rate_of_their_protocol() -> None:
    document = json.loads(record().model_dump_json()) | {"schema_version": 4}
    for field in ("learning_rate", "learning_rate_source", "learning_rate_found_by"):
        document["training"].pop(field)
    new = Record.model_validate_json(migrated(json.dumps(document).encode()) or b"")
    assert new.training is not None
    assert (new.training.learning_rate, new.training.learning_rate_source) == (3e-3, "plan")
    failed = {"schema_version": 4, "status": "crashed", "training": None}
    assert json.loads(migrated(json.dumps(failed).encode()) or b"") == failed | {"schema_version": 8}


def test_cases_of_version_5_keep_their_keys_and_get_the_defaults_of_their_time() -> None:
    """A protocol without the fields of version 6 has the old bar, and weight decay on everything."""
    document = json.loads(record().model_dump_json()) | {"schema_version": 5}
    assert not {"solved_at", "weight_decay_on", "params_of"} & (
        document["case"]["protocol"].keys() | document["case"].keys()
    )
    new = Record.model_validate_json(migrated(json.dumps(document).encode()) or b"")
    assert new.case.key == EXACT_KEY
    assert (new.case.protocol.solved_at, new.case.protocol.weight_decay_on) == (0.99, "all")
    assert (new.case.params_of, new.case.budget) == ("model", ("width", 16))


@pytest.mark.parametrize(
    ("task", "floor"),
    [
        ("recall", 1 / 8),
        ("recall:pairs=4,vocabulary=8192", 0.25),
        ("recall:pairs=0", None),
        ("recall:pairs=many", None),
        ("reber", 0.5),
        ("first_last", None),
    ],
)
def test_records_of_version_5_get_the_memory_floor_of_their_task(task: str, floor: float | None) -> None:
    document = json.loads(record().model_dump_json()) | {"schema_version": 5}
    document["case"]["task"] = task
    for each in document["reference_scores"]:
        each.pop("memory_floor")
    new = Record.model_validate_json(migrated(json.dumps(document).encode()) or b"")
    assert [each.memory_floor for each in new.reference_scores] == [floor, floor]


@pytest.mark.parametrize("content", [b"{}", b"[]", b"{", b'{"schema_version": 8}', b'{"schema_version": 0}'])
def test_documents_of_no_earlier_version_are_not_migrated(content: bytes) -> None:
    assert migrated(content) is None
