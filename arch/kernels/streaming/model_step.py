"""Steps of a whole model: encoder, layers, readout. One call runs one step, or many steps of a stream.

A program is an array of sizes and addresses: HEADER words for the model, followed by a record per layer. The kernel
reads weights and states at these addresses, so a step converts no tensors. It allocates nothing: its workspace belongs
to the program.
"""

from __future__ import annotations

from collections.abc import Sequence

from numba import int64, njit

from arch.kernels.runtime.jit import entry_point, kernel
from arch.kernels.runtime.native import (
    acquire_gil,
    address_of,
    are_at_recorded_addresses,
    call_layer,
    nanoseconds,
    release_gil,
)
from arch.kernels.simd.matvec import apply, floats, integers
from arch.kernels.simd.panels import packed_bytes
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.block_step import block_step, pack_block
from arch.kernels.streaming.packed_step import (
    GRU_GATES,
    LSTM_GATES,
    pack,
    pack_gru_before,
    pack_rnn,
    packed_gru_before_step,
    packed_gru_step,
    packed_lstm_step,
    packed_rnn_relu_step,
    packed_rnn_tanh_step,
)
from arch.kernels.streaming.record import CONSTANTS, COPIED, PACKED, RECORD, SIZES, STATE, WEIGHTS
from arch.kernels.streaming.recurrent_step import (
    copy,
    gru_before_step,
    gru_step,
    lstm_step,
    rnn_relu_step,
    rnn_tanh_step,
)
from arch.kernels.streaming.residual_step import enter_step, leave_step

HEADER = 14
"""Length of the header in 64-bit words: number of layers; the encoder's kind, inputs (vocabulary size for tokens),
outputs, weight (or table) and bias; the readout's W, b and outputs; address of the workspace, float32 numbers; batch
size; largest width of a layer's input or output; address of a record for `are_at_recorded_addresses`; 1 if there are
residual blocks around layers, else 0.

The workspace has room for two arrays of batch size times largest width, for a third one if there are such blocks, and
for the workspace of one layer."""
RAN, UNKNOWN_TOKEN, MOVED = 0, -1, -2
"""What `step` returns: the step ran; a token is outside the vocabulary; the memory of a tensor is elsewhere."""
REALS, LINEAR, TOKENS = 0, 1, 2
"""Kinds of encoder."""

RNN_TANH, RNN_RELU, LSTM, GRU, GRU_BEFORE, BLOCK, CELL, ENTER, LEAVE = range(9)
"""Kinds of layer. CELL is a compiled function, whose address stands in place of the constants. ENTER and LEAVE are the
parts of a block around a layer, and have records of their own."""
KINDS = {
    "rnn_tanh": RNN_TANH,
    "rnn_relu": RNN_RELU,
    "lstm": LSTM,
    "gru": GRU,
    "gru_before": GRU_BEFORE,
    "transformer": BLOCK,
    "cell": CELL,
    "enter": ENTER,
    "leave": LEAVE,
}
"""Kinds of layer, by the name in a `StreamingSpec`."""
LENGTH, POSITION = 3, 4
"""Words of the state of a block that count steps: the cached steps, and the position."""


@njit
def advance(program, x_at, output_at, is_packed):  # type: ignore[no-untyped-def]
    """Write the output of one step and update the states in place.

    Returns RAN, or UNKNOWN_TOKEN. If it is UNKNOWN_TOKEN, the output and the states do not change.

    Args:
        program: Array of the program, 64-bit integers.
        x_at: Address of the input: tokens (B,) as int64, or reals (B, inputs) as float32.
        output_at: Address of the output (B, outputs), float32 numbers.
        is_packed: Whether layers with packed weights use them.
    """
    D, B = program[3], program[10]
    x, y = floats(program[9]), floats(program[9] + 4 * B * program[11])
    residual = floats(program[9] + 8 * B * program[11])
    workspace = program[9] + 4 * B * program[11] * (2 + program[13])
    if program[1] == TOKENS:
        tokens, table = integers(x_at, B), floats(program[4])
        for b in range(B):
            if not 0 <= tokens[b] < program[2]:
                return UNKNOWN_TOKEN
            for d in range(0, D, LANES):
                store_first(x, b * D + d, D - d, load_first(table, tokens[b] * D + d, D - d))
    elif program[1] == LINEAR:
        apply(floats(program[4]), 0, program[5], D, program[2], floats(x_at), 0, program[2], B, x, 0, D, False)
    else:
        copy(floats(x_at), B * D, x)
    for layer in range(program[0]):
        record = program[HEADER + layer * RECORD : HEADER + (layer + 1) * RECORD]
        sizes, weights, state = record[SIZES:WEIGHTS], record[WEIGHTS:STATE], record[STATE:PACKED]
        kind, H, packed = record[0], sizes[1], record[PACKED] if is_packed else 0
        if kind == BLOCK:
            block_step(sizes, weights, packed, state, x, workspace, B)
            state[LENGTH] += 1
            state[POSITION] += 1
            continue
        if kind == ENTER:
            enter_step(D, sizes[2] != 0, sizes[3] != 0, weights, state[0], x, y, residual, B)
        elif kind == LEAVE:
            leave_step(D, sizes[2], weights, x, y, residual, floats(workspace), B)
        elif kind == RNN_TANH and packed != 0:
            packed_rnn_tanh_step(D, H, weights, packed, x, state, y, B)
        elif kind == RNN_RELU and packed != 0:
            packed_rnn_relu_step(D, H, weights, packed, x, state, y, B)
        elif kind == LSTM and packed != 0:
            packed_lstm_step(D, H, weights, floats(packed), x, state, y, B)
        elif kind == GRU and packed != 0:
            packed_gru_step(D, H, weights, floats(packed), x, state, y, B)
        elif kind == GRU_BEFORE and packed != 0:
            packed_gru_before_step(D, H, weights, packed, x, state, y, workspace, B)
        elif kind == RNN_TANH:
            rnn_tanh_step(D, H, weights, x, state, y, B)
        elif kind == RNN_RELU:
            rnn_relu_step(D, H, weights, x, state, y, B)
        elif kind == LSTM:
            lstm_step(D, H, weights, x, state, y, B)
        elif kind == GRU:
            gru_step(D, H, weights, x, state, y, B)
        elif kind == GRU_BEFORE:
            gru_before_step(D, H, weights, x, state, y, floats(workspace), B)
        else:
            call_layer(record[CONSTANTS], address_of(record), address_of(x), address_of(y), workspace, B)
        D = H
        x, y = y, x
    apply(floats(program[6]), 0, program[7], program[8], D, x, 0, D, B, floats(output_at), 0, program[8], False)
    return RAN


