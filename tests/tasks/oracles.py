"""Independent solvers in plain Python, one sequence at a time.

There is a solver for every task with generated data except `reber`. For `reber` there is a regular expression.
"""

from __future__ import annotations

import itertools
import math
import re
import statistics
from typing import Any

Answers = dict[int, Any]
"""The answers of a sequence, by scored step."""

INNER = "B(?:TS*X(?:XT*VP)*(?:S|XT*VV)|PT*V(?:V|P(?:XT*VP)*(?:S|XT*VV)))E"
EMBEDDED = f"B(?:T{INNER}T|P{INNER}P)E"
"""The embedded Reber grammar as a hand-written regular expression."""


def words(task: Any, row: list[int]) -> list[str]:
    """Return the token names of one sequence."""
    return [task.input_names[token] for token in row]


def adding(task: Any, row: list[list[float]]) -> Answers:
    return {len(row) - 1: math.fsum(value for value, mark in row if mark == 1)}


def brackets(task: Any, row: list[int]) -> Answers:
    string = "".join(words(task, row)).removesuffix(".")
    while "()" in string:
        string = string.replace("()", "")
    return {len(row) - 1: int(string == "")}


def copy_memory(task: Any, row: list[int]) -> Answers:
    first = len(row) - task.symbols
    return {first + i: row[i] for i in range(task.symbols)}


def cycle_navigation(task: Any, row: list[int]) -> Answers:
    return {len(row) - 1: sum(int(word) for word in words(task, row)) % task.places}


def even_pairs(task: Any, row: list[int]) -> Answers:
    string = "".join(words(task, row))
    pairs = [string[i : i + 2] for i in range(len(string) - 1)]
    return {len(row) - 1: int((pairs.count("ab") + pairs.count("ba")) % 2 == 0)}


def first_last(task: Any, row: list[Any]) -> Answers:
    if task.rule == "equal":
        return {len(row) - 1: int(row[0] == row[-1])}
    (first,), (last,) = row[0], row[-1]
    return {len(row) - 1: int((first + last if task.rule == "sum" else first * last) > 0)}


def group_word(task: Any, row: list[int]) -> Answers:
    if task.group == "Z60":
        return {t: sum(row[: t + 1]) % 60 for t in range(len(row))}
    elements = [tuple(int(digit) - 1 for digit in name) for name in task.input_names]
    product, answers = tuple(range(5)), {}
    for t, token in enumerate(row):
        product = tuple(product[elements[token][i]] for i in range(5))
        answers[t] = elements.index(product)
    return answers


def induction(task: Any, row: list[int]) -> Answers:
    string = words(task, row)
    return {len(row) - 1: row[string.index("*") + 1]}


def listops(task: Any, row: list[int]) -> Answers:
    text = " ".join(words(task, row)).rstrip("_= ")
    innermost = re.compile(r"\[(MIN|MAX|MED|SM)((?: \d)+) \]")
    while "[" in text:
        text = innermost.sub(
            lambda match: str(apply_operator(match[1], [int(digit) for digit in match[2].split()])), text
        )
    return {len(row) - 1: int(text)}


def apply_operator(operator: str, numbers: list[int]) -> int:
    if operator == "SM":
        return sum(numbers) % 10
    if operator == "MED":
        return int(statistics.median(numbers))
    return min(numbers) if operator == "MIN" else max(numbers)


def modular_arithmetic(task: Any, row: list[int]) -> Answers:
    expression = " ".join(words(task, row)).rstrip("= ")
    assert re.fullmatch(r"\d+( [-+*] \d+)*", expression)
    total = 0
    for sign, term in re.findall(r"(^|[-+]) ?(\d+(?: \* \d+)*)", expression):
        total += (-1 if sign == "-" else 1) * math.prod(int(number) for number in term.split(" * "))
    return {len(row) - 1: total % task.modulus}


def parity(task: Any, row: list[int]) -> Answers:
    steps = range(len(row)) if task.every_step else [len(row) - 1]
    return {t: row[: t + 1].count(1) % 2 for t in steps}


def recall(task: Any, row: list[int]) -> Answers:
    context = 2 * task.pairs
    value_of = dict(zip(row[:context:2], row[1:context:2], strict=True))
    return {t: value_of[row[t]] for t in range(context, len(row)) if row[t] in value_of}


def selective_copy(task: Any, row: list[int]) -> Answers:
    symbols = [token for token, word in zip(row, words(task, row), strict=True) if word not in "_?"]
    return {len(row) - task.symbols + i: symbol for i, symbol in enumerate(symbols)}


def temporal_order(task: Any, row: list[int]) -> Answers:
    signals = re.sub("[^XY]", "", "".join(words(task, row)))
    orders = ["".join(order) for order in itertools.product("XY", repeat=task.symbols)]
    return {len(row) - 1: orders.index(signals)}
