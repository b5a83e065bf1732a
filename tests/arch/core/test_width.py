"""Budgets of state and of FLOPs per step: the nearest width, any architecture, and messages for impossible budgets."""

# Shape suffixes: B batch, T time, D input width, H width

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import arch
from arch.core.build import solved_widths
from arch.core.width import first_reaching
from tests.arch.subjects import every_spec

LENGTH = 12
SIZES: dict[str, Any] = {"channels": 3, "outputs": 2, "depth": 1}
AMOUNTS = {"state": 600, "step_flops": 5_000}
MAX_WIDTH = 96
STATELESS = "transformer:max_length=16,positions=learned,window=1"


class Growing(arch.Layer):
    """A layer whose state is a list of all inputs, and whose step reads a value."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.W = nn.Linear(inputs, width)

    def init_state(self, batch: int) -> list[Tensor]:
        return []

    def step(self, x_BD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        y_BH = self.W(x_BD)
        return y_BH * (1 if y_BH.sum().item() > 0 else 2), [*state, y_BH]

    def scan(self, x_BTD: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        outputs = []
        for x_BD in x_BTD.unbind(1):
            y_BH, state = self.step(x_BD, state)
            outputs.append(y_BH)
        return torch.stack(outputs, 1), state


class Counting(Growing):
    """A layer whose state has a tensor of constant size and a number of steps."""

    def init_state(self, batch: int) -> Any:
        return self.empty(batch, 5), 0

    def step(self, x_BD: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.W(x_BD), (state[0] + 1, state[1] + 1)


def scanned_state_bytes(model: arch.SequenceModel, length: int) -> int:
    """Return the size of the state after a scan, as the streaming probe measures it."""
    with torch.no_grad():
        return arch.state_bytes(model.scan(torch.zeros(1, length, 3), model.init_state(1))[1])


def amount(model: arch.SequenceModel, kind: str) -> int:
    measured = scanned_state_bytes(model, LENGTH) if kind == "state" else model.step_flops(LENGTH)
    assert measured is not None
    return measured


@pytest.mark.parametrize("kind", AMOUNTS)
@pytest.mark.parametrize("spec", [*arch.names(), STATELESS])
def test_a_budget_gives_the_nearest_width(spec: str, kind: str) -> None:
    """Compare `build` with a trial of widths 1 to `MAX_WIDTH`."""
    if str(arch.get(spec)) == STATELESS and kind == "state":
        with pytest.raises(ValueError, match="has 0 bytes of state after 12 steps at every width; choose another kind"):
            arch.build(spec, **SIZES, length=LENGTH, state=AMOUNTS["state"])
        return
    amounts = {}
    for width in range(1, MAX_WIDTH + 1):
        try:
            amounts[width] = amount(arch.build(spec, **SIZES, width=width), kind)
        except ValueError:
            continue
    budget = min(AMOUNTS[kind], max(amounts.values()) // 2 + 1)  # the FLOPs of a reservoir grow slowly with its width
    nearest = min(amounts, key=lambda width: abs(amounts[width] - budget))
    solved = arch.build(spec, **SIZES, length=LENGTH, seed=3, **{kind: budget})
    assert solved.width == nearest
    again = arch.build(spec, **SIZES, width=nearest, seed=3)
    assert all(map(torch.equal, solved.parameters(), again.parameters()))


@pytest.mark.parametrize("length", [1, 2, LENGTH])
@pytest.mark.parametrize("spec", every_spec())
def test_the_state_is_measured_alike_on_every_device_and_in_every_mode(spec: str, length: int) -> None:
    model = arch.build(spec, **SIZES, width=8)
    expected = scanned_state_bytes(model, length)
    assert model.state_bytes_after(torch.zeros(1, length, 3)) == expected
    with arch.meta_device():
        on_meta = arch.build(spec, **SIZES, width=8)
        assert on_meta.state_bytes_after(torch.zeros(1, length, 3)) == expected


def test_a_cache_counts_in_full_and_grows_with_the_length() -> None:
    short, long = (arch.build("transformer", **SIZES, length=length, state=65_536) for length in (16, 64))
    assert (short.width, long.width) == (512, 128)  # keys and values of 4 bytes each, and one layer


def test_any_layer_meets_a_state_budget_even_if_it_reads_values_and_its_state_grows() -> None:
    growing = arch.Arch(name="growing", layer=Growing)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = arch.build(growing, **SIZES, length=LENGTH, state=1_000, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.width == 21
    assert scanned_state_bytes(model, LENGTH) == LENGTH * 4 * model.width == 1_008


@pytest.mark.parametrize(
    ("spec", "sizes", "message"),
    [
        (
            "lstm",
            {"state": 3},
            r"lstm has at least 8 bytes of state after 12 steps \(at width 1\), over the budget of 3",
        ),
        ("transformer", {"state": 100}, r"at least 384 bytes of state after 12 steps \(at width 4\)"),
        ("lstm", {"step_flops": 2}, r"at least 36 FLOPs per step after 12 steps \(at width 1\), over the budget of 2"),
        ("lstm", {"state": 2**31}, r"at most 8,388,608 bytes .* under the budget of 2,147,483,648; lower the budget"),
        ("lstm", {"state": 0}, "state must be at least 1, not 0"),
        ("lstm", {"step_flops": -1}, "step_flops must be at least 1, not -1"),
        ("lstm", {"state": 64, "length": 0}, "length must be at least 1, not 0"),
        ("lstm", {"state": 64, "length": None}, "needs length"),
        ("lstm", {"state": 64, "step_flops": 64}, "exactly one of .* given: state=64, step_flops=64"),
        ("transformer:positions=learned,max_length=9", {"state": 4_096}, "set transformer:max_length=12"),
        (arch.Arch(name="counting", layer=Counting), {"state": 64}, "counting has 20 bytes of state .* at every width"),
        (arch.Arch(name="growing", layer=Growing), {"step_flops": 64}, "growing does not state the FLOPs of a step"),
    ],
    ids=str,
)
def test_impossible_budgets_are_refused_in_one_line(spec: str | arch.Arch, sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        arch.build(spec, **{**SIZES, "length": LENGTH, **sizes})
    assert "\n" not in str(refusal.value)


def test_a_budget_up_to_twice_exceeded_gives_the_smallest_width() -> None:
    assert arch.build("transformer", **SIZES, length=LENGTH, state=200).width == 4
    with pytest.raises(ValueError, match="over the budget of 191"):
        arch.build("transformer", **SIZES, length=LENGTH, state=191)


GROWTHS: dict[str, Callable[[int], int]] = {
    "constant": lambda n: 3,
    "linear": lambda n: 4 * n,
    "square": lambda n: 7 + 3 * n + 8 * n * n,
    "late": lambda n: 1 if n < 900 else n * n,
    "in steps": lambda n: 1 + n // 64,
}


@pytest.mark.parametrize("growth", GROWTHS)
def test_the_search_equals_a_bisection_and_counts_less_often(growth: str) -> None:
    count = GROWTHS[growth]
    counted: list[int] = []

    def counting(n: int) -> int:
        counted.append(n)
        return count(n)

    bisected = 0
    for amount, last in itertools.product((1, 2, 50, 3_600, 10**6, 10**9), (1, 2, 100, 20_001)):
        assert first_reaching(amount, counting, last) == bisect.bisect_left(range(1, last + 1), amount, key=count) + 1
        bisected += last.bit_length()
    assert len(counted) <= 0.75 * bisected


def test_a_budget_of_parameters_is_solved_once_for_all_lengths() -> None:
    solved_widths.clear()
    widths = {arch.build("lstm", **SIZES, params=3_000, length=length).width for length in (16, 32, 64)}
    assert len(widths) == len(solved_widths) == 1
    assert {arch.build("lstm", **SIZES, state=600, length=length).width for length in (16, 32)} == {75}
    assert len(solved_widths) == 3
