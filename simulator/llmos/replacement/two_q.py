"""Two queues."""

from collections import OrderedDict
from collections.abc import Container
from itertools import chain

from llmos.replacement._lists import drawn, first, trim
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure


class TwoQ(ReplacementPolicy):
    """2Q: newcomers wait in a FIFO queue; only who is missed soon after leaving it enters the LRU list.

    References that come in a burst say nothing about the next hour, so hits in the queue (A1in) count
    for nothing. Who leaves it is remembered as a ghost (A1out); who comes back while the ghost is there
    has shown that it is wanted over a longer time, and goes to the main list (Am). A scan runs through
    the queue and leaves the main list alone.

    Parameters:
        queue: part of the places that the queue may fill, 0 to 1.
        ghosts: ghosts remembered, as a part of the number of places.

    Source: Johnson and Shasha, VLDB'94 ("2Q, full version"); its Kin and Kout are 25 % and 50 %.
    """

    name = "2q"

    def __init__(self, capacity: Capacity, queue: float = 0.25, ghosts: float = 0.5) -> None:
        if not 0 <= queue <= 1:
            raise ValueError(f"queue: it must be a part of the places, 0 to 1, not {queue:g}")
        if ghosts < 0:
            raise ValueError(f"ghosts: it must be 0 or more, not {ghosts:g}")
        self._shares = queue, ghosts
        self._queue: OrderedDict[Key, None] = OrderedDict()  # A1in
        self._ghosts: OrderedDict[Key, None] = OrderedDict()  # A1out
        self._main: OrderedDict[Key, None] = OrderedDict()  # Am
        self.resized(capacity)

    def inserted(self, key: Key, *, write: bool = False) -> None:
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = None
        else:
            self._queue[key] = None
        trim(self._ghosts, self._most_ghosts)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if key in self._main:
            self._main.move_to_end(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        if len(self._queue) > self._most_queued:
            return first(chain(self._queue, self._main), spared)
        return first(chain(self._main, self._queue), spared)

    def removed(self, key: Key) -> None:
        del (self._queue if key in self._queue else self._main)[key]

    def evicted(self, key: Key) -> None:
        if key in self._queue:
            self._ghosts[key] = None
            trim(self._ghosts, self._most_ghosts + 1)  # one may be about to come, and leaves room itself
        self.removed(key)

    def resized(self, capacity: int) -> None:
        queue, ghosts = self._shares
        self._most_queued = int(capacity * queue)
        self._most_ghosts = int(capacity * ghosts)
        trim(self._ghosts, self._most_ghosts)

    def reason(self, key: Key) -> str:
        if key in self._queue:
            return f"first in of the {len(self._queue)} in the queue, which may hold {self._most_queued}"
        return "least recently used of the main list"

    def show(self) -> Structure:
        return {
            "queue A1in": drawn(self._queue),
            "main list Am": drawn(self._main),
            "ghosts A1out": drawn(self._ghosts),
        }
