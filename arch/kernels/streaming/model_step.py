"""One step of a whole model in one call: encoder, layers, readout.

A program is an array of sizes and addresses: HEADER words for the model, followed by RECORD words per layer. The kernel
reads weights and states at these addresses, so a step converts no tensors.
"""

from __future__ import annotations

import numpy as np
from numba import int64, njit

from arch.kernels.runtime.jit import kernel
from arch.kernels.simd.matvec import apply, floats, integers
from arch.kernels.simd.vector import LANES, load_first, store_first
from arch.kernels.streaming.block_step import block_step
from arch.kernels.streaming.recurrent_step import gru_step, lstm_step, rnn_step

HEADER = 11
"""Length of the header in 64-bit words: number of layers; the encoder's kind, inputs (vocabulary size for tokens),
outputs, weight (or table) and bias; the readout's W, b and outputs; size of the workspace in float32 numbers; batch
size."""
REALS, LINEAR, TOKENS = 0, 1, 2
"""Kinds of encoder."""

RECORD = 32
"""Length of a layer's record in 64-bit words: kind of layer, sizes, addresses of weights, addresses and sizes of the
state."""
SIZES, WEIGHTS, CONSTANTS, STATE = 1, 7, 21, 22
"""Positions in a record: first size, first weight, address of the constants, first word of the state."""
RNN, LSTM, GRU, BLOCK = 0, 1, 2, 3
"""Kinds of layer."""
KINDS = {"rnn": RNN, "lstm": LSTM, "gru": GRU, "transformer": BLOCK}
"""Kinds of layer, by the name in a `StreamingSpec`."""


@njit
def _copy(source, count, target):  # type: ignore[no-untyped-def]
    for at in range(0, count, LANES):
        store_first(target, at, count - at, load_first(source, at, count - at))


@kernel(int64(*[int64] * 3))
def step(program_at, x_at, output_at):  # type: ignore[no-untyped-def]
    """Write the output of one step and update the states in place.

    Returns 0, or -1 if a token is outside the vocabulary. The output and the states do not change if -1 is returned.

    Args:
        program_at: Address of the program, 64-bit integers.
        x_at: Address of the input: tokens (B,) as int64, or reals (B, inputs) as float32.
        output_at: Address of the output (B, outputs), float32 numbers.
    """
    program = integers(program_at, HEADER + integers(program_at, 1)[0] * RECORD)
    D, B = program[3], program[10]
    workspace = np.empty(program[9], np.float32)
    x = np.empty(B * max(D, 1), np.float32)
    if program[1] == TOKENS:
        tokens, table = integers(x_at, B), floats(program[4])
        for b in range(B):
            if not 0 <= tokens[b] < program[2]:
                return -1
            for d in range(0, D, LANES):
                store_first(x, b * D + d, D - d, load_first(table, tokens[b] * D + d, D - d))
    elif program[1] == LINEAR:
        apply(floats(program[4]), 0, program[5], D, program[2], floats(x_at), 0, program[2], B, x, 0, D, False)
    else:
        _copy(floats(x_at), B * D, x)
    for layer in range(program[0]):
        record = program[HEADER + layer * RECORD : HEADER + (layer + 1) * RECORD]
        sizes, weights, state = record[SIZES:WEIGHTS], record[WEIGHTS:STATE], record[STATE:]
        kind = record[0]
        if kind == BLOCK:
            block_step(sizes, weights, state, x, workspace, B)
            continue
        H, h = sizes[1], floats(state[0])
        if kind == RNN:
            rnn_step(sizes[2] != 0, D, H, weights, x, h, workspace, B)
        elif kind == LSTM:
            lstm_step(D, H, weights, x, h, floats(state[1]), workspace, B)
        else:
            gru_step(sizes[2] != 0, D, H, weights, x, h, workspace, B)
        if H != D:
            D, x = H, np.empty(B * H, np.float32)
        _copy(h, B * H, x)
    apply(floats(program[6]), 0, program[7], program[8], D, x, 0, D, B, floats(output_at), 0, program[8], False)
    return 0
