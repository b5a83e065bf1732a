"""The checks that every architecture must pass, as a layer and as a model. A check that fails raises an error."""

# Shape suffixes: B batch, T time, D input width

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError
from torch.utils import _pytree as pytree

from bench.validation.examples import (
    MODES,
    OUTPUTS,
    ArchExample,
    CheckFailed,
    ModuleUnderTest,
    changed_inputs,
    repeat_step,
    same_outputs,
    scan_chunks,
    tolerance,
)
from bench.validation.float32_checks import compiled_cell, float32_matches_float64, long_sequences
from bench.validation.state_checks import outputs_and_state, state_format

CONTINUATION_STEPS = 4
"""Largest number of steps that `step_equals_scan` and `gates_read_only` feed after a sequence. The outputs of these
steps reveal differences in the state."""
CUTS = ((), (1, 5), (6, 10), (3, 4, 5, 10))
"""Ways to cut a sequence: each lists the steps after which to cut. Some chunks are shorter than a short attention
window, others are longer."""
MAX_EXHAUSTIVE_STEPS = 5
"""A sequence of at most this length is cut into chunks in every possible way."""
DEPENDENCE_DRAWS, INPUT_SCALES = 24, (1.0, 10.0, 0.1)
"""Number of inputs to try before an output counts as independent of its input, and the scales of these inputs or of
the embeddings of tokens."""
GRADIENT_STEPS = 256
"""Length of the sequences on which a parameter without a gradient is tried again, because a layer may have delays."""
GRADCHECK_STEPS = 3
GRADCHECK_CHANGES = (1e-6, 1e-8, 1e-10)
"""Sizes of the changes for finite differences, tried in turn. Layers with large gains need small changes."""


def shapes(example: ArchExample) -> None:
    """Check that `forward`, `scan` and `step` return finite outputs of the right shape and dtype."""
    tested = example.build()
    x = tested.draw(example.batch, example.steps)
    width = tested.module.width if example.level == "layer" else OUTPUTS
    if example.level == "layer" and width != example.width:
        raise CheckFailed(f"the layer's `width` is {width}, but it was built with width {example.width}")
    sequence_shape = (example.batch, example.steps, width)
    stepped, _ = outputs_and_state("step", tested.module.step(x[:, 0], tested.module.init_state(example.batch)))
    scanned, _ = outputs_and_state("scan", tested.module.scan(x, tested.module.init_state(example.batch)))
    results = {
        "step": (stepped, (example.batch, width)),
        "scan": (scanned, sequence_shape),
        "forward": (tested.module(x), sequence_shape),
    }
    for method, (outputs, expected) in results.items():
        if tuple(outputs.shape) != expected:
            raise CheckFailed(f"`{method}` returns outputs of shape {tuple(outputs.shape)}, not {expected}")
        if outputs.dtype != torch.float64:
            raise CheckFailed(f"`{method}` returns {outputs.dtype} although weights and inputs are torch.float64")
        if not outputs.isfinite().all():
            raise CheckFailed(f"`{method}` returns outputs that are not finite")


def step_equals_scan(example: ArchExample) -> None:
    """Check that `scan`, in any chunking and gradient mode, gives the outputs and states of repeated `step`."""
    for mode, enter in MODES.items():
        tested = example.build()
        more = tested.steps_left(example.steps, CONTINUATION_STEPS)
        x, continuation = tested.draw(example.batch, example.steps), tested.draw(example.batch, more, seed=1)
        with enter():
            expected, expected_state = repeat_step(tested.module, x)
            expected_after, _ = repeat_step(tested.module, continuation, example.package.copy_state(expected_state))
            for chunks in chunkings(example.steps):
                when = f"when `scan` reads {_describe(chunks)} instead of `step` reading each step, under {mode}"
                actual, state = scan_chunks(tested.module, x, chunks)
                same_outputs(actual, expected, when)
                example.compare_states(state, expected_state)
                after, _ = scan_chunks(tested.module, continuation, CONTINUATION_STEPS - 1, state)
                same_outputs(after, expected_after, f"{when}, and both continue", first=example.steps + 1)


def forward_equals_scan(example: ArchExample) -> None:
    """Check that the first and the second call of `forward` both equal `scan` from the initial state."""
    tested = example.build()
    x = tested.draw(example.batch, example.steps)
    expected = tested.module.scan(x, tested.module.init_state(example.batch))[0]
    same_outputs(tested.module(x), expected, "between `forward` and `scan` from the initial state")
    same_outputs(tested.module(x), expected, "when `forward` is called a second time")


