"""The laws that every architecture obeys, as a layer and as a model. A law raises where it is broken."""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError
from torch.utils import _pytree as pytree

from bench.validation.subjects import (
    EXACTNESS,
    MODES,
    OUTPUTS,
    CheckFailed,
    Subject,
    Trial,
    another,
    repeat_step,
    same_outputs,
    scan_chunks,
)

FURTHER_STEPS = 4
"""Steps that show what a state holds."""
CUTS = ((), (1, 5), (6, 10), (3, 4, 5, 10))
"""Where a sequence is cut into chunks: single steps, chunks shorter and longer than a short window, odd and even."""
EVERY_CHUNKING = 5
"""Up to this many steps, a sequence is fed in every way in which it can be cut."""
CHANGE = 1e-3
"""What counts as a change: less would be lost in rounding only after thirteen digits."""
GRADCHECK_STEPS = 3


def shapes(trial: Trial) -> None:
    """Outputs have one row a step, the layer's width and dtype, in all three forms, at any length."""
    it = trial.subject()
    x = it.draw(trial.batch, trial.steps)
    wide = it.module.width if trial.level == "layer" else OUTPUTS
    if trial.level == "layer" and wide != trial.width:
        raise CheckFailed(f"its `width` is {wide}, but it was built with {trial.width}")
    whole = (trial.batch, trial.steps, wide)
    found = {
        "forward": (it.module(x), whole),
        "scan": (it.module.scan(x, it.module.init_state(trial.batch))[0], whole),
        "step": (it.module.step(x[:, 0], it.module.init_state(trial.batch))[0], (trial.batch, wide)),
    }
    for form, (outputs, expected) in found.items():
        if tuple(outputs.shape) != expected:
            raise CheckFailed(f"`{form}` gives outputs of the shape {tuple(outputs.shape)}, not {expected}")
        if outputs.dtype != torch.float64:
            raise CheckFailed(f"`{form}` gives {outputs.dtype} although weights and inputs are torch.float64")
        if not outputs.isfinite().all():
            raise CheckFailed(f"`{form}` gives outputs that are not finite")


def scan_equals_step(trial: Trial) -> None:
    """Outputs, final state and everything after are the same in any chunking, with gradients and without."""
    for mode, entered in MODES.items():
        it = trial.subject()
        room = it.room_after(trial.steps, FURTHER_STEPS)
        x, further = it.draw(trial.batch, trial.steps), it.draw(trial.batch, room, seed=1)
        with entered():
            expected, last = repeat_step(it.module, x)
            after, _ = repeat_step(it.module, further, trial.package.copy_state(last))
            for chunks in chunkings(trial.steps):
                fed = f"when `scan` is fed {_written(chunks)} rather than `step` each step by itself, under {mode}"
                actual, state = scan_chunks(it.module, x, chunks)
                same_outputs(actual, expected, fed)
                trial.compare_states(state, last)
                then, _ = scan_chunks(it.module, further, FURTHER_STEPS - 1, state)
                same_outputs(then, after, f"{fed}, and both go on from there", first=trial.steps + 1)


def forward_is_scan_from_the_empty_state(trial: Trial) -> None:
    """`forward` forgets what it read before."""
    it = trial.subject()
    x = it.draw(trial.batch, trial.steps)
    expected = it.module.scan(x, it.module.init_state(trial.batch))[0]
    same_outputs(it.module(x), expected, "between `forward` and `scan` from the empty state")
    same_outputs(it.module(x), expected, "when `forward` is called once more")


def future_inputs_change_no_past_output(trial: Trial) -> None:
    """Causality: what comes later changes nothing that came before."""
    it = trial.subject()
    x = it.draw(trial.batch, trial.steps)
    expected = it.module(x)
    for step, actual in _changed_from(it, x):
        try:
            same_outputs(actual[:, :step], expected[:, :step], "")
        except CheckFailed as broken:
            place = str(broken).split(" differs")[0]
            raise CheckFailed(f"{place} changed when the input at step {step + 1} was changed") from None


def the_present_input_shows(trial: Trial) -> None:
    """Every step reads its input."""
    it = trial.subject()
    x = it.draw(trial.batch, trial.steps)
    expected = it.module(x)
    for step, actual in _changed_from(it, x):
        if not (actual[:, step] - expected[:, step]).abs().max() > CHANGE:
            raise CheckFailed(f"output at step {step + 1} stays as it is when the input at step {step + 1} is changed")


