"""k_hop: follow k induction steps back through the sequence.

    input    a c b a d a        one hop from the last a: the a before it, at step 4, was followed by d
    answer             d        two hops: d has not occurred before, so the answer is "none"

One hop goes from a step to the step after the last earlier occurrence of the same symbol. `hops` such steps are
made one after the other, and the answer is the symbol reached. If a symbol has no earlier occurrence, the answer is
"none". If the same symbol occurred just before, the hop stays where it is. This is the k-hop induction heads task of
Sanford, Hsu & Telgarsky 2024, whose sequences have 100 steps over 4 symbols. One hop is plain induction. A
transformer of depth about log₂ k solves it, while recurrent models need a depth of k or a large width.

Symbols are uniform and independent. So each hop searches a part of the sequence that was not seen before, and its
distance is geometric with p = 1 / a for a symbols. Step t is followed by an answer other than "none" with probability

    p + (1 - p) · P(at least k of t - 2 trials succeed)                         (1)

Two hops lead back to the same symbol more often than not, since a hop ends next to the symbol of the hop before. So
the present symbol is right in .62 of the steps at two hops, and in .38 at three hops over 100 steps.

Small models learn three hops over two symbols within a few hundred steps, such as a GRU at length 16. Over four
symbols, the default, nothing small is known to: three layers of attention reach .96 at length 10 after 4,000 steps.

>>> import tasks
>>> task = tasks.build("k_hop:hops=1")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=8)
>>> " ".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('c a d a a c c a', 'c')
"""

# Shape suffixes: B batch, T time, S = 3 kinds of positions

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens

Floats = npt.NDArray[np.float64]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
MIN_ADVANTAGE = 1e-9
"""A strategy is left out if its score differs from 1 by less than this number, a multiple of rounding errors."""


@dataclass(frozen=True, kw_only=True)
class KHop(Task):
    """Hop `hops` times to just after the last earlier equal symbol, and name the symbol there; scored at every step.

    `hops`      number of hops.
    `alphabet`  number of different symbols.
    """

    source: ClassVar[str] = "Sanford, Hsu & Telgarsky 2024"

    hops: int = 3
    alphabet: int = 4

    def __post_init__(self) -> None:
        if not (1 <= self.hops <= 64 and 2 <= self.alphabet <= len(LETTERS)):
            given = f"{self.hops} and {self.alphabet}"
            raise ValueError(f"hops must be from 1 to 64 and alphabet from 2 to {len(LETTERS)}, not {given}")

    @property
    def inputs(self) -> Tokens:
        return Tokens(self.alphabet)

    @property
    def targets(self) -> Tokens:
        return Tokens(self.alphabet + 1)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(LETTERS[: self.alphabet])

    @property
    def target_names(self) -> tuple[str, ...]:
        return (*self.input_names, "none")

    @property
    def min_length(self) -> int:
        return 2

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        inputs_BT = torch.randint(self.alphabet, (batch, length), generator=generator)
        mask_BT = torch.ones(batch, length, dtype=torch.bool)
        return Batch(inputs=inputs_BT, targets=self.reached(inputs_BT, self.hops), mask=mask_BT)

    def reached(self, inputs_BT: Tensor, hops: int) -> Tensor:
        """Return the symbol that is reached after `hops` hops from each step, (B, T). The last class is "none"."""
        batch, length = inputs_BT.shape
        next_BT = torch.full_like(inputs_BT, length)
        last_seen = torch.full((batch, self.alphabet), -1, dtype=torch.int64)
        for step in range(length):
            symbol_B1 = inputs_BT[:, step : step + 1]
            seen_B1 = last_seen.gather(1, symbol_B1)
            next_BT[:, step : step + 1] = torch.where(seen_B1 >= 0, seen_B1 + 1, length)
            last_seen.scatter_(1, symbol_B1, step)
        nowhere_B1 = torch.full((batch, 1), length)
        next_BT = torch.cat([next_BT, nowhere_B1], 1)
        at_BT = torch.arange(length).expand(batch, -1)
        for _ in range(hops):
            at_BT = next_BT.gather(1, at_BT)
        return torch.cat([inputs_BT, torch.full((batch, 1), self.alphabet)], 1).gather(1, at_BT)

    def chance(self, length: int) -> float:
        _, none_T = _reached_shares(self.alphabet, self.hops, length, 0)
        return float(np.maximum(none_T, (1 - none_T) / self.alphabet).mean())

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the current symbol and the step number.

        The answer is the current symbol, another symbol or "none".
        """
        same_T, none_T = _reached_shares(self.alphabet, self.hops, length, 0)
        other_T = (1 - same_T - none_T) / (self.alphabet - 1)
        score = float(np.maximum(np.maximum(same_T, none_T), other_T).mean())
        return score if score > self.chance(length) else None

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy of two hops fewer. Two more hops often lead back to the same symbol.

        With two hops in all, this strategy is the memoryless answer.
        """
        if self.hops < 3:
            return ()
        same_T, _ = _reached_shares(self.alphabet, self.hops, length, self.hops - 2)
        _, none_T = _reached_shares(self.alphabet, self.hops - 2, length, 0)
        fewer = Strategy(
            name="two hops fewer",
            description="Make two hops fewer than asked for.",
            score=float((same_T + none_T).mean()),
        )
        floor = max(self.chance(length), self.memoryless_score(length) or 0.0)
        return (fewer,) if fewer.score is not None and floor < fewer.score < 1 - MIN_ADVANTAGE else ()

    def collision(self, length: int) -> float:
        return float(self.alphabet) ** -length

    def solve(self, batch: Batch) -> Tensor:
        return self.reached(batch.inputs, self.hops)


@lru_cache(maxsize=64)
def _reached_shares(alphabet: int, hops: int, length: int, compared: int) -> tuple[Floats, Floats]:
    """Return for each step the probability that a certain symbol is reached, and that none is, both (T,).

    The certain symbol is the one that `compared` hops reach: with 0, that of the step itself.

    A hop that does not stay where it is ends at a step j, after an occurrence m = j - 1 of the symbol searched for.
    The next hop searches for the symbol at j, which is not that at m, among the symbols before m. Its distance e from
    m is geometric. If e = 1, it ends at m itself. Otherwise it ends at a symbol that is not the one searched for. Let
    c be the compared symbol. The three kinds of positions are: c at m; c at j; c at neither. Row u of the array holds
    the probability that the distances add up to u, so that the search has ended if u is at most t - 1 at step t.
    """
    p = 1 / alphabet
    distances = np.arange(length)
    geometric = np.where(distances > 0, p * (1 - p) ** np.maximum(distances - 1, 0), 0)
    farther = np.where(distances > 1, geometric, 0)
    at_m, at_j, neither = np.zeros((3, length))
    if compared == 0:
        at_m = farther
    else:
        at_j = farther
        for _ in range(compared - 1):
            at_j = np.convolve(at_j, geometric)[:length]
    for _ in range(hops - max(compared, 1)):
        near = [p * np.concatenate([[0], kind[:-1]]) for kind in (at_m, at_j, neither)]
        far = [np.convolve(kind, farther)[:length] for kind in (at_m, at_j, neither)]
        found = (far[0] + far[2]) / (alphabet - 1)
        missed = (far[0] + far[2]) * (alphabet - 2) / (alphabet - 1)
        at_m, at_j, neither = near[1] + far[1], near[0] + found, near[2] + missed
    stays = np.where(distances > 0, p, 0)
    reached = np.cumsum(at_m + at_j + neither)
    return stays + np.cumsum(at_j), 1 - stays - reached
