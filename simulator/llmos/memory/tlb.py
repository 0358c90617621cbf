"""The TLB: translations that were used lately, so that no table need be walked.

- It is asked with `lookup` first: which level has the page, or none (`MISS`). After a miss the machine
  walks the table (`walk` counts what that costs) and calls `fill`.
- Entries are copies. When the kernel changes or takes back an entry of a page table, it must `invalidate`
  the page in every TLB that may hold it (a shootdown); until then that TLB goes on with the old one.
- A level is made of arrays: sets times ways, for data, code or both, for pages of one size or several. Each
  set orders its own ways by a replacement policy.
- With address space numbers (ASIDs), entries of many processes live together. Without them, `switch`
  empties it. Global entries belong to all processes and survive a switch.
- Counters are kept here; time is not: the machine knows what a level costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from llmos.memory.tlb_array import EVERYBODY, WAY, Array, Cached, Found, Key, PolicyMaker, Shape, View
from llmos.memory.translation.base import Pte
from llmos.replacement.lru import Lru

MISS: Final = 0
"""What `lookup` answers if no level has the page; the levels are 1, 2, ..."""

TYPICAL: Final = (
    Shape(sets=16, ways=4),
    Shape(sets=1, ways=32, pages=(1, 2)),
    Shape(sets=128, ways=12, level=2, pages=(0, 1)),
)
"""64 + 32 entries and 1536 behind them, as in ChampSim's default."""


SIDES: Final = {"data": ("data",), "code": ("code",), "both": ("data", "code")}
"""What an array serves -> which references look into it."""

NOTHING: Final[Mapping[int, Found]] = MappingProxyType({})


