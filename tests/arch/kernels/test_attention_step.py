"""Attention of a step over long caches: every form of the kernel, and logits of all sizes."""

# Shape suffixes: B batch, N heads, S cached time, K head width

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arch.core.attention.cache import Cache, reserve
from arch.kernels.streaming.attention_step import CHUNK
from tests.arch.kernels.test_stream import compiled_stream
from tests.arch.kernels.test_streaming import assert_close, compiled, inputs, model_of

HEAD_WIDTHS = (2, 6, 8, 16, 20, 32, 48, 64, 128, 144)
"""Head widths K: those with a form of their own for 8 or 16 lanes, and others."""
LENGTHS = (7, 15, 16, 17, 40, CHUNK + 8, 2 * CHUNK + 23)
OFFSETS = ("", ",positions=alibi", ",window=37")
"""Further options of the transformer."""


def cached(B: int, N: int, S: int, K: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(B, N, S, K, generator=generator) for _ in range(2)]


def compare(spec: str, keys_BNSK: Tensor, values_BNSK: Tensor, steps: int = 3) -> None:
    """Compare steps after a cache with the equations in float64. Long streams take packed weights."""
    B, N, S, K = keys_BNSK.shape
    model, x = model_of(spec, N * K, depth=1), inputs(B, steps=steps)
    double = model_of(spec, N * K, depth=1).double()
    with torch.inference_mode():
        cache = reserve(Cache(keys_BNSK, values_BNSK, S, S), steps, None)
        expected, _ = double.scan(x.double(), [Cache(keys_BNSK.double(), values_BNSK.double(), S, S)])
        run = compiled if steps < 32 else compiled_stream
        found, _ = run(model, x, [cache])
    assert_close(found, expected.float())


@pytest.mark.parametrize("K", HEAD_WIDTHS)
@pytest.mark.parametrize("offset", OFFSETS)
def test_attention_equals_the_equations_at_all_lengths(K: int, offset: str) -> None:
    for S in LENGTHS:
        compare(f"transformer:heads=2{offset}", *cached(2, 2, S, K))


@pytest.mark.parametrize("K", [8, 16, 20, 32])
@pytest.mark.parametrize("raised", [0, 3, CHUNK // 2, CHUNK + 20, 2 * CHUNK + 20])
def test_a_logit_far_above_all_others_takes_the_whole_weight(K: int, raised: int) -> None:
    """Check logits that lie some hundreds above earlier ones: later weights must not overflow, earlier ones vanish."""
    keys_BNSK, values_BNSK = cached(1, 2, 2 * CHUNK + 23, K)
    for factor in (30.0, 1e3):
        keys_BNSK[:, :, raised] *= factor
        compare("transformer:heads=2,positions=none", keys_BNSK, values_BNSK)
        keys_BNSK[:, :, -3] *= factor
        compare("transformer:heads=2,positions=none", keys_BNSK, values_BNSK)


@pytest.mark.parametrize("K", [16, 20])
def test_unused_slots_have_no_effect(K: int) -> None:
    """Check that slots behind the cached steps are not read, whatever they hold."""
    model, x = model_of("transformer:heads=2", 2 * K, depth=1), inputs(1, steps=5)
    for S in (3, 20, 40):
        keys_BNSK, values_BNSK = cached(1, 2, S, K)
        found = []
        for filled in (0.0, float("nan")):
            cache = Cache(*(torch.full((1, 2, 64, K), filled) for _ in range(2)), S, S)
            cache.keys_BNSK[:, :, :S], cache.values_BNSK[:, :, :S] = keys_BNSK, values_BNSK
            found.append(compiled(model, x, [cache])[0])
        assert torch.equal(*found) and found[0].isfinite().all()


@pytest.mark.parametrize("K", [16, 20])
@pytest.mark.parametrize("is_key", [True, False])
@pytest.mark.parametrize("S", [5, 40, CHUNK + 40])
def test_nan_in_the_cache_gives_nan(K: int, is_key: bool, S: int) -> None:
    for place in (0, S // 2, S - 1):
        keys_BNSK, values_BNSK = cached(1, 2, S, K)
        (keys_BNSK if is_key else values_BNSK)[:, :, place] = float("nan")
        model, x = model_of("transformer:heads=2", 2 * K, depth=1), inputs(1, steps=1)
        cache = reserve(Cache(keys_BNSK, values_BNSK, S, S), 1, None)
        assert compiled(model, x, [cache])[0].isnan().all()


def test_long_streams_read_packed_weights_after_a_cache() -> None:
    compare("transformer:heads=2", *cached(1, 2, 40, 16), steps=40)
