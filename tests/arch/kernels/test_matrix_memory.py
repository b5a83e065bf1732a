"""Compare the kernels of matrix memories with the equations: the recurrence, and the compiled steps of its layers."""

# Shape suffixes: B batch, T time, N heads, K key width, V value width, Q steps that are read

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import arch
from arch.core import matrix_memory
from arch.core.compiled.program import MIN_PACKED_STEPS
from arch.core.memory.heads import gated_norm, group_norm, rms_norm
from arch.kernels.reference import matrix_memory as plain
from arch.kernels.training import matrix_memory as kernel
from tests.arch.fused import assert_same
from tests.arch.kernels.test_reference import agree
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import assert_close, by_equations, compiled, inputs, model_of

FORMS = [
    "none",
    "none corrected",
    "head",
    "head corrected",
    "key",
    "key corrected",
    "none replaced",
    "key replaced",
    "none scaled",
    "key corrected scaled",
    "head replaced scaled",
    "head scaled",
]
"""Which numbers decay equally, and whether there is a correction.

A correction that replaces has p = -s w. Writes that are scaled have strengths s."""
SIZES = [(1, 1, 1, 1, 1), (2, 7, 1, 3, 17), (3, 20, 2, 16, 16), (2, 70, 2, 5, 33), (1, 9, 3, 33, 7)]
"""Batch, steps, heads, key width and value width."""
AMPLIFIED = 1e-4
"""Tolerance of gradients through whole layers in float32, relative to the largest. Norms of small values amplify
rounding."""
LAYERS = [
    "linear_attention",
    "linear_attention:block=bare",
    "ret_net",
    "ret_net:block=bare,value_factor=1",
    "gla",
    "gla:block=bare,conv=4,rank=3",
    "mamba2",
    "mamba2:block=bare,conv=0,states=5",
    "delta_net",
    "delta_net:block=bare,conv=0,negative=True,householders=2",
    "gated_delta_net",
    "gated_delta_net:block=bare,decay=channel",
    "gated_delta_net:householders=2,negative=True",
    "mlstm",
    "mlstm:block=bare,conv=4",
    "rwkv7",
    "rwkv7:block=bare,heads=1",
]


class Inputs(NamedTuple):
    """The arguments of `matrix_memory.scan`."""

    q_BQNK: Tensor
    w_BTNK: Tensor
    v_BTNV: Tensor
    S_BNKV: Tensor
    a_BTNK: Tensor | None
    r_BTNK: Tensor | None
    p_BTNK: Tensor | None
    s_BTN1: Tensor | None