class Tlb:
    """One core's TLB.

    `policy` makes the policy of each set. `spans` are those of the tables: level of an entry -> bits of a
    VPN below it, for as many levels as there are. `walk_cache` is how many pointers to tables are
    remembered, beginning with those to a last table, which save most of a walk.

    Raises ValueError if two arrays of a level hold the same pages, or if there are no such pages or tables.

    Source: OSTEP ch. 19; Intel SDM vol. 3, ch. 4.10 (PCIDs, global pages, paging-structure caches).
    Differs: what leaves the second level may stay in the first. Nobody guesses and fetches ahead.
    """

    def __init__(
        self,
        shapes: Sequence[Shape] = TYPICAL,
        *,
        policy: PolicyMaker | None = None,
        asids: bool = True,
        spans: Sequence[int] = (0, 9, 18, 27),
        offset_bits: int = 12,
        walk_cache: Sequence[int] = (),
    ) -> None:
        _check(shapes, spans, walk_cache)
        make = policy or (lambda _: Lru())
        self.asids = asids
        self.spans = tuple(spans)
        self.offset_bits = offset_bits
        self.levels = max(shape.level for shape in shapes)
        self._sizes = sorted({page for shape in shapes for page in shape.pages} | {0})
        levels = [self._make_views(shapes, level) for level in range(1, self.levels + 1)]
        self._views = {fetch: [view for views in levels for view in views[fetch]] for fetch in (False, True)}
        """What there is, as data and as code: level by level, a view for each size of pages."""
        self._data, self._code = (self._views[fetch][0].owners for fetch in (False, True))
        self._arrays = [Array(shape, make, _served(shape, levels[shape.level - 1])) for shape in shapes]
        self._holds = {
            fetch: [
                [a for a in self._arrays if page in a.shape.pages and side in SIDES[a.shape.serves]]
                for page in range(self._sizes[-1] + 1)
            ]
            for fetch, side in ((False, "data"), (True, "code"))
        }
        """Which arrays hold pages of each size, as data and as code."""
        self._walk_cache = [Array(Shape(ways=ways), make) for ways in walk_cache]
        self.hits = [0] * (self.levels + 1)
        """Level -> how many lookups it has answered; `hits[MISS]` are the misses."""
        self.walk_references = 0
        self.flushes = 0
        self.invalidations = 0

    # --- the machine's side -----------------------------------------------------------------------------

    def lookup(self, asid: int, vpn: int, *, fetch: bool = False) -> int:
        """Return the level that has page `vpn` of `asid`, or MISS; `fetch`: as code."""
        mine = (self._code if fetch else self._data).get(asid)
        if mine is not None:
            found = mine.get(vpn)
            if found is not None:
                on_hit, key, _ = found
                on_hit(key)
                self.hits[1] += 1
                return 1
        return self._search(asid, vpn, fetch=fetch)

    def first(self, asid: int) -> Mapping[int, Found]:
        """Return the base pages of `asid` that the first level has, for who looks up millions.

        It is true until a page is looked up that is not in it, filled in or taken out. A hit in it is told
        by calling what is found there, as `lookup` does, and counted by who does so.
        """
        return self._data.get(asid, NOTHING)

    def fill(self, asid: int, vpn: int, entry: Pte, *, fetch: bool = False) -> None:
        """Remember what `entry` says of page `vpn`, at all levels.

        Where no array holds pages of its size, the part around `vpn` is remembered as a smaller page.
        """
        level, pfn = entry.level, entry.pfn
        if level:
            inside = vpn & ((1 << self.spans[level]) - 1)
            level = max(size for size in self._sizes if size <= level)
            pfn += inside >> self.spans[level] << self.spans[level]
        span = self.spans[level]
        cached = Cached(pfn, entry.writable, entry.executable, entry.user, level)
        self._put(
            (EVERYBODY if entry.is_global else asid, vpn >> span, level), cached, self.levels, fetch=fetch
        )

    def walk(self, asid: int, vpn: int, accesses: int) -> int:
        """Count the references of a walk that would make `accesses`, and return how many it did make.

        The walk cache saves those that lead to a table that it remembers.
        """
        references = accesses
        for i, array in enumerate(self._walk_cache):
            depth = len(self.spans) - 1 - i  # of the table to which these pointers lead
            if not 0 < depth < accesses:
                continue
            key = (asid, vpn >> self.spans[i + 1], i)
            if key in array.entries:
                array.use(key)
                references = accesses - depth
                break
            array.put(key, WAY)
        self.walk_references += references
        return references

    def cached(self, asid: int, vpn: int, *, fetch: bool = False) -> Cached | None:
        """Return what it remembers of page `vpn`, without counting as a use."""
        found = self._find(asid, vpn, fetch=fetch)
        return None if found is None else found[2].entries[found[1]]

    # --- the kernel's side ------------------------------------------------------------------------------

    def invalidate(self, asid: int, vpn: int, pages: int = 1) -> int:
        """Forget what maps any of the `pages` base pages of `asid` from `vpn` on, and the ways to them.

        Return how many entries there were. A huge page goes whole.
        """
        self.invalidations += 1
        if pages == 1:
            for i, array in enumerate(self._walk_cache):
                array.drop((asid, vpn >> self.spans[i + 1], i))
            gone = set()
            for array in self._arrays:
                for size in array.shape.pages:
                    number = vpn >> self.spans[size]
                    for key in ((asid, number, size), (EVERYBODY, number, size)):
                        if key in array.entries:
                            array.drop(key)
                            gone.add(key)
            return len(gone)
        ways = self._names(self._walk_cache, lambda key: self._meets(key, asid, vpn, pages, key[2] + 1))
        self._drop(self._walk_cache, ways)
        keys = self._names(self._arrays, lambda key: self._meets(key, asid, vpn, pages, key[2]))
        return self._drop(self._arrays, keys)

    def flush(self, asid: int | None = None) -> int:
        """Forget all pages of `asid`, or everything (None), global entries too; return how many."""
        self.flushes += 1
        return self._forget(lambda key: asid is None or key[0] == asid)

    def switch(self) -> int:
        """Note that another process runs now: without ASIDs, all but global entries go; return how many."""
        if self.asids:
            return 0
        self.flushes += 1
        return self._forget(lambda key: key[0] != EVERYBODY)

    # --- how far it reaches -----------------------------------------------------------------------------

    def reach_bytes(self, level: int = 0) -> int:
        """Return how much memory the entries for data pages of `level` can cover, all in use.

        It is that of the largest level: the others hold some of the same pages.
        """
        counts = [0] * (self.levels + 1)
        for array in self._arrays:
            if level in array.shape.pages and array.shape.serves != "code":
                counts[array.shape.level] += array.shape.entries
        return max(counts) << (self.offset_bits + self.spans[level])

    def covered_bytes(self) -> int:
        """Return how much memory the entries that it has now cover."""
        keys = {key for key, _ in self.entries()}
        return sum(1 << (self.offset_bits + self.spans[level]) for _, _, level in keys)

    def entries(self) -> Iterator[tuple[Key, Cached]]:
        """Yield everything that it remembers, array by array."""
        for array in self._arrays:
            yield from array.entries.items()

    # --- inside -----------------------------------------------------------------------------------------

    def _search(self, asid: int, vpn: int, *, fetch: bool) -> int:
        """Look everywhere; what a later level has comes into the earlier ones."""
        found = self._find(asid, vpn, fetch=fetch)
        if found is None:
            self.hits[MISS] += 1
            return MISS
        on_hit, key, array = found
        on_hit(key)
        level = array.shape.level
        self.hits[level] += 1
        if level > 1:
            self._put(key, array.entries[key], level - 1, fetch=fetch)
        return level

    def _find(self, asid: int, vpn: int, *, fetch: bool) -> Found | None:
        for view in self._views[fetch]:
            if not view.owners:
                continue
            for owner in (asid, EVERYBODY):
                theirs = view.owners.get(owner)
                found = theirs.get(vpn >> view.span) if theirs else None
                if found is not None:
                    return found
        return None

    def _put(self, key: Key, cached: Cached, deepest: int, *, fetch: bool) -> None:
        for array in self._holds[fetch][key[2]]:
            if array.shape.level <= deepest:
                array.put(key, cached)

    def _make_views(self, shapes: Sequence[Shape], level: int) -> Sequence[list[View]]:
        """Make the views of a level, for data and for code: the same if no array tells them apart."""
        data = [View(span) for span in self.spans[: self._sizes[-1] + 1]]
        if all(shape.serves == "both" for shape in shapes if shape.level == level):
            return data, data
        return data, [View(view.span) for view in data]

    def _meets(self, key: Key, asid: int, vpn: int, pages: int, level: int) -> bool:
        """Whether what `key` names, with as many pages as an entry of `level` has, meets these pages."""
        span = self.spans[level]
        first = key[1] << span
        return key[0] in {asid, EVERYBODY} and first < vpn + pages and vpn < first + (1 << span)

    def _forget(self, goes: Callable[[Key], bool]) -> int:
        self._drop(self._walk_cache, self._names(self._walk_cache, goes))
        return self._drop(self._arrays, self._names(self._arrays, goes))

    def _names(self, arrays: Iterable[Array], goes: Callable[[Key], bool]) -> set[Key]:
        return {key for array in arrays for key in array.entries if goes(key)}

    def _drop(self, arrays: Iterable[Array], keys: Collection[Key]) -> int:
        """Drop `keys` from all `arrays`; return how many of them were anywhere."""
        return len({key for array in arrays for key in keys if array.drop(key)})


