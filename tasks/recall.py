"""recall: which value was paired with this key? (multi-query associative recall, MQAR)

    input    k1 v1 k2 v2 0 0 k2 0 0 0 k1 0      pairs first, then every key once more
    answer                   v2       v1

Keys are sampled without replacement from the first half of the vocabulary, values from the second half.
Token 0 is the filler. Every second step after the pairs is a slot for a query. Slot i is chosen without
replacement with p(i) ∝ i^(a-1), because gaps between repetitions in language follow a power law.
Arora et al. 2023 (Zoology), figure 2, use vocabulary 8,192 and a = 0.01. The presets `zoology_64` to
`zoology_512` have their 4, 8, 16 and 64 pairs for lengths 64, 128, 256 and 512. Harder variants:

    overwriting     overwritten=4: four of the keys are shown again with another value, which replaces the first
    compositional   key_tokens=2, key_parts=4: a key is one of 16 pairs of tokens, so no single token tells the value
    fuzzy           key_tokens=3: keys are sequences of three tokens; vocabulary 16, as MAD uses
    noisy           noise=16: tokens of a vocabulary of their own are scattered between the pairs

Fuzzy and noisy recall are tasks of MAD (Poli et al. 2024). In its fuzzy recall, values have several tokens too, and
training mixes keys of one to three tokens. Its noise replaces whole pairs. The names of the variants are presets.

>>> import tasks
>>> batch = tasks.build("recall:pairs=2,vocabulary=8").sample(tasks.generator(0, "train"), batch=1, length=12)
>>> batch.inputs[0].tolist(), batch.targets[0][batch.mask[0]].tolist()
([3, 6, 1, 7, 1, 0, 3, 0, 0, 0, 0, 0], [7, 6])
"""

# Shape suffixes: B batch, T time, P pairs, E pairs with those that overwrite, K tokens of a key, N noise tokens,
# G slots for queries

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens

FILLER = 0
NOISE_TOKENS = 16
"""Number of different noise tokens. They follow the keys and values in the vocabulary."""
MAX_KEYS = 10_000
"""Maximum number of possible keys, because a batch samples keys from a table of all."""


