"""CLOCK: a ring and a hand."""

from collections import OrderedDict
from collections.abc import Callable, Container, Sequence

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure

MOST_BITS = 16


class Clock(ReplacementPolicy):
    """CLOCK, or second chance: a hand goes round; who was used since it last came by is passed over.

    An MMU sets a bit when a page is used, and that is all this policy needs: a hit costs nothing else.
    The hand clears the bit of each page that it passes and stops at the first without. So it is FIFO
    with a second chance, and close to LRU. With more bits a page's uses are counted, and the hand takes
    one off each time. When all are in use, it goes round in vain and is FIFO again.

    Parameters:
        bits: size of the counter of each page (1 to 16): it stops at 2 ** bits - 1.
        load_counts: the reference that loads a page is counted as a use of it; many books do so.

    Source: Corbató 1968; OSTEP ch. 22; Tanenbaum, Modern Operating Systems, 3.4. What comes takes the
    place that the hand has just left, so the hand reaches it last.
    Differs: that is so even if another place has become free meanwhile. Who is spared keeps its count.
    """

    def __init__(self, bits: int = 1, load_counts: bool = False) -> None:  # noqa: FBT001, FBT002
        if not 1 <= bits <= MOST_BITS:
            raise ValueError(f"bits: there must be 1 to {MOST_BITS}, not {bits}")
        self._most = 2**bits - 1
        self._load_counts = load_counts
        self._ring: OrderedDict[Key, None] = OrderedDict()  # the hand points to the first
        self._used: set[Key] = set()
        self._again: dict[Key, int] = {}  # uses beyond the first, where a page has more bits than one

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._ring[key] = None
        if self._load_counts:
            self._used.add(key)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if self._most > 1 and key in self._used:
            self._again[key] = min(self._again.get(key, 0) + 1, self._most - 1)
        self._used.add(key)

    def on_hit(self, *, write: bool = False) -> Callable[[Key], object]:
        if self._most == 1 and type(self).accessed is Clock.accessed:  # not that of a class made of this one
            return self._used.add
        return super().on_hit(write=write)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        while True:
            passed: list[Key] = []
            for key in self._ring:
                if key not in self._used and key not in spared:
                    self._pass(passed, spared)
                    return key
                passed.append(key)
            if not self._pass(passed, spared):
                return None  # once round, and nobody who may go at all

    def removed(self, key: Key) -> None:
        del self._ring[key]
        self._used.discard(key)
        self._again.pop(key, None)

    def reason(self, key: Key) -> str:
        return "not used since the hand came by"

    def show(self) -> Structure:
        return {"from the hand": [(key, str(self._count(key))) for key in self._ring]}

    def _pass(self, keys: Sequence[Key], spared: Container[Key]) -> bool:
        """Take one off each of `keys`, which the hand leaves behind; return whether any may go at all."""
        counted = False
        for key in keys:
            self._ring.move_to_end(key)
            if key in spared:
                continue
            counted = True
            again = self._again.pop(key, 0)
            if again > 1:
                self._again[key] = again - 1
            elif not again:
                self._used.discard(key)
        return counted

    def _count(self, key: Key) -> int:
        return int(key in self._used) + self._again.get(key, 0)