def _check(shapes: Sequence[Shape], spans: Sequence[int], walk_cache: Sequence[int]) -> None:
    taken: set[tuple[int, int, str]] = set()
    for shape in shapes:
        sides = SIDES.get(shape.serves)
        if sides is None:
            raise ValueError(f'an array serves "data", "code" or "both", not "{shape.serves}"')
        if min(shape.sets, shape.ways, shape.level) < 1:
            raise ValueError(f"sets, ways and levels are 1 or more: {shape}")
        if not all(0 <= page < len(spans) for page in shape.pages):
            raise ValueError(f"there are pages of levels 0 to {len(spans) - 1}: {shape}")
        holds = {(shape.level, page, side) for page in shape.pages for side in sides}
        if holds & taken:
            raise ValueError(f"another array of level {shape.level} holds these pages already: {shape}")
        taken |= holds
    if len(walk_cache) >= len(spans) and walk_cache:
        raise ValueError(
            f"{len(spans)} levels of tables have {len(spans) - 1} kinds of pointers between them"
        )


def _served(shape: Shape, views: Sequence[list[View]]) -> Sequence[list[View]]:
    """Which of a level's views (of data and of code) an array of that `shape` serves."""
    data, code = views
    if shape.serves == "both":
        return (data,) if data is code else (data, code)
    return (data,) if shape.serves == "data" else (code,)


def effective_access_ns(
    memory_ns: float | Fraction,
    *,
    tlb_ns: float | Fraction = 0,
    hit_ratio: float | Fraction = 1,
    walk_references: float | Fraction = 0,
    fault_rate: float | Fraction = 0,
    fault_ns: float | Fraction = 0,
) -> float | Fraction:
    """Return what a reference takes on average, in ns: the textbooks' effective access time.

    A reference searches the TLB and reads memory; a miss reads memory `walk_references` times more; so
    many of all references (`fault_rate`) take `fault_ns` instead. Ratios are 0 to 1.

    Source: Silberschatz, Galvin and Gagne ch. 9 (with a TLB) and ch. 10 (with demand paging).
    """
    there = tlb_ns + memory_ns + (1 - hit_ratio) * walk_references * memory_ns
    return (1 - fault_rate) * there + fault_rate * fault_ns


class NoTlb(Tlb):
    """A core without a TLB: every reference walks the page table."""

    def __init__(self) -> None:
        super().__init__((Shape(ways=1),))
        self.levels = 0

    def lookup(self, asid: int, vpn: int, *, fetch: bool = False) -> int:
        self.hits[MISS] += 1
        return MISS

    def fill(self, asid: int, vpn: int, entry: Pte, *, fetch: bool = False) -> None:
        pass
