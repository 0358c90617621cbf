"""The adaptive replacement cache."""

from collections import OrderedDict
from collections.abc import Container
from itertools import chain

from llmos.replacement._lists import drawn, first
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure


class Arc(ReplacementPolicy):
    """ARC: two LRU lists, seen once and seen again, share the places; the ghosts of each move the border.

    T1 holds who was referenced once, T2 who was referenced again, B1 and B2 the ghosts of either. A miss
    on a ghost of B1 says that T1 was too small: its target grows. A miss on a ghost of B2 says the
    opposite. So ARC moves between recency and frequency with the workload, and nobody has to tune it.
    A scan fills T1 with pages that leave no trace in T2.

    Source: Megiddo and Modha, FAST'03, fig. 4.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._once: OrderedDict[Key, None] = OrderedDict()  # T1
        self._again: OrderedDict[Key, None] = OrderedDict()  # T2
        self._ghosts_once: OrderedDict[Key, None] = OrderedDict()  # B1
        self._ghosts_again: OrderedDict[Key, None] = OrderedDict()  # B2
        self._target = 0.0  # p: how many places T1 should have
        self._planned: tuple[Key | None, float] = (None, 0.0)  # who was to come, and the target with it

    def inserted(self, key: Key, *, write: bool = False) -> None:
        incoming, planned = self._planned
        self._target = planned if incoming == key else self._learnt(key)
        self._planned = (None, 0.0)
        if key in self._ghosts_once or key in self._ghosts_again:
            self._ghosts_once.pop(key, None)
            self._ghosts_again.pop(key, None)
            self._again[key] = None
        else:
            self._once[key] = None
        self._trim()

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._once.pop(key, None)
        self._again[key] = None
        self._again.move_to_end(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        target = self._learnt(incoming)
        self._planned = (incoming, target)  # learnt for good when it has come: we may be asked in vain
        held = len(self._once)
        if held > target or (held == target and incoming in self._ghosts_again):
            return first(chain(self._once, self._again), spared)
        return first(chain(self._again, self._once), spared)

    def removed(self, key: Key) -> None:
        del (self._once if key in self._once else self._again)[key]

    def evicted(self, key: Key) -> None:
        (self._ghosts_once if key in self._once else self._ghosts_again)[key] = None
        self.removed(key)
        self._trim()

    def resized(self, capacity: int) -> None:
        self._capacity = capacity
        self._target = min(self._target, capacity)
        self._trim()

    def reason(self, key: Key) -> str:
        return (
            f"least recently used of {'T1' if key in self._once else 'T2'}; "
            f"T1 holds {len(self._once)}, its target is {self._planned[1]:.3g}"
        )

    def show(self) -> Structure:
        return {
            "T1, seen once": drawn(self._once),
            "T2, seen again": drawn(self._again),
            "ghosts B1 of T1": drawn(self._ghosts_once),
            "ghosts B2 of T2": drawn(self._ghosts_again),
        }

    def _learnt(self, key: Key | None) -> float:
        """Return the target of T1 after a miss on `key`, which teaches only if it is a ghost."""
        once, again = len(self._ghosts_once), len(self._ghosts_again)
        if key in self._ghosts_once:
            return min(self._target + max(again / once, 1), self._capacity)
        if key in self._ghosts_again:
            return max(self._target - max(once / again, 1), 0)
        return self._target

    def _trim(self) -> None:
        """Keep T1 with its ghosts within the capacity, and all within twice the capacity."""
        while self._ghosts_once and len(self._once) + len(self._ghosts_once) > self._capacity:
            self._ghosts_once.popitem(last=False)
        while self._ghosts_again and self._remembered() > 2 * self._capacity:
            self._ghosts_again.popitem(last=False)

    def _remembered(self) -> int:
        return len(self._once) + len(self._ghosts_once) + len(self._again) + len(self._ghosts_again)
