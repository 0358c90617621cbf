"""SIEVE."""

from collections import OrderedDict
from collections.abc import Container

from llmos.replacement._lists import drawn
from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class Sieve(ReplacementPolicy):
    """SIEVE: a queue that never changes its order; a hand goes over it and takes who was not visited.

    A hit only sets a bit. When somebody must go, the hand moves from old to new: it clears the bit of
    who was visited, and leaves it where it is; who was not visited goes. Second chance would move the
    visited to the end; here they stay, so that newcomers, which come in at the end, meet the hand
    soon, and most of them, never visited, are gone at once: lazy promotion, quick demotion.

    Source: Zhang et al., NSDI'24.
    """

    def __init__(self) -> None:
        # The queue, oldest first, cut at the hand: who it has passed, and who it will meet.
        self._passed: OrderedDict[Key, None] = OrderedDict()
        self._ahead: OrderedDict[Key, None] = OrderedDict()
        self._visited: set[Key] = set()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._ahead[key] = None

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._visited.add(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        for _ in range(2 * (len(self._passed) + len(self._ahead))):  # after one round no bit is set
            key = next(iter(self._ahead))
            if key not in spared:
                if key not in self._visited:
                    return key
                self._visited.discard(key)
            del self._ahead[key]
            self._passed[key] = None
            self._turn()
        return None

    def removed(self, key: Key) -> None:
        del (self._ahead if key in self._ahead else self._passed)[key]
        self._visited.discard(key)
        self._turn()

    def reason(self, key: Key) -> str:
        return "not visited since the hand was here"

    def show(self) -> Structure:
        return {
            "from the hand on": self._with_bits(self._ahead),
            "behind the hand": self._with_bits(self._passed),
        }

    def _turn(self) -> None:
        """At the newest end the hand goes back to the oldest."""
        if not self._ahead:
            self._ahead, self._passed = self._passed, self._ahead

    def _with_bits(self, keys: OrderedDict[Key, None]) -> list[tuple[Key, str]]:
        return [pair for key in keys for pair in drawn([key], "visited" if key in self._visited else "")]
