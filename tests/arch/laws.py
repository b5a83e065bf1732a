"""The laws that every architecture obeys, as a layer and as a model. A law raises where it is broken."""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.arch import subjects
from tests.arch.subjects import BATCH, MODES, VOCABULARY, Subject, assert_same_state, repeat_step, scan_chunks, subject

EXACTNESS = 1e-9
"""Two ways through the same equations in float64 differ by rounding: about 1e-14 here, and far under this."""

STEPS = 11
CHUNKINGS = ((11,), (1, 4, 6), (6, 4, 1), (3, 1, 1, 5, 1))
"""Odd lengths, even ones and single steps; chunks shorter and longer than a window of 3; a full cache and room."""

CHANGE = 1e-3
"""What counts as a change: less would be lost in rounding only after thirteen digits."""


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=EXACTNESS, atol=EXACTNESS)


def scan_equals_step(spec: str, level: str) -> None:
    """Outputs, final state and everything after are the same in any chunking, with gradients and without."""
    for mode in MODES.values():
        it = subject(spec, level)
        x, further = it.draw(BATCH, STEPS), it.draw(BATCH, 4, seed=1)
        with mode():
            expected, last = repeat_step(it.module, x)
            after, _ = repeat_step(it.module, further, subjects.arch.copy_state(last))
            for chunks in CHUNKINGS:
                actual, state = scan_chunks(it.module, x, chunks)
                close(actual, expected)
                assert_same_state(state, last, close)
                close(scan_chunks(it.module, further, (3, 1), state)[0], after)


def forward_is_scan_from_the_empty_state(spec: str, level: str) -> None:
    it = subject(spec, level)
    for steps in (1, STEPS):
        x = it.draw(BATCH, steps)
        close(it.module(x), it.module.scan(x, it.module.init_state(BATCH))[0])
        close(it.module(x), it.module(x))


def future_inputs_change_no_past_output(spec: str, level: str) -> None:
    it = subject(spec, level)
    x = it.draw(BATCH, STEPS)
    expected = it.module(x)
    for changed_step in range(STEPS):
        other = x.clone()
        other[:, changed_step:] = _another(x[:, changed_step:])
        actual = it.module(other)
        close(actual[:, :changed_step], expected[:, :changed_step])
        assert (actual[:, changed_step] - expected[:, changed_step]).abs().max() > CHANGE


def sequences_of_a_batch_are_independent(spec: str, level: str) -> None:
    it = subject(spec, level)
    x = it.draw(3, STEPS)
    together, state = scan_chunks(it.module, x, (4, 7))
    after, _ = it.module.scan(it.draw(3, 2, seed=1), state)
    for row in range(3):
        alone, state = scan_chunks(it.module, x[row : row + 1], (4, 7))
        close(together[row : row + 1], alone)
        close(after[row : row + 1], it.module.scan(it.draw(3, 2, seed=1)[row : row + 1], state)[0])


def streams_never_touch(spec: str, level: str) -> None:
    """Streams of one module, fed in turn, give what each gives on a module of its own."""
    for mode in MODES.values():
        shared = subject(spec, level)
        inputs = [shared.draw(BATCH, STEPS, seed=seed) for seed in range(3)]
        with mode():
            states = [shared.module.init_state(len(x)) for x in inputs]
            outputs: list[list[Tensor]] = [[] for _ in inputs]
            for step in range(STEPS):
                for stream, x in enumerate(inputs):
                    output, states[stream] = shared.module.step(x[:, step], states[stream])
                    outputs[stream].append(output)
            for x, interleaved, state in zip(inputs, outputs, states, strict=True):
                expected, last = repeat_step(subject(spec, level).module, x)
                close(torch.stack(interleaved, 1), expected)
                assert_same_state(state, last, close)


