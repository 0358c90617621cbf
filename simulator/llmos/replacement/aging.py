"""Aging, and NFU without it."""

from collections.abc import Container

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure

MOST_BITS = 64


class Aging(ReplacementPolicy):
    """Aging: every page has a counter that halves with time; the lowest goes.

    At each tick the counter of every page moves one bit to the right, and the bit that says whether it
    was used since the tick before comes in from the left. So it is LRU made of coarse pieces: 8 bits
    know in which of the last 8 periods a page was used, but neither when in a period nor how often, nor
    what was before. Without the shift it is NFU, which never forgets: who was busy long ago stays.

    Parameters:
        bits: size of the counter (1 to 64).
        period: references between two ticks.
        shift: false means NFU: a tick adds the used bit to the counter, and nothing is ever lost.

    Source: Tanenbaum, Modern Operating Systems, 3.4. Of equals the one goes that came first.
    Differs: time is counted in references. Between ticks, the used bit of the running period counts as
    one more bit on the left (for NFU: is already added); else a page that has just come, with a counter
    of 0, would be the next to go.
    """

    def __init__(
        self,
        bits: int = 8,
        period: int = 100,
        shift: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        if not 1 <= bits <= MOST_BITS:
            raise ValueError(f"bits: there must be 1 to {MOST_BITS}, not {bits}")
        if period < 1:
            raise ValueError(f"period: it is at least 1 reference, not {period}")
        self._bits = bits
        self._period = period
        self._shift = shift
        self._now = 0
        self._registers: dict[Key, tuple[int, int]] = {}
        """Key -> used bit and counter as one number, and how many ticks it has lived through."""

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._registers[key] = (0, -1)
        self.accessed(key)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        tick = self._now // self._period
        self._now += 1
        register, seen = self._registers[key]
        if seen != tick:  # the first use in this period; the others change nothing
            aged = register >> (tick - seen) | 1 << self._bits if self._shift else register + 1
            self._registers[key] = (aged, tick)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return min((key for key in self._registers if key not in spared), key=self._value, default=None)

    def removed(self, key: Key) -> None:
        del self._registers[key]

    def reason(self, key: Key) -> str:
        return f"lowest counter, {self._shown(key)}"

    def show(self) -> Structure:
        return {"": [(key, self._shown(key)) for key in sorted(self._registers, key=self._value)]}

    def _value(self, key: Key) -> int:
        register, seen = self._registers[key]
        return register >> (self._now // self._period - seen) if self._shift else register

    def _shown(self, key: Key) -> str:
        """The used bit and the counter, as in "1 01100000"; NFU's counter is a plain number."""
        if not self._shift:
            return str(self._value(key))
        used, counter = divmod(self._value(key), 1 << self._bits)
        return f"{used} {counter:0{self._bits}b}"
