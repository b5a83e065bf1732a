"""Benchmark time-critical code with pytest-benchmark: `tox -e perf`, or `python -m pytest tests/perf/micro.py`.

The benchmarks of steps are grouped by architecture. A group holds a training step or a streamed step of Carousel's
model and of its `torch.nn` counterpart. pytest-benchmark cannot alternate between the two steps. On a busy machine
their ratio is therefore only a hint: use `python -m tests.perf.kernels` to measure.

A counterpart has the same kind of layers, width, depth, batch, length and training step as Carousel's model. torch has
no streamed Transformer. The counterpart of a streamed Transformer recomputes the whole past, as users of
`nn.TransformerEncoder` must.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import arch
import reports
import tasks
from results import Store
from tests.perf import store as stores
from tests.reports import synthetic

BATCH, LENGTH, WIDTH, DEPTH, CHANNELS = 32, 128, 64, 2, 1
PAST = 256
"""Position of the stream at the first step."""
STORED = 200
TWINS: dict[str, Callable[[], nn.Module]] = {
    "rnn": lambda: nn.RNN(CHANNELS, WIDTH, DEPTH, batch_first=True),
    "gru": lambda: nn.GRU(CHANNELS, WIDTH, DEPTH, batch_first=True),
    "lstm": lambda: nn.LSTM(CHANNELS, WIDTH, DEPTH, batch_first=True),
    "transformer": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True, norm_first=True),
        DEPTH,
        enable_nested_tensor=False,
    ),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


class Twin(nn.Module):
    """A network of torch layers with a readout. The Transformer also has a linear input layer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.attends = name == "transformer"
        self.into = nn.Linear(CHANNELS, WIDTH) if self.attends else nn.Identity()
        self.layers = TWINS[name]()
        self.readout = nn.Linear(WIDTH, 2)

    def forward(self, x_BTD: Tensor) -> Tensor:
        h_BTD = self.into(x_BTD)
        if self.attends:
            mask = nn.Transformer.generate_square_subsequent_mask(x_BTD.shape[1])
            return self.readout(self.layers(h_BTD, mask=mask, is_causal=True))
        return self.readout(self.layers(h_BTD)[0])


def model_of(name: str, who: str) -> nn.Module:
    if who == "torch":
        return Twin(name)
    return arch.build(name, channels=CHANNELS, outputs=2, width=WIDTH, depth=DEPTH, seed=0)


@pytest.mark.parametrize("who", ["carousel", "torch"])
@pytest.mark.parametrize("name", arch.names())
def test_a_training_step(benchmark: Any, name: str, who: str) -> None:
    """Time forward, backward, clipping and Adam, and check that the last loss is small."""
    if who == "torch" and name not in TWINS:
        who = "carousel"  # an architecture that torch does not have is timed alone
    benchmark.group = f"training step, {name}"
    model = model_of(name, who)
    optimiser = torch.optim.Adam(model.parameters())
    inputs, targets = torch.randn(BATCH, LENGTH, CHANNELS), torch.randint(2, (BATCH, LENGTH))

    def step() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    assert benchmark.pedantic(step, rounds=15, warmup_rounds=2) < 2.0


@pytest.mark.parametrize("who", ["carousel", "torch"])
@pytest.mark.parametrize("name", arch.names())
def test_a_streamed_step(benchmark: Any, name: str, who: str) -> None:
    """Time steps of one stream from position 256 on, and check the number of outputs."""
    if who == "torch" and name not in TWINS:
        who = "carousel"
    benchmark.group = f"streamed step, {name}"
    past_BTD = torch.randn(1, PAST, CHANNELS)
    with torch.inference_mode():
        step = _our_step(name, past_BTD) if who == "carousel" else _twins_step(name, past_BTD)
        assert benchmark.pedantic(step, rounds=300, warmup_rounds=20).shape[-1] == 2


def _our_step(name: str, past_BTD: Tensor) -> Callable[[], Tensor]:
    model = arch.build(name, channels=CHANNELS, outputs=2, width=WIDTH, depth=DEPTH, seed=0).eval()
    _, state = model.scan(past_BTD, model.init_state(1))
    held = [state]

    def step() -> Tensor:
        y_BD, held[0] = model.step(past_BTD[:, 0], held[0])
        return y_BD

    return step


def _twins_step(name: str, past_BTD: Tensor) -> Callable[[], Tensor]:
    twin = Twin(name).eval()
    if twin.attends:
        return lambda: twin(past_BTD)[:, -1]
    held = [twin.layers(past_BTD)[1]]

    def step() -> Tensor:
        h_BTD, held[0] = twin.layers(past_BTD[:, :1], held[0])
        return twin.readout(h_BTD[:, 0])

    return step


@pytest.mark.parametrize("name", tasks.names())
def test_sampling(benchmark: Any, name: str) -> None:
    """Time sampling a batch at the shortest supported length of at least 64, and check its shape."""
    benchmark.group = "sampling"
    task, generator = tasks.build(name), tasks.generator(0, "train")
    length = next(length for length in range(64, 200) if _is_possible(task, length))
    batch = benchmark.pedantic(lambda: task.sample(generator, BATCH, length), rounds=10, warmup_rounds=1)
    assert batch.inputs.shape[:2] == (BATCH, length)


def _is_possible(task: Any, length: int) -> bool:
    try:
        task.check_length(length)
    except tasks.ImpossibleLength:
        return False
    return True


def test_loading_a_store(benchmark: Any) -> None:
    """Time loading two hundred records of 8 kB each, and check that none is missing or damaged."""
    benchmark.group = "store"
    with tempfile.TemporaryDirectory() as folder:
        stores.fill(Path(folder), STORED)
        (run,) = Store(Path(folder)).runs()
        records, damaged = benchmark.pedantic(run.read, rounds=5, warmup_rounds=1)
    assert (len(records), damaged) == (STORED, [])


def test_a_report(benchmark: Any) -> None:
    """Time rendering the page of the synthetic run, and check that it is an HTML page."""
    benchmark.group = "report"
    page = benchmark.pedantic(lambda: reports.page(synthetic.run(), synthetic.records()), rounds=2)
    assert page.startswith("<!DOCTYPE html>")
