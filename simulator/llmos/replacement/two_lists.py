"""The two lists of Linux."""

from collections import OrderedDict
from collections.abc import Container
from itertools import chain
from math import isqrt

from llmos.replacement._lists import drawn, first, trim
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure

PAGES_PER_GIB = 2**18
"""Pages of 4 KiB in 1 GiB."""


class TwoLists(ReplacementPolicy):
    """Linux two lists: pages are reclaimed from the inactive list; only who is used twice becomes active.

    A newcomer starts on the inactive list. Its first use sets its referenced bit, its second one makes it
    active. Reclaim takes the oldest inactive page, but a referenced one gets a second round without its
    bit. When the inactive list is short, the oldest active pages come down to it. Who was evicted leaves
    a shadow: the count of evictions and activations at that time. If it is back before that count has
    grown by more than the active list is long, it would have stayed had the inactive list been longer
    by the active one: it is active at once.

    Parameters:
        ratio: active pages come down while inactive × ratio < active; 0 = Linux's rule for pages of
            4 KiB: 1 below 1 GiB, from there the root of ten times the GiB.

    Source: Linux mm/vmscan.c (inactive_is_low, folio_check_references), mm/swap.c (mark_page_accessed),
    mm/workingset.c.
    Differs: one pair of lists, not one each for anonymous and for file pages; pages come down one by one,
    not 32 at a time; every reference is seen.
    """

    name = "two-lists"

    def __init__(self, capacity: Capacity, ratio: int = 0) -> None:
        if ratio < 0:
            raise ValueError(f"ratio: it must be 1 or more, or 0 for Linux's rule, not {ratio:,}")
        self._fixed_ratio = ratio
        self._inactive: OrderedDict[Key, None] = OrderedDict()
        self._active: OrderedDict[Key, None] = OrderedDict()
        self._referenced: set[Key] = set()
        self._shadows: OrderedDict[Key, int] = OrderedDict()  # the age when it was evicted
        self._age = 0  # evictions and activations: how far the inactive list has moved
        self.resized(capacity)

    def inserted(self, key: Key, *, write: bool = False) -> None:
        evicted_at = self._shadows.pop(key, None)
        if evicted_at is not None and self._age - evicted_at <= len(self._active):
            self._active[key] = None
            self._age += 1
        else:
            self._inactive[key] = None

    def accessed(self, key: Key, *, write: bool = False) -> None:
        if key not in self._referenced:
            self._referenced.add(key)
        elif key in self._inactive:
            del self._inactive[key]
            self._active[key] = None
            self._referenced.discard(key)
            self._age += 1

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        while len(self._inactive) * self._ratio < len(self._active):
            key, _ = self._active.popitem(last=False)
            self._inactive[key] = None
        victim, again = None, []
        for key in self._inactive:
            if key in spared:
                continue
            if key not in self._referenced:
                victim = key
                break
            again.append(key)
        for key in again:
            self._referenced.discard(key)
            self._inactive.move_to_end(key)
        return first(chain(again, self._active), spared) if victim is None else victim

    def removed(self, key: Key) -> None:
        del (self._inactive if key in self._inactive else self._active)[key]
        self._referenced.discard(key)

    def evicted(self, key: Key) -> None:
        self.removed(key)
        self._shadows[key] = self._age
        self._age += 1
        trim(self._shadows, self._capacity)  # the age has grown by more since than any list is long

    def resized(self, capacity: int) -> None:
        self._capacity = capacity
        gib = capacity // PAGES_PER_GIB
        self._ratio = self._fixed_ratio or max(isqrt(10 * gib), 1)
        trim(self._shadows, capacity)

    def reason(self, key: Key) -> str:
        if key in self._inactive:
            return "oldest inactive page that is not referenced"
        return "oldest active page; no inactive one may go"

    def show(self) -> Structure:
        return {
            "inactive": self._with_bits(self._inactive),
            "active": self._with_bits(self._active),
            "ghosts (shadows)": [(key, f"at age {age}") for key, age in self._shadows.items()],
        }

    def _with_bits(self, keys: OrderedDict[Key, None]) -> list[tuple[Key, str]]:
        return [
            pair for key in keys for pair in drawn([key], "referenced" if key in self._referenced else "")
        ]
