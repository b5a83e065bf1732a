"""Wrong names, impossible parameters and lengths: one clear line each, and the registry's help."""

from __future__ import annotations

from pathlib import Path

import pytest

import tasks
from tasks import ImpossibleLength, Task, TooShort, UnknownName
from tests.tasks.specs import of_every_task

IMPOSSIBLE = {
    "adding:marks=everywhere": "'halves' or 'anywhere'",
    "brackets:resampled=0": "resampled must lie above 0 and at most at 1, not 0.0",
    "brackets:resampled=nan": "finite number",
    "copy_memory:symbols=0": "symbols must be at least 1",
    "copy_memory:alphabet=1": "alphabet at least 2, not 10 and 1",
    "copy_memory:delimiter=twice": "'once' or 'throughout'",
    "cycle_navigation:places=2": "places must be at least 3",
    "digits:permuted=perhaps": "boolean",
    "first_last:rule=sums": "'sum', 'product' or 'equal'",
    "group_word:group=S6": "'S5', 'A5' or 'Z60'",
    "induction:vocabulary=1": "vocabulary must be at least 2, not 1",
    "listops:depth=1": "depth and arguments must be at least 2",
    "listops:shortest=0.95": "shortest must lie between 0 and 0.9",
    "modular_arithmetic:modulus=1": "modulus must lie between 2 and 20",
    "modular_arithmetic:modulus=five": "valid integer",
    "parity:every_step=2": "boolean",
    "recall:pairs=0": "pairs must be at least 1",
    "recall:vocabulary=9": "an even number from 4, not 8 and 9",
    "recall:pairs=8,vocabulary=16": "a vocabulary of 16 has 7 keys, too few for 8 pairs",
    "recall:power=0": "power must be above 0",
    "selective_copy:alphabet=1": "alphabet at least 2",
    "temporal_order:symbols=4": "symbols must be 2 or 3, not 4",
    "text:path=/no/such/file": "cannot read the text '/no/such/file': No such file or directory",
    "adding:marks": "name:option=value",
    "adding:marks=halves,marks=anywhere": "repeats an option; give each option once",
    ":marks=halves": "name:option=value",
}
UNKNOWN = {
    "ading": "did you mean 'adding'",
    "": "name:option=value",
    "recal:pairs=2": "did you mean 'recall'",
    "recall:pair=2": "has no option 'pair'; did you mean 'pairs'? Available: pairs, vocabulary, power, filler, preset",
    "first_last:rules=sum": "did you mean 'rule'",
    "copy_memory:preset=unnn": "has no preset 'unnn'; did you mean 'urnn'? Available: urnn, tcn",
    "group_word:preset=any": "group_word has no preset 'any'; available: none",
    "even_pairs:length=3": "even_pairs has no option 'length'; available: preset",
    "_contract": "no task '_contract'",
}
PRESETS = [f"{name}:preset={preset}" for name in tasks.names() for preset in tasks.get(name).presets]
PUBLISHED = {
    "adding:preset=tcn": "adding:marks=anywhere",
    "adding:preset=urnn": "adding",
    "copy_memory:preset=tcn": "copy_memory:delimiter=throughout,supervised=all",
    "copy_memory:preset=urnn": "copy_memory:supervised=all",
    "cycle_navigation:preset=deletang": "cycle_navigation",
    "even_pairs:preset=deletang": "even_pairs",
    "induction:preset=h3": "induction",
    "induction:preset=mamba": "induction:vocabulary=16",
    "listops:preset=lra": "listops",
    "modular_arithmetic:preset=deletang": "modular_arithmetic",
    "parity:preset=deletang": "parity",
    "recall:preset=zoology_64": "recall:pairs=4,vocabulary=8192",
    "recall:preset=zoology_128": "recall:vocabulary=8192",
    "recall:preset=zoology_256": "recall:pairs=16,vocabulary=8192",
    "recall:preset=zoology_512": "recall:pairs=64,vocabulary=8192",
    "selective_copy:preset=mamba": "selective_copy",
    "temporal_order:preset=6a": "temporal_order",
    "temporal_order:preset=6b": "temporal_order:symbols=3",
}


def one_line(error: pytest.ExceptionInfo[ValueError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(("spec", "message"), IMPOSSIBLE.items())
def test_an_impossible_parameter_is_named(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        tasks.build(spec)
    assert message in one_line(error)


@pytest.mark.parametrize(("spec", "message"), UNKNOWN.items())
def test_unknown_names_get_a_suggestion(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        tasks.build(spec)
    assert message in one_line(error)
    assert spec == "" or isinstance(error.value, UnknownName)


def test_every_preset_is_the_published_protocol() -> None:
    assert {spec: str(tasks.build(spec)) for spec in PRESETS} == PUBLISHED


@pytest.mark.parametrize("spec", PRESETS)
def test_every_preset_is_solved_at_512_steps(spec: str) -> None:
    task = tasks.build(spec)
    batch = task.sample(tasks.generator(0, "test"), 8, 512, "test")
    assert task.score(task.solve(batch), batch) == 1.0
    assert 0 <= task.collision(512) < 1e-8


def test_parameters_beside_a_preset_win() -> None:
    assert str(tasks.build("copy_memory:preset=tcn,symbols=3")) == (
        "copy_memory:delimiter=throughout,supervised=all,symbols=3"
    )


def test_names_are_the_public_files_of_the_folder() -> None:
    folder = Path(tasks.__file__).parent
    assert tasks.names() == sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))
    assert [tasks.get(name).__module__ for name in tasks.names()] == [f"tasks.{name}" for name in tasks.names()]


@of_every_task()
def test_one_step_too_few_is_refused_and_the_smallest_length_works(task: Task) -> None:
    least = task.min_length
    assert task.sample(tasks.generator(0, "train"), 2, least).inputs.shape[1] == least
    for length in (least - 1, 0, -5):
        with pytest.raises(TooShort) as error:
            task.sample(tasks.generator(0, "train"), 2, length)
        assert one_line(error) == f"{task} needs at least {least} steps, not {length}"


@of_every_task()
def test_an_empty_batch_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="a batch needs at least 1 sequence, not 0"):
        task.sample(tasks.generator(0, "train"), 0, task.min_length)


@pytest.mark.parametrize(
    ("spec", "length", "message"),
    [
        ("digits", 100, "holds each of 64 pixels equally long: give a multiple, not 100"),
        ("listops:depth=2", 200, "hardly any expression fills 50 to 199"),
        ("text", 10**6, "room for"),
    ],
)
def test_a_length_at_which_a_task_cannot_be_asked_is_refused(spec: str, length: int, message: str) -> None:
    with pytest.raises(ImpossibleLength) as error:
        tasks.build(spec).sample(tasks.generator(0, "train"), 2, length)
    assert message in one_line(error)
