"""Where operands come from.

- `Pool` is for timing: stretches of rings that are larger than the cache, handed out in turn, so that
  what an operation reads is cold, as it is for a model that walks through its weights.
- `Fresh` is for checking: new random numbers each time, the same for the same seed.
- Numbers are random, not zeros: what they are can change how fast a device computes. Floating-point
  ones are normally distributed, whole ones take all bit patterns.
"""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from llmos.kernels.ops import TORCH_DTYPES

ALIGNED_BYTES = 512  # As torch's own allocator aligns what it gives; CUDA kernels read 16 bytes at a time.
RANDOM_STRETCH = 2**20  # Numbers drawn; the ring repeats them, for what counts is where they lie.
MOST_KEPT = 8  # Of the things that are made once.


class Pool:
    """Flat tensors of random numbers, handed out in turn from a ring larger than the cache."""

    def __init__(self, size_bytes: int, device: str) -> None:
        self.device = device
        self._bytes = size_bytes
        self._rings: dict[tuple[torch.dtype, str], Tensor] = {}
        self._next: dict[tuple[torch.dtype, str], int] = {}
        self._made: dict[Hashable, Any] = {}

    def take(self, count: int, dtype: str | torch.dtype, role: str = "in") -> Tensor:
        """The next `count` elements; what is read ("in") never overlaps what is written ("out")."""
        kind = _dtype(dtype)
        key = (kind, role)
        ring = self._rings.get(key)
        if ring is None or ring.numel() < count:
            self._next[key] = 0
            ring = self._rings[key] = self._filled(count, kind)
        aligned = ALIGNED_BYTES // kind.itemsize
        start = -(-self._next[key] // aligned) * aligned
        if start + count > ring.numel():
            start = 0
        self._next[key] = start + count
        return ring[start : start + count]

    def places(self, count: int, below: int) -> Tensor:
        """See `Source`."""
        return _places(count, below, self.device, None)

    def host(self, count: int, *, pinned: bool) -> Tensor:
        """`count` bytes of the host's memory, the same ones each time: a copy reads past the caches."""
        key = ("host", pinned)
        kept = self._made.get(key)
        if kept is None or kept.numel() < count:
            kept = self._made[key] = torch.empty(count, dtype=torch.uint8, pin_memory=pinned).fill_(1)
        memory: Tensor = kept[:count]
        return memory

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """See `Source`; the oldest of too many are forgotten."""
        if key not in self._made:
            while len(self._made) >= MOST_KEPT:
                del self._made[next(iter(self._made))]
            self._made[key] = make()
        return self._made[key]

    def _filled(self, count: int, dtype: torch.dtype) -> Tensor:
        elements = max(self._bytes // dtype.itemsize, count)
        stretch = _random(min(RANDOM_STRETCH, elements), dtype, self.device, None)
        return stretch.repeat(-(-elements // stretch.numel()))


class Fresh:
    """New random numbers each time, drawn with a seed."""

    def __init__(self, device: str, seed: int = 1) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)

    def take(self, count: int, dtype: str | torch.dtype, role: str = "in") -> Tensor:
        """New numbers to be read, zeros where something is to be written."""
        if role == "out":
            return torch.zeros(count, dtype=_dtype(dtype), device=self.device)
        return _random(count, _dtype(dtype), self.device, self._generator)

    def places(self, count: int, below: int) -> Tensor:
        """See `Source`."""
        return _places(count, below, self.device, self._generator)

    def host(self, count: int, *, pinned: bool) -> Tensor:
        """Random bytes in the host's memory."""
        memory = torch.randint(0, 256, (count,), dtype=torch.uint8)
        return memory.pin_memory() if pinned else memory

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Made anew."""
        return make()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    return TORCH_DTYPES[dtype] if isinstance(dtype, str) else dtype


def _random(count: int, dtype: torch.dtype, device: str, generator: torch.Generator | None) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(count, generator=generator, device=device).to(dtype)
    low, past = torch.iinfo(dtype).min, min(torch.iinfo(dtype).max + 1, 2**63 - 1)  # more is no argument
    return torch.randint(low, past, (count,), generator=generator, device=device, dtype=dtype)


def _places(count: int, below: int, device: str, generator: torch.Generator | None) -> Tensor:
    if count > below:
        return torch.randint(0, below, (count,), generator=generator, device=device)
    return torch.randperm(below, generator=generator, device=device)[:count]
