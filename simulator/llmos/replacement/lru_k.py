"""LRU-K: who goes is decided by the last use but one, or but K - 1."""

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass

from llmos.replacement._ranked import Ranked
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure

NEVER = 0
"""The time of a use that has not been; references are numbered from 1."""
MOST_K = 16


@dataclass(slots=True)
class _History:
    """When a page was used: `times` of its latest K uses, newest first, and of the very last reference."""

    times: list[int]
    last: int


class LruK(ReplacementPolicy):
    """LRU-K: who was used K times longest ago goes; who was never used K times goes before all others.

    LRU is taken in by a page that is used once: it stays as long as one that is used all the time. Here
    a page has to come back to count, so a scan passes through and the index pages of a database stay. A
    page that comes back just after it has gone would never get there, so the history of those who had
    to go is kept for a while. References close together count as one (a transaction reads a row, then
    writes it). It is slow to trust: a new working set is missed K times before it counts.

    Parameters:
        k: number of uses to look back (1 to 16; 1 is LRU).
        correlated: references to a page less than this apart, or just so far, count as one use; and so
            long a page is safe after each, unless there is no other.
        history: evicted pages whose history is kept; left out, as many as there are places.

    Source: O'Neil, O'Neil and Weikum 1993 (fig. 2.1). Among those without K uses, LRU decides.
    Differs: the history of evicted pages is bounded by their number, not by time.
    """

    name = "lru-k"

    def __init__(
        self, capacity: Capacity, k: int = 2, correlated: int = 0, history: int | None = None
    ) -> None:
        if not 1 <= k <= MOST_K:
            raise ValueError(f"k: it is 1 to {MOST_K}, not {k}")
        if correlated < 0:
            raise ValueError(f"correlated: it is 0 references or more, not {correlated}")
        if history is not None and history < 0:
            raise ValueError(f"history: it is 0 pages or more, not {history}")
        self._k = k
        self._correlated = correlated
        self._kept = history
        self._bound = capacity if history is None else history
        self._now = 0
        self._histories: dict[Key, _History] = {}
        self._ghosts: OrderedDict[Key, _History] = OrderedDict()
        self._ranked = Ranked()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._now += 1
        ghost = self._ghosts.pop(key, None)
        before = ghost.times[:-1] if ghost else [NEVER] * (self._k - 1)
        self._note(key, _History([self._now, *before], self._now))

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._now += 1
        history = self._histories[key]
        if self._now - history.last > self._correlated:
            # the uses close together count as one that took no time: what was before moves up to it
            span = history.last - history.times[0]
            before = [time + span if time != NEVER else NEVER for time in history.times[:-1]]
            history.times = [self._now, *before]
        history.last = self._now
        self._note(key, history)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        def barred(key: Key) -> bool:
            return key in spared or self._now + 1 - self._histories[key].last <= self._correlated

        key = self._ranked.lowest(barred)
        return self._ranked.lowest(spared.__contains__) if key is None else key

    def removed(self, key: Key) -> None:
        self._ranked.remove(key)
        del self._histories[key]

    def evicted(self, key: Key) -> None:
        self._ghosts[key] = self._histories[key]
        self.removed(key)
        self._trim()

    def resized(self, capacity: int) -> None:
        if self._kept is None:
            self._bound = capacity
            self._trim()

    def reason(self, key: Key) -> str:
        oldest = self._histories[key].times[-1]
        if oldest == NEVER:
            return f"used fewer than {self._k} times, and least recently of these"
        return f"its last {self._k} uses go back farthest, to reference {oldest}"

    def show(self) -> Structure:
        return {
            "": [(key, _shown(self._histories[key])) for key in self._ranked.in_order()],
            "ghosts": [(key, _shown(history)) for key, history in self._ghosts.items()],
        }

    def _note(self, key: Key, history: _History) -> None:
        self._histories[key] = history
        self._ranked.put(key, history.times[-1], history.last)

    def _trim(self) -> None:
        while len(self._ghosts) > self._bound:
            self._ghosts.popitem(last=False)


def _shown(history: _History) -> str:
    """The times of the latest uses, newest first, as in "9, 4, never"."""
    return ", ".join(str(time) if time != NEVER else "never" for time in history.times)
