"""CLOCK: a ring and a hand."""

from collections import OrderedDict
from collections.abc import Container

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
        self._at_load = int(load_counts)
        self._ring: OrderedDict[Key, None] = OrderedDict()  # the hand points to the first
        self._count: dict[Key, int] = {}

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._ring[key] = None
        self._count[key] = self._at_load

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if self._count[key] < self._most:
            self._count[key] += 1

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        passed = 0
        while passed < len(self._ring):  # once round, and nobody who may go at all
            key = next(iter(self._ring))
            if key in spared:
                passed += 1
            elif self._count[key] == 0:
                return key
            else:
                self._count[key] -= 1
                passed = 0
            self._ring.move_to_end(key)
        return None

    def removed(self, key: Key) -> None:
        del self._ring[key], self._count[key]

    def reason(self, key: Key) -> str:
        return "not used since the hand came by"

    def show(self) -> Structure:
        return {"from the hand": [(key, str(self._count[key])) for key in self._ring]}
