"""digits: which handwritten digit is shown, one pixel per step?

The data are the 1,797 images of 8 by 8 pixels that ship with scikit-learn, so nothing is downloaded. These
images are the test part of the UCI data set of Alpaydin & Kaynak 1998. An image is read row by row as 64
numbers in [0, 1]. The protocol follows sequential MNIST (Le, Jaitly & Hinton 2015). `permuted=True` applies
one fixed permutation to the pixels. At length 64·r every pixel is repeated for r steps.

One fixed shuffle splits the images of each digit into 70% for training, 15% for validation and 15% for
testing. Images by the same writer may be in several parts. Images are sampled without replacement until all have
been used. A batch of 267 test sequences is the whole test set. Chance and the memoryless baseline are
exact for that set.

>>> import tasks
>>> batch = tasks.build("digits").sample(tasks.generator(0, "train"), batch=1, length=64)
>>> (batch.inputs[0, :8, 0] * 16).int().tolist(), batch.targets[0, -1].item()
([0, 0, 5, 14, 10, 7, 0, 0], 0)
"""

# Shape suffixes: B batch, T time, D channels, N images, P pixels

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from tasks.core.task import Batch, ImpossibleLength, MissingData, Reals, Split, Strategy, Task, Tokens, last_step_mask

PIXELS, LEVELS = 64, 16
PARTS: dict[Split, tuple[int, int]] = {"train": (0, 14), "validation": (14, 17), "test": (17, 20)}
"""Half-open range of each part within every group of twenty images. The images are sorted by digit."""
SHUFFLE, PERMUTATION = 1998, 2015
"""Seeds of the fixed shuffle of the images and of the fixed permutation of the pixels."""


@dataclass(frozen=True, kw_only=True)
class Digits(Task):
    """Name the handwritten digit; scored at the last step, ten classes. Real data from scikit-learn.

    `permuted`  whether one fixed permutation reorders the pixels.
    """

    source: ClassVar[str] = "Le, Jaitly & Hinton 2015; images by Alpaydin & Kaynak 1998"

    permuted: bool = False

    @property
    def inputs(self) -> Reals:
        return Reals(1)

    @property
    def targets(self) -> Tokens:
        return Tokens(10)

    @property
    def min_length(self) -> int:
        return PIXELS

    @property
    def data_digest(self) -> str:
        pixels_NP, labels_N = images()
        return hashlib.sha256(pixels_NP.numpy().tobytes() + labels_N.numpy().tobytes()).hexdigest()

    def check_length(self, length: int) -> None:
        super().check_length(length)
        if length % PIXELS:
            raise ImpossibleLength(f"{self} needs a multiple of {PIXELS} steps, not {length}")

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        pixels_NP, labels_N = self._part(split)
        count = len(labels_N)
        rounds = [torch.randperm(count, generator=generator) for _ in range(-(-batch // count))]
        image_B = torch.cat(rounds)[:batch]
        inputs_BT = pixels_NP[image_B].repeat_interleave(length // PIXELS, 1)
        mask_BT = last_step_mask(batch, length)
        targets_BT = labels_N[image_B][:, None] * mask_BT
        return Batch(inputs=inputs_BT[..., None] / LEVELS, targets=targets_BT, mask=mask_BT)

    def chance(self, length: int) -> float:
        _, labels_N = self._part("test")
        return labels_N.bincount().max().item() / len(labels_N)

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the last pixel."""
        pixels_NP, labels_N = self._part("test")
        counts = torch.zeros(LEVELS + 1, 10, dtype=torch.int64)
        counts.index_put_((pixels_NP[:, -1], labels_N), torch.ones_like(labels_N), accumulate=True)
        return counts.max(1).values.sum().item() / len(labels_N)

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the scores of nearest training images, compared by a part of the pixels, on the test set."""
        parts = (("the last row", "the last eight pixels", PIXELS - 8), ("the second half", "the last 32 pixels", 32))
        return tuple(
            Strategy(
                name=name,
                description=f"Name the digit of the training image that is nearest in {pixels}.",
                score=self._nearest_image_score(first),
            )
            for name, pixels, first in parts
        )

    def _nearest_image_score(self, first: int) -> float:
        """Return the share of test images that share the label of the nearest training image.

        Only the pixels from number `first` on are compared.
        """
        (train_NP, train_N), (test_NP, test_N) = self._part("train"), self._part("test")
        nearest_N = torch.cdist(test_NP[:, first:].double(), train_NP[:, first:].double()).argmin(1)
        return (train_N[nearest_N] == test_N).double().mean().item()

    def collision(self, length: int) -> float:
        """Return the probability that a random training image and a random test image are identical."""
        (train_NP, _), (test_NP, _) = self._part("train"), self._part("test")
        return (torch.cdist(train_NP.double(), test_NP.double()) == 0).double().mean().item()

    def solve(self, batch: Batch) -> Tensor:
        """Return the label of each image, looked up in the data set.

        The nearest stored image is the input image itself.
        """
        pixels_NP, labels_N = images()
        pixels_BP = batch.inputs[:, :: batch.inputs.shape[1] // PIXELS, 0].double() * LEVELS
        nearest_B = torch.cdist(pixels_BP, pixels_NP[:, self._order()].double()).argmin(1)
        return labels_N[nearest_B][:, None].expand(batch.mask.shape)

    def _order(self) -> Tensor:
        if not self.permuted:
            return torch.arange(PIXELS)
        return torch.randperm(PIXELS, generator=torch.Generator().manual_seed(PERMUTATION))

    def _part(self, split: Split) -> tuple[Tensor, Tensor]:
        pixels_NP, labels_N = images()
        shuffled_N = torch.randperm(len(labels_N), generator=torch.Generator().manual_seed(SHUFFLE))
        by_label_N = shuffled_N[labels_N[shuffled_N].argsort(stable=True)]
        first, last = PARTS[split]
        slot_N = torch.arange(len(labels_N)) % PARTS["test"][1]
        part_N = by_label_N[(slot_N >= first) & (slot_N < last)]
        return pixels_NP[part_N][:, self._order()], labels_N[part_N]


@lru_cache
def images() -> tuple[Tensor, Tensor]:
    """Return the pixels of all images (N, P), integers from 0 to 16, and their labels (N,).

    Raises:
        MissingData: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError:
        message = (
            "the task digits needs scikit-learn for its images: run `pip install '.[real]'` in a clone of Carousel"
        )
        raise MissingData(message) from None
    data = load_digits()
    return torch.from_numpy(data.data).long(), torch.from_numpy(data.target).long()