def causality(example: ArchExample) -> None:
    """Check that changing later inputs does not change earlier outputs."""
    tested = example.build()
    x = tested.draw(example.batch, example.steps)
    expected = tested.module(x)
    for step, actual in _outputs_after_change(tested, x):
        try:
            same_outputs(actual[:, :step], expected[:, :step], "")
        except CheckFailed as failure:
            output = str(failure).split(" differs")[0]
            raise CheckFailed(f"{output} changed when the input at step {step + 1} was changed") from None


def input_dependence(example: ArchExample) -> None:
    """Check that every output depends on the input at the same step, however weakly.

    An output depends on an input if the gradient is not exactly zero, or if a change of the input changes the output at
    all. Several inputs are tried, because a layer may saturate for some of them.
    """
    tested = example.build()
    missing = set(range(example.steps))
    for seed in range(DEPENDENCE_DRAWS):
        x = tested.draw(example.batch, example.steps, seed=seed)
        scale = INPUT_SCALES[seed % len(INPUT_SCALES)]
        if x.is_floating_point():
            x *= scale
        elif seed:
            weight = tested.module.encoder.weight.detach()
            weight.copy_(scale * torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)))
        missing -= _steps_with_gradients(tested, x)
        if not missing:
            return
        expected = tested.module(x)
        for step, actual in _outputs_after_change(tested, x):
            if not torch.equal(actual[:, step], expected[:, step]):
                missing.discard(step)
    if missing:
        step = min(missing) + 1
        raise CheckFailed(f"output at step {step} does not change with the input at step {step}")


def batch_independence(example: ArchExample) -> None:
    """Check that a sequence gives the same outputs alone and in a batch."""
    tested = example.build()
    rows = example.batch
    x = tested.draw(rows, example.steps)
    continuation = tested.draw(rows, tested.steps_left(example.steps, 2), seed=1)
    chunks = list(chunkings(example.steps))[-1]
    batched, state = scan_chunks(tested.module, x, chunks)
    batched_after, _ = scan_chunks(tested.module, continuation, 2, state)
    for row in range(rows):
        alone, state = scan_chunks(tested.module, x[row : row + 1], chunks)
        when = f"between sequence {row + 1} in a batch of {rows} and the same sequence alone"
        same_outputs(batched[row : row + 1], alone, when)
        alone_after, _ = scan_chunks(tested.module, continuation[row : row + 1], 2, state)
        same_outputs(batched_after[row : row + 1], alone_after, when, first=example.steps + 1)


def stream_independence(example: ArchExample) -> None:
    """Check that interleaved streams of one module give the same outputs as streams that each have their own module."""
    for mode, enter in MODES.items():
        shared = example.build()
        inputs = [shared.draw(example.batch, example.steps, seed=seed) for seed in range(3)]
        with enter():
            states = [shared.module.init_state(len(x)) for x in inputs]
            outputs: list[list[Tensor]] = [[] for _ in inputs]
            for step in range(example.steps):
                for stream, x in enumerate(inputs):
                    output, states[stream] = shared.module.step(x[:, step], states[stream])
                    outputs[stream].append(output)
            for x, interleaved, state in zip(inputs, outputs, states, strict=True):
                expected, expected_state = repeat_step(example.build().module, x)
                when = f"when three streams are interleaved instead of one being fed alone, under {mode}"
                same_outputs(torch.stack(interleaved, 1), expected, when)
                example.compare_states(state, expected_state)


def state_copies(example: ArchExample) -> None:
    """Check after a few steps that a state and its copy can be continued independently."""
    for mode, enter in MODES.items():
        tested = example.build()
        for steps in sorted({min(steps, example.steps) for steps in (1, 3, 5)}):
            if not (more := tested.steps_left(steps, 3)):
                continue
            x = tested.draw(example.batch, steps)
            continuations = [tested.draw(example.batch, more, seed=seed) for seed in (1, 2)]
            with enter():
                _, state = repeat_step(tested.module, x)
                starts = [example.package.copy_state(state), state]
                results = [
                    repeat_step(tested.module, continuation, start)
                    for continuation, start in zip(continuations, starts, strict=True)
                ]
                for continuation, (actual, end_state) in zip(continuations, results, strict=True):
                    expected, expected_state = repeat_step(tested.module, torch.cat([x, continuation], 1))
                    when = f"when the state after {steps} steps is copied and continued twice, under {mode}"
                    same_outputs(actual, expected[:, steps:], when, first=steps + 1)
                    example.compare_states(end_state, expected_state)


