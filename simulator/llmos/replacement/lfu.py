"""Least frequently used."""

from collections import OrderedDict
from collections.abc import Container, Iterator

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class Lfu(ReplacementPolicy):
    """LFU: who has been used the fewest times since it came goes.

    What is popular stays popular, as long as the world stays the same: LFU is good at Zipf-like
    references and is not troubled by a scan. When the world changes, yesterday's favourites sit on their
    counts, and each newcomer goes before it can earn its own.

    Source: Silberschatz, Operating System Concepts, virtual memory (counting-based replacement). Of
    equals the one goes that has not been used for longest.
    Differs: a count starts anew when its page comes back.
    """

    def __init__(self) -> None:
        self._uses: dict[Key, int] = {}
        self._shelves: dict[int, OrderedDict[Key, None]] = {}  # uses -> who has so many, in order of use

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._put(key, 1)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        uses = self._uses[key]
        self._take(key, uses)
        self._put(key, uses + 1)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return next((key for key in self._order() if key not in spared), None)

    def removed(self, key: Key) -> None:
        self._take(key, self._uses.pop(key))

    def reason(self, key: Key) -> str:
        return f"fewest uses, {self._uses[key]}"

    def show(self) -> Structure:
        shown = dict.fromkeys(self._order())
        return {"": [(key, f"{self._uses[key]}x") for key in shown]}

    def _order(self) -> Iterator[Key]:
        """All keys in the order in which they go."""
        if 1 in self._shelves:  # nearly always, and then there is no need to look at the other counts
            yield from self._shelves[1]
        for uses in sorted(self._shelves):
            yield from self._shelves[uses]

    def _put(self, key: Key, uses: int) -> None:
        self._uses[key] = uses
        shelf = self._shelves.get(uses)
        if shelf is None:
            shelf = self._shelves[uses] = OrderedDict()
        shelf[key] = None

    def _take(self, key: Key, uses: int) -> None:
        shelf = self._shelves[uses]
        del shelf[key]
        if not shelf:
            del self._shelves[uses]
