"""Swap space: where anonymous pages are kept that have no frame.

- A page keeps its slot when it comes back, so that it need not be written again while it stays clean.
- Slots are given lowest first, so pages that leave together lie together; `neighbours` are those that
  lie in the same aligned cluster, and are cheap to read along.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmos.replacement.base import Key


class Swap:
    """`size` slots of a page each, on the device called `device`."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self.device = device
        self.slot_of: dict[Key, int] = {}
        self._key_in: dict[int, Key] = {}
        self._given_back: list[int] = []
        self._fresh = 0

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self.size - len(self.slot_of)

    def give(self, key: Key) -> int:
        """Return the slot of `key`, which gets one if it has none; raises LookupError if all are taken."""
        slot = self.slot_of.get(key)
        if slot is None:
            if not self.free:
                raise LookupError("all swap slots are taken")
            if self._given_back:
                slot = heappop(self._given_back)
            else:
                slot, self._fresh = self._fresh, self._fresh + 1
            self.slot_of[key] = slot
            self._key_in[slot] = key
        return slot

    def take_back(self, key: Key) -> None:
        """Free the slot of `key`, if it has one."""
        slot = self.slot_of.pop(key, None)
        if slot is not None:
            del self._key_in[slot]
            heappush(self._given_back, slot)

    def neighbours(self, key: Key, cluster: int) -> Iterator[Key]:
        """Yield who else lies in the aligned cluster of 2^`cluster` slots in which `key` lies, in order."""
        first = self.slot_of[key] >> cluster << cluster
        for slot in range(first, first + (1 << cluster)):
            other = self._key_in.get(slot)
            if other is not None and other != key:
                yield other
