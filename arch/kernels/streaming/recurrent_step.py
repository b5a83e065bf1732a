"""One step of a recurrent layer for a small batch: the matrix products, then the cell.

`layer_step` builds the step of any cell whose products do not depend on each other. For each LANES units, it sums the
rows of all gates in registers and applies the cell, so no sum is written to memory.
Equation numbers refer to `arch/gru.py`. All arrays are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

from arch.kernels.cells import gated
from arch.kernels.simd.matvec import floats, load_if, row_sums, row_sums_of_both
from arch.kernels.simd.vector import LANES, load_first, store_first

Compiled = Callable[..., Any]
"""A function that Numba compiles into its callers."""


@njit(forceinline=True)
def copy(source, count, target):  # type: ignore[no-untyped-def]
    """Copy the first `count` numbers of an array."""
    for at in range(0, count, LANES):
        store_first(target, at, count - at, load_first(source, at, count - at))


@njit(forceinline=True)
def bias_of(address, at, count):  # type: ignore[no-untyped-def]
    """Return `count` numbers of a bias from offset `at` on, or zeros if its address is 0."""
    return load_if(address != 0, floats(address), at, count)


def _joined_sums(gates: int) -> Compiled:
    """Return a function of a tuple: the sums W x + U h + b of the first `gates` gates, for LANES units."""
    if gates == 0:

        @njit(forceinline=True)
        def none(W, b, U, D, H, R, unit, count, x, x_at, h, h_at):  # type: ignore[no-untyped-def]
            return ()

        return none
    before, gate = _joined_sums(gates - 1), gates - 1

    @njit(forceinline=True)
    def sums(W, b, U, D, H, R, unit, count, x, x_at, h, h_at):  # type: ignore[no-untyped-def]
        row = gate * H + unit
        total = row_sums_of_both(W, row * D, x, x_at, D, U, row * R, h, h_at, R, count) + bias_of(b, row, count)
        return before(W, b, U, D, H, R, unit, count, x, x_at, h, h_at) + (total,)  # noqa: RUF005  (Numba joins tuples)

    return sums


def load_states(states: int) -> Compiled:
    """Return a function of a tuple: LANES numbers of each of the first `states` parts of the state."""
    if states == 0:

        @njit(forceinline=True)
        def none(state, at, count):  # type: ignore[no-untyped-def]
            return ()

        return none
    before, part = load_states(states - 1), states - 1

    @njit(forceinline=True)
    def load(state, at, count):  # type: ignore[no-untyped-def]
        return before(state, at, count) + (load_first(floats(state[part]), at, count),)  # noqa: RUF005

    return load


def store_states(states: int) -> Compiled:
    """Return a function that writes LANES numbers of the parts 1 to `states` - 1 of the state. Part 0 is h."""
    if states <= 1:

        @njit(forceinline=True)
        def none(state, at, count, after):  # type: ignore[no-untyped-def]
            pass

        return none
    before, part = store_states(states - 1), states - 1

    @njit(forceinline=True)
    def store(state, at, count, after):  # type: ignore[no-untyped-def]
        before(state, at, count, after)
        store_first(floats(state[part]), at, count, after[part])

    return store


def layer_step(cell: Compiled, *, gates: int, states: int, splits_last: bool = False) -> Compiled:
    """Return the step of a recurrent layer, a compiled function.

    Its arguments are D and H; the addresses of W (G, D), b (G,), U (G, H) and b_u (H,), with 0 for a missing weight;
    the input x (B, D); the addresses of the parts of the state, each (B, H); the array y (B, H) that receives the
    output; and B. Part 0 of the state is the output h of the last step.

    Args:
        cell: Compiled function from the sums of the gates and the parts of the state, both tuples of vectors, to the
            next parts of the state.
        gates: Number of gates. W and U have this many blocks of H rows.
        states: Number of parts of the state.
        splits_last: Whether the cell gets the last gate as two sums, W x + b and U h + b_u.
    """
    joined, load, store = _joined_sums(gates - splits_last), load_states(states), store_states(states)
    last = gates - 1

    @njit(forceinline=True)
    def step(D, H, weights, x, state, y, B):  # type: ignore[no-untyped-def]
        W, b, U, h = floats(weights[0]), weights[1], floats(weights[2]), floats(state[0])
        R = H if weights[2] != 0 else 0
        for unit in range(0, H, LANES):
            count = H - unit
            for row in range(B):
                at, x_at, h_at = row * H + unit, row * D, row * H
                sums = joined(W, b, U, D, H, R, unit, count, x, x_at, h, h_at)
                after = cell(sums, load(state, at, count))
                store_first(y, at, count, after[0])
                store(state, at, count, after)
        copy(y, B * H, h)

    @njit(forceinline=True)
    def step_with_split_gate(D, H, weights, x, state, y, B):  # type: ignore[no-untyped-def]
        W, b, U, h = floats(weights[0]), weights[1], floats(weights[2]), floats(state[0])
        R = H if weights[2] != 0 else 0
        for unit in range(0, H, LANES):
            count, split = H - unit, last * H + unit
            for row in range(B):
                at, x_at, h_at = row * H + unit, row * D, row * H
                sums = joined(W, b, U, D, H, R, unit, count, x, x_at, h, h_at)
                of_x = row_sums(W, split * D, count, x, x_at, D) + bias_of(b, split, count)
                of_h = row_sums(U, split * R, count, h, h_at, R) + bias_of(weights[3], unit, count)
                after = cell(sums + (of_x, of_h), load(state, at, count))  # noqa: RUF005
                store_first(y, at, count, after[0])
                store(state, at, count, after)
        copy(y, B * H, h)

    return step_with_split_gate if splits_last else step


@njit(forceinline=True)
def _rnn_tanh(sums, state):  # type: ignore[no-untyped-def]
    return (gated.rnn_tanh(sums[0]),)


@njit(forceinline=True)
def _rnn_relu(sums, state):  # type: ignore[no-untyped-def]
    return (gated.rnn_relu(sums[0]),)


@njit(forceinline=True)
def lstm_cell(sums, state):  # type: ignore[no-untyped-def]
    """Return h' and c' of an LSTM from the sums of i, f, g and o."""
    _, _, _, _, c, h = gated.lstm(sums[0], sums[1], sums[2], sums[3], state[1])
    return h, c


@njit(forceinline=True)
def gru_cell(sums, state):  # type: ignore[no-untyped-def]
    """Return h' of a GRU from the sums of r and z, W_n x + b_n, and U_n h + b_u."""
    _, _, _, h = gated.gru_after(sums[0], sums[1], sums[2], sums[3], state[0])
    return (h,)


