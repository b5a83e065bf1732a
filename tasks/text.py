"""text: which character comes next?

Sequences are windows of a UTF-8 text file, `path=FILE`. The default text is the documentation that ships
with CPython, `pydoc_data.topics`. Its wording differs slightly between Python releases, so `data_digest`
identifies the text. The first 80% of the characters are for training, the next 10% for validation and the
last 10% for testing. No window spans two parts. The alphabet consists of the characters of the whole text.
The path must not contain a comma.

Every step is scored. The metric `bits_per_character` (Graves 2013, section 3) is recorded too. The chance
level and the memoryless baseline are exact for the test part. Chance is the score of always predicting the
most frequent character. The memoryless baseline is the score of predicting the most frequent successor of the
current character.

>>> import tasks
>>> task = tasks.build("text")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=24)
>>> len(task.input_names) == task.targets.size and batch.mask.all().item()
True
>>> batch.inputs[0, 1:].tolist() == batch.targets[0, :-1].tolist()
True
"""

# Shape suffixes: B batch, T time, N characters of a part, C the alphabet

from __future__ import annotations

import hashlib
import importlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tasks.core.task import Batch, ImpossibleLength, Split, Strategy, Task, Tokens, standard_defaults

PARTS: dict[Split, tuple[float, float]] = {"train": (0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1)}
MIN_CHARACTERS = 100
HASH_BASE, HASH_SIZE = 0x9E3779B97F4A7C15, 2**64
"""Base and modulus of the polynomial that is the hash of a window. The base is odd."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text encoded as character indices."""

    characters: Tensor
    """int64 (N,): the index of each character in `alphabet`."""
    alphabet: str
    """The different characters of the text, sorted."""
    digest: str
    """SHA-256 of the text in UTF-8."""