def sequences_of_a_batch_are_independent(trial: Trial) -> None:
    """A sequence gives the same in company and alone."""
    it = trial.subject()
    rows = trial.batch
    x, further = it.draw(rows, trial.steps), it.draw(rows, it.room_after(trial.steps, 2), seed=1)
    chunks = list(chunkings(trial.steps))[-1]
    together, state = scan_chunks(it.module, x, chunks)
    after, _ = scan_chunks(it.module, further, 2, state)
    for row in range(rows):
        alone, state = scan_chunks(it.module, x[row : row + 1], chunks)
        when = f"between sequence {row + 1} in a batch of {rows} and the same sequence alone"
        same_outputs(together[row : row + 1], alone, when)
        then, _ = scan_chunks(it.module, further[row : row + 1], 2, state)
        same_outputs(after[row : row + 1], then, when, first=trial.steps + 1)


def streams_never_touch(trial: Trial) -> None:
    """Streams of one module, fed in turn, give what each gives on a module of its own."""
    for mode, entered in MODES.items():
        shared = trial.subject()
        inputs = [shared.draw(trial.batch, trial.steps, seed=seed) for seed in range(3)]
        with entered():
            states = [shared.module.init_state(len(x)) for x in inputs]
            outputs: list[list[Tensor]] = [[] for _ in inputs]
            for step in range(trial.steps):
                for stream, x in enumerate(inputs):
                    output, states[stream] = shared.module.step(x[:, step], states[stream])
                    outputs[stream].append(output)
            for x, interleaved, state in zip(inputs, outputs, states, strict=True):
                expected, last = repeat_step(trial.subject().module, x)
                when = f"when three streams are fed in turn rather than one alone, under {mode}"
                same_outputs(torch.stack(interleaved, 1), expected, when)
                trial.compare_states(state, last)


def a_copied_state_is_independent(trial: Trial) -> None:
    """Two futures from one past: taking one up leaves the other as it was, at every fill of a cache."""
    for mode, entered in MODES.items():
        it = trial.subject()
        for steps in sorted({min(steps, trial.steps) for steps in (1, 3, 5)}):
            if not (room := it.room_after(steps, 3)):
                continue
            past = it.draw(trial.batch, steps)
            futures = [it.draw(trial.batch, room, seed=seed) for seed in (1, 2)]
            with entered():
                _, state = repeat_step(it.module, past)
                taken_up = [trial.package.copy_state(state), state]
                ends = [repeat_step(it.module, x, begin) for x, begin in zip(futures, taken_up, strict=True)]
                for x, (actual, last) in zip(futures, ends, strict=True):
                    expected, expected_last = repeat_step(it.module, torch.cat([past, x], 1))
                    when = f"when the state after {steps} steps is copied and taken up twice, under {mode}"
                    same_outputs(actual, expected[:, steps:], when, first=steps + 1)
                    trial.compare_states(last, expected_last)


def gates_keep_the_state(trial: Trial) -> None:
    """Reading the gates twice gives the same, and the stream goes on as though they had not been read."""
    for mode, entered in MODES.items():
        it = trial.subject()
        if not (room := it.room_after(trial.steps, FURTHER_STEPS)):
            return
        x, further = it.draw(trial.batch, trial.steps), it.draw(trial.batch, room, seed=1)
        with entered():
            _, state = repeat_step(it.module, x)
            before = trial.package.copy_state(state)
            first = it.module.gates(further[:, 0], state)
            if not _equal(state, before):
                raise CheckFailed(f"`gates` changed the state that it read, after {trial.steps} steps, under {mode}")
            second = it.module.gates(further[:, 0], state)
            if list(first) != list(second) or not _equal(first, second):
                raise CheckFailed(f"`gates` read twice gives two things, under {mode}")
            unread, _ = repeat_step(it.module, further, before)
            after, _ = repeat_step(it.module, further, state)
            same_outputs(after, unread, f"after `gates` was read, under {mode}", first=trial.steps + 1)


def gradients_reach_everything_that_is_learned(trial: Trial) -> None:
    """Every parameter gets a finite gradient that is not zero."""
    it = trial.subject()
    _loss(it.module(it.draw(trial.batch, trial.steps))).backward()
    for name, parameter in it.module.named_parameters():
        if parameter.grad is None or not parameter.grad.any():
            raise CheckFailed(f"the parameter {name} gets no gradient")
        if not parameter.grad.isfinite().all():
            raise CheckFailed(f"the gradient of the parameter {name} is not finite")


