"""One array of a TLB: sets of places, and what each entry says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.places import places

EVERYBODY: Final = -1
"""The ASID of global entries."""

Key = tuple[int, int, int]
"""ASID, number of the page among pages of its size, page level."""

PolicyMaker = Callable[[int], ReplacementPolicy]
"""Makes the policy of a set of so many ways."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An array of `sets` times `ways` entries at `level`; one set is a fully associative array.

    It `serves` "data", "code" or "both", and holds pages of the levels `pages`: 0 base pages, 1 and 2 the
    huge ones. The set of a page is its number modulo `sets`.
    """

    sets: int = 1
    ways: int = 64
    level: int = 1
    serves: str = "both"
    pages: tuple[int, ...] = (0,)

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return self.sets * self.ways


class Cached(NamedTuple):
    """What the TLB remembers of an entry."""

    pfn: int
    writable: bool
    executable: bool
    user: bool
    level: int


WAY: Final = Cached(0, writable=True, executable=True, user=True, level=0)
"""What stands in a walk cache: that the table is known is enough."""

Found = tuple[Callable[[Key], object], Key, "Array"]
"""Where an entry is: how the policy of its set is told of a hit, its key, and its array."""


class View:
    """What a level has of pages of one size, as it is asked for.

    `owners`: ASID -> number of the page -> where its entry is. An owner without entries is not in it.
    """

    __slots__ = ("owners", "span")

    def __init__(self, span: int) -> None:
        self.span = span
        self.owners: dict[int, dict[int, Found]] = {}


class Array:
    """Sets of places, what each entry says, and the views of its level in which entries are found.

    `views` are those that it serves, each a list by page level: of data, of code, or both.
    """

    __slots__ = ("_sets", "_views", "entries", "shape")

    def __init__(self, shape: Shape, make: PolicyMaker, views: Sequence[Sequence[View]] = ()) -> None:
        self.shape = shape
        self.entries: dict[Key, Cached] = {}
        self._sets = [places(shape.ways, make(shape.ways)) for _ in range(shape.sets)]
        self._views = views

    def use(self, key: Key) -> None:
        """Tell the policy that the entry `key` was used."""
        self._sets[key[1] % len(self._sets)].on_hit(key)

    def put(self, key: Key, cached: Cached) -> None:
        """Enter `key`, in place of a victim if its set is full."""
        owner, number, level = key
        ways = self._sets[number % len(self._sets)]
        if key in self.entries:
            ways.on_hit(key)
            self.entries[key] = cached
            return
        victim = ways.take(key)
        if victim is not None:
            self._forget(cast("Key", victim))
        self.entries[key] = cached
        found = (ways.on_hit, key, self)
        for views in self._views:
            owners = views[level].owners
            if owner in owners:
                owners[owner][number] = found
            else:
                owners[owner] = {number: found}

    def drop(self, key: Key) -> bool:
        """Take `key` out, if it is there."""
        if key not in self.entries:
            return False
        self._sets[key[1] % len(self._sets)].remove(key)
        self._forget(key)
        return True

    def _forget(self, key: Key) -> None:
        del self.entries[key]
        owner, number, level = key
        for views in self._views:
            owners = views[level].owners
            mine = owners[owner]
            del mine[number]
            if not mine:
                del owners[owner]
