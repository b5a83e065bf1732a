"""Memory between guard pages: a kernel that reads or writes beyond a tensor ends the process or breaks a canary."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

PAGE = mmap.PAGESIZE
CANARY = 0xA5
"""The value of every byte beside a tensor."""
PROT_NONE = 0
"""The protection of a guard page (`mprotect(2)`): any access ends the process."""

_libc = ctypes.CDLL(None, use_errno=True)


class Arena:
    """The guarded tensors of one program.

    The bytes of a tensor end at a guard page, or start at one. The other bytes of its pages are canaries.
    """

    def __init__(self) -> None:
        self._blocks: list[tuple[mmap.mmap, int, int]] = []

    def place(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor in guarded memory. Tensors end at a guard page and start at one in turns."""
        size = tensor.numel() * tensor.element_size()
        if size == 0:
            return tensor
        pages = -(-size // PAGE)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for guard in (address, address + (pages + 1) * PAGE):
            if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), PROT_NONE):
                raise OSError(ctypes.get_errno(), "cannot protect a guard page")
        begin = (pages + 1) * PAGE - size if len(self._blocks) % 2 == 0 else PAGE
        memory[PAGE:begin] = bytes([CANARY]) * (begin - PAGE)
        end = begin + size
        memory[end : (pages + 1) * PAGE] = bytes([CANARY]) * ((pages + 1) * PAGE - end)
        placed = torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel(), offset=begin).view(tensor.shape)
        placed.copy_(tensor.detach())
        self._blocks.append((memory, begin, end))
        return placed

    def check(self) -> None:
        """Raise `AssertionError` if a byte beside a tensor has changed."""
        for memory, begin, end in self._blocks:
            last = len(memory) - PAGE
            beside = memory[PAGE:begin] + memory[end:last]
            assert beside.count(CANARY) == len(beside), f"a kernel wrote beside a tensor of {end - begin} bytes"


@contextlib.contextmanager
def guarding(arena: Arena) -> Iterator[None]:
    """Place the tensors that kernels allocate for their results in guarded memory, within this context."""
    new_empty, clone, zeros = torch.Tensor.new_empty, torch.Tensor.clone, torch.zeros

    def placed(made: Tensor) -> Tensor:
        is_plain = type(made) is Tensor and made.dtype is torch.float32 and made.is_cpu and not made.requires_grad
        is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor(made)
        return arena.place(made) if is_plain and not is_wrapped and made.is_contiguous() else made

    def guarded_new_empty(self: Tensor, *given: Any, **options: Any) -> Tensor:
        return placed(new_empty(self, *given, **options))

    def guarded_clone(self: Tensor, *given: Any, **options: Any) -> Tensor:
        return placed(clone(self, *given, **options))

    def guarded_zeros(*given: Any, **options: Any) -> Tensor:
        return placed(zeros(*given, **options))

    with (
        mock.patch.object(torch.Tensor, "new_empty", guarded_new_empty),
        mock.patch.object(torch.Tensor, "clone", guarded_clone),
        mock.patch.object(torch, "zeros", guarded_zeros),
    ):
        yield
