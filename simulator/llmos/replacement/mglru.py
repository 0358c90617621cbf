"""The multi-generational LRU of Linux."""

from collections import OrderedDict, deque
from collections.abc import Container
from itertools import chain
from typing import NamedTuple

from llmos.replacement._lists import first, trim
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure

FEWEST_GENERATIONS = 2
"""The youngest two are in use and not reclaimed from."""
MOST_GENERATIONS = 4
TIERS = 4


class _Shadow(NamedTuple):
    """What is remembered of an evicted page."""

    tier: int
    oldest: int
    """Number of the generation it was evicted from."""


class Mglru(ReplacementPolicy):
    """MGLRU: pages age in generations; the oldest one is reclaimed, and who is used joins the youngest.

    A new page enters the youngest generation. When only two generations are left, or the pages lie
    unevenly among them, a new youngest one begins, and all others have aged by one. Pages that were used
    meanwhile move into it, and so does a used page that reclaim meets: age is counted in generations, and
    nothing need be moved on a use. Pages that are used by read() are treated otherwise (`mapped` false):
    their uses are counted, and the logarithm of the count is their tier. Whoever is evicted leaves a shadow;
    where a tier comes back at a higher rate than pages that were used at most once (tier 0), its pages are
    protected: reclaim moves them to the next generation.

    Parameters:
        mapped: pages are used through page tables, which tell one accessed bit, and not by read().
        batch: pages of a tier that must have come back before it is protected.

    Source: Linux include/linux/mmzone.h, mm/vmscan.c (should_run_aging, get_tier_idx), mm/workingset.c.
    Differs: one kind of pages, not anonymous and file pages side by side; pages come in by a fault, into
    the youngest generation, also when they are read later. Rates are compared as they are; the kernel
    lets a tier be a little worse first.
    """

    def __init__(
        self,
        capacity: Capacity,
        mapped: bool = True,  # noqa: FBT001, FBT002
        batch: int = 64,
    ) -> None:
        if batch < 0:
            raise ValueError(f"batch: it must be 0 or more, not {batch:,}")
        self._capacity = capacity
        self._mapped = mapped
        self._batch = batch
        self._generations: deque[OrderedDict[Key, None]] = deque(
            OrderedDict() for _ in range(FEWEST_GENERATIONS)
        )
        self._oldest = 0  # number of the oldest generation, as the kernel counts them
        self._where: dict[Key, OrderedDict[Key, None]] = {}
        self._uses: dict[Key, int] = {}  # since it came, or was moved; with `mapped`, those with the bit
        self._shadows: OrderedDict[Key, _Shadow] = OrderedDict()
        self._came_back = [0.0] * TIERS
        self._went = [0.0] * TIERS  # evicted, or would have been but for the protection

    def inserted(self, key: Key, *, write: bool = False) -> None:
        shadow = self._shadows.pop(key, None)
        if shadow is not None and self._oldest - shadow.oldest < MOST_GENERATIONS:
            self._came_back[shadow.tier] += 1
        self._put(key, self._generations[-1])

    def accessed(self, key: Key, *, write: bool = False) -> None:
        self._uses[key] = self._uses.get(key, 0) + 1

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        for _ in range(2 * MOST_GENERATIONS):  # who has been moved on has no uses the next time
            self._age()
            victim = self._oldest_unused(spared)
            if victim is not None:
                return victim
        return first(chain.from_iterable(self._generations), spared)

    def removed(self, key: Key) -> None:
        del self._where.pop(key)[key]
        self._uses.pop(key, None)

    def evicted(self, key: Key) -> None:
        tier = self._tier(key)
        self._went[tier] += 1
        self._shadows[key] = _Shadow(tier, self._oldest)
        trim(self._shadows, self._capacity)
        self.removed(key)

    def resized(self, capacity: int) -> None:
        self._capacity = capacity
        trim(self._shadows, capacity)

    def reason(self, key: Key) -> str:
        return f"in the oldest generation, {self._oldest}, and its tier, {self._tier(key)}, is not protected"

    def show(self) -> Structure:
        shown = {
            f"generation {self._oldest + i}": [(key, self._figure(key)) for key in keys]
            for i, keys in enumerate(self._generations)
        }
        ghosts = [(key, f"tier {shadow.tier}") for key, shadow in self._shadows.items()]
        return {**shown, "ghosts (shadows)": ghosts}

    def _oldest_unused(self, spared: Container[Key]) -> Key | None:
        """Find who may go in the oldest generation, and move on all who may not and come before."""
        protected = self._first_protected()
        oldest, next_one, youngest = self._generations[0], self._generations[1], self._generations[-1]
        while oldest:
            key = next(iter(oldest))
            if key in spared:
                self._put(key, next_one, keep_uses=True)
            elif self._mapped and key in self._uses:
                self._put(key, youngest)
            elif self._tier(key) >= protected:
                self._went[self._tier(key)] += 1
                self._put(key, next_one)
            else:
                return key
        return None

    def _age(self) -> None:
        """Drop oldest generations that are empty, and begin a new one where the kernel would."""
        while len(self._generations) > FEWEST_GENERATIONS and not self._generations[0]:
            self._drop_oldest()
        if len(self._generations) <= FEWEST_GENERATIONS or (
            len(self._generations) == FEWEST_GENERATIONS + 1 and self._uneven()
        ):
            youngest: OrderedDict[Key, None] = OrderedDict()
            self._generations.append(youngest)
            if self._mapped:
                for key in list(self._uses):
                    self._put(key, youngest)

    def _uneven(self) -> bool:
        """Whether more than half of all pages are in the youngest, or less than a quarter in the oldest."""
        oldest, youngest = len(self._generations[0]), len(self._generations[-1])
        return youngest * FEWEST_GENERATIONS > len(self._where) or (
            oldest * (FEWEST_GENERATIONS + 2) < len(self._where)
        )

    def _drop_oldest(self) -> None:
        """Count from the next generation on; what was counted before weighs half."""
        self._generations.popleft()
        self._oldest += 1
        self._came_back = [count / 2 for count in self._came_back]
        self._went = [count / 2 for count in self._went]

    def _first_protected(self) -> int:
        """Return the lowest tier that comes back at a higher rate than tier 0 does; TIERS if none."""
        for tier in range(1, TIERS):
            back, went = self._came_back[tier], self._went[tier]
            if back >= self._batch and back * self._went[0] > self._came_back[0] * went:
                return tier
        return TIERS

    def _tier(self, key: Key) -> int:
        """Return the tier of `key`: order_base_2 of its uses, the reference that brought it included."""
        return 0 if self._mapped else min(self._uses.get(key, 0).bit_length(), TIERS - 1)

    def _put(self, key: Key, generation: OrderedDict[Key, None], *, keep_uses: bool = False) -> None:
        if (before := self._where.get(key)) is not None:
            del before[key]
        generation[key] = None
        self._where[key] = generation
        if not keep_uses:
            self._uses.pop(key, None)

    def _figure(self, key: Key) -> str:
        if self._mapped:
            return "accessed" if key in self._uses else ""
        return f"tier {self._tier(key)}"