def gates_read_only(example: ArchExample) -> None:
    """Check that two calls of `gates` give the same values, and change neither the state nor later outputs."""
    for mode, enter in MODES.items():
        tested = example.build()
        if not (more := tested.steps_left(example.steps, CONTINUATION_STEPS)):
            return
        x, continuation = tested.draw(example.batch, example.steps), tested.draw(example.batch, more, seed=1)
        with enter():
            _, state = repeat_step(tested.module, x)
            before = example.package.copy_state(state)
            first = tested.module.gates(continuation[:, 0], state)
            if not _equal(state, before):
                raise CheckFailed(f"`gates` changed the state after {example.steps} steps, under {mode}")
            second = tested.module.gates(continuation[:, 0], state)
            if list(first) != list(second) or not _equal(first, second):
                raise CheckFailed(f"two calls of `gates` differ, under {mode}")
            expected, _ = repeat_step(tested.module, continuation, before)
            after, _ = repeat_step(tested.module, continuation, state)
            same_outputs(after, expected, f"after a call of `gates`, under {mode}", first=example.steps + 1)


def gradients_reach_parameters(example: ArchExample) -> None:
    """Check that every parameter gets a finite and nonzero gradient, in evaluation or training mode.

    If a parameter gets none, longer sequences are tried, because it may belong to a delay.
    """
    tested = example.build()
    longer = example.steps + tested.steps_left(example.steps, GRADIENT_STEPS)
    for training, steps in ((False, example.steps), (True, example.steps), (False, longer), (True, longer)):
        tested.module.train(training)
        outputs = tested.module(tested.draw(example.batch, steps))
        if outputs.requires_grad:
            _loss(outputs).backward()
        for name, parameter in tested.module.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise CheckFailed(f"the gradient of the parameter {name} is not finite")
        grads = {name: parameter.grad for name, parameter in tested.module.named_parameters()}
        missing = [name for name, grad in grads.items() if grad is None or not grad.any()]
        if not missing:
            return
    raise CheckFailed(f"the parameter {missing[0]} gets no gradient")


def gradients_across_chunks(example: ArchExample) -> None:
    """Check that gradients flow through the states between chunks, to all parameters and to real inputs."""
    tested = example.build()
    x, variables = _variables(tested, example.batch, example.steps)
    names = ["the inputs", *(name for name, _ in tested.module.named_parameters())][-len(variables) :]
    expected_gradients = _gradients(repeat_step(tested.module, x)[0], variables)
    for chunks in chunkings(example.steps):
        gradients = _gradients(scan_chunks(tested.module, x, chunks)[0], variables)
        for name, actual, expected in zip(names, gradients, expected_gradients, strict=True):
            difference = (actual - expected).abs().max().item()
            if not difference <= tolerance(expected):
                raise CheckFailed(
                    f"the gradient of {name} differs by {difference:.2g} when `scan` reads {_describe(chunks)}"
                )


def gradients_match_finite_differences(example: ArchExample) -> None:
    """Check the gradients of all parameters and of real inputs against finite differences."""
    tested = example.build()
    x, variables = _variables(tested, example.batch, min(example.steps, GRADCHECK_STEPS))
    names = [name for name, _ in tested.module.named_parameters()]

    scale: float = max(1e-300, tested.module(x).detach().abs().max().item())

    def outputs(*values: Tensor) -> Tensor:
        weights = dict(zip(names, values[len(values) - len(names) :], strict=True))
        result: Tensor = torch.func.functional_call(tested.module, weights, (values[0] if x.requires_grad else x,))
        return result / scale

    for change in GRADCHECK_CHANGES:
        with contextlib.suppress(GradcheckError):
            torch.autograd.gradcheck(outputs, variables, eps=change, fast_mode=True)
            return
    hint = "check custom backward functions and detached tensors"
    raise CheckFailed(f"the gradients do not match finite differences; {hint}")


