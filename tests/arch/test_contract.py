"""The contract of every architecture, with one test per check, spec and level; and the sizes of states."""

# Shape suffixes: B batch, T time, N heads, S slots, K head width

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import arch
from arch.core.convolution import convolve
from bench.validation import MODES, repeat_step, scan_chunks
from tests.arch.checks import Check, contract_checks
from tests.arch.oracles import name_and_options
from tests.arch.softmax import plain_softmax
from tests.arch.subjects import BATCH, WIDTH, close, every_spec, model, subject

FLOAT64_BYTES = 8
NUMBERS_PER_UNIT = {"rnn": 1, "gru": 1, "lstm": 2, "ind_rnn": 1, "esn": 1}
"""Numbers of the state per unit of the layer. Other architectures have tests of their own."""
RECURRENT = [spec for spec in every_spec() if "transformer" not in spec and spec != "hybrid"]


@pytest.mark.parametrize("check", list(contract_checks()), ids=str)
def test_contract(check: Check) -> None:
    check.run()


@pytest.mark.parametrize("chunks", [(1100,), (513, 587), (1, 1099)], ids=str)
@pytest.mark.parametrize("spec", ["transformer:window=3", "transformer:positions=alibi", "transformer:window=600"])
def test_attention_across_several_masked_blocks_equals_plain_softmax(spec: str, chunks: tuple[int, ...]) -> None:
    layers = model(spec, depth=1).layers
    x = torch.randn(1, 1100, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = plain_softmax(spec, layers, x)
    for mode in MODES.values():
        with mode():
            close(scan_chunks(layers[0], x, chunks)[0], expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    window=st.none() | st.integers(1, 9),
    positions=st.sampled_from(["rotary", "sinusoidal", "learned", "alibi"]),
    pieces=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["enable_grad", "no_grad"])), min_size=1, max_size=8),
)
def test_a_cache_can_be_filled_by_chunks_of_any_length_and_mode(
    window: int | None, positions: str, pieces: list[tuple[int, str]]
) -> None:
    """Check that mixed chunks, with and without gradients, equal plain softmax attention over the whole sequence."""
    spec = f"transformer:positions={positions},window={window}"
    layers = model(spec, depth=1).layers
    steps = sum(length for length, _ in pieces)
    x = torch.randn(BATCH, steps, WIDTH, generator=torch.Generator().manual_seed(steps), dtype=torch.float64)
    state, outputs = layers[0].init_state(BATCH), []
    for chunk, (length, mode) in zip(x.split([length for length, _ in pieces], 1), pieces, strict=True):
        with MODES[mode]():
            output, state = repeat_step(layers[0], chunk, state) if length < 3 else layers[0].scan(chunk, state)
        outputs.append(output)
    close(torch.cat(outputs, 1), plain_softmax(spec, layers, x))


@pytest.mark.parametrize("spec", RECURRENT)
def test_the_size_of_a_recurrent_state_is_constant(spec: str) -> None:
    model = subject(spec, "reals").module
    state = model.init_state(BATCH)
    expected = arch.state_bytes(state)
    if (numbers_per_unit := NUMBERS_PER_UNIT.get(name_and_options(spec)[0])) is not None:
        assert expected == numbers_per_unit * len(model.layers) * BATCH * WIDTH * FLOAT64_BYTES
    x = subject(spec, "reals").draw(BATCH, 5)
    with torch.no_grad():
        for step in range(5):
            assert arch.state_bytes(state) == expected
            _, state = model.step(x[:, step], state)
        assert arch.state_bytes(state) == expected


@pytest.mark.parametrize("name", arch.names())
@pytest.mark.parametrize(("batch", "streams"), [(1, 3), (3, 1)])
def test_a_state_of_another_number_of_streams_is_refused(name: str, batch: int, streams: int) -> None:
    model = arch.build(name, channels=1, outputs=1, width=16, depth=2, seed=0)
    _, warm = model.scan(torch.zeros(streams, 3, 1), model.init_state(streams))
    x = torch.zeros(batch, 4, 1)
    message = f"the state has {streams} streams, but the inputs have {batch}; use init_state({batch})"
    for state in (model.init_state(streams), warm):
        for run in (model.scan, model.stream):
            with pytest.raises(ValueError, match=re.escape(message)):
                run(x, arch.copy_state(state))
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients), pytest.raises(ValueError, match=re.escape(message)):
                model.step(x[:, 0], arch.copy_state(state))
        with pytest.raises(ValueError, match=re.escape(message)):
            model.gates(x[:, 0], state)


def test_a_convolution_does_not_read_the_inputs_of_fewer_streams_than_it_remembers() -> None:
    u_BTC, before_BLC, w_LC = torch.randn(1, 20, 16), torch.zeros(3, 3, 16), torch.randn(4, 16)
    with pytest.raises(RuntimeError, match=r"[Ss]ize"):
        convolve(u_BTC, before_BLC, w_LC, None)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned", "alibi", "none"])
def test_a_cache_stores_a_key_and_a_value_per_slot_and_grows_by_doubling(positions: str, batch: int) -> None:
    """Check the number of slots without a window: the smallest power of two that fits all steps."""
    layer = subject(f"transformer:positions={positions}", "layer")
    x, state, slots = layer.draw(batch, 40), layer.module.init_state(batch), []
    with torch.inference_mode():
        for step in range(40):
            _, state = layer.module.step(x[:, step], state)
            slots.append(arch.state_bytes(state) / (2 * batch * WIDTH * FLOAT64_BYTES))
    assert slots == [1, 2] + [4] * 2 + [8] * 4 + [16] * 8 + [32] * 16 + [64] * 8


@pytest.mark.parametrize("window", [1, 3, 4, 5])
def test_a_window_limits_the_cache(window: int) -> None:
    layer = subject(f"transformer:window={window}", "layer")
    state, max_slots = layer.module.init_state(BATCH), 0
    with torch.inference_mode():
        for _ in range(5):
            _, state = repeat_step(layer.module, layer.draw(BATCH, 9), state)
            _, state = layer.module.scan(layer.draw(BATCH, 30), state)
            max_slots = max(max_slots, state.keys_BNSK.shape[2])
    assert max_slots < 4 * window


def test_state_bytes_counts_each_storage_once_and_as_a_whole() -> None:
    ten, four = torch.zeros(10, dtype=torch.float64), torch.zeros(4)
    assert arch.state_bytes([(ten[:2], 7), {"other": ten[5:]}, four]) == 10 * 8 + 4 * 4
    assert arch.state_bytes((3, [])) == 0


def test_a_copied_state_has_its_own_memory_and_the_same_type() -> None:
    layer = subject("lstm", "layer").module
    state = layer.init_state(BATCH)
    copy = arch.copy_state([state, 3])
    copy[0].h_BH.add_(1)
    assert type(copy[0]) is type(state) and copy[1] == 3
    assert not state.h_BH.any()
