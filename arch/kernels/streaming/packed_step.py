"""One step of a recurrent layer from packed weights, for streams of many steps.

The weights of LANES units are packed in the order in which a step reads them: for each input, one vector per gate.

    block of units u:  W[gate, u, 0] for all gates, W[gate, u, 1] for all gates, …, then U in the same way

A step then reads memory in one piece, multiplies each vector by one broadcast input, and needs no sums across lanes.
That takes several gates, so that enough sums are in flight, and all products must come before the cell. Other layers
pack their matrices in panels (`arch.kernels.simd.panels`) and write the sums to memory.

Packing takes as long as some steps. So a stream packs once, and again if a weight has changed since: it keeps a plain
copy of the packed weights and compares.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.cells import gated
from arch.kernels.runtime.native import address_of
from arch.kernels.simd.matvec import floats
from arch.kernels.simd.panels import apply_packed, is_equal, pack_changed, packed_bytes
from arch.kernels.simd.vector import LANES, fma, load, load_first, splat, store_first
from arch.kernels.streaming.recurrent_step import (
    Compiled,
    bias_of,
    copy,
    gru_cell,
    load_states,
    lstm_cell,
    store_states,
)

LSTM_GATES, GRU_GATES = 4, 3
"""Number of gates of the layers whose weights are packed gate by gate."""


@njit
def _pack_matrix(matrix, depth, H, gates, packed, block, at):  # type: ignore[no-untyped-def]
    """Pack the rows of LANES units of all gates.

    Args:
        matrix: Array of the weights, (gates · H, depth).
        depth: Length of a row.
        H: Units per gate.
        gates: Number of gates.
        packed: Array of the packed weights, written from offset `at` on.
        block: First unit.
        at: Offset in `packed`.
    """
    for k in range(depth):
        for gate in range(gates):
            for lane in range(LANES):
                unit = block + lane
                packed[at] = matrix[(gate * H + unit) * depth + k] if unit < H else 0
                at += 1
    return at


@njit
def pack(D, H, gates, weights, copied, packed):  # type: ignore[no-untyped-def]
    """Pack the weights W and U of a layer, unless they equal those that were packed last.

    Args:
        D, H: Input width and hidden width.
        gates: Number of gates.
        weights: Addresses of W (gates · H, D), b and U (gates · H, H).
        copied: Address of the weights that were packed last: W, then U.
        packed: Address of the packed weights, ⌈H / LANES⌉ · LANES · gates · (D + H) float32 numbers.
    """
    of_W, of_U = gates * H * D, gates * H * H
    if is_equal(weights[0], copied, of_W) and is_equal(weights[2], copied + 4 * of_W, of_U):
        return
    W, U, result = floats(weights[0]), floats(weights[2]), floats(packed)
    copy(W, of_W, floats(copied))
    copy(U, of_U, floats(copied + 4 * of_W))
    at = 0
    for block in range(0, H, LANES):
        at = _pack_matrix(W, D, H, gates, result, block, at)
        at = _pack_matrix(U, H, H, gates, result, block, at)


def _biases(gates: int) -> Compiled:
    """Return a function of a tuple: LANES numbers of the bias of each of the first `gates` gates."""
    if gates == 0:

        @njit(forceinline=True)
        def none(b, H, unit, count):  # type: ignore[no-untyped-def]
            return ()

        return none
    before, gate = _biases(gates - 1), gates - 1

    @njit(forceinline=True)
    def biases(b, H, unit, count):  # type: ignore[no-untyped-def]
        return before(b, H, unit, count) + (bias_of(b, gate * H + unit, count),)  # noqa: RUF005

    return biases


def _products(gates: int) -> Compiled:
    """Return a function of a tuple: `gates` sums plus the products of one input."""
    if gates == 0:

        @njit(forceinline=True)
        def none(sums, packed, at, x):  # type: ignore[no-untyped-def]
            return ()

        return none
    before, gate = _products(gates - 1), gates - 1

    @njit(forceinline=True)
    def products(sums, packed, at, x):  # type: ignore[no-untyped-def]
        more = fma(load(packed, at + gate * LANES), x, sums[gate])
        return before(sums, packed, at, x) + (more,)  # noqa: RUF005

    return products


def _added(gates: int) -> Compiled:
    """Return a function of two tuples of `gates` sums: their sums, item by item."""
    if gates == 0:

        @njit(forceinline=True)
        def none(one, other):  # type: ignore[no-untyped-def]
            return ()

        return none
    before, gate = _added(gates - 1), gates - 1

    @njit(forceinline=True)
    def added(one, other):  # type: ignore[no-untyped-def]
        return before(one, other) + (one[gate] + other[gate],)  # noqa: RUF005

    return added


def packed_layer_step(cell: Compiled, *, gates: int, states: int, splits_last: bool = False) -> Compiled:
    """Return the step of a recurrent layer from packed weights, a compiled function.

    Its arguments are those of the functions of `layer_step`, with the array of the packed weights before the input.

    Args:
        cell: As for `layer_step`.
        gates: Number of gates.
        states: Number of parts of the state.
        splits_last: Whether the cell gets the last gate as two sums, W x + b and U h + b_u.
    """
    biases, load_parts, store_parts, added = _biases(gates), load_states(states), store_states(states), _added(gates)
    products = _products(gates)
    stride, last = gates * LANES, gates - 1

    @njit(forceinline=True)
    def summed(sums, packed, at, numbers, numbers_at, depth):  # type: ignore[no-untyped-def]
        """Add the products of `depth` inputs to the sums. Two sets of sums keep more products in flight."""
        even, odd = sums, biases(0, 0, 0, 0)
        for k in range(0, depth - 1, 2):
            even = products(even, packed, at, splat(numbers[numbers_at + k]))
            odd = products(odd, packed, at + stride, splat(numbers[numbers_at + k + 1]))
            at += 2 * stride
        if depth % 2 == 1:
            even = products(even, packed, at, splat(numbers[numbers_at + depth - 1]))
        return added(even, odd)

    @njit(forceinline=True)
    def step(D, H, weights, packed, x, state, y, B):  # type: ignore[no-untyped-def]
        h = floats(state[0])
        for unit in range(0, H, LANES):
            count, of_W = H - unit, unit * gates * (D + H)
            of_U = of_W + D * stride
            for row in range(B):
                at = row * H + unit
                sums = summed(biases(weights[1], H, unit, count), packed, of_W, x, row * D, D)
                sums = summed(sums, packed, of_U, h, row * H, H)
                after = cell(sums, load_parts(state, at, count))
                store_first(y, at, count, after[0])
                store_parts(state, at, count, after)
        copy(y, B * H, h)

    @njit(forceinline=True)
    def step_with_split_gate(D, H, weights, packed, x, state, y, B):  # type: ignore[no-untyped-def]
        h = floats(state[0])
        for unit in range(0, H, LANES):
            count, of_W = H - unit, unit * gates * (D + H)
            of_U = of_W + D * stride
            for row in range(B):
                at = row * H + unit
                of_x = summed(biases(weights[1], H, unit, count), packed, of_W, x, row * D, D)
                of_h = summed(biases(0, H, unit, count), packed, of_U, h, row * H, H)
                sums = added(of_x, of_h)
                split = (of_x[last], of_h[last] + bias_of(weights[3], unit, count))
                after = cell(sums[:last] + split, load_parts(state, at, count))
                store_first(y, at, count, after[0])
                store_parts(state, at, count, after)
        copy(y, B * H, h)

    return step_with_split_gate if splits_last else step


packed_lstm_step = packed_layer_step(lstm_cell, gates=LSTM_GATES, states=2)
packed_gru_step = packed_layer_step(gru_cell, gates=GRU_GATES, states=1, splits_last=True)


@njit
def pack_rnn(D, H, weights, copied, packed):  # type: ignore[no-untyped-def]
    """Pack W (H, D) and U (H, H) in panels. The arguments are those of `pack`."""
    pack_changed(weights[0], H, D, copied, packed)
    pack_changed(weights[2], H, H, copied + 4 * H * D, packed + packed_bytes(H, D))


def _packed_rnn_step(activation: Compiled) -> Compiled:
    """Return the step of an RNN with this activation. Its arguments are those of a packed step."""

    @njit(forceinline=True)
    def step(D, H, weights, packed, x, state, y, B):  # type: ignore[no-untyped-def]
        sums, h = address_of(y), state[0]
        apply_packed(packed, weights[1], H, D, address_of(x), B, sums, H, False)
        apply_packed(packed + packed_bytes(H, D), 0, H, H, h, B, sums, H, True)
        for at in range(0, B * H, LANES):
            store_first(y, at, B * H - at, activation(load_first(y, at, B * H - at)))
        copy(y, B * H, floats(h))

    return step


packed_rnn_tanh_step = _packed_rnn_step(gated.rnn_tanh)
packed_rnn_relu_step = _packed_rnn_step(gated.rnn_relu)


@njit
def pack_gru_before(D, H, weights, copied, packed):  # type: ignore[no-untyped-def]
    """Pack W (3H, D), the rows of U of both gates, and those of the candidate. The arguments are those of `pack`."""
    pack_changed(weights[0], 3 * H, D, copied, packed)
    copied, packed = copied + 12 * H * D, packed + packed_bytes(3 * H, D)
    pack_changed(weights[2], 2 * H, H, copied, packed)
    pack_changed(weights[2] + 8 * H * H, H, H, copied + 8 * H * H, packed + packed_bytes(2 * H, H))


@njit
def packed_gru_before_step(D, H, weights, packed, x, state, y, workspace, B):  # type: ignore[no-untyped-def]
    """Step a GRU with equation (3b) of `arch/gru.py`. `workspace` is the address of room for 4 · B · H numbers."""
    of_U, stride = packed + packed_bytes(3 * H, D), 3 * H
    sums_at, product_at = workspace, workspace + 12 * B * H
    h, sums, product = floats(state[0]), floats(sums_at), floats(product_at)
    apply_packed(packed, weights[1], 3 * H, D, address_of(x), B, sums_at, stride, False)
    apply_packed(of_U, 0, 2 * H, H, state[0], B, sums_at, stride, True)
    for row in range(B):
        for unit in range(0, H, LANES):
            at, count = row * H + unit, H - unit
            _, value = gated.gru_reset(load_first(sums, row * stride + unit, count), load_first(h, at, count))
            store_first(product, at, count, value)
    apply_packed(of_U + packed_bytes(2 * H, H), 0, H, H, product_at, B, sums_at + 8 * H, stride, True)
    for row in range(B):
        for unit in range(0, H, LANES):
            at, count, z_at = row * H + unit, H - unit, row * stride + H + unit
            z, n = load_first(sums, z_at, count), load_first(sums, z_at + H, count)
            _, _, after = gated.gru_before(z, n, load_first(h, at, count))
            store_first(y, at, count, after)
    copy(y, B * H, h)