def a_copied_state_is_independent(spec: str, level: str) -> None:
    """Two futures from one past: taking one up leaves the other as it was, at every fill of a cache."""
    for mode in MODES.values():
        it = subject(spec, level)
        for steps in (1, 3, 5):
            past = it.draw(BATCH, steps)
            futures = [it.draw(BATCH, 3, seed=seed) for seed in (1, 2)]
            with mode():
                _, state = repeat_step(it.module, past)
                taken_up = [subjects.arch.copy_state(state), state]
                ends = [repeat_step(it.module, x, begin) for x, begin in zip(futures, taken_up, strict=True)]
                for x, (actual, last) in zip(futures, ends, strict=True):
                    expected, expected_last = repeat_step(it.module, torch.cat([past, x], 1))
                    close(actual, expected[:, steps:])
                    assert_same_state(last, expected_last, close)


def gates_keep_the_state(spec: str, level: str) -> None:
    """Reading the gates twice gives the same, and the stream goes on as though they had not been read."""
    for mode in MODES.values():
        it = subject(spec, level)
        x, further = it.draw(BATCH, 5), it.draw(BATCH, 4, seed=1)
        with mode():
            _, state = repeat_step(it.module, x)
            before = subjects.arch.copy_state(state)
            first = it.module.gates(further[:, 0], state)
            assert_same_state(state, before, close)
            second = it.module.gates(further[:, 0], state)
            assert list(first) == list(second)
            for name in first:
                close(second[name], first[name])
            close(repeat_step(it.module, further, state)[0], repeat_step(it.module, further, before)[0])


def gradients_reach_everything_that_is_learned(spec: str, level: str) -> None:
    it = subject(spec, level)
    _loss(it.module(it.draw(BATCH, STEPS))).backward()
    for name, parameter in it.module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def gradients_are_the_same_in_any_chunking(spec: str, level: str) -> None:
    """Gradients flow through the states between chunks, to the inputs and to all that is learned."""
    it = subject(spec, level)
    x, learned = _differentiable(it, STEPS)
    expected = torch.autograd.grad(_loss(repeat_step(it.module, x)[0]), learned)
    for chunks in CHUNKINGS:
        actual = torch.autograd.grad(_loss(scan_chunks(it.module, x, chunks)[0]), learned)
        close(actual, expected)


def gradients_are_the_slopes_of_the_outputs(spec: str, level: str) -> None:
    """Analytic derivatives against finite differences, by the inputs and by all that is learned."""
    it = subject(spec, level)
    x, learned = _differentiable(it, 3)
    names = [name for name, _ in it.module.named_parameters()]

    def outputs(*values: Tensor) -> Tensor:
        weights = dict(zip(names, values[-len(names) :], strict=True))
        result: Tensor = torch.func.functional_call(it.module, weights, (values[0] if x.requires_grad else x,))
        return result

    assert torch.autograd.gradcheck(outputs, learned, fast_mode=True)


LAWS: tuple[Callable[[str, str], None], ...] = (
    scan_equals_step,
    forward_is_scan_from_the_empty_state,
    future_inputs_change_no_past_output,
    sequences_of_a_batch_are_independent,
    streams_never_touch,
    a_copied_state_is_independent,
    gates_keep_the_state,
    gradients_reach_everything_that_is_learned,
    gradients_are_the_same_in_any_chunking,
    gradients_are_the_slopes_of_the_outputs,
)


def _another(x: Tensor) -> Tensor:
    """Inputs that differ from `x` at every step, and not by a shift or a scale, which a norm would undo."""
    return x.roll(1, -1) if x.is_floating_point() else (x + 1) % VOCABULARY


def _loss(outputs: Any) -> Any:
    """A number that depends on every output, each with a weight of its own and not linearly."""
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    return (weights * outputs + outputs.square()).sum()


def _differentiable(it: Subject, steps: int) -> tuple[Tensor, list[Tensor]]:
    """Inputs, and everything a derivative can be taken by: what is learned, and inputs that are real."""
    x = it.draw(BATCH, steps)
    learned: list[Tensor] = list(it.module.parameters())
    return (x.requires_grad_(), [x, *learned]) if x.is_floating_point() else (x, learned)
