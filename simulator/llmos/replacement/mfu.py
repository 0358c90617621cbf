"""Most frequently used."""

from collections.abc import Iterator

from llmos.replacement.base import Key
from llmos.replacement.lfu import Lfu


class Mfu(Lfu):
    """MFU: who has been used the most times since it came goes.

    The argument is that a page with few uses has probably just come and has them still ahead. It holds
    where everything is used about equally often, and nowhere else: MFU throws out what is popular.

    Source: Silberschatz, Operating System Concepts, virtual memory (counting-based replacement). Of
    equals the one goes that has not been used for longest.
    """

    def reason(self, key: Key) -> str:
        return f"most uses, {self._uses[key]}"

    def _order(self) -> Iterator[Key]:
        for uses in sorted(self._shelves, reverse=True):
            yield from self._shelves[uses]
