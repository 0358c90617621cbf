"""First in, first out."""

from collections import OrderedDict
from collections.abc import Container

from llmos.replacement._lists import first
from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class Fifo(ReplacementPolicy):
    """FIFO: who has been resident longest goes.

    It looks at no reference after the first, so it costs nothing per hit, and throws out what is used
    all the time as readily as what is never used again. More frames can make it worse: Belady's anomaly.

    Source: OSTEP ch. 22; Belady, Nelson and Shedler 1969 (the anomaly).
    """

    def __init__(self) -> None:
        self._queue: OrderedDict[Key, None] = OrderedDict()  # a plain dict is slow to find its first key

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._queue[key] = None

    def accessed(self, key: Key, *, write: bool = False) -> None:
        pass

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return first(self._queue, spared)

    def removed(self, key: Key) -> None:
        del self._queue[key]

    def reason(self, key: Key) -> str:
        return "first in"

    def show(self) -> Structure:
        return {"": [(key, "") for key in self._queue]}
