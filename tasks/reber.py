"""reber: which symbol may come next? (embedded Reber grammar)

A Reber string is a walk through this automaton. If two edges leave a node, each edge has probability 1/2:

    node   1             2         3         4         5         6         7
    B to 2               T to 3    S to 3    T to 4    X to 4    P to 5    E, the end
                         P to 4    X to 5    V to 6    S to 7    V to 7

An embedded Reber string is B T (Reber string) T E or B P (Reber string) P E. The second-to-last symbol can be
predicted only by remembering the second symbol. Strings are concatenated up to the length; the last string
may be cut off. With `strings=one`, a sequence has one string, and nothing is scored after it.

The answer at each step is the next symbol, and any legal symbol is correct. The metric `memory_score` covers
only the predictions of second-to-last symbols. A model that knows its node in the inner automaton but not the
second symbol has a `memory_score` of 0.5.

The grammar is from Reber 1967, the task from Hochreiter & Schmidhuber 1997, section 5.1, with `strings=one`. Strings
are concatenated as in Gers et al. 2000. Their LSTM without forget gates learns single strings, but not endless ones.

>>> import tasks
>>> task = tasks.build("reber")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=14)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('BTBTSSSSSXXTVP', 'S')
"""

# Shape suffixes: B batch, T time, N nodes, S symbols, E = 2 edges

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Strategy, Task, Tokens

SYMBOLS = "BTPSXVE"
INNER = {
    1: (("B", 2),),
    2: (("T", 3), ("P", 4)),
    3: (("S", 3), ("X", 5)),
    4: (("T", 4), ("V", 6)),
    5: (("X", 4), ("S", 7)),
    6: (("P", 5), ("V", 7)),
    7: (("E", 8),),
}


def _embedded() -> list[tuple[tuple[str, int], ...]]:
    """Return the edges of each node of the embedded grammar, as pairs of a symbol and the next node.

    The outer nodes are 0, 1 and 18. The inner nodes are 2 to 9 after T, and 10 to 17 after P.
    """
    edges: list[tuple[tuple[str, int], ...]] = [(("B", 1),), (("T", 2), ("P", 10))]
    for symbol, first in (("T", 2), ("P", 10)):
        edges += [tuple((read, first + node - 1) for read, node in INNER[n]) for n in INNER]
        edges.append(((symbol, 18),))
    return [*edges, (("E", 0),)]


NODES = _embedded()
MEMORY_NODES = torch.tensor([9, 17], device="cpu")
"""Nodes whose next symbol depends on the second symbol of the string."""
SYMBOL_NE = np.array([[SYMBOLS.index((e * 2)[i][0]) for i in (0, 1)] for e in NODES])
NEXT_NE = np.array([[(e * 2)[i][1] for i in (0, 1)] for e in NODES])
LEGAL_NS = np.zeros((len(NODES), len(SYMBOLS)), dtype=bool)
AFTER_NS = np.zeros((len(NODES), len(SYMBOLS)), dtype=np.int64)
for _edge in (0, 1):
    LEGAL_NS[np.arange(len(NODES)), SYMBOL_NE[:, _edge]] = True
    AFTER_NS[np.arange(len(NODES)), SYMBOL_NE[:, _edge]] = NEXT_NE[:, _edge]


Strings = Literal["many", "one"]


