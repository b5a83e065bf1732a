"""Compare each training kernel with its plain reference, on the same arguments.

The kernel gets float32 tensors, the reference float64 copies. Afterwards all tensors must agree: what is written, what
is added to, and what must stay, such as the rows of other shares.
"""

# Letters: B batch, T time, D input width, H hidden width, N rows or heads, E width, K head width

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arch.kernels.reference import attention as plain_attention
from arch.kernels.reference import block as plain_block
from arch.kernels.reference import chunked as plain_chunked
from arch.kernels.reference import nonlinear as plain_nonlinear
from arch.kernels.reference import recurrent as plain
from arch.kernels.runtime.launch import recorded
from arch.kernels.simd.matmul import pack, pack_transposed, panels_of
from arch.kernels.simd.vector import LANES
from arch.kernels.training import (
    attention,
    chunked,
    four_gates,
    gru,
    gru_before,
    layer_norm,
    lstm,
    qkv,
    reservoir,
    residual_mlp,
    rnn,
    slstm,
)
from arch.kernels.training.layer_norm import ROWS_PER_SUM
from tests.arch.fused import assert_same

Kernel = Callable[[int, int, int], None]


class Shape(NamedTuple):
    """Sizes of a recurrent kernel call, and its share of the rows."""

    T: int
    B: int
    D: int
    H: int
    first: int
    last: int