@dataclass(frozen=True, kw_only=True)
class Recall(Task):
    """Name the value that was paired with a key; scored wherever a key is repeated.

    `pairs`        number of key-value pairs.
    `vocabulary`   number of tokens: the filler and the keys in the first half, the values in the second.
    `power`        exponent a of the gaps: 1 spreads the queries evenly, 0.01 places them early.
    `filler`       content of the steps without a pair or a query: `blank`, or `random` tokens, which are not scored.
    `overwritten`  number of keys that are shown again with another value, after all pairs.
    `key_tokens`   number of tokens of a key; the value is asked for at the last one.
    `key_parts`    number of different tokens in keys; 0 for all of the first half.
    `noise`        number of noise tokens between the pairs.
    """

    source: ClassVar[str] = "Arora et al. 2023; variants after Poli et al. 2024"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **{
            f"zoology_{length}": {"pairs": pairs, "vocabulary": 8192, "power": 0.01, "filler": "blank"}
            for length, pairs in [(64, 4), (128, 8), (256, 16), (512, 64)]
        },
        "overwriting": {"overwritten": 4},
        "compositional": {"key_tokens": 2, "key_parts": 4},
        "fuzzy": {"pairs": 7, "vocabulary": 16, "key_tokens": 3},
        "noisy": {"noise": 16},
    }

    pairs: int = 8
    vocabulary: int = 64
    power: float = 0.01
    filler: Literal["blank", "random"] = "blank"
    overwritten: int = 0
    key_tokens: int = 1
    key_parts: int = 0
    noise: int = 0

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.vocabulary % 2 or self.vocabulary < 4:
            given = f"{self.pairs} and {self.vocabulary}"
            raise ValueError(f"pairs must be at least 1 and vocabulary an even number of at least 4, not {given}")
        if not 0 <= self.overwritten <= self.pairs:
            raise ValueError(f"overwritten must be between 0 and the {self.pairs} pairs, not {self.overwritten}")
        if self.noise < 0:
            raise ValueError(f"noise must be at least 0, not {self.noise}")
        self._check_keys()
        values = self.pairs + self.overwritten
        if values > self.vocabulary // 2:
            raise ValueError(
                f"a vocabulary of {self.vocabulary} has {self.vocabulary // 2} values, too few for {values}; "
                f"raise vocabulary to {2 * values} or lower pairs or overwritten"
            )
        if self.power <= 0:
            raise ValueError(f"power must be above 0, not {self.power}")

    def _check_keys(self) -> None:
        most = self.vocabulary // 2 - 1
        if self.key_tokens < 1:
            raise ValueError(f"key_tokens must be at least 1, not {self.key_tokens}")
        if not 0 <= self.key_parts <= most:
            raise ValueError(
                f"key_parts must be between 0 and the {most} keys of the vocabulary, not {self.key_parts}; "
                "0 stands for all"
            )
        keys = self._parts**self.key_tokens
        if self.key_tokens == 1 and not self.key_parts and self.pairs > keys:
            raise ValueError(
                f"a vocabulary of {self.vocabulary} has {most} keys, too few for {self.pairs} pairs; "
                f"raise vocabulary to {2 * self.pairs + 2} or lower pairs to {most}"
            )
        if not self.pairs <= keys:
            raise ValueError(
                f"key_parts={self.key_parts} and key_tokens={self.key_tokens} give {keys} keys, too few for "
                f"{self.pairs} pairs; raise one of them"
            )
        if keys > MAX_KEYS:
            raise ValueError(
                f"{self._parts} tokens in {self.key_tokens} places give {keys} keys, more than {MAX_KEYS:,}; "
                "lower key_parts, key_tokens or vocabulary"
            )

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.vocabulary + (NOISE_TOKENS if self.noise else 0))

    @property
    def targets(self) -> Tokens:
        return Tokens(self.vocabulary)

    @property
    def input_names(self) -> tuple[str, ...]:
        noise = (f"n{i}" for i in range(1, self.inputs.size - self.vocabulary + 1))
        return (*self.target_names, *noise)

    @property
    def target_names(self) -> tuple[str, ...]:
        half = self.vocabulary // 2
        return ("_", *(f"k{i}" for i in range(1, half)), *(f"v{i}" for i in range(1, half + 1)))

    @property
    def min_length(self) -> int:
        return self.context_length + self.pairs * (self.key_tokens + 1)

    @property
    def context_length(self) -> int:
        """The number of steps that show the pairs and the noise."""
        return (self.pairs + self.overwritten) * (self.key_tokens + 1) + self.noise

    @property
    def _parts(self) -> int:
        return self.key_parts or self.vocabulary // 2 - 1

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        P, width, C = self.pairs, self.key_tokens + 1, self.context_length
        keys_BPK = self._tokens_of(_without_replacement(torch.zeros(self._parts**self.key_tokens), batch, P, generator))
        half = self.vocabulary // 2
        values_BE = half + _without_replacement(torch.zeros(half), batch, P + self.overwritten, generator)
        log_weights_G = (self.power - 1) * torch.arange(1, (length - C) // width + 1).log()
        queries_BP = C + width * _without_replacement(log_weights_G, batch, P, generator)
        inputs_BT = torch.full((batch, length), FILLER)
        if self.filler == "random":
            inputs_BT = torch.randint(self.vocabulary, (batch, length), generator=generator)
        shown_BEK, latest_BP = keys_BPK, values_BE[:, :P]
        if self.overwritten:
            again_BO = _without_replacement(torch.zeros(P), batch, self.overwritten, generator)
            again_BOK = keys_BPK.gather(1, again_BO[..., None].expand(-1, -1, self.key_tokens))
            shown_BEK = torch.cat([keys_BPK, again_BOK], 1)
            latest_BP = latest_BP.scatter(1, again_BO, values_BE[:, P:])
        starts_BE = torch.arange(0, width * shown_BEK.shape[1], width).expand(batch, -1)
        if self.noise:
            inputs_BT[:, :C] = torch.randint(self.vocabulary, self.inputs.size, (batch, C), generator=generator)
            before_BN = torch.randint(shown_BEK.shape[1] + 1, (batch, self.noise), generator=generator)
            starts_BE = starts_BE + (before_BN[:, None] <= torch.arange(shown_BEK.shape[1])[:, None]).sum(2)
        for place in range(self.key_tokens):
            inputs_BT.scatter_(1, starts_BE + place, shown_BEK[:, :, place])
            inputs_BT.scatter_(1, queries_BP + place, keys_BPK[:, :, place])
        inputs_BT.scatter_(1, starts_BE + self.key_tokens, values_BE)
        targets_BT = torch.zeros_like(inputs_BT).scatter_(1, queries_BP + self.key_tokens - 1, latest_BP)
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=targets_BT > 0)

    def chance(self, length: int) -> float:
        return 2 / self.vocabulary

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategies that know the values but not the keys, parts of the keys, or only the first values."""
        P = self.pairs
        lines = [
            Strategy(
                name="any value shown",
                description="Name any of the latest values shown, regardless of the key.",
                score=1 / P,
                loss=math.log(P),
            )
        ]
        if self.key_tokens > 1:
            others = {count: self._share_of_ambiguity(count) for count in range(P)}
            lines.append(
                Strategy(
                    name="the last token of the key",
                    description="Name one of the values whose key ends with the same token.",
                    score=sum(share / (1 + count) for count, share in others.items()),
                    loss=sum(share * math.log(1 + count) for count, share in others.items()),
                )
            )
        if self.overwritten:
            first = Strategy(
                name="the first value",
                description="Name the first value of the key, and ignore that values are overwritten.",
                score=1 - self.overwritten / P,
            )
            lines.append(first)
        better = (line for line in lines if line.score is not None and self.chance(length) < line.score < 1)
        return tuple(sorted(better, key=lambda line: line.score or 0.0))

    def memory_floor(self, length: int) -> float:
        """Return the score of naming any of the values shown, regardless of the key."""
        return 1 / self.pairs

    def collision(self, length: int) -> float:
        """Return an upper bound on the probability that two sequences are identical.

        The bound is the probability that both sequences have the same key-value pairs in the same order.
        """
        keys, values = self._parts**self.key_tokens, self.vocabulary // 2
        return 1 / (math.perm(keys, self.pairs) * math.perm(values, self.pairs + self.overwritten))

    def solve(self, batch: Batch) -> Tensor:
        half, C = self.vocabulary // 2, self.context_length
        codes_BT = torch.zeros_like(batch.inputs)
        for back in range(self.key_tokens):
            codes_BT[:, back:] += batch.inputs[:, : batch.inputs.shape[1] - back] * self.inputs.size**back
        context_BC = batch.inputs[:, :C]
        is_value_BC = (context_BC >= half) & (context_BC < self.vocabulary)
        values_BE = context_BC[is_value_BC].view(len(context_BC), -1)
        keys_BE = codes_BT[:, : C - 1][is_value_BC[:, 1:]].view(values_BE.shape)
        answers_BT = torch.zeros_like(batch.inputs)
        for key_B, value_B in zip(keys_BE.unbind(1), values_BE.unbind(1), strict=True):
            answers_BT = torch.where(codes_BT == key_B[:, None], value_B[:, None], answers_BT)
        return answers_BT

    def _tokens_of(self, numbers_BP: Tensor) -> Tensor:
        """Return the tokens (B, P, K) of keys by their numbers, written in base `key_parts` with the digits 1, 2, …"""
        places = self._parts ** torch.arange(self.key_tokens - 1, -1, -1)
        return 1 + numbers_BP[..., None] // places % self._parts

    def _share_of_ambiguity(self, count: int) -> float:
        """Return the probability that `count` other keys of a sequence end with the same token as a given key."""
        keys, same = self._parts**self.key_tokens - 1, self._parts ** (self.key_tokens - 1) - 1
        ways = math.comb(same, count) * math.comb(keys - same, self.pairs - 1 - count)
        return ways / math.comb(keys, self.pairs - 1)


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
