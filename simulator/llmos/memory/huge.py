"""Huge pages: one entry of the page table, and of the TLB, for many frames.

- Anonymous memory that nobody has touched yet gets a huge page by its first fault, if it is aligned, all of
  one region, and a block of frames is free. With "madvise" only regions get them that ask for it.
- A scanner (khugepaged) comes round and promotes: it copies pages that are there, and zeros where none
  are, into a free block, as long as no more than `max_none` are missing.
- A huge page is split when a part of it is unmapped, protected or, being shared, written. One that must go
  leaves whole if swap has room for all of it, and comes back in small pages.
- Frames of a huge page that nobody touches are its waste. It is measured: the hardware of a real machine
  could not tell.

Source: Linux mm/huge_memory.c, mm/khugepaged.c and Documentation/admin-guide/mm/transhuge.rst, in outline.
Differs: memory of files is never huge. A page in swap, locked or shared is not promoted (Linux has limits
for each). A write to a shared one splits it for all who have it, and the scanner works in interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmos.memory import compaction
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space
    from llmos.memory.space import Region
    from llmos.replacement.base import Key

When = Literal["never", "madvise", "always"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HugeRules:
    """Who gets huge pages of 2^`order` frames, and how the scanner works: Linux's figures."""

    when: When = "always"
    order: int = 9
    scan_ns: int = 10_000_000_000
    """How long the scanner sleeps."""
    retry_ns: int = 60_000_000_000
    """How long it leaves it alone when it has found no block."""
    pages_to_scan: int = 4096
    """Base pages that it looks at before it sleeps again."""
    max_none: int = 511
    """So many base pages of a huge one may be missing."""


