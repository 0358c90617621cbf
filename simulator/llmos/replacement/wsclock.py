"""WSClock: CLOCK that knows about working sets."""

from collections import OrderedDict
from collections.abc import Collection, Container

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure


class WSClock(ReplacementPolicy):
    """WSClock: a hand goes round; who has not been used for `tau` references goes, if it is clean.

    What was used within the last `tau` references is the working set, and the hand leaves it alone. An
    old page that is dirty is passed over too, but its write is begun, so that it can go next time. If
    `tau` is too short, the working set is torn apart; if it is too long, all is working set, and the
    first clean page has to go whatever it is.

    Parameters:
        tau: length of the window of the working set, in references.

    Source: Carr and Hennessy 1981; Tanenbaum, Modern Operating Systems, 3.4. As there, a page's time is
    the time at which the hand saw that it had been used, no better. After a full round in vain the first
    old dirty page goes, whose write is then awaited; without one the first clean page does, and without
    that the page at the hand.
    Differs: time is counted in references of all tasks, not in each task's own time.
    """

    def __init__(self, tau: int = 100) -> None:
        if tau < 0:
            raise ValueError(f"tau: it is 0 references or more, not {tau}")
        self._tau = tau
        self._now = 0
        self._seen: OrderedDict[Key, int] = OrderedDict()  # the ring; the hand points to the first
        self._used: set[Key] = set()
        self._dirty: set[Key] = set()
        self._to_write: dict[Key, None] = {}
        self._writing: set[Key] = set()

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self.accessed(key, write=write)
        self._seen[key] = self._now

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._now += 1
        self._used.add(key)
        if write:
            self._dirty.add(key)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        old: dict[Key, None] = {}
        key = self._round(spared, old)
        if key is None:
            key = self._second_best(spared, old)
        self._to_write |= {k: None for k in old if k != key and k not in self._writing}
        return key

    def removed(self, key: Key) -> None:
        self.cleaned(key)
        del self._seen[key]
        self._used.discard(key)

    def cleaned(self, key: Key) -> None:
        self._dirty.discard(key)
        self._writing.discard(key)
        self._to_write.pop(key, None)

    def to_clean(self) -> Collection[Key]:
        wanted, self._to_write = self._to_write, {}
        self._writing.update(wanted)
        return wanted

    def reason(self, key: Key) -> str:
        state = "dirty" if key in self._dirty else "clean"
        if key not in self._used and self._age(key) > self._tau:
            return f"not seen used for {self._age(key)} references, {state}"
        return f"all are in the working set; it is {state}"

    def show(self) -> Structure:
        return {"from the hand": [(key, self._shown(key)) for key in self._seen]}

    def _round(self, spared: Container[Key], old: dict[Key, None]) -> Key | None:
        """Turn the hand, at most once round, to an old clean page; note in `old` the dirty ones passed."""
        for _ in range(len(self._seen)):
            key = next(iter(self._seen))
            if key not in spared:
                if key in self._used:
                    self._used.remove(key)
                    self._seen[key] = self._now
                elif self._age(key) > self._tau:
                    if key not in self._dirty:
                        return key
                    old[key] = None
            self._seen.move_to_end(key)
        return None

    def _second_best(self, spared: Container[Key], old: dict[Key, None]) -> Key | None:
        """Turn the hand to the first old page, whose write is awaited, or to a clean one, or to any."""
        may_go = [key for key in self._seen if key not in spared]
        clean = [key for key in may_go if key not in self._dirty]
        key = next(iter([*old, *clean, *may_go]), None)
        while may_go and next(iter(self._seen)) != key:
            self._seen.move_to_end(next(iter(self._seen)))
        return key

    def _age(self, key: Key) -> int:
        return self._now - self._seen[key]

    def _shown(self, key: Key) -> str:
        used = "used" if key in self._used else f"age {self._age(key)}"
        return f"{used}, {'dirty' if key in self._dirty else 'clean'}"
