"""Independent solvers in plain Python, one sequence at a time.

There is a solver for each task in `tests.tasks.test_properties.ANY`. For `reber` there is a regular expression.
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
    total = math.fsum(value for value, mark in row if mark == 1)
    return {len(row) - 1: 1 + total / 2 if task.marks == "early" else total}


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


def delayed_copy(task: Any, row: list[int]) -> Answers:
    delay = task.delay or len(row) // 2
    return {t: row[t - delay] for t in range(delay, len(row))}


def flip_flop(task: Any, row: list[int]) -> Answers:
    string = "".join(words(task, row))
    assert re.fullmatch(r"w[01]([wir][01])*(r[01]?)", string)
    stored, answers = "", {}
    for t in range(0, len(string), 2):
        if string[t] == "w":
            stored = string[t + 1]
        elif string[t] == "r":
            answers[t] = int(stored)
            assert string[t + 1 : t + 2] in ("", stored)
    return answers


def group_word(task: Any, row: list[int]) -> Answers:
    answers = {}
    for t in range(len(row)):
        product = multiply(task.group, [task.input_names[token] for token in row[: t + 1]])
        answers[t] = task.target_names.index(product)
    return answers if task.every_step else {len(row) - 1: answers[len(row) - 1]}


def multiply(group: str, names: list[str]) -> str:
    """Return the name of the product of group elements, from their action on the corners of a polygon or on items."""
    if group[0] == "Z":
        return str(sum(int(name) for name in names) % int(group[1:]))
    size = int(group[1:])
    actions: dict[str, tuple[int, ...]] = {}
    if group[0] == "D":
        actions |= {f"r{k}": tuple((i + k) % size for i in range(size)) for k in range(size)}
        actions |= {f"s{k}": tuple((k - i) % size for i in range(size)) for k in range(size)}
    else:
        actions |= {"".join(str(i + 1) for i in p): p for p in itertools.permutations(range(size))}
    product = tuple(range(size))
    for name in names:
        product = tuple(product[i] for i in actions[name])
    return next(name for name, action in actions.items() if action == product)


def induction(task: Any, row: list[int]) -> Answers:
    string = words(task, row)
    return {len(row) - 1: row[string.index("*") + 1]}


def k_hop(task: Any, row: list[int]) -> Answers:
    return {t: hop(row, t, task.hops, task.alphabet) for t in range(len(row))}


def hop(row: list[int], step: int, hops: int, none: int) -> int:
    """Return the symbol that is reached by `hops` hops from `step`, or `none`."""
    if hops == 0:
        return row[step]
    before = [s for s in range(step) if row[s] == row[step]]
    return hop(row, before[-1] + 1, hops - 1, none) if before else none


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


def nested_arithmetic(task: Any, row: list[int]) -> Answers:
    return {len(row) - 1: arithmetic("".join(words(task, row))) % task.modulus}


def arithmetic(expression: str) -> int:
    """Return the value of an expression of numbers, +, -, * and brackets."""
    assert re.fullmatch(r"[-+*() \d]+", expression)
    value: int = eval(expression)
    return value


def parity(task: Any, row: list[int]) -> Answers:
    steps = range(len(row)) if task.every_step else [len(row) - 1]
    return {t: row[: t + 1].count(1) % 2 for t in steps}


def recall(task: Any, row: list[int]) -> Answers:
    names, keys = words(task, row), task.key_tokens
    value_of, answers = {}, {}
    for t, name in enumerate(names):
        key = tuple(names[t - keys : t])
        if name[0] == "v" and t < task.context_length:
            value_of[key] = row[t]
        key = tuple(names[t - keys + 1 : t + 1])
        if t >= task.context_length and key in value_of:
            answers[t] = value_of[key]
    return answers


def selective_copy(task: Any, row: list[int]) -> Answers:
    symbols = [token for token, word in zip(row, words(task, row), strict=True) if word not in "_?"]
    return {len(row) - task.symbols + i: symbol for i, symbol in enumerate(symbols)}


def temporal_order(task: Any, row: list[int]) -> Answers:
    signals = re.sub("[^XY]", "", "".join(words(task, row)))
    orders = ["".join(order) for order in itertools.product("XY", repeat=task.symbols)]
    return {len(row) - 1: orders.index(signals)}


def two_sequences(task: Any, row: list[list[float]]) -> Answers:
    is_high = math.fsum(number for (number,) in row[: task.informative]) > 0
    return {len(row) - 1: (0.8 if is_high else 0.2) if task.variant == "3c" else int(is_high)}