@dataclass(frozen=True, kw_only=True)
class Reber(Task):
    """Name a legal next symbol of an embedded Reber string; scored at every step, seven classes.

    `strings`  number of strings in a sequence: as `many` as fit, or `one`, followed by unscored repetitions of E.
    """

    source: ClassVar[str] = "Reber 1967; Hochreiter & Schmidhuber 1997"

    strings: Strings = "many"

    @property
    def inputs(self) -> Tokens:
        return Tokens(len(SYMBOLS))

    @property
    def targets(self) -> Tokens:
        return Tokens(len(SYMBOLS))

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(SYMBOLS)

    @property
    def target_names(self) -> tuple[str, ...]:
        return tuple(SYMBOLS)

    @property
    def min_length(self) -> int:
        """The length of the shortest embedded string: B T, five inner symbols, T E."""
        return 9

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        edges = torch.randint(2, (length + 1, batch), generator=generator).numpy()
        next_flat, taken = NEXT_NE.ravel(), np.empty((length + 1, batch), dtype=np.int64)
        node_B = np.zeros(batch, dtype=np.int64)
        for step in range(length + 1):
            taken[step] = 2 * node_B + edges[step]
            node_B = next_flat[taken[step]]
        symbols_BT = torch.from_numpy(SYMBOL_NE.ravel()[taken].T.copy())
        inputs_BT, targets_BT = symbols_BT[:, :-1].contiguous(), symbols_BT[:, 1:].contiguous()
        mask_BT = torch.ones(batch, length, dtype=torch.bool)
        if self.strings == "one":
            mask_BT = (self.nodes(inputs_BT) == 0).cumsum(1) == 0
            inputs_BT[~mask_BT], targets_BT[~mask_BT] = SYMBOLS.index("E"), 0
        return Batch(inputs=inputs_BT, targets=targets_BT, mask=mask_BT)

    def nodes(self, inputs_BT: Tensor) -> Tensor:
        """Return the node of the grammar that is reached after each step, (B, T)."""
        after_flat, symbols_TB = AFTER_NS.ravel(), inputs_BT.T.numpy()
        nodes_TB, node_B = np.empty_like(symbols_TB), np.zeros(symbols_TB.shape[1], dtype=np.int64)
        for step, symbol_B in enumerate(symbols_TB):
            node_B = after_flat[node_B * len(SYMBOLS) + symbol_B]
            nodes_TB[step] = node_B
        return torch.from_numpy(nodes_TB.T)

    def chance(self, length: int) -> float:
        """Return the best score of an answer that depends only on the step number.

        The best answer at a step is the symbol that is most often legal there.
        """
        return float(_legal_shares(length, self.strings).sum(1).max(-1).mean())

    def memoryless_score(self, length: int) -> float | None:
        """Return the best score of an answer that depends only on the current symbol and the step number.

        The best answer is the symbol that is most often legal after the current symbol at this step.
        """
        return float(_legal_shares(length, self.strings).max(-1).sum(1).mean())

    def strategies(self, length: int) -> tuple[Strategy, ...]:
        """Return the strategy that knows its node in the inner grammar, but not the second symbol of the string.

        It loses half of the memory positions. Its loss is ln 2 there, and wherever two edges leave a node.
        """
        shares_N = _node_shares(length, self.strings)
        memory = float(shares_N[MEMORY_NODES.numpy()].sum())
        branching = float(shares_N[[len(edges) == 2 for edges in NODES]].sum())
        inner = Strategy(
            name="without the long-range symbol",
            description="Follow the grammar, but guess the symbol that repeats the second one.",
            score=1 - memory / 2,
            loss=(memory + branching) * math.log(2),
        )
        return (inner,) if memory else ()

    def memory_floor(self, length: int) -> float:
        """Return the `memory_score` of a model that knows the inner grammar, but not the second symbol."""
        return 0.5

    def collision(self, length: int) -> float:
        """Return the probability that two sequences are identical.

        Different walks produce different strings, so the result is the sum of the squared probabilities of all walks.
        With `strings=one`, a walk stays at an additional node, the last one, after the string.
        """
        ended = len(NODES)
        squared_NN = np.zeros((ended + 1, ended + 1))
        squared_NN[ended, ended] = 1
        for node, edges in enumerate(NODES):
            for _, after in edges:
                squared_NN[node, ended if self.strings == "one" and after == 0 else after] += len(edges) ** -2
        return float(np.linalg.matrix_power(squared_NN, length)[0].sum())

    def correct(self, answers: Tensor, batch: Batch) -> Tensor:
        return torch.from_numpy(LEGAL_NS)[self.nodes(batch.inputs), answers]

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        measured = super().metrics(outputs, batch)
        needs_memory_BT = torch.isin(self.nodes(batch.inputs), MEMORY_NODES)
        if needs_memory_BT.any():
            correct_BT = self.correct(self.answer(outputs), batch)
            measured["memory_score"] = correct_BT[needs_memory_BT].double().mean().item()
        return measured

    def solve(self, batch: Batch) -> Tensor:
        return torch.from_numpy(SYMBOL_NE[:, 0])[self.nodes(batch.inputs)]


@lru_cache(maxsize=4096)
def _legal_shares(length: int, strings: Strings) -> npt.NDArray[np.float64]:
    """Return the probability (T, S, S) that symbol s is read at step t and symbol r is legal next.

    Probabilities are relative to the mean probability that a step is scored.
    """
    node_N = np.zeros(len(NODES))
    node_N[0] = 1.0
    shares, scored = np.zeros((length, len(SYMBOLS), len(SYMBOLS))), 0.0
    for step in range(length):
        reached_SN = np.zeros((len(SYMBOLS), len(NODES)))
        for edge in (0, 1):
            np.add.at(reached_SN, (SYMBOL_NE[:, edge], NEXT_NE[:, edge]), node_N / 2)
        if strings == "one":
            reached_SN[:, 0] = 0  # the string is over
        shares[step] = reached_SN @ LEGAL_NS
        node_N = reached_SN.sum(0)
        scored += float(node_N.sum()) / length
    return shares / scored


@lru_cache(maxsize=4096)
def _node_shares(length: int, strings: Strings) -> npt.NDArray[np.float64]:
    """Return the share of the scored steps after which each node is reached, (N,)."""
    step_NN = np.zeros((len(NODES), len(NODES)))
    for node, edges in enumerate(NODES):
        for _, after in edges:
            if strings == "many" or after != 0:
                step_NN[node, after] += 1 / len(edges)
    node_N, shares_N = np.eye(len(NODES))[0], np.zeros(len(NODES))
    for _ in range(length):
        node_N = node_N @ step_NN
        shares_N += node_N
    return np.asarray(shares_N / shares_N.sum())
