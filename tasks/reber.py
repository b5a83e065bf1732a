"""reber: which symbol may come next? (embedded Reber grammar)

A Reber string is a walk through this automaton, both ways out of a node equally likely:

    node   1             2         3         4         5         6         7
    B to 2               T to 3    S to 3    T to 4    X to 4    P to 5    E, the end
                         P to 4    X to 5    V to 6    S to 7    V to 7

An embedded one is B T (Reber string) T E or B P (Reber string) P E: the last but one symbol can only
be known by remembering the second. Whole strings follow each other until the length is reached, which
may cut the last. Every step asks for the next symbol: any legal one counts as right, and the step
before the last but one symbol is scored apart, as `memory_score`. A memory of the present string's
place alone scores .5 there.

Reber 1967; Hochreiter & Schmidhuber 1997, section 5.1; strings in a row as in Gers et al. 2000.

>>> import tasks
>>> task = tasks.build("reber")
>>> batch = task.sample(tasks.generator(0, "train"), batch=1, length=14)
>>> "".join(task.input_names[i] for i in batch.inputs[0]), task.target_names[batch.targets[0, -1]]
('BTBTSSSSSXXTVP', 'S')
"""

# Shape suffixes: B batch, T time, N nodes, S symbols, E = 2 edges

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.core.task import Batch, Split, Task, Tokens

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
    """The edges of each node: outer nodes 0, 1 and 18, the upper inner ones 2 to 9, the lower 10 to 17."""
    edges: list[tuple[tuple[str, int], ...]] = [(("B", 1),), (("T", 2), ("P", 10))]
    for symbol, first in (("T", 2), ("P", 10)):
        edges += [tuple((read, first + node - 1) for read, node in INNER[n]) for n in INNER]
        edges.append(((symbol, 18),))
    return [*edges, (("E", 0),)]


NODES = _embedded()
REMEMBERS = torch.tensor([9, 17])
"""The nodes whose way out depends on the second symbol of the string."""
SYMBOL_NE = np.array([[SYMBOLS.index((e * 2)[i][0]) for i in (0, 1)] for e in NODES])
NEXT_NE = np.array([[(e * 2)[i][1] for i in (0, 1)] for e in NODES])
LEGAL_NS = np.zeros((len(NODES), len(SYMBOLS)), dtype=bool)
AFTER_NS = np.zeros((len(NODES), len(SYMBOLS)), dtype=np.int64)
for _edge in (0, 1):
    LEGAL_NS[np.arange(len(NODES)), SYMBOL_NE[:, _edge]] = True
    AFTER_NS[np.arange(len(NODES)), SYMBOL_NE[:, _edge]] = NEXT_NE[:, _edge]


@dataclass(frozen=True, kw_only=True)
class Reber(Task):
    """Name a legal next symbol of an embedded Reber string; asked at every step, seven classes."""

    source: ClassVar[str] = "Reber 1967; Hochreiter & Schmidhuber 1997"

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
        """The shortest embedded string: B T, five symbols, T E."""
        return 9

    def draw(self, generator: torch.Generator, batch: int, length: int, split: Split) -> Batch:
        edges = torch.randint(2, (length + 1, batch), generator=generator).numpy()
        next_flat, ways = NEXT_NE.ravel(), np.empty((length + 1, batch), dtype=np.int64)
        node_B = np.zeros(batch, dtype=np.int64)
        for step in range(length + 1):
            ways[step] = 2 * node_B + edges[step]
            node_B = next_flat[ways[step]]
        symbols_BT = torch.from_numpy(SYMBOL_NE.ravel()[ways].T.copy())
        mask_BT = torch.ones(batch, length, dtype=torch.bool)
        return Batch(inputs=symbols_BT[:, :-1].contiguous(), targets=symbols_BT[:, 1:].contiguous(), mask=mask_BT)

    def nodes(self, inputs_BT: Tensor) -> Tensor:
        """The node reached after each step: (B, T)."""
        after_flat, symbols_TB = AFTER_NS.ravel(), inputs_BT.T.numpy()
        nodes_TB, node_B = np.empty_like(symbols_TB), np.zeros(symbols_TB.shape[1], dtype=np.int64)
        for step, symbol_B in enumerate(symbols_TB):
            node_B = after_flat[node_B * len(SYMBOLS) + symbol_B]
            nodes_TB[step] = node_B
        return torch.from_numpy(nodes_TB.T)

    def chance(self, length: int) -> float:
        """The walk's distribution over nodes is followed; at each step the symbol most often legal is named."""
        return float(_legal_shares(length).sum(1).max(-1).mean())

    def memoryless_score(self, length: int) -> float | None:
        """As `chance`, with the symbol just read known."""
        return float(_legal_shares(length).max(-1).sum(1).mean())

    def collision(self, length: int) -> float:
        """Squared likelihoods, summed over all walks; different walks write different strings."""
        meet_NN = np.zeros((len(NODES), len(NODES)))
        for node, edges in enumerate(NODES):
            for _, after in edges:
                meet_NN[node, after] += len(edges) ** -2
        return float(np.linalg.matrix_power(meet_NN, length)[0].sum())

    def right(self, answers: Tensor, batch: Batch) -> Tensor:
        return torch.from_numpy(LEGAL_NS)[self.nodes(batch.inputs), answers]

    def metrics(self, outputs: Tensor, batch: Batch) -> dict[str, float]:
        measured = super().metrics(outputs, batch)
        needs_memory_BT = torch.isin(self.nodes(batch.inputs), REMEMBERS)
        if needs_memory_BT.any():
            right_BT = self.right(self.answer(outputs), batch)
            measured["memory_score"] = right_BT[needs_memory_BT].double().mean().item()
        return measured

    def solve(self, batch: Batch) -> Tensor:
        return torch.from_numpy(SYMBOL_NE[:, 0])[self.nodes(batch.inputs)]


@lru_cache(maxsize=4096)
def _legal_shares(length: int) -> npt.NDArray[np.float64]:
    """P(the symbol read at step t is s, and symbol r is legal next), as (T, S, S)."""
    node_N = np.zeros(len(NODES))
    node_N[0] = 1.0
    shares = np.zeros((length, len(SYMBOLS), len(SYMBOLS)))
    for step in range(length):
        reached_SN = np.zeros((len(SYMBOLS), len(NODES)))
        for edge in (0, 1):
            np.add.at(reached_SN, (SYMBOL_NE[:, edge], NEXT_NE[:, edge]), node_N / 2)
        shares[step] = reached_SN @ LEGAL_NS
        node_N = reached_SN.sum(0)
    return shares
