"""The embedded Reber grammar, compared with regular expressions and published strings."""

from __future__ import annotations

import re

import pytest
import torch

import tasks
from tasks.reber import LEGAL_NS, SYMBOLS, Reber
from tests.tasks import oracles

LEGAL = ["BTSSXXTVVE", "BPVVE", "BTXXVPSE", "BPVPXVPXVPXVVE", "BTSXXVPSE"]
ILLEGAL = ["BTSSPXSE", "BPTVVB", "BTXXVVSE", "BPVSPSE", "BTSSSE"]
"""Published legal and illegal strings (teaching material of N. Schraudolph and G. Orr)."""


def legal_after(text: str) -> set[str]:
    tokens = torch.tensor([[SYMBOLS.index(symbol) for symbol in text]])
    node = Reber().nodes(tokens)[0, -1]
    return {symbol for symbol, is_legal in zip(SYMBOLS, LEGAL_NS[node], strict=True) if is_legal}


@pytest.mark.parametrize("inner", LEGAL)
@pytest.mark.parametrize("outer", "TP")
def test_legal_strings_are_legal_at_every_step(inner: str, outer: str) -> None:
    text = f"B{outer}{inner}{outer}E"
    assert re.fullmatch(oracles.EMBEDDED, text)
    for i in range(1, len(text)):
        assert text[i] in legal_after(text[:i])
    assert legal_after(text[:-2]) == {outer} and legal_after(text) == {"B"}


@pytest.mark.parametrize("inner", ILLEGAL)
def test_illegal_strings_contain_an_illegal_symbol(inner: str) -> None:
    text = f"BT{inner}TE"
    assert not re.fullmatch(oracles.EMBEDDED, text)
    first_wrong = next(i for i in range(1, len(text)) if text[i] not in legal_after(text[:i]))
    assert first_wrong >= 3


def test_samples_are_whole_strings_except_for_the_last() -> None:
    task = Reber()
    batch = task.sample(tasks.generator(0, "train"), 50, 120)
    for row in batch.inputs:
        text = "".join(oracles.words(task, row.tolist()))
        strings = re.fullmatch(f"((?:{oracles.EMBEDDED})*)(.*)", text)
        assert strings and len(strings[2]) < 100
        assert not re.match(oracles.EMBEDDED, strings[2])
        assert all(symbol in legal_after(text[:i]) for i, symbol in enumerate(text) if i)


def test_single_strings_are_those_of_the_grammar_and_are_scored_up_to_their_last_prediction() -> None:
    one, many = Reber(strings="one"), Reber()
    batch, endless = (task.sample(tasks.generator(0, "train"), 200, 30) for task in (one, many))
    lengths = set()
    for row, targets, mask, long in zip(batch.inputs, batch.targets, batch.mask, endless.inputs, strict=True):
        text, whole = ("".join(oracles.words(one, tokens.tolist())) for tokens in (row, long))
        string = re.match(oracles.EMBEDDED, whole)
        end = string.end() if string else 31
        assert text == (whole[:end] + "E" * 30)[:30]
        assert mask.tolist() == [step < end - 1 for step in range(30)]
        assert oracles.words(one, targets[mask][:29].tolist()) == list(whole[1 : mask.sum() + 1])
        assert not targets[~mask].any()
        lengths.add(end)
    assert min(lengths) == 9 and len(lengths) > 8
    assert one.score(one.solve(batch), batch) == 1.0


def test_single_strings_are_scored_against_their_own_chance() -> None:
    """Check both reference scores against the best answers on a large sample, which can only be slightly higher."""
    task, length = Reber(strings="one"), 18
    batch = task.sample(tasks.generator(0, "test"), 20_000, length)
    legal = torch.from_numpy(LEGAL_NS)[task.nodes(batch.inputs)] & batch.mask[..., None]
    scored = batch.mask.sum().item()
    blind = legal.sum(0).max(-1).values.sum().item() / scored
    by_symbol = [(legal & (batch.inputs == symbol)[..., None]).sum(0).max(-1).values.sum() for symbol in range(7)]
    assert task.chance(length) == pytest.approx(blind, abs=0.005)
    assert task.memoryless_score(length) == pytest.approx(sum(by_symbol).item() / scored, abs=0.005)  # type: ignore[union-attr]
    assert abs(task.chance(length) - Reber().chance(length)) > 0.02


def test_both_edges_out_of_a_node_are_equally_likely() -> None:
    task = Reber()
    batch = task.sample(tasks.generator(0, "train"), 400, 200)
    nodes = task.nodes(batch.inputs)
    for node in range(19):
        taken = batch.targets[nodes == node].bincount(minlength=7) / (nodes == node).sum()
        shares = taken[taken > 0].tolist()
        assert shares == pytest.approx([1 / len(shares)] * len(shares), abs=0.05)


def test_any_legal_symbol_is_correct_and_memory_symbols_have_their_own_score() -> None:
    task = Reber()
    batch = task.sample(tasks.generator(0, "train"), 100, 60)
    legal = torch.from_numpy(LEGAL_NS)[task.nodes(batch.inputs)]
    assert task.score(6 - legal.flip(-1).int().argmax(-1), batch) == 1.0
    needs_memory = torch.isin(task.nodes(batch.inputs), torch.tensor([9, 17]))
    outputs = torch.nn.functional.one_hot(task.solve(batch), 7).float()
    outputs[needs_memory] = torch.nn.functional.one_hot(torch.tensor(SYMBOLS.index("T")), 7).float()
    share_of_t = (batch.targets[needs_memory] == SYMBOLS.index("T")).double().mean().item()
    metrics = task.metrics(outputs, batch)
    assert 0.4 < share_of_t < 0.6 and metrics["memory_score"] == pytest.approx(share_of_t)
    wrong = (needs_memory.sum() * (1 - share_of_t)).item()
    assert task.score(task.answer(outputs), batch) == pytest.approx(1 - wrong / needs_memory.numel())


def test_memory_score_is_absent_without_memory_symbols() -> None:
    task = Reber()
    batch = task.sample(tasks.generator(0, "train"), 1, 9)
    cut = tasks.Batch(inputs=batch.inputs[:, :5], targets=batch.targets[:, :5], mask=batch.mask[:, :5])
    assert "memory_score" not in task.metrics(torch.zeros(1, 5, 7), cut)