rnn_tanh_step = layer_step(_rnn_tanh, gates=1, states=1)
rnn_relu_step = layer_step(_rnn_relu, gates=1, states=1)
lstm_step = layer_step(lstm_cell, gates=4, states=2)
gru_step = layer_step(gru_cell, gates=3, states=1, splits_last=True)


@njit
def gru_before_step(D, H, weights, x, state, y, reset, B):  # type: ignore[no-untyped-def]
    """Step a GRU with equation (3b), whose candidate needs r * h of all units first.

    Args:
        D, H, weights, x, state, y, B: As for the functions that `layer_step` returns.
        reset: Array that serves as workspace for B · H numbers.
    """
    W, b, U, h = floats(weights[0]), weights[1], floats(weights[2]), floats(state[0])
    for unit in range(0, H, LANES):
        count = H - unit
        for row in range(B):
            at = row * H + unit
            r = row_sums_of_both(W, unit * D, x, row * D, D, U, unit * H, h, row * H, H, count)
            _, product = gated.gru_reset(r + bias_of(b, unit, count), load_first(h, at, count))
            store_first(reset, at, count, product)
    for unit in range(0, H, LANES):
        count = H - unit
        for row in range(B):
            at, of_z, of_n = row * H + unit, H + unit, 2 * H + unit
            z = row_sums_of_both(W, of_z * D, x, row * D, D, U, of_z * H, h, row * H, H, count)
            n = row_sums_of_both(W, of_n * D, x, row * D, D, U, of_n * H, reset, row * H, H, count)
            z, n = z + bias_of(b, of_z, count), n + bias_of(b, of_n, count)
            _, _, after = gated.gru_before(z, n, load_first(h, at, count))
            store_first(y, at, count, after)
    copy(y, B * H, h)
