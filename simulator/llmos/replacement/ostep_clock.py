"""The CLOCK of OSTEP's homework, which has no hand."""

from collections.abc import Container

from llmos.replacement.base import NONE, Dice, Key, Structure
from llmos.replacement.rand import RandomChoice


class OstepClock(RandomChoice):
    """OSTEP's CLOCK: lots are drawn; who has a count left pays with one and stays, who has none goes.

    A random second chance. Use takes the part of the hand's position: what is used often is rarely
    caught with nothing. It is here to check the answers of that homework; `clock` is the real one.

    Parameters:
        clockbits: the most that a page can have; it has 1 when it comes, and gets 1 each time it is used.
        draws: numbers from 0 up to 1 to use up first, in place of random ones (to replay an exercise).

    Source: OSTEP ch. 22 homework, paging-policy.py with its option -b.
    Differs: as `random`.
    """

    name = "ostep-clock"

    def __init__(self, rng: Dice, clockbits: int = 1, draws: list[float] | None = None) -> None:
        if clockbits < 1:
            raise ValueError(f"clockbits: it is at least 1, not {clockbits}")
        super().__init__(rng, draws)
        self._most = clockbits
        self._count: dict[Key, int] = {}

    def inserted(self, key: Key, *, write: bool = False) -> None:
        super().inserted(key)
        self._count[key] = 1

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if self._count[key] < self._most:
            self._count[key] += 1

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        while (key := super().victim(spared, incoming)) is not None and self._count[key] > 0:
            self._count[key] -= 1
        return key

    def removed(self, key: Key) -> None:
        super().removed(key)
        del self._count[key]

    def reason(self, key: Key) -> str:
        return f"{super().reason(key)}; it has nothing left"

    def show(self) -> Structure:
        return {"": [(key, str(self._count[key])) for key in self._keys]}
