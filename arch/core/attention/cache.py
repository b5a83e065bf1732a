"""The cache of a transformer: keys and values of past steps, in slots that are filled one after the other."""

# Shape suffixes: B batch, T time, S cached time, N heads, K head width

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from torch import Tensor

from arch.core.backend import tensors_obstacle


class Cache(NamedTuple):
    """The keys and values (B, N, S, K), in slots 0 to `length` - 1. Slot `length` - 1 holds step `position` - 1."""

    keys_BNSK: Tensor
    values_BNSK: Tensor
    length: int
    position: int


def append(cache: Cache, k_BNTK: Tensor, v_BNTK: Tensor, window: int | None) -> Cache:
    """Return the cache with T more steps. If no gradient is needed, free slots are filled in place.

    Args:
        cache: The cache before the new steps.
        k_BNTK, v_BNTK: Keys and values of the new steps.
        window: Number of steps that attention reads, or None for all steps.
    """
    T, length, position = k_BNTK.shape[2], cache.length, cache.position + k_BNTK.shape[2]
    if length == 0:
        return Cache(_own_memory(k_BNTK), _own_memory(v_BNTK), T, position)
    if _must_not_change(k_BNTK, v_BNTK, cache.keys_BNSK, cache.values_BNSK):
        keep = _steps_to_keep(length, window)
        old_keys, old_values = (old[:, :, length - keep : length] for old in (cache.keys_BNSK, cache.values_BNSK))
        return Cache(torch.cat([old_keys, k_BNTK], 2), torch.cat([old_values, v_BNTK], 2), keep + T, position)
    keys_BNSK, values_BNSK, length, _ = reserve(cache, T, window)
    keys_BNSK[:, :, length : length + T] = k_BNTK
    values_BNSK[:, :, length : length + T] = v_BNTK
    return Cache(keys_BNSK, values_BNSK, length + T, position)


def _must_not_change(*tensors: Tensor) -> bool:
    """Return whether the cache must stay as it is, because autograd or a functorch transform needs its old values.

    Outside inference mode, torch also forbids changes to tensors that were made in it.
    """
    return (
        any(tensor.requires_grad for tensor in tensors)
        or torch._C._functorch.maybe_current_level() is not None
        or (not torch.is_inference_mode_enabled() and any(tensor.is_inference() for tensor in tensors[2:]))
    )


def _own_memory(tensor: Tensor) -> Tensor:
    """Return the tensor, or a contiguous clone if the tensor is not contiguous or is only a part of its storage.

    Within functorch transforms, which hide the storage, a contiguous tensor is returned as it is.
    """
    if torch._C._functorch.maybe_current_level() is not None:
        return tensor.contiguous()
    alone = tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes
    return tensor if alone else tensor.clone(memory_format=torch.contiguous_format)


def reserve(cache: Cache, T: int, window: int | None) -> Cache:
    """Return a cache with at least T free slots. If the cache must grow, steps outside the window are dropped."""
    keys_BNSK, values_BNSK, length, position = cache
    if length + T <= keys_BNSK.shape[2]:
        return cache
    keep = _steps_to_keep(length, window)
    slots = _power_of_two(keep + (T if window is None else max(T, window)))
    keys_BNSK, values_BNSK = (
        torch.cat([old[:, :, length - keep : length], old.new_empty(*old.shape[:2], slots - keep, old.shape[3])], 2)
        for old in (keys_BNSK, values_BNSK)
    )
    return Cache(keys_BNSK, values_BNSK, keep, position)


def reserve_for_kernel(cache: Cache, steps: int, window: int | None) -> tuple[Cache, int]:
    """Return a cache for at least so many steps of the kernel, and the number of steps that it has room for.

    With a window, 2 · window - 1 slots are enough for any number of steps. If they are full, the kernel moves the last
    window - 1 steps to the first slots. So the memory of a state does not depend on the length of a stream.
    """
    if window is None:
        cache = reserve(cache, steps, None)
        return cache, cache.keys_BNSK.shape[2] - cache.length
    cache = reserve(cache, min(steps, 2 * window - 1 - cache.length), window)
    slots = cache.keys_BNSK.shape[2]
    return cache, sys.maxsize if slots >= 2 * window - 1 else slots - cache.length


def later_cache(cache: Cache, steps: int) -> Cache:
    """Return the cache after further steps, which the kernel has written into the next slots."""
    keys_BNSK, values_BNSK, length, position = cache
    return tuple.__new__(Cache, (keys_BNSK, values_BNSK, length + steps, position + steps))  # saves 0.1 µs


def later_windowed_cache(window: int, cache: Cache, steps: int) -> Cache:
    """Return the cache after further steps, before which the kernel has dropped others if no slot was free."""
    slots, length = cache.keys_BNSK.shape[2], cache.length + steps
    if length > slots:
        length = window + (length - slots - 1) % (slots - window + 1)
    return Cache(cache.keys_BNSK, cache.values_BNSK, length, cache.position + steps)


def is_usable(cache: Cache, sizes: tuple[int, int, int]) -> bool:
    """Return whether a kernel can use a cache of B streams with N heads of width K. `sizes` is (B, N, K)."""
    if type(cache) is not Cache or type(cache.length) is not int or type(cache.position) is not int:
        return False
    slots, (B, N, K) = cache.keys_BNSK.shape[2], sizes
    if not 0 <= cache.length <= slots or cache.position < cache.length:
        return False
    tensors, shape = cache[:2], (B, N, slots, K)
    if slots == 0:  # such tensors have no memory
        return all(tensor.shape == shape and tensor.dtype is torch.float32 and tensor.is_cpu for tensor in tensors)
    if tensors_obstacle((tensor, shape) for tensor in tensors) is not None:
        return False
    return all(tensor.is_contiguous() for tensor in tensors)


def _steps_to_keep(length: int, window: int | None) -> int:
    """Return the number of cached steps that the next step still reads."""
    return length if window is None else min(length, window - 1)


def trim(cache: Cache, window: int | None) -> Cache:
    """Return the cache without the steps that no later step reads. If there are such steps, the result is a copy."""
    if window is None or cache.length < window:
        return cache
    keys_BNSK, values_BNSK = (
        old[:, :, cache.length - window + 1 : cache.length].clone() for old in (cache.keys_BNSK, cache.values_BNSK)
    )
    return Cache(keys_BNSK, values_BNSK, window - 1, cache.position)


def _power_of_two(minimum: int) -> int:
    """Return the smallest power of two that is at least `minimum`."""
    return 1 << (minimum - 1).bit_length()
