"""recall: which value was paired with this key? (multi-query associative recall, MQAR)

    input    k1 v1 k2 v2 0 0 k2 0 0 0 k1 0      pairs first, then every key once more
    answer                   v2       v1

Keys are sampled without replacement from the first half of the vocabulary, values from the second half.
Token 0 is the filler. Every second step after the pairs is a slot for a query. Slot i is chosen without
replacement with p(i) ∝ i^(a-1), because gaps between repetitions in language follow a power law.
Arora et al. 2023 (Zoology), figure 2, use vocabulary 8,192 and a = 0.01. The presets `zoology_64` to
`zoology_512` have their 4, 8, 16 and 64 pairs for lengths 64, 128, 256 and 512.

>>> import tasks
>>> batch = tasks.build("recall:pairs=2,vocabulary=8").sample(tasks.generator(0, "train"), batch=1, length=12)
>>> batch.inputs[0].tolist(), batch.targets[0][batch.mask[0]].tolist()
([3, 6, 1, 7, 1, 0, 3, 0, 0, 0, 0, 0], [7, 6])
"""

# Shape suffixes: B batch, T time, P pairs, G slots for queries, K tokens

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens

FILLER = 0


@dataclass(frozen=True, kw_only=True)
class Recall(Task):
    """Name the value that was paired with a key; scored wherever a key is repeated.

    `pairs`       number of key-value pairs.
    `vocabulary`  number of tokens: the filler and the keys in the first half, the values in the second.
    `power`       exponent a of the gaps: 1 spreads the queries evenly, 0.01 places them early.
    `filler`      content of the steps without a pair or a query: `blank`, or `random` tokens, which are not scored.
    """

    source: ClassVar[str] = "Arora et al. 2023"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"zoology_{length}": {"pairs": pairs, "vocabulary": 8192, "power": 0.01, "filler": "blank"}
        for length, pairs in [(64, 4), (128, 8), (256, 16), (512, 64)]
    }

    pairs: int = 8
    vocabulary: int = 64
    power: float = 0.01
    filler: Literal["blank", "random"] = "blank"

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.vocabulary % 2 or self.vocabulary < 4:
            given = f"{self.pairs} and {self.vocabulary}"
            raise ValueError(f"pairs must be at least 1 and vocabulary an even number of at least 4, not {given}")
        if self.pairs >= self.vocabulary // 2:
            most = self.vocabulary // 2 - 1
            raise ValueError(
                f"a vocabulary of {self.vocabulary} has {most} keys, too few for {self.pairs} pairs; "
                f"raise vocabulary to {2 * self.pairs + 2} or lower pairs to {most}"
            )
        if self.power <= 0:
            raise ValueError(f"power must be above 0, not {self.power}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.vocabulary)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.vocabulary)

    @property
    def input_names(self) -> tuple[str, ...]:
        half = self.vocabulary // 2
        return ("_", *(f"k{i}" for i in range(1, half)), *(f"v{i}" for i in range(1, half + 1)))

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.input_names

    @property
    def min_length(self) -> int:
        return 4 * self.pairs

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        P, half = self.pairs, self.vocabulary // 2
        keys_BP = 1 + _without_replacement(torch.zeros(half - 1), batch, P, generator)
        values_BP = half + _without_replacement(torch.zeros(half), batch, P, generator)
        log_weights_G = (self.power - 1) * torch.arange(1, (length - 2 * P) // 2 + 1).log()
        positions_BP = 2 * P + 2 * _without_replacement(log_weights_G, batch, P, generator)
        inputs_BT = torch.full((batch, length), FILLER)
        if self.filler == "random":
            inputs_BT = torch.randint(self.vocabulary, (batch, length), generator=generator)
        inputs_BT[:, : 2 * P : 2] = keys_BP
        inputs_BT[:, 1 : 2 * P : 2] = values_BP
        inputs_BT.scatter_(1, positions_BP, keys_BP)
        targets_BT = torch.zeros_like(inputs_BT).scatter_(1, positions_BP, values_BP)
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=targets_BT > 0)

    def chance(self, length: int) -> float:
        return 2 / self.vocabulary

    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that two sequences are identical.

        The bound is the probability that both sequences have the same key-value pairs in the same order.
        """
        half = self.vocabulary // 2
        return 1 / (math.perm(half - 1, self.pairs) * math.perm(half, self.pairs))

    def solve(self, batch: Batch) -> Tensor:
        P = self.pairs
        keys_BP, values_BP = batch.inputs[:, : 2 * P : 2], batch.inputs[:, 1 : 2 * P : 2]
        value_of_BK = torch.zeros(len(keys_BP), self.vocabulary, dtype=torch.int64).scatter_(1, keys_BP, values_BP)
        return value_of_BK.gather(1, batch.inputs)


def _without_replacement(log_weights: Tensor, batch: int, count: int, generator: torch.Generator) -> Tensor:
    """Sample indices (batch, count) without replacement, in proportion to their weights.

    The indices of the largest log weights plus Gumbel noise are such a sample (Vieira 2014).

    Args:
        log_weights: Logarithm of the weight of each index, one-dimensional.
        batch: Number of independent rows.
        count: Number of different indices per row.
        generator: The source of randomness.
    """
    exponential = -torch.log1p(-torch.rand(batch, len(log_weights), generator=generator))
    return (log_weights - exponential.log()).topk(count).indices
