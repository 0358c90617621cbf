"""Frames in blocks of powers of two: a binary buddy allocator.

- A block of order k is 2^k frames and begins at a multiple of 2^k. Its buddy is the other half of the
  block of order k + 1 that holds both: their first frames differ in bit k alone.
- `allocate` takes the smallest free block that is large enough, of these the one with the lowest
  address, and halves it until it fits; each time the upper half becomes free.
- `free` joins a block with its buddy for as long as that is free, so the free blocks are always the
  largest that there can be.
- Both take O(log frames), by one heap for each order. A block that is joined stays behind in its
  heap: `_state` tells who is really free, and a heap that is mostly such remains is swept.
- Every frame has one byte of state, which costs a new allocator nothing but zeroed memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final, NamedTuple

from llmos.errors import LlmosError

MAX_ORDER: Final = 10
"""The order of the largest blocks, as in Linux (MAX_PAGE_ORDER): 1024 frames, 4 MiB."""

_TAKEN: Final = 128  # state of a frame: order + 1 where a free block begins, this more where a taken one
_SWEEP: Final = 64  # a heap is swept when it has twice as many entries as there are free blocks, and these


class Block(NamedTuple):
    """2^`order` frames from `first` on."""

    first: int
    order: int

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return 1 << self.order

    @property
    def buddy(self) -> Block:
        """The block with which it forms one of the next order."""
        return Block(self.first ^ 1 << self.order, self.order)


class Buddy:
    """`frames` frames (at least 1), numbered from 0, in blocks of up to 2^`max_order` (0 to 30).

    Source: Knuth, The Art of Computer Programming, vol. 1, section 2.5; Linux mm/page_alloc.c.
    Differs: Linux keeps lists apart by what can be moved and caches single frames on each core; here
    the lowest address goes first, which keeps the rest whole and makes each run the same.
    """

    __slots__ = ("_heaps", "_state", "counts", "frames", "free_frames", "max_order")

    def __init__(self, frames: int, max_order: int = MAX_ORDER) -> None:
        if frames < 1:
            raise LlmosError(f"there should be at least one frame, not {frames}")
        if not 0 <= max_order <= 30:
            raise LlmosError(f"the largest order should be from 0 to 30, not {max_order}")
        self.frames = frames
        self.max_order = max_order
        self.free_frames = frames
        self.counts = [0] * (max_order + 1)
        """How many free blocks there are of each order."""
        self._heaps: list[list[int]] = [[] for _ in self.counts]
        self._state = bytearray(frames)
        size = 1 << max_order
        whole = frames // size
        self._heaps[max_order] = list(range(0, whole * size, size))  # in order, so it is a heap
        self._state[0 : whole * size : size] = bytes([max_order + 1]) * whole
        self.counts[max_order] = whole
        self._add_rest(whole * size)

    def _add_rest(self, first: int) -> None:
        """Free the frames from `first` on, which are fewer than a largest block."""
        for order in range(self.max_order - 1, -1, -1):
            if (self.frames - first) >> order:
                self._put(first, order)
                first += 1 << order

    def allocate(self, order: int = 0) -> int | None:
        """Take a block of 2^`order` frames and return its first; None if there is none.

        Raises LlmosError if there are no blocks of that order.
        """
        if not 0 <= order <= self.max_order:
            raise LlmosError(f"there is no order {order}", hint=f"orders go from 0 to {self.max_order}")
        for larger in range(order, self.max_order + 1):
            if self.counts[larger]:
                break
        else:
            return None
        heap, state = self._heaps[larger], self._state
        first = heappop(heap)
        while state[first] != larger + 1:  # joined since, or taken by another entry of the same block
            first = heappop(heap)
        self.counts[larger] -= 1
        while larger > order:
            larger -= 1
            self._put(first + (1 << larger), larger)
        state[first] = order + 1 + _TAKEN
        self.free_frames -= 1 << order
        return first

    def free(self, first: int, order: int = 0) -> None:
        """Give the block of 2^`order` frames back that `allocate` took at `first`.

        Raises LlmosError if there is no such block: it was freed before, or it was never taken.
        """
        state = self._state
        if not 0 <= first < self.frames or state[first] != order + 1 + _TAKEN:
            raise LlmosError(
                f"no block of order {order} is taken at frame {first}",
                hint="give back what allocate returned, with its order, and once",
            )
        state[first] = 0
        self.free_frames += 1 << order
        while order < self.max_order:
            buddy = first ^ 1 << order
            if buddy >= self.frames or state[buddy] != order + 1:
                break
            state[buddy] = 0  # its entry stays in the heap
            self.counts[order] -= 1
            first &= buddy
            order += 1
        self._put(first, order)

    def take(self, frame: int) -> bool:
        """Take `frame` alone out of the free block that has it; return False if it is not free."""
        state = self._state
        for order in range(self.max_order + 1):
            first = frame >> order << order
            if state[first] == order + 1:
                break
        else:
            return False
        state[first] = 0  # its entry stays in the heap
        self.counts[order] -= 1
        while order:
            order -= 1
            half = frame >> order << order
            self._put(half ^ 1 << order, order)
        state[frame] = 1 + _TAKEN
        self.free_frames -= 1
        return True

    def split(self, first: int, order: int) -> None:
        """Let the frames of the taken block of 2^`order` at `first` be freed one by one.

        Raises LlmosError if there is no such block.
        """
        if self._state[first] != order + 1 + _TAKEN:
            raise LlmosError(f"no block of order {order} is taken at frame {first}")
        size = 1 << order
        self._state[first : first + size] = bytes([1 + _TAKEN]) * size

    def _put(self, first: int, order: int) -> None:
        """Note that the block is free."""
        self._state[first] = order + 1
        self.counts[order] += 1
        heap = self._heaps[order]
        heappush(heap, first)
        if len(heap) > 2 * self.counts[order] + _SWEEP:
            heap[:] = self._first_frames(order)

    def _first_frames(self, order: int) -> list[int]:
        """The first frames of the free blocks of an order, in order."""
        return sorted({first for first in self._heaps[order] if self._state[first] == order + 1})

    # --- what is free ---------------------------------------------------------------------------------

    def blocks(self) -> Iterator[Block]:
        """The free blocks, small ones first, each order by address."""
        for order in range(self.max_order + 1):
            for first in self._first_frames(order):
                yield Block(first, order)

    def largest_order(self) -> int | None:
        """The order of the largest free block, None if nothing is free."""
        return max((order for order, count in enumerate(self.counts) if count), default=None)

    def unusable(self, order: int) -> float:
        """The share of the free frames that lie in blocks too small for `order`: 0 if none, 1 if all.

        Source: Linux mm/vmstat.c, unusable_free_index (/sys/kernel/debug/extfrag).
        """
        if not self.free_frames:
            return 1.0
        fitting = sum(count << k for k, count in enumerate(self.counts) if k >= order)
        return (self.free_frames - fitting) / self.free_frames

    def fragmentation(self, order: int) -> float | None:
        """Why a request of `order` fails: near 0 for want of memory, near 1 as it is in pieces.

        None if it does not fail. Linux compacts memory for a large block above 0.5 (extfrag_threshold),
        and reclaims below.

        Source: Linux mm/vmstat.c, fragmentation_index (/sys/kernel/debug/extfrag; there in thousandths,
        and -1 for None).
        """
        if any(self.counts[order:]):
            return None
        blocks = sum(self.counts)
        return 1 - (1 + self.free_frames / (1 << order)) / blocks if blocks else 0.0
