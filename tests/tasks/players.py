"""Players of the partial strategies: each knows what its strategy knows, and no more.

A player gets a task and a batch and returns outputs like a model's: log probabilities (B, T, C) of classes, or real
numbers (B, T, D). Players are written without the formulas of the tasks.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

import tasks
from tests.tasks import oracles

Player = Callable[[Any, tasks.Batch], Tensor]
UNLIKELY = 1e-12
SEQUENCES = 20_000
"""Number of sequences from which a player learns a table."""


def log_probabilities(weights_BTC: Tensor) -> Tensor:
    return (weights_BTC.double() / weights_BTC.sum(-1, keepdim=True).clamp(min=UNLIKELY)).clamp(min=UNLIKELY).log()


def certain(task: Any, answers: Tensor) -> Tensor:
    return log_probabilities(torch.nn.functional.one_hot(answers.long(), task.targets.size))


def at_last_step(task: Any, batch: tasks.Batch, answers: Iterable[int]) -> Tensor:
    return certain(task, torch.tensor(list(answers))[:, None].expand(batch.mask.shape))


def row_by_row(answer: Callable[[Any, list[Any]], int]) -> Player:
    """Return a player that answers at the last step, from a function of one sequence."""
    return lambda task, batch: at_last_step(task, batch, (answer(task, row) for row in batch.inputs.tolist()))


def the_mean(task: Any, batch: tasks.Batch) -> Tensor:
    return torch.ones_like(batch.targets)


def one_addend(task: Any, batch: tasks.Batch) -> Tensor:
    answers = []
    for row in batch.inputs.tolist():
        value = [value for value, mark in row if mark == 1][-1]
        answers.append(1 + value / 2 if task.marks == "early" else value + 0.5)
    return torch.tensor(answers)[:, None, None].expand_as(batch.targets)


def linear_forecast(task: Any, batch: tasks.Batch) -> Tensor:
    """Fit a linear forecast from 18 values to other sequences."""
    length = batch.mask.shape[1]
    known = task.sample(tasks.generator(5, "train"), SEQUENCES // 4, length)

    def features(inputs: Tensor) -> Tensor:
        shifted = [inputs.roll(back, 1) for back in range(18)]
        return torch.cat([*shifted, torch.ones_like(inputs)], -1).double()

    weights = torch.linalg.lstsq(features(known.inputs)[known.mask], known.targets[known.mask].double()).solution
    return (features(batch.inputs) @ weights).float()


def two_ends(task: Any, row: list[int]) -> int:
    string = "".join(oracles.words(task, row)).rstrip(".")
    return int(string[0] == "(" and string[-1] == ")")


def as_many_brackets(task: Any, row: list[int]) -> int:
    string = "".join(oracles.words(task, row))
    return int(string.count("(") == string.count(")"))


def counts_of(symbols_BS: Tensor, steps: int, classes: int) -> Tensor:
    """Return the counts of the symbols of each sequence, the same at every step, (B, T, C)."""
    counts_BC = torch.nn.functional.one_hot(symbols_BS, classes).sum(1)
    return counts_BC[:, None].expand(-1, steps, -1)


def blanks_then_guesses(task: Any, batch: tasks.Batch) -> Tensor:
    weights = torch.ones(*batch.mask.shape, task.targets.size)
    weights[..., 0] = 0
    return log_probabilities(torch.where(batch.mask[..., None], weights, 1 - weights))


def copied_counts(task: Any, batch: tasks.Batch) -> Tensor:
    length, C = batch.mask.shape[1], task.targets.size
    counts_BTC = counts_of(batch.inputs[:, : task.symbols], length, C)
    blank_C = torch.nn.functional.one_hot(torch.tensor(0), C)
    return log_probabilities(torch.where(batch.mask[..., None], counts_BTC, blank_C))


def selected_counts(task: Any, batch: tasks.Batch) -> Tensor:
    is_symbol = (batch.inputs > 0) & (batch.inputs <= task.alphabet)
    return log_probabilities(
        counts_of(batch.inputs[is_symbol].view(len(batch.inputs), -1), batch.mask.shape[1], task.targets.size)
    )


def second_half(task: Any, row: list[int]) -> int:
    return sum(int(word) for word in oracles.words(task, row)[len(row) // 2 :]) % task.places


def window_counts(task: Any, batch: tasks.Batch) -> Tensor:
    length = batch.mask.shape[1]
    delay = task.delay or length // 2
    one_hot_BTC = torch.nn.functional.one_hot(batch.inputs, task.alphabet)
    windows = [one_hot_BTC[:, max(0, t - delay) : t + 1].sum(1) for t in range(length)]
    return log_probabilities(torch.stack(windows, 1))


def nearest_image(first: int) -> Player:
    def answer(task: Any, batch: tasks.Batch) -> Tensor:
        known = task.sample(tasks.generator(5, "train"), SEQUENCES // 5, batch.mask.shape[1], "train")
        distance = torch.cdist(batch.inputs[:, first:, 0].double(), known.inputs[:, first:, 0].double())
        return at_last_step(task, batch, known.targets[:, -1][distance.argmin(1)].tolist())

    return answer


def outermost_bracket(task: Any, batch: tasks.Batch) -> Tensor:
    weights = torch.ones(*batch.mask.shape, task.types)
    for b, row in enumerate(batch.inputs.tolist()):
        height, outermost = 0, 0
        for t, symbol in enumerate(row):
            opens = symbol < task.types
            height += 1 if opens else -1
            outermost = symbol if opens and height == 1 else outermost
            if opens or height == 1:
                weights[b, t] = torch.nn.functional.one_hot(torch.tensor(symbol if opens else outermost), task.types)
    return log_probabilities(weights)


def first_sign(task: Any, batch: tasks.Batch) -> Tensor:
    first, last = batch.inputs[:, 0, 0], batch.inputs[:, -1, 0]
    smaller = torch.erf(last.abs() / math.sqrt(2))
    sign_agrees = (first > 0) == (last > 0)
    of_last = torch.where(sign_agrees, 1.0, smaller)
    yes = torch.where(last > 0, of_last, 1 - of_last)
    return log_probabilities(torch.stack([1 - yes, yes], -1)[:, None].expand(*batch.mask.shape, 2))


def last_bit(task: Any, batch: tasks.Batch) -> Tensor:
    weights = torch.ones(*batch.mask.shape, 2)
    for b, row in enumerate(batch.inputs.tolist()):
        words = oracles.words(task, row)
        for t in range(2, len(row), 2):
            if words[t - 2] != "i":
                weights[b, t] = torch.nn.functional.one_hot(torch.tensor(row[t - 1]), 2)
    return log_probabilities(weights)


def is_odd(name: str) -> bool:
    return sum(a > b for i, a in enumerate(name) for b in name[i + 1 :]) % 2 == 1


def parity_of_product(task: Any, batch: tasks.Batch) -> Tensor:
    """Answer with the most frequent product, given the step, the parity of the permutation and the present element."""
    known = task.sample(tasks.generator(5, "train"), 2 * SEQUENCES, batch.mask.shape[1])
    odd_input = torch.tensor([is_odd(name) for name in task.input_names])

    def contexts(inputs: Tensor) -> Tensor:
        steps = torch.arange(inputs.shape[1])
        return (steps * 2 + odd_input[inputs].cumsum(1) % 2) * task.inputs.size + inputs

    counts = torch.zeros(2 * batch.mask.shape[1] * task.inputs.size, task.targets.size)
    place = (contexts(known.inputs)[known.mask], known.targets[known.mask])
    counts.index_put_(place, torch.ones(1), accumulate=True)
    return log_probabilities(counts[contexts(batch.inputs)])


def token_shown(task: Any, row: list[int]) -> int:
    return next(token for token in row if token != task.vocabulary)


def two_hops_fewer(task: Any, batch: tasks.Batch) -> Tensor:
    rows = [
        [oracles.hop(row, t, task.hops - 2, task.alphabet) for t in range(len(row))] for row in batch.inputs.tolist()
    ]
    return certain(task, torch.tensor(rows))


def first_operator(task: Any, batch: tasks.Batch) -> Tensor:
    known = task.sample(tasks.generator(5, "train"), SEQUENCES, batch.mask.shape[1])
    counts = torch.zeros(task.inputs.size, task.targets.size)
    counts.index_put_((known.inputs[:, 0], known.targets[:, -1]), torch.ones(1), accumulate=True)
    return log_probabilities(counts[batch.inputs[:, 0]][:, None].expand(-1, batch.mask.shape[1], -1))


def left_to_right(task: Any, row: list[int]) -> int:
    words = [word for word in oracles.words(task, row) if word != "="]
    value = int(words[0])
    for operator, number in zip(words[1::2], words[2::2], strict=True):
        value = oracles.arithmetic(f"{value} {operator} {number}")
    return value % task.modulus


def left_operand(task: Any, row: list[int]) -> int:
    words = oracles.words(task, row)
    heights = [words[:t].count("(") - words[:t].count(")") for t in range(len(words))]
    (operator,) = [
        t for t in range(2, len(words)) if heights[t] == 1 and words[t] in "+-*" and words[t - 1] not in "(+-*"
    ]
    left = oracles.arithmetic("".join(words[1:operator]))
    return oracles.arithmetic(f"({left}) {words[operator]} 0") % task.modulus


def pairs_of(task: Any, row: list[int]) -> list[tuple[tuple[int, ...], int]]:
    """Return the keys and values of a sequence of `recall`, in the order shown."""
    half = task.vocabulary // 2
    context = row[: task.context_length]
    return [(tuple(context[t - task.key_tokens : t]), v) for t, v in enumerate(context) if half <= v < 2 * half]


def recalled(weigh: Callable[[Any, list[tuple[tuple[int, ...], int]], tuple[int, ...]], Counter[int]]) -> Player:
    """Return a player of `recall` from a function that weighs the values, given all pairs and the key asked for."""

    def answer(task: Any, batch: tasks.Batch) -> Tensor:
        weights = torch.ones(*batch.mask.shape, task.targets.size)
        for b, row in enumerate(batch.inputs.tolist()):
            pairs = pairs_of(task, row)
            for t in batch.mask[b].nonzero().flatten().tolist():
                weighed = weigh(task, pairs, tuple(row[t + 1 - task.key_tokens : t + 1]))
                weights[b, t] = torch.tensor([weighed[value] for value in range(task.targets.size)])
        return log_probabilities(weights)

    return answer


def any_value(task: Any, pairs: list[tuple[tuple[int, ...], int]], key: tuple[int, ...]) -> Counter[int]:
    return Counter(dict(pairs).values())


def last_token(task: Any, pairs: list[tuple[tuple[int, ...], int]], key: tuple[int, ...]) -> Counter[int]:
    return Counter(value for other, value in pairs if other[-1] == key[-1])


def first_value(task: Any, pairs: list[tuple[tuple[int, ...], int]], key: tuple[int, ...]) -> Counter[int]:
    return Counter([next(value for other, value in pairs if other == key)])


def inner_grammar(task: Any, batch: tasks.Batch) -> Tensor:
    """Follow the grammar by sets of nodes, without the second symbol of each string."""
    from tasks.reber import LEGAL_NS, MEMORY_NODES

    nodes = task.nodes(batch.inputs)
    both = LEGAL_NS[MEMORY_NODES].any(0)
    weights = torch.from_numpy(LEGAL_NS)[nodes].double()
    weights[torch.isin(nodes, MEMORY_NODES)] = torch.from_numpy(both).double()
    return log_probabilities(weights)


def ordered_signals(knows: Callable[[str], object]) -> Player:
    """Return a player of `temporal_order` that guesses among the orders for which `knows` gives the same."""

    def answer(task: Any, batch: tasks.Batch) -> Tensor:
        rows = []
        for row in batch.inputs.tolist():
            signals = "".join(word for word in oracles.words(task, row) if word in "XY")
            rows.append([float(knows(order) == knows(signals)) for order in task.target_names])
        return log_probabilities(torch.tensor(rows)[:, None].expand(*batch.mask.shape, -1))

    return answer


def two_characters(task: Any, batch: tasks.Batch) -> Tensor:
    text = task.sample(tasks.generator(5, "train"), SEQUENCES, batch.mask.shape[1], "train")
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    windows = {
        (tuple(row), target) for row, target in zip(text.inputs.tolist(), text.targets[:, -1].tolist(), strict=True)
    }
    for row, target in windows:
        counts[row[-2:]][target] += 1
        counts[row[-1:]][target] += 1
    answers = [
        [
            max(
                counts[tuple(row[max(0, t - 1) : t + 1])].items(), key=lambda item: (item[1], -item[0]), default=(0, 0)
            )[0]
            for t in range(len(row))
        ]
        for row in batch.inputs.tolist()
    ]
    return certain(task, torch.tensor(answers))


PLAYERS: dict[str, dict[str, Player]] = {
    "adding": {"the mean": the_mean, "one addend": one_addend},
    "brackets": {"the two ends": row_by_row(two_ends), "counts without order": row_by_row(as_many_brackets)},
    "chaotic_series": {"a linear forecast": linear_forecast},
    "copy_memory": {"blanks, then guesses": blanks_then_guesses, "counts without order": copied_counts},
    "cycle_navigation": {"the second half": row_by_row(second_half)},
    "delayed_copy": {"counts without order": window_counts},
    "digits": {"the last row": nearest_image(56), "the second half": nearest_image(32)},
    "dyck": {"the outermost bracket": outermost_bracket},
    "first_last": {"the first sign": first_sign},
    "flip_flop": {"the last bit": last_bit},
    "group_word": {"counts without order": parity_of_product},
    "induction": {"any token shown": row_by_row(token_shown)},
    "k_hop": {"two hops fewer": two_hops_fewer},
    "listops": {"the first operator": first_operator},
    "modular_arithmetic": {"left to right": row_by_row(left_to_right)},
    "nested_arithmetic": {"the left operand": row_by_row(left_operand)},
    "recall": {
        "any value shown": recalled(any_value),
        "the last token of the key": recalled(last_token),
        "the first value": recalled(first_value),
    },
    "reber": {"without the long-range symbol": inner_grammar},
    "selective_copy": {"counts without order": selected_counts},
    "temporal_order": {
        "the last signal": ordered_signals(lambda order: order[-1]),
        "counts without order": ordered_signals(sorted),
    },
    "text": {"the last two characters": two_characters},
    "two_sequences": {"one number": row_by_row(lambda task, row: int(row[0][0] > 0))},
}
"""The players by task and by the name of the strategy."""
