"""One step of a recurrent layer from packed weights, for streams of many steps.

The weights of LANES units are packed in the order in which a step reads them: for each input, one vector per gate.

    block of units u:  W[gate, u, 0] for all gates, W[gate, u, 1] for all gates, …, then U in the same way

A step then reads memory in one piece, multiplies each vector by one broadcast input, and needs no sums across lanes.
Packing takes as long as some steps. So a stream packs once, and again if a weight has changed since: it keeps a plain
copy of the packed weights and compares.
"""

from __future__ import annotations

from numba import njit

from arch.kernels.simd.matvec import bits, floats
from arch.kernels.simd.vector import LANES, fma, load, splat, store_first
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
"""Number of gates of the layers that can run from packed weights."""


def packed_numbers(gates: int, D: int, H: int) -> int:
    """Return how many float32 numbers the packed weights of a layer take.

    Args:
        gates: Number of gates.
        D, H: Input width and hidden width.
    """
    return -(-H // LANES) * LANES * gates * (D + H)


@njit
def _is_equal(one, other, count):  # type: ignore[no-untyped-def]
    """Return whether `count` float32 numbers at two addresses have the same bits."""
    left, right, differences = bits(one), bits(other), 0
    for at in range(count):
        differences |= left[at] ^ right[at]
    return differences == 0


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
        packed: Address of `packed_numbers` float32 numbers.
    """
    of_W, of_U = gates * H * D, gates * H * H
    if _is_equal(weights[0], copied, of_W) and _is_equal(weights[2], copied + 4 * of_W, of_U):
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

    @njit
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

    @njit
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

    return step_with_split_gate if splits_last else step  # type: ignore[no-any-return]


packed_lstm_step = packed_layer_step(lstm_cell, gates=LSTM_GATES, states=2)
packed_gru_step = packed_layer_step(gru_cell, gates=GRU_GATES, states=1, splits_last=True)
