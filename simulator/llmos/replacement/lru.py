"""Least recently used."""

from collections import OrderedDict
from collections.abc import Callable, Container

from llmos.replacement._lists import first
from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class Lru(ReplacementPolicy):
    """LRU: who has not been used for longest goes.

    The recent past is the best guess at the near future, as long as programs have locality. A larger
    memory always holds what a smaller one would (it is a stack algorithm), so more frames never hurt. A
    loop over one page more than there are frames makes every reference a miss.

    Source: OSTEP ch. 22; Mattson, Gecsei, Slutz and Traiger 1970 (stack algorithms).
    Differs: it sees every reference, which no MMU reports; `clock` works with what an MMU does report.
    """

    def __init__(self) -> None:
        self._order: OrderedDict[Key, None] = OrderedDict()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._order[key] = None

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._order.move_to_end(key)

    def on_hit(self, *, write: bool = False) -> Callable[[Key], object]:
        if type(self).accessed is Lru.accessed:  # not that of a class made of this one
            return self._order.move_to_end
        return super().on_hit(write=write)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return next(iter(self._order), None) if spared is NONE else first(self._order, spared)

    def removed(self, key: Key) -> None:
        del self._order[key]

    def reason(self, key: Key) -> str:
        return "least recently used"

    def show(self) -> Structure:
        return {"": [(key, "") for key in self._order]}