def packed_sizes(kind: int, sizes: Sequence[int]) -> tuple[int, int] | None:
    """Return how many float32 numbers a layer's packed weights take, and their plain copy. None if it packs none.

    Args:
        kind: Kind of layer.
        sizes: The sizes in the layer's record.
    """
    D, H = sizes[0], sizes[1]
    if kind == BLOCK:
        shapes = [(3 * D, D), (D, D), (sizes[2], D), (D, sizes[2])]
    elif kind in (RNN_TANH, RNN_RELU):
        shapes = [(H, D), (H, H)]
    elif kind == GRU_BEFORE:
        shapes = [(3 * H, D), (2 * H, H), (H, H)]
    elif kind in (LSTM, GRU):
        shapes = [(H, D + H)] * (LSTM_GATES if kind == LSTM else GRU_GATES)
    else:
        return None
    return sum(packed_bytes(*shape) // 4 for shape in shapes), sum(rows * depth for rows, depth in shapes)


@njit
def pack_layers(program):  # type: ignore[no-untyped-def]
    """Pack the weights of all layers that have room for them, and return whether there are such layers."""
    is_packed = False
    for layer in range(program[0]):
        record = program[HEADER + layer * RECORD : HEADER + (layer + 1) * RECORD]
        kind, sizes, weights = record[0], record[SIZES:WEIGHTS], record[WEIGHTS:STATE]
        D, H, copied, packed = sizes[0], sizes[1], record[COPIED], record[PACKED]
        if packed == 0:
            continue
        is_packed = True
        if kind == BLOCK:
            pack_block(sizes, weights, copied, packed)
        elif kind in (LSTM, GRU):
            pack(D, H, LSTM_GATES if kind == LSTM else GRU_GATES, weights, copied, packed)
        elif kind == GRU_BEFORE:
            pack_gru_before(D, H, weights, copied, packed)
        else:
            pack_rnn(D, H, weights, copied, packed)
    return is_packed


@kernel(int64(int64), nogil=False)
def are_in_place(record_at):  # type: ignore[no-untyped-def]
    """Return 1 if all tensors of a record are where they were, else 0. See `native.are_at_recorded_addresses`."""
    return int(are_at_recorded_addresses(record_at))


@kernel(int64(*[int64] * 3))
def are_tokens(x_at, count, vocabulary):  # type: ignore[no-untyped-def]
    """Return 1 if `count` int64 numbers at an address are tokens of a vocabulary of this size, else 0."""
    tokens, are_known = integers(x_at, count), True
    for index in range(count):
        are_known &= 0 <= tokens[index] < vocabulary
    return int(are_known)


@kernel(int64(*[int64] * 3), nogil=False)
def step(program_at, x_at, output_at):  # type: ignore[no-untyped-def]
    """Run `advance` once on the program at an address, without the GIL.

    Returns what `advance` returns, or MOVED if the memory of a tensor is elsewhere. Then nothing has changed.
    """
    program = integers(program_at, HEADER + integers(program_at, 1)[0] * RECORD)
    if not are_at_recorded_addresses(program[12]):
        return MOVED
    thread = release_gil()
    outcome = advance(program, x_at, output_at, False)
    acquire_gil(thread)
    return outcome


@kernel(int64(*[int64] * 9))
def stream(program_at, x_at, x_bytes, output_at, output_bytes, steps, clock, times_at, every):  # type: ignore[no-untyped-def]
    """Run `advance` for successive steps, and read the clock before the first and after each `every` steps.

    Returns the number of steps that ran: fewer than `steps` if a token is outside the vocabulary.

    Args:
        program_at: Address of the program, 64-bit integers.
        x_at, x_bytes: Address of the first input, and the distance between two inputs in bytes.
        output_at, output_bytes: Address of the first output, and the distance between two outputs in bytes.
        steps: Number of steps.
        clock: Address of the clock, see `native.clock_address`, or 0 to read no clock.
        times_at: Address of the readings in nanoseconds, int64 (steps / every + 1,). It is not read if `clock` is 0.
        every: Number of steps per reading.
    """
    program = integers(program_at, HEADER + integers(program_at, 1)[0] * RECORD)
    times, is_packed = integers(times_at, steps // every + 1), pack_layers(program)
    reading, left = 0, every
    if clock != 0:
        times[0] = nanoseconds(clock)
    for index in range(steps):
        if advance(program, x_at + index * x_bytes, output_at + index * output_bytes, is_packed) != RAN:
            return index
        left -= 1
        if clock != 0 and left == 0:
            reading, left = reading + 1, every
            times[reading] = nanoseconds(clock)
    return steps


run_step, run_stream = entry_point(step), entry_point(stream)
run_are_in_place, run_are_tokens = entry_point(are_in_place), entry_point(are_tokens)
"""The kernels, as Python calls them: with exactly as many integers as they have arguments."""