def gradients_are_the_same_in_any_chunking(trial: Trial) -> None:
    """Gradients flow through the states between chunks, to the inputs and to all that is learned."""
    it = trial.subject()
    x, learned = _differentiable(it, trial.batch, trial.steps)
    names = ["the inputs", *(name for name, _ in it.module.named_parameters())][-len(learned) :]
    expected = torch.autograd.grad(_loss(repeat_step(it.module, x)[0]), learned)
    for chunks in chunkings(trial.steps):
        actual = torch.autograd.grad(_loss(scan_chunks(it.module, x, chunks)[0]), learned)
        for name, one, other in zip(names, actual, expected, strict=True):
            if not torch.allclose(one, other, rtol=EXACTNESS, atol=EXACTNESS):
                apart = (one - other).abs().max().item()
                raise CheckFailed(
                    f"the gradient by {name} differs by {apart:.2g} when `scan` is fed {_written(chunks)}"
                )


def gradients_are_the_slopes_of_the_outputs(trial: Trial) -> None:
    """Analytic derivatives against finite differences, by the inputs and by all that is learned."""
    it = trial.subject()
    x, learned = _differentiable(it, trial.batch, min(trial.steps, GRADCHECK_STEPS))
    names = [name for name, _ in it.module.named_parameters()]

    def outputs(*values: Tensor) -> Tensor:
        weights = dict(zip(names, values[-len(names) :], strict=True))
        result: Tensor = torch.func.functional_call(it.module, weights, (values[0] if x.requires_grad else x,))
        return result

    try:
        torch.autograd.gradcheck(outputs, learned, fast_mode=True)
    except GradcheckError:
        raise CheckFailed("the gradients are not the slopes of the outputs: finite differences give others") from None


CHECKS: dict[str, Callable[[Trial], None]] = {
    "shapes": shapes,
    "step_is_scan": scan_equals_step,
    "forward_is_scan": forward_is_scan_from_the_empty_state,
    "causality": future_inputs_change_no_past_output,
    "present_input": the_present_input_shows,
    "batch_independence": sequences_of_a_batch_are_independent,
    "streams_apart": streams_never_touch,
    "copied_state": a_copied_state_is_independent,
    "gates_read_only": gates_keep_the_state,
    "gradients_reach": gradients_reach_everything_that_is_learned,
    "gradients_chunked": gradients_are_the_same_in_any_chunking,
    "gradients_true": gradients_are_the_slopes_of_the_outputs,
}
"""By the names under which `carousel validate` speaks of them."""


def chunkings(steps: int) -> Iterator[tuple[int, ...]]:
    """Ways to cut so many steps into chunks: all of them where they are few."""
    inside = range(1, steps)
    if steps <= EVERY_CHUNKING:
        cuts = [one for count in range(steps) for one in itertools.combinations(inside, count)]
    else:
        cuts = list(dict.fromkeys(tuple(cut for cut in one if cut < steps) for one in CUTS))
    for one in cuts:
        yield tuple(b - a for a, b in itertools.pairwise((0, *one, steps)))


def _changed_from(it: Subject, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each step from which on the inputs are changed, and what the outputs then are."""
    for step in range(x.shape[1]):
        other = x.clone()
        other[:, step:] = another(x[:, step:])
        yield step, it.module(other)


def _written(chunks: tuple[int, ...]) -> str:
    return "all steps at once" if len(chunks) == 1 else f"chunks of {', '.join(str(chunk) for chunk in chunks)}"


def _equal(one: Any, other: Any) -> bool:
    """Whether two trees of tensors are the same, in numbers that mean nothing too."""
    ones, others = pytree.tree_leaves(one), pytree.tree_leaves(other)
    return len(ones) == len(others) and all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, Tensor) else a == b
        for a, b in zip(ones, others, strict=True)
    )


def _loss(outputs: Any) -> Any:
    """A number that depends on every output, each with a weight of its own and not linearly."""
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype, device=outputs.device).view_as(outputs)
    return (weights * outputs + outputs.square()).sum()


def _differentiable(it: Subject, batch: int, steps: int) -> tuple[Tensor, list[Tensor]]:
    """Inputs, and everything a derivative can be taken by: what is learned, and inputs that are real."""
    x = it.draw(batch, steps)
    learned: list[Tensor] = list(it.module.parameters())
    return (x.requires_grad_(), [x, *learned]) if x.is_floating_point() else (x, learned)
