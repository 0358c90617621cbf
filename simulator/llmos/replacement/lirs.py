"""Low inter-reference recency set."""

from collections import OrderedDict
from collections.abc import Container
from itertools import chain

from llmos.replacement._lists import drawn, first
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure


class Lirs(ReplacementPolicy):
    """LIRS: who has come back quickly stays; what counts is the gap between uses, not the time since.

    LIR pages have a short gap between their last two uses and hold nearly all places. HIR pages share
    the few others, in a queue: they are on trial. The stack holds all by recency down to the oldest LIR
    page. An HIR page that is used again while it is on the stack, resident or a ghost, has a shorter gap
    than that page, and they change roles. A loop that is too long for LRU hits at nearly all places.

    Parameters:
        trial: part of the places for HIR pages, 0 to 1; at least one place.
        ghosts: ghosts remembered on the stack, as a part of the number of places.

    Source: Jiang and Zhang, SIGMETRICS'02 (1 % of the places for HIR pages); the bound on ghosts:
    libCacheSim.
    Differs: libCacheSim 0.3.5, when an HIR page that is not on the stack is used, keeps that page beyond
    its capacity; here nobody is.
    """

    def __init__(self, capacity: Capacity, trial: float = 0.01, ghosts: float = 1.0) -> None:
        if not 0 <= trial <= 1:
            raise ValueError(f"trial: it must be a part of the places, 0 to 1, not {trial:g}")
        if ghosts < 0:
            raise ValueError(f"ghosts: it must be 0 or more, not {ghosts:g}")
        self._shares = trial, ghosts
        self._stack: OrderedDict[Key, None] = OrderedDict()  # S: the bottom, first here, is a LIR page
        self._lir: set[Key] = set()
        self._queue: OrderedDict[Key, None] = OrderedDict()  # Q: resident HIR pages
        self._ghosts: OrderedDict[Key, None] = OrderedDict()  # HIR pages on the stack without a place
        self.resized(capacity)

    def inserted(self, key: Key, *, write: bool = False) -> None:
        if key in self._ghosts:
            del self._ghosts[key]
            self._promote(key)
        elif len(self._lir) < self._most_lir:
            self._lir.add(key)
            self._stack[key] = None
        else:
            self._queue[key] = None
            self._stack[key] = None
        self._prune()
        self._forget(self._most_ghosts)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if key in self._lir:
            self._stack.move_to_end(key)
        elif key in self._stack:
            del self._queue[key]
            self._promote(key)
        else:
            self._stack[key] = None
            self._queue.move_to_end(key)
        self._prune()

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return first(chain(self._queue, (key for key in self._stack if key in self._lir)), spared)

    def removed(self, key: Key) -> None:
        self._stack.pop(key, None)
        self._queue.pop(key, None)
        self._lir.discard(key)
        self._prune()

    def evicted(self, key: Key) -> None:
        if key in self._queue and key in self._stack:
            del self._queue[key]
            self._ghosts[key] = None
            self._forget(self._most_ghosts + 1)  # one may be about to come, and leaves room itself
        else:
            self.removed(key)

    def resized(self, capacity: int) -> None:
        trial, ghosts = self._shares
        self._most_lir = capacity - max(int(capacity * trial), 1)
        self._most_ghosts = int(capacity * ghosts)
        self._demote()
        self._prune()
        self._forget(self._most_ghosts)

    def reason(self, key: Key) -> str:
        if key in self._queue:
            return "first in the queue of HIR pages"
        return "least recently used LIR page; no HIR page may go"

    def show(self) -> Structure:
        return {
            "queue of HIR pages": [
                (key, "on the stack" if key in self._stack else "") for key in self._queue
            ],
            "LIR pages": drawn(key for key in self._stack if key in self._lir),
            "ghosts on the stack": drawn(self._ghosts),
        }

    def _promote(self, key: Key) -> None:
        """Make `key` a LIR page, the most recent one; the oldest one of them may have to give way."""
        self._lir.add(key)
        self._stack[key] = None
        self._stack.move_to_end(key)
        self._demote()

    def _demote(self) -> None:
        """Put the oldest LIR pages on trial until there are no more than there may be."""
        while len(self._lir) > self._most_lir:
            self._prune()
            key, _ = self._stack.popitem(last=False)
            self._lir.remove(key)
            self._queue[key] = None

    def _prune(self) -> None:
        """Take away all below the oldest LIR page: they have been away for longer than it has."""
        while self._stack and (key := next(iter(self._stack))) not in self._lir:
            del self._stack[key]
            self._ghosts.pop(key, None)

    def _forget(self, most: int) -> None:
        """Forget who has been a ghost for longest, until there are at most `most`."""
        while len(self._ghosts) > most:
            key, _ = self._ghosts.popitem(last=False)
            del self._stack[key]
