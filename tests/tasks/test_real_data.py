"""The tasks on real data: splits, samples, scores, metrics and digests, and errors for missing or invalid data."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import tasks
from tasks import Split, digits
from tasks.text import PARTS, corpus_of
from tests.tasks.specs import SAMPLE

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def test_the_splits_of_digits_are_disjoint_and_complete() -> None:
    task = tasks.build("digits")
    parts = []
    for split, size in zip(SPLITS, (1260, 270, 267), strict=True):
        batch = task.sample(tasks.generator(0, split), size, 64, split)
        parts.append({row.numpy().tobytes() for row in batch.inputs})
    pixels, _ = digits.images()
    all_images = {(row.float() / 16).numpy().tobytes() for row in pixels}
    assert set.union(*parts) == all_images and sum(len(part) for part in parts) == len(all_images) == 1797


def test_images_stay_in_their_split_for_every_seed() -> None:
    task = tasks.build("digits")
    train = task.sample(tasks.generator(0, "train"), 300, 64, "train")
    test = task.sample(tasks.generator(1, "train"), 300, 64, "test")
    assert not {row.numpy().tobytes() for row in train.inputs} & {row.numpy().tobytes() for row in test.inputs}


def test_longer_digits_repeat_each_pixel_and_permuted_digits_reorder_them() -> None:
    plain, permuted = tasks.build("digits"), tasks.build("digits:permuted=True")
    short, long, other = (
        task.sample(tasks.generator(0, "train"), 9, length).inputs[..., 0]
        for task, length in ((plain, 64), (plain, 192), (permuted, 64))
    )
    for i in range(3):
        assert torch.equal(long[:, i::3], short)
    assert not torch.equal(other, short)
    assert torch.equal(other.sort(1).values, short.sort(1).values)
    origins = [(short == other[:, [t]]).all(0).nonzero().flatten().tolist() for t in range(64)]
    assert all(origins) and sorted(pixel for pixels in origins if len(pixels) == 1 for pixel in pixels)


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ValueError, match=r"^the task digits needs .* run `pip install '\.\[real\]'` in a clone of Carousel$"
    ):
        tasks.build("digits").sample(tasks.generator(0, "train"), 1, 64)
    monkeypatch.undo()
    assert tasks.build("digits").sample(tasks.generator(0, "train"), 1, 64).inputs.shape == (1, 64, 1)


def test_the_text_is_unchanged_and_its_splits_are_disjoint() -> None:
    task = tasks.build(f"text:path={SAMPLE}")
    text = SAMPLE.read_text(encoding="utf-8")
    corpus = corpus_of(str(SAMPLE))
    assert "".join(corpus.alphabet[i] for i in corpus.characters.tolist()) == text
    assert "—" in corpus.alphabet
    bounds = [(int(low * len(text)), int(high * len(text))) for low, high in (PARTS[split] for split in SPLITS)]
    assert bounds[0][0] == 0 and bounds[-1][1] == len(text)
    assert all(bounds[i][1] == bounds[i + 1][0] for i in (0, 1))
    for split, (low, high) in zip(SPLITS, bounds, strict=True):
        batch = task.sample(tasks.generator(0, split), 200, 20, split)
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
            window = "".join(corpus.alphabet[i] for i in [*inputs.tolist(), targets[-1].item()])
            assert window in text[low:high]


def test_every_window_of_a_split_can_be_sampled() -> None:
    task = tasks.build(f"text:path={SAMPLE}")
    part = int(len(SAMPLE.read_text(encoding="utf-8")) * 0.1) + 1
    length = part - 5
    batch = task.sample(tasks.generator(0, "test"), 200, length, "test")
    assert len(torch.unique(batch.inputs, dim=0)) == 5


@pytest.mark.parametrize("windows", [1, 5, 150, 210])
def test_reference_scores_of_the_text_count_every_window_of_the_test_part(windows: int) -> None:
    task, corpus = tasks.build(f"text:path={SAMPLE}"), corpus_of(str(SAMPLE))
    part = corpus.characters[int(len(corpus.characters) * PARTS["test"][0]) :].tolist()
    length = len(part) - windows
    targets: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for start in range(windows):
        targets.update(part[start + 1 : start + length + 1])
        pairs.update(itertools.pairwise(part[start : start + length + 1]))
    best_successor = [max(count for (first, _), count in pairs.items() if first == c) for c in {c for c, _ in pairs}]
    assert task.chance(length) == pytest.approx(max(targets.values()) / (windows * length), rel=1e-12)
    assert task.memoryless_score(length) == pytest.approx(sum(best_successor) / (windows * length), rel=1e-12)


def test_data_digests_identify_the_data() -> None:
    assert tasks.build(f"text:path={SAMPLE}").data_digest == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    for name in ("text", "digits"):
        digest = tasks.build(name).data_digest
        assert digest is not None and len(digest) == 64
    assert tasks.build("parity").data_digest is None


def test_bits_per_character_is_the_loss_in_bits() -> None:
    task = tasks.build("text")
    batch = task.sample(tasks.generator(0, "test"), 10, 30, "test")
    measured = task.metrics(torch.zeros(10, 30, task.targets.size), batch)
    assert measured["bits_per_character"] == pytest.approx(torch.tensor(task.targets.size).log2().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 characters: a text needs at least 100"),
        (b"short", "has 5 characters"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not UTF-8 text: byte 0 is invalid"),
        (b"a" * 200 + b"\0", "is not text: it contains a null character"),
    ],
)
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        tasks.build(f"text:path={path}")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_is_refused_as_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*: Is a directory"):
        tasks.build(f"text:path={tmp_path}")
