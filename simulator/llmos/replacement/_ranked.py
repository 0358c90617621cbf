"""Keys by rank, for policies that often want the lowest.

- A rank is a tuple of numbers; no two keys may have the same, so that there is always one answer.
- A heap that forgets lazily: an entry that is not the latest of its key is dropped when it comes up,
  or when more than half of all entries are such.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from llmos.replacement.base import Key

Rank = tuple[int, ...]

SMALL = 64
"""A heap of so few entries is not worth clearing up."""


class Ranked:
    """Keys, each with its rank; to give one and to find the lowest takes O(log n)."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Key]] = []
        self._latest: dict[Key, tuple[Rank, Key]] = {}

    def put(self, key: Key, *rank: int) -> None:
        """Give `key` this rank, in place of the one it had."""
        self._latest[key] = entry = (rank, key)
        heappush(self._heap, entry)
        if len(self._heap) > SMALL + 2 * len(self._latest):
            self._heap = list(self._latest.values())
            heapify(self._heap)

    def remove(self, key: Key) -> None:
        """Forget `key`."""
        del self._latest[key]

    def lowest(self, barred: Callable[[Key], bool]) -> Key | None:
        """Return the key of the lowest rank that is not `barred`; None if there is none."""
        passed, found = [], None
        while self._heap and found is None:
            entry = self._heap[0]
            if self._latest.get(entry[1]) is not entry:
                heappop(self._heap)
            elif barred(entry[1]):
                passed.append(heappop(self._heap))
            else:
                found = entry[1]
        for entry in passed:
            heappush(self._heap, entry)
        return found

    def rank(self, key: Key) -> Rank:
        """Return the rank of `key`."""
        return self._latest[key][0]

    def in_order(self) -> list[Key]:
        """Return all keys, the lowest first."""
        return sorted(self._latest, key=self.rank)
