"""A kernel reads and writes the memory of a state as it is now, and autograd is told."""

# Shape suffixes: B batch, T time, D input width, H hidden width

from __future__ import annotations

import copy
import sys
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from arch import SequenceModel
from arch.core.attention.positions import BLOCK
from tests.arch.kernels.agreement import (
    NAMES,
    OUTPUTS,
    STEPS,
    WIDTH,
    assert_same,
    inputs,
    model_of,
    steps,
)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_state_is_its_memory_not_its_tuple(name: str) -> None:
    model, x = model_of(name), inputs(steps=4)
    with torch.no_grad():
        state = model.init_state(2)
        for one in x.unbind(1):
            _, state = model.step(one, state)
        for part in state:
            part.h_BH.data = torch.zeros_like(part.h_BH)
            if name == "lstm":
                part.c_BH.data = torch.zeros_like(part.c_BH)
        del part
        actual, _ = model.step(x[:, 0], state)
        expected, _ = model.step(x[:, 0], model.init_state(2))
    assert_same(actual, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_changes_no_gradient(name: str) -> None:
    model, x = model_of(name), inputs()
    found = []
    for is_between in (False, True):
        output, state = model.scan(x, model.init_state(2))
        if is_between:
            detached = [type(part)(*(p.detach() if isinstance(p, Tensor) else p for p in part)) for part in state]
            with torch.no_grad():
                for one in x.unbind(1):
                    _, detached = model.step(one, detached)
        found.append(list(torch.autograd.grad(output.square().sum(), list(model.parameters()))))
    assert_same(found[1], found[0])


def test_a_state_that_autograd_saved_is_not_changed_silently() -> None:
    model, x = model_of("rnn"), inputs()
    with torch.no_grad():
        _, state = model.step(x[:, 0], model.init_state(2))
    output = model.scan(x, state)[0]
    with torch.no_grad():
        model.step(x[:, 0], state)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_a_given_state_is_not_written() -> None:
    model, x = model_of("lstm"), inputs()
    with torch.no_grad():
        state = model.init_state(2)
        model.step(x[:, 0], state)
        assert all(not part.any() for layer in state for part in layer)


def test_a_cache_with_a_wrong_length_is_refused() -> None:
    model, x = model_of("transformer"), inputs()
    with torch.no_grad():
        _, state = model.scan(x, model.init_state(2))
        assert model._stepper.step(model, x[:, 0], state) is not None
        for change in ({"length": -1}, {"length": STEPS + 100}, {"position": 2}, {"length": 1.0}):
            wrong = [part._replace(**change) for part in state]
            assert model._stepper.step(model, x[:, 0], wrong) is None


@pytest.mark.parametrize("spec", ["transformer", "transformer:positions=sinusoidal", "transformer:positions=learned"])
def test_one_layer_in_two_models_in_two_threads(spec: str) -> None:
    first = model_of(spec)
    second = SequenceModel(first.encoder, list(first.layers), nn.Linear(WIDTH, OUTPUTS))
    jobs = [(first, inputs(1, 300)), (second.eval(), inputs(3, 200))]
    with torch.no_grad():
        expected = [model(x) for model, x in jobs]
    found: list[Any] = [None, None]

    def run(number: int) -> None:
        model, x = jobs[number]
        found[number] = steps(model, x)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(found, expected)


def test_no_tensor_of_one_call_stays_on_a_layer() -> None:
    for spec in ("transformer:window=4", "transformer:window=4,positions=sinusoidal"):
        model = model_of(spec)
        steps(model, inputs(1, 50))
        for layer in model.layers:
            assert not [name for name, value in vars(layer).items() if isinstance(value, Tensor)]


@pytest.mark.parametrize("spec", ["transformer:window=3", "transformer:window=3,positions=sinusoidal"])
def test_steps_far_from_the_start_equal_the_equations(spec: str) -> None:
    model, x = model_of(spec), inputs(1, 6)
    double = copy.deepcopy(model).double()
    for position in (BLOCK - 3, 10 * BLOCK + 5, 3_000_000):
        with torch.no_grad():
            _, state = model.scan(x, model.init_state(1))
            state = [part._replace(position=position) for part in state]
            expected_state = [
                type(part)(part.keys_BNSK.double(), part.values_BNSK.double(), part.length, position) for part in state
            ]
            actual, expected = steps(model, x, state), steps(double, x.double(), expected_state)
        torch.testing.assert_close(actual.double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["rnn", "transformer"])
def test_weights_that_only_move_are_read_anew(name: str) -> None:
    model, x = model_of(name), inputs()
    readout: Any = model.readout
    with torch.no_grad():
        state = model.init_state(2)
        for one in x.unbind(1):
            _, state = model.step(one, state)
        kept = readout.weight.data  # so that the new memory lies elsewhere
        readout.weight.data = torch.zeros_like(kept)
        output, _ = model.step(x[:, 0], state)
        assert_same(output, readout.bias.expand(2, OUTPUTS))
        assert kept.any()


def test_the_kernel_of_a_step_lets_other_threads_run() -> None:
    model, x = model_of("lstm"), inputs(64)[:, 0].contiguous()
    with torch.inference_mode():
        output, _ = model.step(x, model.init_state(64))
    program = model._stepper._program
    assert program is not None
    gate, ran = threading.Lock(), threading.Event()

    def wait() -> None:
        with gate:
            ran.set()

    gate.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    run, arguments = program.run, (program.address, x.data_ptr(), output.data_ptr())
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # so that the other thread can run only if the kernel releases the GIL
    try:
        gate.release()
        for _ in range(20_000):
            assert run(*arguments) == 0
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()
