"""Objects of one size from whole frames: a slab cache.

- A slab is a block of frames from the buddy allocator, cut into objects of one size; it is empty, partial
  or full. What is left behind the last object is lost: internal waste.
- `allocate` takes an object of the partial slab that has been partial longest, else of an empty one,
  else of a new slab. Full slabs are never looked at, so it is quick.
- Empty slabs stay, for they are wanted again soon; `shrink` gives them back.
- Colouring: each new slab begins its objects a little later than the one before, within what would be
  lost anyway, so that the first objects of all slabs do not fight for the same lines of a CPU cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from llmos.errors import LlmosError
from llmos.memory.buddy import Buddy

FRAME_BYTES: Final = 4096
WASTE: Final = 8
"""A slab gets larger until at most one part in so many of it is lost, as in Linux."""
LARGEST_ORDER: Final = 3
"""Slabs get no larger than this for the sake of less waste (Linux: PAGE_ALLOC_COSTLY_ORDER)."""


@dataclass(slots=True, eq=False)
class Slab:
    """A block of frames, cut into objects: the first at the address `start`."""

    first_frame: int
    start: int
    objects: int
    free: list[int] = field(default_factory=list)
    """Numbers of the free objects; the last is taken next."""

    @property
    def used(self) -> int:
        """How many of its objects are taken."""
        return self.objects - len(self.free)


class SlabCache:
    """Objects of `object_bytes` (1 or more), rounded up to a multiple of `align`, in frames of `buddy`.

    `order` is that of the slabs; if it is None, the smallest order that loses at most one eighth.

    Source: Bonwick 1994; Linux mm/slub.c (calculate_order).
    Differs: no caches of single cores, and no constructors.
    """

    def __init__(
        self,
        buddy: Buddy,
        object_bytes: int,
        *,
        order: int | None = None,
        align: int = 8,
        frame_bytes: int = FRAME_BYTES,
        colouring: bool = True,
    ) -> None:
        if object_bytes < 1 or align < 1 or frame_bytes < 1:
            raise LlmosError(
                f"objects of {object_bytes} bytes, aligned to {align}, in frames of {frame_bytes}?",
                hint="each is at least 1",
            )
        self.object_bytes = object_bytes
        self.stride_bytes = -(-object_bytes // align) * align
        self.align = align
        self.frame_bytes = frame_bytes
        self.order = self._best_order(buddy.max_order) if order is None else order
        self.slab_bytes = frame_bytes << max(0, self.order)
        self.objects_per_slab = self.slab_bytes // self.stride_bytes
        if not (0 <= self.order <= buddy.max_order and self.objects_per_slab):
            raise LlmosError(
                f"an object of {object_bytes} bytes does not fit into a slab of order {self.order}",
                hint=f"orders go from 0 to {buddy.max_order}; a frame has {frame_bytes} bytes",
            )
        self.colours = (self.slab_bytes % self.stride_bytes) // align + 1 if colouring else 1
        """How many different beginnings a slab may have."""
        self.partial: dict[int, Slab] = {}  # first frame -> slab; a dict keeps the order
        self.full: dict[int, Slab] = {}
        self.empty: dict[int, Slab] = {}
        self._buddy = buddy
        self._next_colour = 0

    def _best_order(self, max_order: int) -> int:
        """The smallest order that loses little, or else the smallest that holds an object."""
        fitting = [k for k in range(max_order + 1) if self.frame_bytes << k >= self.stride_bytes]
        good = [k for k in fitting if self._lost(k) * WASTE <= self.frame_bytes << k]
        return next((k for k in good if k <= LARGEST_ORDER), fitting[0] if fitting else 0)

    def _lost(self, order: int) -> int:
        return (self.frame_bytes << order) % self.stride_bytes

    def allocate(self) -> int | None:
        """Take an object and return its address in bytes; None if there is no memory for a new slab."""
        for slabs in (self.partial, self.empty):
            if slabs:
                slab = next(iter(slabs.values()))
                break
        else:
            grown = self._grow()
            if grown is None:
                return None
            slab = grown
        number = slab.free.pop()
        self._file(slab)
        return slab.start + number * self.stride_bytes

    def free(self, address: int) -> None:
        """Give back the object at `address`.

        Raises LlmosError if no object is taken there.
        """
        span = 1 << self.order
        first = address // self.frame_bytes // span * span  # blocks are aligned to their size
        slab = self.partial.get(first) or self.full.get(first)
        number, beside = divmod(address - slab.start, self.stride_bytes) if slab else (-1, 0)
        if slab is None or beside or not 0 <= number < slab.objects or number in slab.free:
            raise LlmosError(
                f"no object is taken at {address}", hint="give back what allocate returned, and once"
            )
        slab.free.append(number)
        self._file(slab)

    def shrink(self) -> int:
        """Give the empty slabs back, and return how many frames that were."""
        count = len(self.empty)
        for first in self.empty:
            self._buddy.free(first, self.order)
        self.empty.clear()
        return count << self.order

    def _grow(self) -> Slab | None:
        first = self._buddy.allocate(self.order)
        if first is None:
            return None
        colour = self._next_colour * self.align
        self._next_colour = (self._next_colour + 1) % self.colours
        count = self.objects_per_slab
        slab = Slab(first, first * self.frame_bytes + colour, count, list(range(count - 1, -1, -1)))
        self.empty[first] = slab
        return slab

    def _file(self, slab: Slab) -> None:
        """Put a slab on the list where it belongs, at the end if it was not there."""
        home = self.full if not slab.free else self.partial if slab.used else self.empty
        if slab.first_frame in home:
            return
        for slabs in (self.partial, self.full, self.empty):
            slabs.pop(slab.first_frame, None)
        home[slab.first_frame] = slab

    # --- what it costs --------------------------------------------------------------------------------

    @property
    def slabs(self) -> int:
        """How many slabs it has."""
        return len(self.partial) + len(self.full) + len(self.empty)

    @property
    def used_objects(self) -> int:
        """How many objects are taken."""
        return sum(slab.used for slabs in (self.partial, self.full) for slab in slabs.values())

    @property
    def waste_bytes(self) -> int:
        """What no object can use: rounding, and the rest of each slab."""
        return self.slabs * (self.slab_bytes - self.objects_per_slab * self.object_bytes)
