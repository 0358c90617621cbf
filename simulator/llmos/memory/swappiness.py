"""Anonymous or file pages first: one order for each kind, and Linux's proportion between them.

- It is a replacement policy made of two: each page is ordered among those of its kind.
- A kind's pressure is its weight (swappiness for anonymous pages, 200 - swappiness for those of files)
  over what it has cost lately: evicted pages that had to be read back. Victims are taken of both kinds in
  proportion to pressure times pages.
- With swappiness 0 no anonymous page goes while one of a file can; with 200 it is the other way round.

Source: Linux 6.12 mm/vmscan.c (get_scan_count), mm/swap.c (lru_note_cost).
Differs: victims are chosen one by one, where Linux scans pages in batches; a page that was read back costs
the same whether it was active or not; writing and rotating cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from llmos.replacement.base import NONE, Key, ReplacementPolicy, Structure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container

MOST: Final = 200
IO_COST: Final = 32
"""What reading a page back costs, against a page that is only looked at (SWAP_CLUSTER_MAX)."""
ANON, FILE = 0, 1


class ByKind(ReplacementPolicy):
    """Two policies from `make`, one for anonymous and one for file pages, and `swappiness` 0 to 200."""

    def __init__(self, make: Callable[[], ReplacementPolicy], swappiness: int) -> None:
        self._policies = (make(), make())
        self._weights = (swappiness, MOST - swappiness)
        self._pages = [0, 0]
        self._costs = [0, 0]
        self._credits = [0, 0]
        """How far each kind is behind its share of the victims."""
        self._gone: OrderedDict[Key, None] = OrderedDict()
        """Who was evicted lately: as many as there are pages."""

    def inserted(self, key: Key, *, write: bool = False) -> None:
        kind = _kind(key)
        if key in self._gone:
            del self._gone[key]
            self._note_cost(kind)
        self._pages[kind] += 1
        self._policies[kind].inserted(key, write=write)

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._policies[_kind(key)].accessed(key, write=write)

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        shares = self.shares()
        behind = [credit + share for credit, share in zip(self._credits, shares, strict=True)]
        first = ANON if behind[ANON] > behind[FILE] else FILE
        if not shares[first]:
            first = 1 - first
        for kind in (first, 1 - first):
            found = self._policies[kind].victim(spared, incoming if _kind(incoming) == kind else None)
            if found is not None:
                return found
        return None

    def removed(self, key: Key) -> None:
        kind = _kind(key)
        self._pages[kind] -= 1
        self._policies[kind].removed(key)

    def evicted(self, key: Key) -> None:
        kind = _kind(key)
        shares = self.shares()
        self._credits = [credit + share for credit, share in zip(self._credits, shares, strict=True)]
        self._credits[kind] -= sum(shares)
        self._pages[kind] -= 1
        self._policies[kind].evicted(key)
        self._gone[key] = None
        while len(self._gone) > sum(self._pages):
            self._gone.popitem(last=False)

    def cleaned(self, key: Key) -> None:
        self._policies[_kind(key)].cleaned(key)

    def to_clean(self) -> Collection[Key]:
        return [key for policy in self._policies for key in policy.to_clean()]

    def resized(self, capacity: int) -> None:
        for policy in self._policies:
            policy.resized(capacity)

    def reason(self, key: Key) -> str:
        anon, file = self.shares()
        name = ("anonymous", "file")[_kind(key)]
        return f"{name} page, turns {anon}:{file}; {self._policies[_kind(key)].reason(key)}"

    def show(self) -> Structure:
        return {
            f"{name} {heading}".rstrip(): keys
            for name, policy in zip(("anonymous", "file"), self._policies, strict=True)
            for heading, keys in policy.show().items()
        }

    def shares(self) -> tuple[int, int]:
        """Return in what proportion victims are anonymous and of files, in thousandths."""
        total = sum(self._costs)
        costs = [total + cost for cost in self._costs]
        whole = sum(costs)
        anon, file = (
            weight * (whole + 1) // (cost + 1) * pages
            for weight, cost, pages in zip(self._weights, costs, self._pages, strict=True)
        )
        if not anon + file:
            return (1000, 0) if self._pages[ANON] and not self._pages[FILE] else (0, 1000)
        return 1000 * anon // (anon + file), 1000 - 1000 * anon // (anon + file)

    def _note_cost(self, kind: int) -> None:
        self._costs[kind] += IO_COST
        if sum(self._costs) > sum(self._pages) // 4:
            self._costs = [cost // 2 for cost in self._costs]


def _kind(key: Key) -> int:
    return ANON if type(key) is int else FILE