CHECKS: dict[str, Callable[[ArchExample], None]] = {
    check.__name__: check
    for check in (
        state_format,
        shapes,
        step_equals_scan,
        forward_equals_scan,
        causality,
        input_dependence,
        batch_independence,
        stream_independence,
        state_copies,
        gates_read_only,
        gradients_reach_parameters,
        gradients_across_chunks,
        gradients_match_finite_differences,
        float32_matches_float64,
        long_sequences,
        compiled_cell,
    )
}
"""The checks by name. `carousel validate` prints the name of each failed check."""


def chunkings(steps: int) -> Iterator[tuple[int, ...]]:
    """Yield ways to cut `steps` steps into chunks, each as a tuple of chunk lengths.

    Up to `MAX_EXHAUSTIVE_STEPS` steps, every possible way is yielded. More steps are cut as in `CUTS`.
    """
    if steps <= MAX_EXHAUSTIVE_STEPS:
        cuts = [cut for count in range(steps) for cut in itertools.combinations(range(1, steps), count)]
    else:
        cuts = list(dict.fromkeys(tuple(step for step in cut if step < steps) for cut in CUTS))
    for cut in cuts:
        yield tuple(end - start for start, end in itertools.pairwise((0, *cut, steps)))


def _outputs_after_change(tested: ModuleUnderTest, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield each step, counted from 0, with the outputs for inputs that are changed from this step on."""
    for step in range(x.shape[1]):
        changed = x.clone()
        changed[:, step:] = changed_inputs(x[:, step:])
        yield step, tested.module(changed)


def _steps_with_gradients(tested: ModuleUnderTest, x: Tensor) -> set[int]:
    """Return the steps, counted from 0, whose outputs have a nonzero gradient with respect to the input at that step.

    For tokens, the gradient is taken with respect to the embeddings.
    """
    encoded: list[Tensor] = []

    def detach(_module: object, _inputs: object, outputs: Tensor) -> Tensor:
        encoded.append(outputs.detach().requires_grad_())
        return encoded[-1]

    if x.is_floating_point():
        encoded.append(x.requires_grad_())
        outputs = tested.module(x)
    else:
        handle = tested.module.encoder.register_forward_hook(detach)
        outputs = tested.module(x)
        handle.remove()
    if not outputs.requires_grad:
        return set()
    steps = set()
    for step in range(x.shape[1]):
        (gradient,) = torch.autograd.grad(_loss(outputs[:, step]), encoded[:1], retain_graph=True, allow_unused=True)
        if gradient is not None and gradient[:, step].any():
            steps.add(step)
    x.requires_grad_(False)
    return steps


def _describe(chunks: tuple[int, ...]) -> str:
    return "all steps in one chunk" if len(chunks) == 1 else f"chunks of {', '.join(str(chunk) for chunk in chunks)}"


def _equal(first: Any, second: Any) -> bool:
    """Return whether two trees of tensors are identical.

    Unused memory of a state is compared too. NaN counts as 0, because unused memory may contain NaN.
    """
    leaves, other_leaves = pytree.tree_leaves(first), pytree.tree_leaves(second)
    return len(leaves) == len(other_leaves) and all(
        torch.equal(_without_nan(a), _without_nan(b)) if isinstance(a, Tensor) else a == b
        for a, b in zip(leaves, other_leaves, strict=True)
    )


def _without_nan(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()).nan_to_num() if tensor.is_complex() else tensor.nan_to_num()


def _gradients(outputs: Tensor, variables: list[Tensor]) -> tuple[Tensor, ...]:
    """Return gradients. Those of unused tensors are zero, and `gradients_reach_parameters` reports them."""
    return torch.autograd.grad(_loss(outputs), variables, allow_unused=True, materialize_grads=True)


def _loss(outputs: Any) -> Any:
    """Return a scalar that depends nonlinearly on every output, each with its own weight."""
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype, device=outputs.device).view_as(outputs)
    return (weights * outputs + outputs.square()).sum()


def _variables(tested: ModuleUnderTest, batch: int, steps: int) -> tuple[Tensor, list[Tensor]]:
    """Return sampled inputs, (B, T) or (B, T, D), and the tensors whose gradients are checked.

    These tensors are all parameters, preceded by the inputs if the inputs are reals.
    """
    x = tested.draw(batch, steps)
    parameters: list[Tensor] = list(tested.module.parameters())
    return (x.requires_grad_(), [x, *parameters]) if x.is_floating_point() else (x, parameters)