@dataclass(frozen=True, kw_only=True)
class Text(Task):
    """Predict the next character of a real text; scored at every step, one class per character.

    `path`  a UTF-8 file (default: the documentation that ships with CPython).
    """

    source: ClassVar[str] = "Graves 2013; the text is CPython's pydoc_data.topics"

    path: str = ""

    def __post_init__(self) -> None:
        if self.path:
            corpus_of(self.path)

    @property
    def inputs(self) -> Tokens:
        return Tokens(len(corpus_of(self.path).alphabet))

    @property
    def targets(self) -> Tokens:
        return self.inputs

    @property
    def input_names(self) -> tuple[str, ...]:
        visible = {" ": "␣", "\n": "↵", "\t": "⇥"}
        return tuple(visible.get(c, c if c.isprintable() else f"U+{ord(c):04X}") for c in corpus_of(self.path).alphabet)

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.input_names

    @property
    def min_length(self) -> int:
        return 1

    @property
    def data_digest(self) -> str:
        return corpus_of(self.path).digest

    def check_length(self, length: int) -> None:
        super().check_length(length)
        longest = min(len(self._part(split)) for split in PARTS) - 1
        if length > longest:
            raise ImpossibleLength(f"{self} supports at most {longest} steps, not {length}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        part_N = self._part(split)
        starts_B1 = torch.randint(len(part_N) - length, (batch, 1), generator=generator)
        windows = part_N[starts_B1 + torch.arange(length + 1)]
        mask_BT = torch.ones(batch, length, dtype=torch.bool)
        return Batch(inputs=windows[:, :-1].contiguous(), targets=windows[:, 1:].contiguous(), mask=mask_BT)

    def chance(self, length: int) -> float:
        weights_N = self._weights(length)
        return float(np.bincount(self._part("test")[1:].numpy(), weights_N).max())

    def memoryless_score(self, length: int) -> float | None:
        part_N, size = self._part("test").numpy(), self.targets.size
        pairs, pair_of_N = np.unique(part_N[:-1] * size + part_N[1:], return_inverse=True)
        best = np.zeros(size)
        np.maximum.at(best, pairs // size, np.bincount(pair_of_N, self._weights(length)))
        return float(best.sum())

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the score on the test part of counts of three successive characters in the training part.

        At the first step of a window, the previous character is unknown, so counts of two characters are used.
        """
        size = self.targets.size
        train_N, test_N = self._part("train").numpy(), self._part("test").numpy()
        train_pairs, test_pairs = (part_N[:-1] * size + part_N[1:] for part_N in (train_N, test_N))
        by_one_N = _most_frequent_next(train_N[:-1], train_N[1:], test_N[:-1], size) == test_N[1:]
        by_two_N = by_one_N.copy()
        by_two_N[1:] = _most_frequent_next(train_pairs[:-1], train_N[2:], test_pairs[:-1], size) == test_N[2:]
        windows = len(test_N) - length
        first_steps_N = np.zeros(len(by_one_N))
        first_steps_N[:windows] = 1 / (windows * length)
        trigrams = Strategy(
            name="the last two characters",
            description="Name the character that most often followed the last two in the training text.",
            score=float(by_two_N @ (self._weights(length) - first_steps_N) + by_one_N @ first_steps_N),
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return (trigrams,) if trigrams.score is not None and trigrams.score > floor else ()

    def collision(self, length: int) -> float:
        """Return the probability that a random training window and a random test window are identical.

        Windows are compared by their 64-bit hashes.
        """
        train, test = (_window_hashes(self._part(split).numpy(), length) for split in ("train", "test"))
        (train_hashes, train_counts), (test_hashes, test_counts) = (
            np.unique(hashes, return_counts=True) for hashes in (train, test)
        )
        _, in_train, in_test = np.intersect1d(train_hashes, test_hashes, assume_unique=True, return_indices=True)
        return float(train_counts[in_train] @ test_counts[in_test]) / (len(train) * len(test))

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        measured = super().metrics(outputs, batch)
        return {**measured, "bits_per_character": measured["cross_entropy"] / math.log(2)}

    def solve(self, batch: Batch) -> Tensor:
        """Return the input shifted by one step, followed by the successor of the whole window in the text.

        If a window occurs several times, the successor of its first occurrence is returned.
        """
        corpus = corpus_of(self.path)
        text = "".join(corpus.alphabet[i] for i in corpus.characters.tolist())
        last = []
        for row in batch.inputs.tolist():
            window = "".join(corpus.alphabet[i] for i in row)
            last.append(corpus.alphabet.index(text[text.index(window) + len(window)]))
        return torch.cat([batch.inputs[:, 1:], torch.tensor(last)[:, None]], 1)

    def solvable(self, batch: Batch) -> Tensor:
        """Return a mask, bool (B, T), of all positions but the last.

        The last answer may be ambiguous, because a window that occurs twice may have two successors.
        """
        solvable_BT = batch.mask.clone()
        solvable_BT[:, -1] = False
        return solvable_BT

    def _part(self, split: Split) -> Tensor:
        characters_N = corpus_of(self.path).characters
        first, last = (int(share * len(characters_N)) for share in PARTS[split])
        return characters_N[first:last]

    def _weights(self, length: int) -> np.typing.NDArray[np.float64]:
        """Return the share of scored positions, (N - 1,), for each test character after the first.

        Characters near the ends of the test part are in fewer windows, so their shares are smaller.
        """
        targets = len(self._part("test")) - 1
        distance_to_end = np.minimum(np.arange(1, targets + 1), np.arange(targets, 0, -1))
        windows = targets + 1 - length
        shares: np.typing.NDArray[np.float64] = np.minimum(distance_to_end, min(length, windows)) / (windows * length)
        return shares


@lru_cache
@standard_defaults()
def corpus_of(path: str) -> Corpus:
    """Return the encoded text of the file at `path`, or the encoded default text if `path` is empty.

    Raises:
        ValueError: If the file cannot be read, is not UTF-8 text, or has fewer than `MIN_CHARACTERS` characters.
    """
    text = _read(path) if path else _documentation()
    if len(text) < MIN_CHARACTERS:
        raise ValueError(
            f"{path!r} has {len(text)} characters: a text needs at least {MIN_CHARACTERS}; give a longer text"
        )
    alphabet = "".join(sorted(set(text)))
    index = {character: i for i, character in enumerate(alphabet)}
    numbers = torch.tensor([index[character] for character in text])
    return Corpus(numbers, alphabet, hashlib.sha256(text.encode()).hexdigest())


def _documentation() -> str:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return "\n".join(topics[name] for name in sorted(topics))


def _read(path: str) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {path!r}: {error.strerror}; give the path of a readable text file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path!r} is not UTF-8 text: byte {error.start} is invalid; give a UTF-8 text file") from None
    if "\0" in text:
        raise ValueError(f"{path!r} is not text: it contains a null character; give a UTF-8 text file")
    return text


def _window_hashes(characters_N: np.typing.NDArray[np.int64], length: int) -> np.typing.NDArray[np.uint64]:
    """Return one 64-bit hash for each window of `length` characters that has a successor, in order."""
    windows = len(characters_N) - length
    hashes = np.zeros(windows, dtype=np.uint64)
    block, span, done, base = (characters_N + 1).astype(np.uint64), 1, 0, HASH_BASE
    while span <= length:
        if length & span:
            hashes = hashes * np.uint64(base) + block[done : done + windows]
            done += span
        if span * 2 <= length:
            block = block[:-span] * np.uint64(base) + block[span:]
        base, span = base * base % HASH_SIZE, span * 2
    return hashes


def _most_frequent_next(
    contexts_N: np.typing.NDArray[np.int64],
    following_N: np.typing.NDArray[np.int64],
    asked_M: np.typing.NDArray[np.int64],
    alphabet: int,
) -> np.typing.NDArray[np.int64]:
    """Return the character that most often followed each asked context in a text, (M,), or -1 if there was none.

    Args:
        contexts_N: The contexts of the text, one number each.
        following_N: The character that followed each context.
        asked_M: The contexts to look up.
        alphabet: Number of different characters.
    """
    pairs, counts = np.unique(contexts_N * alphabet + following_N, return_counts=True)
    order = np.lexsort((-counts, pairs // alphabet))
    known, first = np.unique(pairs[order] // alphabet, return_index=True)
    place_M = np.minimum(np.searchsorted(known, asked_M), len(known) - 1)
    found_M = known[place_M] == asked_M
    best: np.typing.NDArray[np.int64] = np.where(found_M, pairs[order][first][place_M] % alphabet, -1)
    return best
