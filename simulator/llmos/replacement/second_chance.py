"""Enhanced second chance: CLOCK that would rather not write."""

from collections import OrderedDict
from collections.abc import Container

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class SecondChance(ReplacementPolicy):
    """Enhanced second chance: CLOCK on (used, dirty); who is neither goes first.

    To evict a dirty page costs a write, so a clean one is preferred. The hand goes round for a page that
    is neither used nor dirty (0, 0), then for one that is just dirty (0, 1), clearing the used bits that
    it passes; if there was none, again. Clean pages pay for that: in a program that writes most of its
    pages, the few that it only reads are thrown out although they are needed.

    Source: Stallings, Operating Systems, 8.2 (as in the old Macintosh); Silberschatz, virtual memory. The
    reference that loads a page counts as a use. What comes takes the place that the hand has just left.
    Differs: that is so even if another place has become free meanwhile. Who is spared keeps its bits.
    """

    name = "second-chance"

    def __init__(self) -> None:
        self._ring: OrderedDict[Key, None] = OrderedDict()  # the hand points to the first
        self._used: set[Key] = set()
        self._dirty: set[Key] = set()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._ring[key] = None
        self.accessed(key, write=write)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._used.add(key)
        if write:
            self._dirty.add(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        for dirty in (False, True, False, True):
            key = self._round(spared, dirty=dirty)
            if key is not None:
                return key
        return None

    def removed(self, key: Key) -> None:
        del self._ring[key]
        self._used.discard(key)
        self._dirty.discard(key)

    def cleaned(self, key: Key) -> None:
        self._dirty.discard(key)

    def reason(self, key: Key) -> str:
        return f"not used since the hand came by, {'dirty' if key in self._dirty else 'clean'}"

    def show(self) -> Structure:
        return {"from the hand": [(key, f"({self._bits(key)})") for key in self._ring]}

    def _round(self, spared: Container[Key], *, dirty: bool) -> Key | None:
        """Turn the hand, at most once round, to a page that is not used and is, or is not, `dirty`.

        On the search for a dirty one it clears the used bits.
        """
        for _ in range(len(self._ring)):
            key = next(iter(self._ring))
            if key not in spared:
                if key not in self._used and (key in self._dirty) == dirty:
                    return key
                if dirty:
                    self._used.discard(key)
            self._ring.move_to_end(key)
        return None

    def _bits(self, key: Key) -> str:
        return f"{int(key in self._used)}, {int(key in self._dirty)}"
