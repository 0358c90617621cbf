"""Most recently used."""

from collections import OrderedDict
from collections.abc import Container

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class Mru(ReplacementPolicy):
    """MRU: who has been used last goes.

    In a loop, what was used last is what comes back last; so MRU keeps a part of a loop that does not
    fit, and hits on that part every time round, where LRU misses always. Anywhere else it is a disaster:
    whatever it settled on in the beginning stays for ever.

    Source: OSTEP ch. 22 homework; Chou and DeWitt 1985 (for loops of a database).
    """

    def __init__(self) -> None:
        self._order: OrderedDict[Key, None] = OrderedDict()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._order[key] = None

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._order.move_to_end(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return next((key for key in reversed(self._order) if key not in spared), None)

    def removed(self, key: Key) -> None:
        del self._order[key]

    def reason(self, key: Key) -> str:
        return "most recently used"

    def show(self) -> Structure:
        return {"": [(key, "") for key in reversed(self._order)]}