def drawn(form: str, sizes: tuple[int, int, int, int, int], reads_every: int = 1, seed: int = 0) -> Inputs:
    """Return random inputs in float32. Decays lie in [0, 1], and corrections shrink what they read."""
    (B, T, N, K, V), generator = sizes, torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    decay, corrects = form.split()[0], "corrected" in form
    has_r = corrects or "replaced" in form
    key_BTNK = torch.nn.functional.normalize(draw(B, T, N, K), dim=-1)
    return Inputs(
        draw(B, T // reads_every, N, K),
        key_BTNK.clone(),
        draw(B, T, N, V),
        draw(B, N, K, V),
        None if decay == "none" else draw(B, T, N, 1 if decay == "head" else K).sigmoid(),
        key_BTNK.clone() if has_r else None,
        -draw(B, T, N, 1).sigmoid() * key_BTNK if corrects else None,
        draw(B, T, N, 1).sigmoid() if "scaled" in form else None,
    )


def results(given: Inputs, backend: Any, reads_every: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the reads, the last memory, and the gradients of all inputs of a weighted sum of both."""
    own = [None if tensor is None else tensor.to(dtype).requires_grad_() for tensor in given]
    q, w, v, S, a, r, p, s = own
    assert q is not None and w is not None and v is not None and S is not None
    correction = None if r is None else (r, p)
    found = matrix_memory.scan(
        q, w, v, S, decay=a, correction=correction, strength=s, reads_every=reads_every, backend=backend
    )
    generator = torch.Generator().manual_seed(9)
    sees = [torch.randn(tensor.shape, generator=generator).to(dtype) for tensor in found]
    gradients = torch.autograd.grad(found, [tensor for tensor in own if tensor is not None], sees)
    return [tensor.detach().float() for tensor in (*found, *gradients)]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_reads_and_gradients_equal_the_equations(form: str, sizes: tuple[int, int, int, int, int]) -> None:
    given = drawn(form, sizes)
    assert_same(results(given, "fused"), results(given, "reference", dtype=torch.float64))


@pytest.mark.parametrize("form", ["none corrected", "key corrected"])
def test_every_third_step_is_read(form: str) -> None:
    given = drawn(form, (2, 12, 2, 6, 18), reads_every=3)
    assert_same(results(given, "fused", 3), results(given, "reference", 3, torch.float64))
    assert results(given, "fused", 3)[0].shape == (2, 4, 2, 18)


@pytest.mark.parametrize("form", FORMS)
def test_second_derivatives_use_the_equations(form: str) -> None:
    found = {}
    for backend in ("fused", "reference"):
        own = [None if tensor is None else tensor.requires_grad_() for tensor in drawn(form, (2, 5, 2, 3, 4))]
        q, w, v, S, a, r, p, s = own
        assert q is not None and w is not None and v is not None and S is not None
        correction = None if r is None else (r, p)
        y, last = matrix_memory.scan(q, w, v, S, decay=a, correction=correction, strength=s, backend=backend)  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(y.pow(3).sum() + last.pow(3).sum(), w, create_graph=True)
        found[backend] = [slope.detach(), *torch.autograd.grad(slope.square().sum(), [w, v, S])]
    assert_same(found["fused"], found["reference"])


def test_inputs_in_any_layout_stay_unchanged() -> None:
    given = drawn("key corrected", (3, 9, 2, 5, 7))
    strided = Inputs(*(None if tensor is None else tensor.mT.contiguous().mT for tensor in given))
    before = [tensor.clone() for tensor in strided if tensor is not None]
    assert_same(results(strided, "fused"), results(given, "fused"))
    assert all(torch.equal(*pair) for pair in zip(before, [x for x in strided if x is not None], strict=True))


def test_memory_in_training_grows_with_the_root_of_the_length() -> None:
    """Count the numbers that the forward pass keeps beside its inputs and outputs."""
    kept = []
    for T in (256, 1024):
        q, w, v, S, *_ = (None if x is None else x.requires_grad_() for x in drawn("none", (1, T, 1, 16, 16)))
        assert q is not None and w is not None and v is not None and S is not None
        sizes: list[int] = []

        def noted(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(noted, lambda tensor: tensor):
            matrix_memory.scan(q, w, v, S, backend="fused")
        kept.append(sum(sizes) - q.numel() - w.numel() - v.numel() - S.numel())
    assert kept == [16 * 256, 32 * 256]


def test_a_kernel_that_cannot_run_says_why() -> None:
    q, w, v, S, *_ = drawn("none", (1, 4, 1, 2, 2))
    with pytest.raises(ValueError, match="backend=fused cannot run here: the kernel needs dense float32 tensors"):
        matrix_memory.scan(q.double(), w.double(), v.double(), S.double(), backend="fused")  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [(0, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_kernels_write_what_their_plain_versions_write(form: str, share: tuple[int, int]) -> None:
    q, w, v, S, a, r, p, s = drawn(form, (3, 20, 2, 5, 19), reads_every=2)
    decays, corrects = 0 if a is None else a.shape[-1], r is not None
    sizes = kernel.Sizes(20, 3, 2, 5, 19, decays, corrects, s is not None, reads_every=2, segment=8)
    generator = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    y, last, checkpoints = draw(3, 10, 2, 19), draw(3, 2, 5, 19), draw(3, 2, 3, 5, 19)
    u = draw(3, 20, 2, 19) if sizes.corrects else None
    forward = kernel.Forward(q, w, v, S, a, r, p, s, y, last, u, checkpoints, *sizes)  # type: ignore[arg-type]
    written = "y S_T checkpoints u" if sizes.corrects else "y S_T checkpoints"
    agree(kernel.forward_rows, plain.forward, forward, share, written)
    plain.forward(forward, 0, 3)
    found = [
        None if tensor is None else torch.randn(tensor.shape, generator=generator)
        for tensor in (q, w, v, S, a, r, p, s)
    ]
    backward = kernel.Backward(q, w, v, a, r, p, s, u, checkpoints, draw(*y.shape), draw(*last.shape), *found, *sizes)  # type: ignore[arg-type]
    names = ["d_q", "d_w", "d_v", "d_S_0", "d_a", "d_r", "d_p", "d_s"]
    written = " ".join(name for name, tensor in zip(names, found, strict=True) if tensor is not None)
    agree(kernel.backward_rows, plain.backward, backward, share, written)


@pytest.mark.parametrize("gate", ["none", "first", "last", "sigmoid"])
@pytest.mark.parametrize("kind", ["group", "rms", "rms of shared gain"])
@pytest.mark.parametrize("sizes", [(1, 2, 1, 3), (2, 5, 3, 17), (9, 8, 2, 40)], ids=str)
def test_norms_of_heads_equal_the_equations(sizes: tuple[int, int, int, int], kind: str, gate: str) -> None:
    (B, T, N, V), generator = sizes, torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    given = [draw(B, T, N, V), draw(B, T, N * V), draw(V if "shared" in kind else N * V), draw(N * V)]
    sees_BTC, found = draw(B, T, N * V), []
    for backend, dtype in (("fused", torch.float32), ("reference", torch.float64)):
        y, g, gain, offset = (tensor.to(dtype).requires_grad_() for tensor in given)
        chosen: Any = backend
        if gate != "none":
            centre = offset if kind == "group" else None
            function: Any = "sigmoid" if gate == "sigmoid" else "silu"
            result_BTC = gated_norm(y, g, gain, centre, gates_first=gate == "first", gate=function, backend=chosen)
        elif kind == "group":
            result_BTC = group_norm(y, gain, offset, epsilons=1000, backend=chosen)
        else:
            result_BTC = rms_norm(y, gain, backend=chosen)
        own = [y, gain, *([g] if gate != "none" else []), *([offset] if kind == "group" else [])]
        gradients = torch.autograd.grad(result_BTC, own, sees_BTC.to(dtype))
        found.append([tensor.detach().float() for tensor in (result_BTC, *gradients)])
    assert_same(*found)


def test_the_norm_of_a_head_is_that_of_torch() -> None:
    y_BTNV = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    gain_C, offset_C = torch.full((20,), 2.0), torch.full((20,), 0.5)
    expected_RC = torch.nn.functional.group_norm(y_BTNV.view(6, 20), 4, gain_C, offset_C, 3e-5)
    for backend in ("fused", "reference"):
        found_BTC = group_norm(y_BTNV, gain_C, offset_C, epsilons=3, backend=backend)  # type: ignore[arg-type]
        torch.testing.assert_close(found_BTC, expected_RC.view(2, 3, 20))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("spec", LAYERS)
def test_steps_and_streams_equal_the_equations(spec: str, batch: int) -> None:
    model, x = model_of(spec), inputs(batch, steps=MIN_PACKED_STEPS + 5)
    expected = by_equations(model, x)
    assert_close(compiled(model, x)[0], expected)
    assert_close(compiled_stream(model, x)[0], expected)


@pytest.mark.parametrize("width", [4, 36, 68])
@pytest.mark.parametrize("spec", LAYERS[::2])
def test_steps_of_other_widths(spec: str, width: int) -> None:
    model, x = model_of(spec, width), inputs(2)
    assert_close(compiled(model, x)[0], by_equations(model, x))


@pytest.mark.parametrize("spec", LAYERS)
def test_scans_steps_and_streams_continue_each_other(spec: str) -> None:
    model, x = model_of(spec), inputs(2, steps=20)
    with torch.inference_mode():
        first, state = model.scan(x[:, :7], model.init_state(2))
        given = arch.copy_state(state)
        second, after = compiled(model, x[:, 7:12], state)
        for one, other in zip(pytree.tree_leaves(given), pytree.tree_leaves(state), strict=True):
            assert one is other is None or torch.equal(one, other)
        third, after = compiled_stream(model, x[:, 12:15], after)
        last, _ = model.scan(x[:, 15:], after)
    assert_close(torch.cat([first, second, third, last], 1), by_equations(model, x))


def gradients(model: arch.SequenceModel, backend: str, x: Tensor) -> list[Tensor]:
    """Return the outputs of two chunks, and the gradients of the inputs and of all parameters."""
    for layer in model.layers:
        layer.backend = backend  # type: ignore[assignment]
    first, state = model.scan(x[:, :5], model.init_state(len(x)))
    second, _ = model.scan(x[:, 5:], state)
    output = torch.cat([first, second], 1)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(5))
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("spec", LAYERS)
def test_gradients_of_layers_equal_the_equations(spec: str) -> None:
    model, x = model_of(spec), inputs(3, steps=11).requires_grad_()
    exact = copy.deepcopy(model).double()
    expected = gradients(exact, "reference", x.detach().double().requires_grad_())
    for actual, wanted in zip(gradients(model, "fused", x), expected, strict=True):
        scale = max(1e-3, float(wanted.abs().max()))
        torch.testing.assert_close(actual.double(), wanted, rtol=0, atol=AMPLIFIED * scale)


@pytest.mark.parametrize("spec", ["linear_attention", "ret_net", "gla", "mamba2"])
def test_float32_is_sound_over_65_536_steps(spec: str) -> None:
    """Compare a scan with as many compiled steps. Its gradients are finite."""
    model = arch.build(spec, channels=3, outputs=2, width=8, depth=1, seed=0)
    x = torch.randn(1, 65_536, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, _ = model.stream(x, model.init_state(1))
    actual = model(x)
    torch.testing.assert_close(actual.detach(), expected, rtol=0, atol=1e-3 * float(expected.abs().max()))
    actual.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("linear_attention:heads=3", "width 20 is not a multiple of 3, as required by 3 heads; try width 18 or 21"),
        ("linear_attention:heads=0", "heads must be at least 1, not 0"),
        ("ret_net:heads=3", "width 20 is not a multiple of 6, as required by 3 heads; try width 18 or 24"),
        ("ret_net:value_factor=0", "value_factor must be at least 1, not 0"),
        ("gla:heads=4", "width 20 is not a multiple of 8, as required by 4 heads; try width 16 or 24"),
        ("gla:rank=0", "rank must be at least 1, not 0"),
        ("mamba2:heads=16", "width 20 is not a multiple of 8, as required by 16 heads; try width 16 or 24"),
        ("mamba2:states=0", "states must be at least 1, not 0"),
    ],
)
def test_impossible_options_are_refused_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        model_of(spec)
    assert str(refusal.value) == message


@pytest.mark.parametrize("spec", sorted({spec.partition(":")[0] for spec in LAYERS}))
def test_a_budget_of_20_000_parameters_finds_a_width(spec: str) -> None:
    model = arch.build(spec, channels=3, outputs=2, params=20_000, depth=2)
    assert 18_500 < arch.parameter_count(model) < 21_500


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_heads_of_width_one_have_the_gate_of_their_decay(decay: str) -> None:
    model, x = model_of(f"gated_delta_net:heads=20,decay={decay}"), inputs(2)
    expected = by_equations(model, x)
    tolerance = AMPLIFIED * float(expected.abs().max())
    torch.testing.assert_close(compiled(model, x)[0], expected, rtol=0, atol=tolerance)


def test_a_decay_that_does_not_learn_changes_no_other_gradient() -> None:
    given = drawn("head", (2, 7, 3, 5, 17))
    expected = results(given, "reference", dtype=torch.float64)
    q, w, v, S = (tensor.requires_grad_() for tensor in given[:4] if tensor is not None)
    found = matrix_memory.scan(q, w, v, S, decay=given.a_BTNK, backend="fused")
    generator = torch.Generator().manual_seed(9)
    sees = [torch.randn(tensor.shape, generator=generator) for tensor in found]
    gradients = torch.autograd.grad(found, [q, w, v, S], sees)
    assert_same([tensor.detach() for tensor in (*found, *gradients)], expected[:-1])
