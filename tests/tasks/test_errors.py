"""The names, parameters, presets and lengths of tasks. Each invalid value gives a clear one-line message."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks
from tasks import ImpossibleLength, Task, TooShort, UnknownName
from tests.tasks.specs import for_every_task

IMPOSSIBLE = {
    "adding:marks=everywhere": "'halves', 'anywhere' or 'early'",
    "adding:tolerance=0": "tolerance must be above 0 and at most 0.5, not 0.0",
    "brackets:resampled=0": "resampled must be above 0 and at most 1, not 0.0",
    "brackets:resampled=nan": "finite number",
    "chaotic_series:horizon=0": "horizon must be from 1 to 100, not 0",
    "chaotic_series:system=henon": "'mackey_glass' or 'lorenz'",
    "copy_memory:symbols=0": "symbols must be at least 1",
    "copy_memory:alphabet=1": "alphabet at least 2, not 10 and 1",
    "copy_memory:delimiter=twice": "'once' or 'throughout'",
    "cycle_navigation:places=2": "places must be at least 3",
    "delayed_copy:delay=-1": "delay must be at least 0",
    "dyck:types=1": "types must be from 2 to 30 and depth at least 2, not 1 and 4",
    "flip_flop:ignore=1": "ignore must be at least 0 and below 1, not 1.0",
    "k_hop:hops=0": "hops must be from 1 to 64 and alphabet from 2 to 26, not 0 and 4",
    "memorization:pairs=1": "pairs must be at least 2, not 1",
    "nested_arithmetic:modulus=21": "modulus must be between 2 and 20, not 21",
    "two_sequences:informative=0": "informative must be at least 1, not 0",
    "two_sequences:variant=3d": "'3a', '3b' or '3c'",
    "digits:permuted=perhaps": "the value must be true or false",
    "first_last:rule=sums": "'sum', 'product' or 'equal'",
    "group_word:group=S6": "S3 to S5, A4, A5, D3 to D60 or Z2 to Z120, not 'S6'",
    "group_word:group=A3": "S3 to S5, A4, A5",
    "group_word:group=S5,generators=1": "S5 has no 1 elements that generate it",
    "group_word:generators=120": "generators must be between 1 and 119 for S5, not 120; 0 stands for all",
    "induction:vocabulary=1": "vocabulary must be at least 2, not 1",
    "listops:depth=1": "depth and arguments must be at least 2",
    "listops:shortest=0.95": "shortest must be between 0 and 0.9",
    "modular_arithmetic:modulus=1": "modulus must be between 2 and 20",
    "modular_arithmetic:modulus=five": "the value must be a whole number",
    "parity:every_step=2": "the value must be true or false",
    "recall:pairs=0": "pairs must be at least 1",
    "recall:vocabulary=9": "an even number of at least 4, not 8 and 9",
    "recall:pairs=8,vocabulary=16": "a vocabulary of 16 has 7 keys, too few for 8 pairs",
    "recall:overwritten=9": "overwritten must be between 0 and the 8 pairs, not 9",
    "recall:pairs=4,vocabulary=10,overwritten=2": "has 5 values, too few for 6; raise vocabulary to 12",
    "recall:noise=-1": "noise must be at least 0, not -1",
    "recall:key_tokens=0": "key_tokens must be at least 1, not 0",
    "recall:key_parts=32": "key_parts must be between 0 and the 31 keys of the vocabulary, not 32",
    "recall:key_parts=2,key_tokens=2": "give 4 keys, too few for 8 pairs",
    "recall:key_tokens=3": "31 tokens in 3 places give 29791 keys, more than 10,000",
    "recall:power=0": "power must be above 0",
    "selective_copy:alphabet=1": "alphabet at least 2",
    "temporal_order:symbols=4": "symbols must be 2 or 3, not 4",
    "text:path=/no/such/file": "cannot read '/no/such/file': No such file or directory",
    "adding:marks": "name:option=value",
    "adding:marks=halves,marks=anywhere": "repeats an option; give each option once",
    ":marks=halves": "name:option=value",
}
UNKNOWN = {
    "ading": "did you mean 'adding'",
    "": "name:option=value",
    "recal:pairs=2": "did you mean 'recall'",
    "recall:pair=2": "has no option 'pair'; did you mean 'pairs'? Available: pairs, vocabulary, power, filler",
    "first_last:rules=sum": "did you mean 'rule'",
    "copy_memory:preset=unnn": "has no preset 'unnn'; did you mean 'urnn'? Available: urnn, tcn, lru",
    "group_word:preset=any": "group_word has no preset 'any'; available: none",
    "even_pairs:length=3": "even_pairs has no option 'length'; available: preset",
    "_contract": "no task '_contract'",
}
PRESETS = [f"{name}:preset={preset}" for name in tasks.names() for preset in tasks.get(name).presets]
PUBLISHED = {
    "adding:preset=hs1997": "adding:marks=early,tolerance=0.08",
    "adding:preset=tcn": "adding:marks=anywhere",
    "adding:preset=urnn": "adding",
    "copy_memory:preset=lru": "copy_memory:alphabet=128,symbols=20",
    "copy_memory:preset=tcn": "copy_memory:delimiter=throughout,supervised=all",
    "copy_memory:preset=urnn": "copy_memory:supervised=all",
    "cycle_navigation:preset=deletang": "cycle_navigation",
    "dyck:preset=hewitt": "dyck:depth=5,types=8",
    "even_pairs:preset=deletang": "even_pairs",
    "flip_flop:preset=dense": "flip_flop:ignore=0.1",
    "flip_flop:preset=ffl": "flip_flop",
    "flip_flop:preset=sparse": "flip_flop:ignore=0.98",
    "induction:preset=h3": "induction",
    "induction:preset=mamba": "induction:vocabulary=16",
    "listops:preset=lra": "listops",
    "memorization:preset=mad": "memorization:pairs=127",
    "modular_arithmetic:preset=deletang": "modular_arithmetic",
    "nested_arithmetic:preset=deletang": "nested_arithmetic:multiply=False",
    "parity:preset=deletang": "parity",
    "recall:preset=compositional": "recall:key_parts=4,key_tokens=2",
    "recall:preset=fuzzy": "recall:key_tokens=3,pairs=7,vocabulary=16",
    "recall:preset=noisy": "recall:noise=16",
    "recall:preset=overwriting": "recall:overwritten=4",
    "recall:preset=zoology_64": "recall:pairs=4,vocabulary=8192",
    "recall:preset=zoology_128": "recall:vocabulary=8192",
    "recall:preset=zoology_256": "recall:pairs=16,vocabulary=8192",
    "recall:preset=zoology_512": "recall:pairs=64,vocabulary=8192",
    "selective_copy:preset=mamba": "selective_copy",
    "temporal_order:preset=6a": "temporal_order",
    "temporal_order:preset=6b": "temporal_order:symbols=3",
    "two_sequences:preset=3a": "two_sequences",
    "two_sequences:preset=3b": "two_sequences:variant=3b",
    "two_sequences:preset=3c": "two_sequences:variant=3c",
}


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(("spec", "message"), IMPOSSIBLE.items())
def test_an_invalid_parameter_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        tasks.build(spec)
    assert message in one_line(error)


@pytest.mark.parametrize("parameter", ["depth=21", "arguments=1000"])
def test_listops_refuses_parameters_that_take_too_long(parameter: str) -> None:
    with pytest.raises(ValueError, match="depth and arguments must be at most 20"):
        tasks.build(f"listops:{parameter}")


@pytest.mark.parametrize(("spec", "message"), UNKNOWN.items())
def test_unknown_names_get_a_suggestion(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        tasks.build(spec)
    assert message in one_line(error)
    assert spec == "" or isinstance(error.value, UnknownName)


def test_presets_set_the_published_parameters() -> None:
    assert {spec: str(tasks.build(spec)) for spec in PRESETS} == PUBLISHED


@pytest.mark.parametrize("spec", PRESETS)
def test_presets_are_solved_exactly_at_512_steps(spec: str) -> None:
    task = tasks.build(spec)
    batch = task.sample(tasks.generator(0, "test"), 8, 512, "test")
    assert task.correct(task.solve(batch), batch)[task.solvable(batch)].all()
    assert 0 <= task.collision(512) < 1e-8


def test_explicit_parameters_override_a_preset() -> None:
    assert str(tasks.build("copy_memory:preset=tcn,symbols=3")) == (
        "copy_memory:delimiter=throughout,supervised=all,symbols=3"
    )


def test_names_are_the_public_files_of_the_folder() -> None:
    folder = Path(tasks.__file__).parent
    assert tasks.names() == sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    assert [tasks.get(name).__module__ for name in tasks.names()] == [f"tasks.{name}" for name in tasks.names()]


@for_every_task()
def test_min_length_is_accepted_and_shorter_lengths_are_refused(task: Task) -> None:
    shortest = task.min_length
    assert task.sample(tasks.generator(0, "train"), 2, shortest).inputs.shape[1] == shortest
    for length in (shortest - 1, 0, -5):
        with pytest.raises(TooShort) as error:
            task.sample(tasks.generator(0, "train"), 2, length)
        assert one_line(error) == f"{task} needs at least {shortest} steps, not {length}"


@for_every_task()
def test_an_empty_batch_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="a batch needs at least 1 sequence, not 0"):
        task.sample(tasks.generator(0, "train"), 0, task.min_length)


@pytest.mark.parametrize(
    ("spec", "length", "message"),
    [
        ("digits", 100, "digits needs a multiple of 64 steps, not 100"),
        ("listops:depth=2", 200, "too few expressions have 50 to 199 tokens"),
        ("text", 10**6, "text supports at most "),
    ],
)
def test_an_unsupported_length_is_refused(spec: str, length: int, message: str) -> None:
    with pytest.raises(ImpossibleLength) as error:
        tasks.build(spec).sample(tasks.generator(0, "train"), 2, length)
    assert message in one_line(error)
