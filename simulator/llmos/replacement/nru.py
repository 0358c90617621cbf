"""Not recently used."""

from collections.abc import Container

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure

CLASSES = ("not used, clean", "not used, dirty", "used, clean", "used, dirty")


class Nru(ReplacementPolicy):
    """NRU: pages fall into four classes by (used, dirty); one of the lowest class goes.

    Every so often all used bits are cleared, so "used" means used of late. Class 1, dirty but not used,
    comes about when that happens to a page that was written. It is easy to grasp and needs two bits. It
    cannot tell apart what was used once and what is used all the time, nor, right after the clearing,
    anything at all.

    Parameters:
        period: references between two clearings of the used bits.

    Source: Tanenbaum, Modern Operating Systems, 3.4.
    Differs: time is counted in references, not in clock ticks. Tanenbaum takes any page of the lowest
    class; here it is the one that came first.
    """

    def __init__(self, period: int = 100) -> None:
        if period < 1:
            raise ValueError(f"period: it is at least 1 reference, not {period}")
        self._period = period
        self._now = 0
        self._used_at: dict[Key, int] = {}  # in the order in which they came
        self._dirty: set[Key] = set()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self.accessed(key, write=write)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._now += 1
        self._used_at[key] = self._now
        if write:
            self._dirty.add(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        in_order = (
            key
            for wanted in range(len(CLASSES))
            for key in self._used_at
            if self._class(key) == wanted and key not in spared
        )
        return next(in_order, None)

    def removed(self, key: Key) -> None:
        del self._used_at[key]
        self._dirty.discard(key)

    def cleaned(self, key: Key) -> None:
        self._dirty.discard(key)

    def reason(self, key: Key) -> str:
        return f"first of class {self._class(key)}: {CLASSES[self._class(key)]}"

    def show(self) -> Structure:
        return {
            f"class {number}: {words}": [(key, "") for key in self._used_at if self._class(key) == number]
            for number, words in enumerate(CLASSES)
        }

    def _class(self, key: Key) -> int:
        cleared_at = self._now - self._now % self._period
        return 2 * (self._used_at[key] > cleared_at) + (key in self._dirty)
