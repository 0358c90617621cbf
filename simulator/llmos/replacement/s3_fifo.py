"""Three FIFO queues."""

from collections import OrderedDict
from collections.abc import Container

from llmos.replacement._lists import drawn, first, trim
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure

MOST_USES = 3
"""Uses are counted with two bits."""


class S3Fifo(ReplacementPolicy):
    """S3-FIFO: a small queue where newcomers prove themselves, a main queue, and ghosts; all are FIFO.

    Most pages of a skewed workload are used once. They leave by the small queue and take nobody's
    place; who was used often enough meanwhile moves to the main queue, and so does who comes back
    while its ghost is remembered. The main queue gives each page as many further rounds as it was used. A
    hit only counts up a number of two bits.

    Parameters:
        small: part of the places that the small queue should have, 0 to 1.
        ghosts: ghosts remembered, as a part of the number of places.
        threshold: uses in the small queue that lead to the main one.

    Source: Yang et al., SOSP'23; libCacheSim's documentation (threshold 2).
    Differs: until the first eviction, newcomers go to the main queue when the small one is full, as in
    libCacheSim. The small queue has one place at least.
    """

    name = "s3-fifo"

    def __init__(
        self, capacity: Capacity, small: float = 0.1, ghosts: float = 0.9, threshold: int = 2
    ) -> None:
        if not 0 <= small <= 1:
            raise ValueError(f"small: it must be a part of the places, 0 to 1, not {small:g}")
        if ghosts < 0:
            raise ValueError(f"ghosts: it must be 0 or more, not {ghosts:g}")
        if not 1 <= threshold <= MOST_USES:
            raise ValueError(f"threshold: it must be 1 to {MOST_USES}, not {threshold:,}")
        self._shares = small, ghosts
        self._threshold = threshold
        self._small: OrderedDict[Key, None] = OrderedDict()
        self._main: OrderedDict[Key, None] = OrderedDict()
        self._ghosts: OrderedDict[Key, None] = OrderedDict()
        self._uses: dict[Key, int] = {}
        self._filling = True  # nobody has been evicted yet
        self.resized(capacity)

    def inserted(self, key: Key, *, write: bool = False) -> None:
        if key in self._ghosts:
            del self._ghosts[key]
            self._main[key] = None
        elif self._filling and len(self._small) >= self._small_size:
            self._main[key] = None
        else:
            self._small[key] = None
        self._uses[key] = 0
        trim(self._ghosts, self._most_ghosts)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._uses[key] = min(self._uses[key] + 1, MOST_USES)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        victim = None
        if len(self._main) <= self._main_size:
            victim = self._from_small(spared)
        if victim is None:
            victim = self._from_main(spared)
        return first(self._small, spared) if victim is None else victim

    def removed(self, key: Key) -> None:
        del (self._small if key in self._small else self._main)[key]
        del self._uses[key]

    def evicted(self, key: Key) -> None:
        self._filling = False
        if key in self._small:
            self._ghosts[key] = None
            trim(self._ghosts, self._most_ghosts + 1)  # one may be about to come, and leaves room itself
        self.removed(key)

    def resized(self, capacity: int) -> None:
        small, ghosts = self._shares
        self._small_size = max(int(capacity * small), 1)
        self._main_size = capacity - self._small_size
        self._most_ghosts = int(capacity * ghosts)
        trim(self._ghosts, self._most_ghosts)

    def reason(self, key: Key) -> str:
        if key in self._small:
            return f"first in of the small queue, used fewer than {self._threshold} times there"
        return "first in of the main queue, not used for a whole round"

    def show(self) -> Structure:
        return {
            "small queue": [(key, f"used {self._uses[key]}") for key in self._small],
            "main queue": [(key, f"used {self._uses[key]}") for key in self._main],
            "ghosts": drawn(self._ghosts),
        }

    def _from_small(self, spared: Container[Key]) -> Key | None:
        """Find who has not proved itself in the small queue; who has, moves to the main one."""
        victim, proven = None, []
        for key in self._small:
            if key in spared:
                continue
            if self._uses[key] < self._threshold:
                victim = key
                break
            proven.append(key)
        for key in proven:
            del self._small[key]
            self._main[key] = None
            self._uses[key] = 0
        return victim

    def _from_main(self, spared: Container[Key]) -> Key | None:
        """Find who has not been used in the main queue; each use is another round."""
        for _ in range((MOST_USES + 1) * len(self._main)):
            key = first(self._main, spared)
            if key is None or self._uses[key] == 0:
                return key
            self._uses[key] -= 1
            self._main.move_to_end(key)
        return None
