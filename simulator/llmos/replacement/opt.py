"""The optimum, for those who know the future."""

from collections.abc import Container, Iterable

from llmos.errors import PolicyError
from llmos.replacement._ranked import Ranked
from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure

TIES = ("first", "last")


class Opt(ReplacementPolicy):
    """OPT: who will not be used for longest goes.

    No policy has fewer misses, whatever it knows (Belady). Nobody has the future at hand, so this is no
    policy for a machine but the measure of all others: what LRU misses more than OPT does is the price
    of not knowing. It does not count what a write costs.

    Parameters:
        ties: of the pages that are never used again, the "first" or the "last" to have come goes; left
            out, it is the last, and with `worst` the first. It makes no difference to the misses.
        worst: the opposite, OSTEP's UNOPT: who will be used soonest goes.

    Source: Belady 1966 (MIN); Mattson, Gecsei, Slutz and Traiger 1970 (OPT); OSTEP ch. 22 and its
    homework, whose rule for ties is the default.
    """

    offline = True

    def __init__(self, ties: str | None = None, worst: bool = False) -> None:  # noqa: FBT001, FBT002
        ties = ties or ("first" if worst else "last")
        if ties not in TIES:
            raise ValueError(f'ties: it is "first" or "last", not "{ties}"')
        self._far = 1 if worst else -1  # the lowest rank goes: the nearest use, or the farthest
        self._late = 1 if ties == "first" else -1
        self._now = 0
        self._future: list[Key] = []
        self._next: list[int] = []
        self._came: dict[Key, int] = {}
        self._ranked = Ranked()

    def foresee(self, references: Iterable[Key]) -> None:
        self._future = list(references)
        self._next = [len(self._future)] * len(self._future)
        last: dict[Key, int] = {}
        for now, key in enumerate(self._future):
            if key in last:
                self._next[last[key]] = now
            last[key] = now

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._came[key] = self._now
        self.accessed(key)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        now = self._now
        if now >= len(self._future) or self._future[now] != key:
            raise self._surprise(key)
        self._ranked.put(key, self._far * self._next[now], self._late * self._came[key])
        self._now += 1

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return self._ranked.lowest(spared.__contains__)

    def removed(self, key: Key) -> None:
        self._ranked.remove(key)
        del self._came[key]

    def reason(self, key: Key) -> str:
        if self._next_use(key) == len(self._future):
            return "never used again"
        how = "soonest" if self._far > 0 else "farthest ahead"
        return f"next use {how}, at reference {self._next_use(key) + 1}"

    def show(self) -> Structure:
        return {"": [(key, self._shown(key)) for key in self._ranked.in_order()]}

    def _next_use(self, key: Key) -> int:
        return self._far * self._ranked.rank(key)[0]

    def _shown(self, key: Key) -> str:
        at = self._next_use(key)
        return "never" if at == len(self._future) else f"at {at + 1}"

    def _surprise(self, key: Key) -> PolicyError:
        foreseen = repr(self._future[self._now]) if self._now < len(self._future) else "nothing"
        return PolicyError(
            f"reference {self._now + 1} is {key!r}, but {foreseen} was foreseen",
            policy="opt",
            hint="tell it all references to come first (foresee); it cannot do without",
        )