class HugePages:
    """The huge pages of a memory."""

    def __init__(self, memory: Memory, rules: HugeRules) -> None:
        self.memory = memory
        self.rules = rules
        self.pages = 1 << rules.order
        """Base pages of a huge page."""
        self.touched: dict[object, set[int]] = {}
        """Key of each huge page -> those of its base pages that somebody has touched."""
        self._after = (-1, -1)
        """The (pid, page number) that the scanner has looked at last."""
        self._not_before = 0

    def touch(self, page: Page, vpn: int) -> None:
        """Note that base page `vpn` of the huge `page` was touched."""
        self.touched[page.key].add(vpn & (self.pages - 1))

    # --- how they come ----------------------------------------------------------------------------------

    def fault(self, space: Space, region: Region, vpn: int) -> Page | None:
        """Map a huge page of zeros around `vpn`, which nobody has touched; None if that cannot be."""
        head = self._head(vpn)
        if not self._fits(region, head) or any(_has(space, head + i) for i in range(self.pages)):
            return None
        page = self._allocate(space, head, compacts=region.huge is True)
        if page is None:
            return None
        self._map(space, region, head, page)
        self._emit("fault", space, head, page, "demand zero")
        return page

    def scan(self) -> None:
        """Look at some memory, and promote what may be: what khugepaged does when it wakes up."""
        memory = self.memory
        memory.now, memory.cpu = memory.sim.now, 0
        if memory.now < self._not_before:
            return
        left, spent = self.rules.pages_to_scan, 0
        for space, region, head in self._candidates():
            if left <= 0 or memory.now < self._not_before:
                break
            left -= self.pages
            self._after = (space.pid, head)
            spent += self.pages * memory.costs.walk_ns
            if self._may_promote(space, region, head):
                spent += self._promote(space, region, head)
        else:
            self._after = (-1, -1)  # once round
        spent += memory.take_owed()
        if spent:
            memory.interrupt(0, "khugepaged", spent, "looks for memory that could be huge")

    def _candidates(self) -> Iterator[tuple[Space, Region, int]]:
        """Yield where something lies that could be huge, from where the scanner has stopped to the end."""
        for pid, space in sorted(self.memory.spaces.items()):
            for head in sorted({self._head(vpn) for vpn in space.anon}):
                region = space.regions.find(head)
                if (pid, head) > self._after and region is not None and self._fits(region, head):
                    yield space, region, head

    def _may_promote(self, space: Space, region: Region, head: int) -> bool:
        there = 0
        for vpn in range(head, head + self.pages):
            pte, key = space.table.lookup(vpn), space.anon.get(vpn)
            if pte is not None and pte.level:
                return False  # it is huge already
            if key is None:
                continue
            page = self.memory.pager.pages.get(key)
            if pte is None or not pte.present or page is None or page.pins or self.memory.users[key] != 1:
                return False
            there += 1
        few = self.pages - there <= self.rules.max_none
        return there > 0 and few and region.readable and space.pool.full(self.pages) is None

    def _promote(self, space: Space, region: Region, head: int) -> int:
        """Put a huge page in place of the pages from `head` on; return the time that the copying takes."""
        memory = self.memory
        page = self._allocate(space, head, compacts=True)
        if page is None:
            self._not_before = memory.now + self.rules.retry_ns
            return 0
        there = [vpn for vpn in range(head, head + self.pages) if vpn in space.anon]
        for vpn in there:
            old = memory.pager.pages[space.anon[vpn]]
            space.table.unmap(vpn)
            old.holders.remove((space, vpn))
            space.rss -= 1
            memory.give_up(space.anon.pop(vpn))
        memory.shoot_down(space, head, self.pages)
        self._map(space, region, head, page)
        self.touched[page.key] = {vpn - head for vpn in there}
        took = len(there) * memory.costs.copy_page_ns
        took += (self.pages - len(there)) * memory.costs.zero_page_ns
        self._emit("promote", space, head, page, f"{len(there)} of {self.pages} pages are there", took)
        return took

    def _allocate(self, space: Space, head: int, *, compacts: bool) -> Page | None:
        """Return a huge page with frames of its own, or say why there is none."""
        memory, order = self.memory, self.rules.order
        if space.pool.full(self.pages) is not None:
            return None
        kept = memory.marks.min if memory.marks else 0
        if memory.buddy.free_frames - self.pages < kept:
            self._emit(
                "none", space, head, None, f"{memory.buddy.free_frames} frames are free, {kept} are kept"
            )
            return None
        key = memory.new_key()
        page = memory.pager.load(key, space.pool, write=True, order=order)
        if page is None and compacts and memory.compacts:
            compaction.compact(memory, order)
            page = memory.pager.load(key, space.pool, write=True, order=order)
        if page is None:
            self._emit("none", space, head, None, f"no block of {self.pages} frames is free")
            return None
        memory.users[key] = 1
        memory.frames_taken()
        return page

    def _map(self, space: Space, region: Region, head: int, page: Page) -> None:
        assert isinstance(page.key, int)  # noqa: S101  # for mypy: huge pages are anonymous
        space.anon[head] = page.key
        self.touched[page.key] = set()
        self.memory.map(space, head, page, writable=region.writable)

    def _fits(self, region: Region, head: int) -> bool:
        """Whether a huge page may lie at `head`."""
        wanted = region.huge is True or (self.rules.when == "always" and region.huge is None)
        inside = region.start <= head and head + self.pages <= region.end
        return inside and wanted and region.file is None and not region.shared and not region.locked

    # --- how they go ------------------------------------------------------------------------------------

    def unshare(self, space: Space, vpn: int) -> None:
        """Split the page around `vpn`, if it is huge and somebody else has it too, before it is written."""
        pte = space.table.lookup(vpn)
        page = self.memory.pager.at[pte.pfn]  # type: ignore[union-attr]  # it is present
        if page.order and len(page.holders) > 1:
            self.split(page, f"{space.name} writes a part of what it shares")

    def cut(self, space: Space, start: int, end: int, *, inside: bool = False) -> None:
        """Split the huge pages that lie across `start` or `end`; with `inside` also those in between."""
        heads = [self._head(edge) for edge in (start, end) if edge % self.pages]
        if inside:  # a region may be vast and empty
            heads += sorted(vpn for vpn in space.anon if start <= vpn < end)
        for head in dict.fromkeys(heads):
            pte = space.table.lookup(head)
            if pte is not None and pte.level:
                self.split(self.memory.pager.at[pte.pfn], "a part of it is changed")

    def split(self, page: Page, reason: str) -> list[Page]:
        """Make base pages of the huge `page`, for all who have it, and return them."""
        memory, holders = self.memory, list(page.holders)
        for space, head in holders:
            if space.fresh is page:
                memory.settle(space)
            space.table.split(head)
            memory.shoot_down(space, head, self.pages)
        parts = memory.pager.split(page, self._part(page))
        for space, head in holders:
            for i, part in enumerate(parts):
                part.holders.append((space, head + i))
        took = self.pages * memory.costs.split_page_ns
        memory.owed_ns += took
        self._end("split", page, holders, reason, took)
        return parts

    def leave(self, page: Page) -> Sequence[Key]:
        """Let the huge `page` go to swap, in parts; return the keys of these."""
        memory, holders = self.memory, list(page.holders)
        assert memory.swap is not None  # noqa: S101  # for mypy: else nothing anonymous goes
        for space, head in holders:
            memory.unmap(space, head, page)
            space.table.unmap(head)
        page.holders = holders  # for `_part`
        keys = self._part(page)
        for key in keys:
            memory.swap.give(key)
        page.holders = []
        self._end("swap", page, holders, "it has to make room")
        return keys

    def freed(self, page: Page) -> None:
        """Note that nobody has the huge `page` any more."""
        self._end("free", page, [], "nobody has it any more")

    def _part(self, page: Page) -> list[int]:
        """Let those who have the huge `page` have base pages instead; return the keys of these."""
        memory = self.memory
        keys = [memory.new_key() for _ in range(self.pages)]
        for space, head in page.holders:
            del space.anon[head]
            space.anon.update(zip(range(head, head + self.pages), keys, strict=True))
        count = memory.users.pop(page.key)  # type: ignore[call-overload]  # huge pages are anonymous
        memory.users.update(dict.fromkeys(keys, count))
        return keys

    def _end(
        self, what: str, page: Page, holders: list[tuple[Space, int]], reason: str, took: int = 0
    ) -> None:
        untouched = self.pages - len(self.touched.pop(page.key))
        memory, (space, head) = self.memory, holders[0] if holders else (None, -1)
        memory.emit(
            ev.Huge(
                memory.now, memory.cpu, space.pid if space else -1, reason, what=what, page=head,
                frame=page.frame, pages=self.pages, untouched=untouched, cost_ns=took,
            )
        )  # fmt: skip

    def _emit(
        self, what: str, space: Space, head: int, page: Page | None, reason: str, took: int = 0
    ) -> None:
        memory = self.memory
        memory.emit(
            ev.Huge(
                memory.now, memory.cpu, space.pid, reason, what=what, page=head,
                frame=page.frame if page else -1, pages=self.pages, cost_ns=took, rss=space.rss,
                fragmentation=0 if page else memory.buddy.fragmentation(self.rules.order) or 0,
            )
        )  # fmt: skip

    def _head(self, vpn: int) -> int:
        return vpn & -self.pages


def _has(space: Space, vpn: int) -> bool:
    return vpn in space.anon or space.table.lookup(vpn) is not None