@st.composite
def shares(draw: Any, rows: int, multiple: int = 1) -> tuple[int, int]:
    """Draw a first row, a multiple of `multiple`, and the row after the last one."""
    first = multiple * draw(st.integers(0, (rows - 1) // multiple))
    return first, draw(st.integers(first + 1, rows))


@st.composite
def shapes(draw: Any) -> Shape:
    B = draw(st.integers(1, 37))
    sizes = [draw(st.integers(1, most)) for most in (40, 35, 70)]
    return Shape(sizes[0], B, *sizes[1:], *draw(shares(B)))


FIXED = [
    Shape(1, 1, 1, 1, 0, 1),
    Shape(5, 9, 3, 18, 0, 9),
    Shape(7, 11, 16, 33, 8, 11),
    Shape(40, 13, 5, 16, 0, 8),
    Shape(9, 16, 2 * LANES, 2 * LANES, 0, 16),
]
FIXED_IDS = ["ones", "whole batch", "last rows", "several chunks", "whole vectors"]


def random(seed: int) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float32)


def copied(arguments: Any, dtype: torch.dtype) -> Any:
    """Return copies of the tensors in another precision, with the same sizes. A tensor passed twice is copied once."""
    copies = {
        id(value): value.to(dtype if value.is_floating_point() else value.dtype, copy=True)
        for value in arguments
        if isinstance(value, Tensor)
    }
    return type(arguments)._make(copies.get(id(value), value) for value in arguments)


def agree(
    kernel: Kernel, reference: Callable[..., None], arguments: Any, share: tuple[int, int], written: str, *more: int
) -> None:
    """Check that kernel and reference leave the same numbers in all tensors.

    Args:
        kernel: The compiled kernel.
        reference: Called with the arguments, the share and `more`.
        arguments: Named tuple of float32 tensors and sizes.
        share: First row, and the row after the last one.
        written: Names of the tensors that the call must change, separated by spaces. It must change no others.
        more: Further arguments of the reference.
    """
    actual, expected = copied(arguments, torch.float32), copied(arguments, torch.float64)
    numbers, _tensors = recorded(actual)
    kernel(numbers.buffer_info()[0], *share)
    reference(expected, *share, *more)
    changed = set()
    for name, before, found, wanted in zip(arguments._fields, arguments, actual, expected, strict=True):
        if isinstance(before, Tensor) and before.numel():
            wanted = wanted.to(before.dtype)
            assert_same([found], [wanted])
            if not torch.equal(before, wanted):
                changed.add(name)
    assert changed == set(written.split())


def recurrent(shape: Shape, gates: int, seed: int = 0) -> dict[str, Any]:
    """Return random arguments that most recurrent kernels share."""
    draw, (T, B, D, H, _, _) = random(seed), shape
    return {
        "x": draw(T, B, D),
        "W": draw(gates * H, D) / D**0.5,
        "bias": draw(gates * H),
        "U": draw(gates * H, H) / H**0.5,
        "h_0": draw(B, H),
        "outputs": draw(T, B, H),
        "d_outputs": draw(T, B, H),
        "d_h": draw(B, H),
        "d_x": draw(T, B, D),
        "T": T,
        "B": B,
        "D": D,
        "H": H,
    }


def selected(kind: Any, values: dict[str, Any]) -> Any:
    return kind(**{name: values[name] for name in kind._fields})


def activations(draw: Callable[..., Tensor], *shape: int) -> Tensor:
    """Return numbers between 0 and 1, as the sigmoid returns them."""
    return draw(*shape).sigmoid()


def check_rnn(shape: Shape, flag: bool, seed: int) -> None:
    D, H, *share = shape[2:]
    values = recurrent(shape, 1, seed) | {"is_tanh": flag, "sums": random(seed + 1)(D + H + 1, panels_of(H) * LANES)}
    agree(rnn.forward_rows, plain.rnn_forward, selected(rnn.Forward, values), (*share,), "outputs")
    values["outputs"] = values["outputs"].tanh() if flag else values["outputs"].abs()
    agree(rnn.backward_rows, plain.rnn_backward, selected(rnn.Backward, values), (*share,), "d_h d_x sums")


def check_lstm(shape: Shape, flag: bool, seed: int) -> None:
    T, B, D, H, *share = shape
    draw = random(seed + 1)
    values = recurrent(shape, 4, seed) | {
        "c_0": draw(B, H),
        "gates": activations(draw, T if flag else 0, B, 4 * H),
        "cells": draw(T if flag else 1, B, H),
        "saves": flag,
        **dict.fromkeys(("n_0", "m", "norms", "d_n", "d_m")),
    }
    written = "outputs cells gates" if flag else "outputs cells"
    agree(lstm.forward_rows, plain.lstm_forward, selected(four_gates.Forward, values), (*share,), written)
    values |= {"gates": activations(draw, T, B, 4 * H), "cells": draw(T, B, H), "d_c": draw(B, H)}
    values |= {"sums": draw(D + H + 1, 4 * panels_of(H) * LANES)} | ({} if flag else {"d_x": None})
    written = "d_h d_c sums d_x" if flag else "d_h d_c sums"
    agree(lstm.backward_rows, plain.lstm_backward, selected(four_gates.Backward, values), (*share,), written)


def check_gru(shape: Shape, flag: bool, seed: int) -> None:
    T, B, D, H, *share = shape
    draw, padded = random(seed + 1), panels_of(H) * LANES
    values = recurrent(shape, 3, seed) | {
        "u": draw(H),
        "gates": activations(draw, T if flag else 0, B, 3 * H),
        "s": draw(T if flag else 0, B, H),
        "saves": flag,
    }
    written = "outputs gates s" if flag else "outputs"
    agree(gru.forward_rows, plain.gru_forward, selected(gru.Forward, values), (*share,), written)
    values |= {"gates": activations(draw, T, B, 3 * H), "s": draw(T, B, H), "W_nrz": values["W"]}
    values |= {"sums": draw((D + 1) * 3 * padded + H * 3 * padded + padded)} | ({} if flag else {"d_x": None})
    written = "d_h sums d_x" if flag else "d_h sums"
    agree(gru.backward_rows, plain.gru_backward, selected(gru.Backward, values), (*share,), written)


def check_gru_before(shape: Shape, flag: bool, seed: int) -> None:
    T, B, _, H, *share = shape
    draw = random(seed + 1)
    saved = activations(draw, T if flag else 0, B, panels_of(H), gru_before.SAVED_VECTORS, LANES)
    values = recurrent(shape, 3, seed) | {
        "projected": draw(T, B, 3 * H),
        "reset": draw(T, B, H),
        "saved": saved,
        "saves": flag,
        "d_projected": draw(T, B, 3 * H),
    }
    written = "outputs reset saved" if flag else "outputs reset"
    forward = selected(gru_before.Forward, values)
    if H % LANES == 0 or not flag:  # otherwise, the kernel also writes the padding of `saved`
        agree(gru_before.forward_rows, plain.gru_before_forward, forward, (*share,), written)
    values["saved"] = activations(draw, T, B, panels_of(H), gru_before.SAVED_VECTORS, LANES)
    backward = selected(gru_before.Backward, values)
    agree(gru_before.backward_rows, plain.gru_before_backward, backward, (*share,), "d_h d_projected")


def check_slstm(shape: Shape, flag: bool, seed: int) -> None:
    T, B, D, H, *share = shape
    draw = random(seed + 1)
    values = recurrent(shape, 4, seed) | {
        "c_0": draw(B, H),
        "n_0": 1 + draw(B, H).exp(),
        "m": draw(B, H),
        "saves": flag,
    }
    values |= {"gates": activations(draw, T if flag else 0, B, 5 * H)}
    values |= {name: draw(T if flag else 1, B, H) for name in ("cells", "norms")}
    written = "m outputs cells norms" + " gates" * flag
    agree(slstm.forward_rows, plain_nonlinear.slstm_forward, selected(four_gates.Forward, values), (*share,), written)
    values |= {"gates": activations(draw, T, B, 5 * H), "cells": draw(T, B, H), "norms": 1 + draw(T, B, H).exp()}
    values |= {name: draw(B, H) for name in ("d_c", "d_n", "d_m")}
    values |= {"sums": draw(D + H + 1, 4 * panels_of(H) * LANES)} | ({} if flag else {"d_x": None})
    written = "d_h d_c d_n d_m sums" + " d_x" * flag
    agree(
        slstm.backward_rows, plain_nonlinear.slstm_backward, selected(four_gates.Backward, values), (*share,), written
    )


def check_reservoir(shape: Shape, flag: bool, seed: int) -> None:
    T, B, D, H, first, _ = shape
    share = (first // LANES * LANES, B)  # a share starts at a whole vector of rows
    draw, J, K = random(seed + 1), min(3, D), min(4, H)
    sources = {"W_sources": (draw(H, J).abs() * 7).int() % D, "U_sources": (draw(H, K).abs() * 7).int() % H}
    values = recurrent(shape, 1, seed) | sources | {"W": draw(H, J), "U": draw(H, K) / 2, "leak": torch.tensor([0.3])}
    values |= {"activations": activations(draw, T, H, panels_of(B) * LANES) if flag else None, "J": J, "K": K}
    forward = selected(reservoir.Forward, values)
    if B % LANES == 0 or not flag:  # otherwise, the kernel also writes the padding of `activations`
        written = "outputs" + " activations" * flag
        agree(reservoir.forward_rows, plain_nonlinear.reservoir_forward, forward, share, written)
    values["activations"] = activations(draw, T, H, panels_of(B) * LANES)
    backward = selected(reservoir.Backward, values)
    agree(reservoir.backward_rows, plain_nonlinear.reservoir_backward, backward, share, "d_h d_x")


CHECKS = [check_rnn, check_lstm, check_gru, check_gru_before, check_slstm, check_reservoir]


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("shape", FIXED, ids=FIXED_IDS)
@pytest.mark.parametrize("check", CHECKS)
def test_scans(check: Callable[[Shape, bool, int], None], shape: Shape, flag: bool) -> None:
    """The flag is `is_tanh` of an RNN. For the others, it is `saves`, and whether the gradient of x is needed."""
    check(shape, flag, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(check=st.sampled_from(CHECKS), shape=shapes(), flag=st.booleans(), seed=st.integers(0, 2**31))
def test_scans_of_random_sizes(check: Callable[[Shape, bool, int], None], shape: Shape, flag: bool, seed: int) -> None:
    check(shape, flag, seed)


def test_what_the_gru_saves_with_padding() -> None:
    shape = Shape(4, 5, 3, LANES + 3, 1, 4)
    T, B, _, H, *share = shape
    draw = random(0)
    values = recurrent(shape, 3) | {"projected": draw(T, B, 3 * H), "reset": draw(T, B, H), "saves": True}
    values["saved"] = draw(T, B, 2, gru_before.SAVED_VECTORS, LANES)
    actual = copied(selected(gru_before.Forward, values), torch.float32)
    expected = copied(actual, torch.float64)
    numbers, _tensors = recorded(actual)
    gru_before.forward_rows(numbers.buffer_info()[0], *share)
    plain.gru_before_forward(expected, *share)
    units = [tensor.permute(0, 1, 3, 2, 4).flatten(3)[..., :H] for tensor in (actual.saved, expected.saved)]
    assert_same([units[0]], [units[1].float()])
    assert not torch.equal(units[0], values["saved"].permute(0, 1, 3, 2, 4).flatten(3)[..., :H])


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(shape=shapes(), gates=st.integers(1, 4), data=st.data())
def test_products_over_a_chunk(shape: Shape, gates: int, data: st.DataObject) -> None:
    T, B, D, H, first, last = shape
    begin = data.draw(st.integers(0, T - 1))
    chunk = chunked.Chunk(begin, data.draw(st.integers(begin + 1, T)), B, first, last)
    draw, panels = random(0), gates * panels_of(H)
    rows, width, stride = (chunk.end - begin) * (last - first), panels * LANES, (panels + 1) * LANES
    x, h_0, outputs = (draw(*sizes).flatten().numpy() for sizes in ((T, B, D), (B, H), (T, B, H)))
    W = draw(gates * H, D).flatten().numpy()
    transposed, packed = pack_transposed(W, 0, gates * H, H, D), pack(W, 0, gates * H, D, H, panels_of(H) * LANES)
    columns = chunked.Columns(draw((rows + 1) * stride).numpy(), 3, stride, panels)
    for name, result, arguments in (
        ("project", draw(rows * width), (x, D, transposed, panels, chunk)),
        ("project_back", draw(T * B * D), (D, columns, packed, chunk)),
        ("add_weights", draw(5 + D * width), (5, x, D, columns, chunk)),
        ("add_recurrent", draw(5 + H * width), (5, h_0, outputs, H, columns, chunk)),
        ("add_biases", draw(5 + width), (5, columns, chunk)),
    ):
        actual, expected = result.numpy().copy(), result.numpy().astype(np.float64)
        getattr(chunked, name)(actual, *arguments)
        getattr(plain_chunked, name)(expected, *arguments)
        assert_same([torch.from_numpy(actual)], [torch.from_numpy(expected).float()])
        assert not np.array_equal(actual, result.numpy())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(2, 150), st.integers(1, 40), st.data())
def test_attention(B: int, N: int, T: int, K: int, data: st.DataObject) -> None:
    draw, share = random(0), data.draw(shares(B * N))
    q, k, v, d_q, d_k, d_v = (draw(B, N, T, K) for _ in range(6))
    forward = attention.Forward(q, k, v, draw(B, T, N * K), draw(B, N, T, 2), T, N, K)
    agree(attention.forward_rows, plain_attention.attention_forward, forward, share, "result moments")
    result = copied(forward, torch.float32)
    plain_attention.attention_forward(result, 0, B * N)
    d_result = draw(B, T, N * K)
    backward = attention.Backward(q, k, v, result.result, result.moments, d_result, d_q, d_k, d_v, T, N, K)
    agree(attention.backward_rows, plain_attention.attention_backward, backward, share, "d_q d_k d_v")


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(5, 70), st.data())
def test_layer_norm(N: int, D: int, data: st.DataObject) -> None:
    draw, share = random(0), data.draw(shares(N))
    y, moments = draw(N, D), draw(N, 2)
    forward = layer_norm.Forward(y, draw(D), draw(D), draw(N, D), moments, D)
    agree(layer_norm.forward_rows, plain_block.layer_norm_forward, forward, share, "normal moments")
    moments = torch.stack([y.mean(1), 1 / y.std(1, correction=0)], 1)
    sums = draw(-(-N // ROWS_PER_SUM), 2, D)
    backward = layer_norm.Backward(draw(N, D), y, moments, draw(D), draw(N, D), sums, D)
    share = data.draw(shares(N, ROWS_PER_SUM))
    reference = plain_block.layer_norm_backward
    agree(layer_norm.backward_rows, reference, backward, share, "d_y block_sums", ROWS_PER_SUM)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.integers(5, 40), st.integers(1, 4), st.booleans(), st.data())
def test_residual_mlp(N: int, D: int, expansion: int, ends: bool, data: st.DataObject) -> None:
    draw, share, E = random(0), data.draw(shares(N)), expansion * D
    norm, mlp = (draw(D), draw(D)), (draw(E, D) / D**0.5, draw(E), draw(D, E) / E**0.5)
    final = (draw(D), draw(D)) if ends else (None, None)
    z, bias = draw(N, D), draw(D) if ends else None
    total = draw(N, D) if ends else z
    forward = residual_mlp.Forward(
        draw(N, D), draw(N, D), bias, *norm, *mlp, draw(D), *final, draw(N, D), total, z, D=D, E=E
    )
    written = "y total z"
    agree(residual_mlp.forward_rows, plain_block.residual_mlp_forward, forward, share, written)
    blocks, rows = -(-N // residual_mlp.ROWS_PER_SUM), 2 * residual_mlp.whole_tiles(D) + residual_mlp.EXTRA_SUMS
    sums = draw(blocks, rows, panels_of(E) * LANES)
    kept = total if ends else None
    backward = residual_mlp.Backward(draw(N, D), kept, *norm, *mlp, final[0], draw(N, D), draw(N, D), sums, D=D, E=E)
    plain_backward = plain_block.residual_mlp_backward
    agree(residual_mlp.backward_rows, plain_backward, backward, (0, N), "d_y sums", residual_mlp.ROWS_PER_SUM)


@pytest.mark.parametrize("back", [False, True])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(B=st.integers(1, 5), N=st.integers(1, 4), T=st.integers(1, 20), half=st.integers(1, 20), data=st.data())
def test_order_of_heads(back: bool, B: int, N: int, T: int, half: int, data: st.DataObject) -> None:
    draw, share, K = random(0), data.draw(shares(B)), 2 * half
    q, k, v = (draw(B, N, T, K) for _ in range(3))
    rotary = draw(T, K) if data.draw(st.booleans()) else None
    bias = draw(B, 3 * N * K) if back else draw(3 * N * K)
    arguments = qkv.Move(draw(B * T, 3 * N * K), bias, q, k, v, rotary, back, T, N, K)
    agree(qkv.move_rows, plain_block.move, arguments, share, "qkv bias" if back else "q k v")
