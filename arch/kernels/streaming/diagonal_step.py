"""One step of `min_gru`, `min_lstm` and `ind_rnn`: the matrix product, then a cell per unit."""

from __future__ import annotations

from numba import njit

from arch.kernels.cells import diagonal as cells
from arch.kernels.cells.gated import rnn_relu, rnn_tanh
from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import floats, row_sums
from arch.kernels.simd.vector import LANES, fma, load_first, store_first
from arch.kernels.streaming.record import LAYER_SIGNATURE, parts_of
from arch.kernels.streaming.recurrent_step import Compiled, bias_of, layer_step


@njit(forceinline=True)
def _min_gru(sums, state):  # type: ignore[no-untyped-def]
    a, b = cells.min_gru(sums[0], sums[1])
    return (fma(a, state[0], b),)


@njit(forceinline=True)
def _min_gru_signed(sums, state):  # type: ignore[no-untyped-def]
    a, b = cells.min_gru_signed(sums[0], sums[1], sums[2])
    return (fma(a, state[0], b),)


@njit(forceinline=True)
def _min_lstm(sums, state):  # type: ignore[no-untyped-def]
    a, b = cells.min_lstm(sums[0], sums[1], sums[2])
    return (fma(a, state[0], b),)


def _ind_rnn_step(activation: Compiled) -> Compiled:
    """Return the step of an IndRNN with this activation. Its arguments are those of the functions of `layer_step`."""

    @njit(forceinline=True)
    def step(D, H, weights, x, state, y, B):  # type: ignore[no-untyped-def]
        W, u, h = floats(weights[0]), floats(weights[2]), floats(state[0])
        for unit in range(0, H, LANES):
            count = H - unit
            for row in range(B):
                at = row * H + unit
                total = row_sums(W, unit * D, count, x, row * D, D) + bias_of(weights[1], unit, count)
                after = activation(fma(load_first(u, unit, count), load_first(h, at, count), total))
                store_first(h, at, count, after)
                store_first(y, at, count, after)

    return step


_min_gru_step = layer_step(_min_gru, gates=2, states=1)
_min_gru_signed_step = layer_step(_min_gru_signed, gates=3, states=1)
_min_lstm_step = layer_step(_min_lstm, gates=3, states=1)
_ind_rnn_tanh_step, _ind_rnn_relu_step = _ind_rnn_step(rnn_tanh), _ind_rnn_step(rnn_relu)


@kernel(LAYER_SIGNATURE)
def min_gru(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step a minGRU, whose weights are W (2H, D) and b (2H,)."""
    sizes, weights, state = parts_of(record)
    _min_gru_step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)


@kernel(LAYER_SIGNATURE)
def min_gru_signed(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step a minGRU with signed decay, whose weights are W (3H, D) and b (3H,)."""
    sizes, weights, state = parts_of(record)
    _min_gru_signed_step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)


@kernel(LAYER_SIGNATURE)
def min_lstm(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step a minLSTM, whose weights are W (3H, D) and b (3H,)."""
    sizes, weights, state = parts_of(record)
    _min_lstm_step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)


@kernel(LAYER_SIGNATURE)
def ind_rnn_tanh(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step an IndRNN with φ = tanh, whose weights are W (H, D), b (H,) and u (H,)."""
    sizes, weights, state = parts_of(record)
    _ind_rnn_tanh_step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)


@kernel(LAYER_SIGNATURE)
def ind_rnn_relu(record, x, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step an IndRNN with φ = relu, whose weights are W (H, D), b (H,) and u (H,)."""
    sizes, weights, state = parts_of(record)
    _ind_rnn_relu_step(sizes[0], sizes[1], weights, floats(x), state, floats(y), B)
