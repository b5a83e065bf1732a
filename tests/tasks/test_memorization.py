"""The table of `memorization` is a bijection, the same everywhere, and not shown."""

from __future__ import annotations

import tasks


def answers(seed: int, split: tasks.Split) -> dict[int, set[int]]:
    """Return the values of each key in a sample."""
    task = tasks.build("memorization:pairs=9")
    batch = task.sample(tasks.generator(seed, split), 200, 7, split)
    assert batch.mask.tolist()[0] == [False, True] * 3 + [False]
    table: dict[int, set[int]] = {}
    for keys, values in zip(batch.inputs[:, :-1:2].tolist(), batch.targets[:, 1::2].tolist(), strict=True):
        for key, value in zip(keys, values, strict=True):
            table.setdefault(key, set()).add(value)
    return table


def test_every_seed_and_split_has_the_same_bijection() -> None:
    table = answers(0, "train")
    assert sorted(table) == list(range(9)) and sorted(map(sorted, table.values())) == [[value] for value in range(9)]
    assert answers(3, "test") == answers(1, "validation") == table
    assert any(values != {key} for key, values in table.items())


def test_the_input_shows_keys_and_marks_only() -> None:
    batch = tasks.build("memorization:pairs=9").sample(tasks.generator(0, "train"), 50, 8)
    assert (batch.inputs[:, 1::2] == 9).all() and batch.inputs[:, ::2].max() < 9
