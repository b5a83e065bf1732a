"""The tasks on real data: three disjoint parts, recorded digests, and files that cannot be read."""

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


def test_the_parts_of_the_digits_share_no_image_and_hold_all() -> None:
    task = tasks.build("digits")
    parts = []
    for split, size in zip(SPLITS, (1260, 270, 267), strict=True):
        batch = task.sample(tasks.generator(0, split), size, 64, split)
        parts.append({row.numpy().tobytes() for row in batch.inputs})
    pixels, _ = digits.images()
    everything = {(row.float() / 16).numpy().tobytes() for row in pixels}
    assert set.union(*parts) == everything and sum(len(part) for part in parts) == len(everything) == 1797


def test_the_seed_of_a_case_does_not_move_images_between_parts() -> None:
    task = tasks.build("digits")
    train = task.sample(tasks.generator(0, "train"), 300, 64, "train")
    test = task.sample(tasks.generator(1, "train"), 300, 64, "test")
    assert not {row.numpy().tobytes() for row in train.inputs} & {row.numpy().tobytes() for row in test.inputs}


def test_longer_digits_hold_each_pixel_and_permuted_ones_reorder_them() -> None:
    plain, scattered = tasks.build("digits"), tasks.build("digits:permuted=True")
    short, long, other = (
        task.sample(tasks.generator(0, "train"), 9, length).inputs[..., 0]
        for task, length in ((plain, 64), (plain, 192), (scattered, 64))
    )
    for i in range(3):
        assert torch.equal(long[:, i::3], short)
    assert not torch.equal(other, short)
    assert torch.equal(other.sort(1).values, short.sort(1).values)
    moved = [(short == other[:, [t]]).all(0).nonzero().flatten().tolist() for t in range(64)]
    assert all(moved) and sorted(place for places in moved if len(places) == 1 for place in places)


def test_without_scikit_learn_digits_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    digits.images.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"^the task digits reads .* pip install 'carousel-bench\[real\]'$"):
        tasks.build("digits").sample(tasks.generator(0, "train"), 1, 64)
    monkeypatch.undo()
    assert tasks.build("digits").sample(tasks.generator(0, "train"), 1, 64).inputs.shape == (1, 64, 1)


def test_the_text_is_read_as_it_stands_in_three_parts_that_do_not_touch() -> None:
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


def test_every_window_of_a_part_can_be_drawn() -> None:
    task = tasks.build(f"text:path={SAMPLE}")
    part = int(len(SAMPLE.read_text(encoding="utf-8")) * 0.1) + 1
    length = part - 5
    batch = task.sample(tasks.generator(0, "test"), 200, length, "test")
    assert len(torch.unique(batch.inputs, dim=0)) == 5


@pytest.mark.parametrize("missing", [1, 5, 150, 210])
def test_the_lines_of_the_text_count_every_window_of_the_test_part(missing: int) -> None:
    task, corpus = tasks.build(f"text:path={SAMPLE}"), corpus_of(str(SAMPLE))
    part = corpus.characters[int(len(corpus.characters) * PARTS["test"][0]) :].tolist()
    length = len(part) - missing
    asked: Counter[int] = Counter()
    after: Counter[tuple[int, int]] = Counter()
    for start in range(missing):
        asked.update(part[start + 1 : start + length + 1])
        after.update(itertools.pairwise(part[start : start + length + 1]))
    best_successor = [max(count for (first, _), count in after.items() if first == c) for c in {c for c, _ in after}]
    assert task.chance(length) == pytest.approx(max(asked.values()) / (missing * length), rel=1e-12)
    assert task.memoryless_score(length) == pytest.approx(sum(best_successor) / (missing * length), rel=1e-12)


def test_digests_name_the_data() -> None:
    assert tasks.build(f"text:path={SAMPLE}").data_digest == hashlib.sha256(SAMPLE.read_bytes()).hexdigest()
    for name in ("text", "digits"):
        digest = tasks.build(name).data_digest
        assert digest is not None and len(digest) == 64
    assert tasks.build("parity").data_digest is None


def test_bits_per_character_are_the_loss_in_bits() -> None:
    task = tasks.build("text")
    batch = task.sample(tasks.generator(0, "test"), 10, 30, "test")
    measured = task.metrics(torch.zeros(10, 30, task.targets.size), batch)
    assert measured["bits_per_character"] == pytest.approx(torch.tensor(task.targets.size).log2().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds 0 characters: give a text of at least 100"),
        (b"short", "holds 5 characters"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is not UTF-8 text: byte 0 cannot be read"),
        (b"a" * 200 + b"\0", "is not text: it holds a null character"),
    ],
)
def test_a_file_that_is_no_text_gets_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        tasks.build(f"text:path={path}")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the text .*: Is a directory"):
        tasks.build(f"text:path={tmp_path}")


@pytest.mark.parametrize("words", ["depth=21", "arguments=1000"])
def test_listops_refuses_what_it_could_not_work_out_in_time(words: str) -> None:
    with pytest.raises(ValueError, match="depth and arguments must be at most 20"):
        tasks.build(f"listops:{words}")
