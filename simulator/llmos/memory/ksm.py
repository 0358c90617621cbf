"""Same-page merging: pages with the same content share a frame until somebody writes.

- A scanner (ksmd) comes round and looks at `pages_to_scan` pages of regions that ask for it, then sleeps.
- What a page contains is known by name: `fill` in a program gives it one, any other write makes it unlike
  all others. Memory that was only read contains zeros.
- A page takes part if its content is the same as the last time the scanner has come by. The *stable* page
  of each content is what the others merge into, up to `max_sharing` users; then there is another one.
- Merged pages are read-only. A write gets a copy, by the rules of copy on write; so shared mappings, in which
  it would not, take no part.
- Profit is what the pages would take that are not there, less the scanner's own record of each page.

Source: Linux mm/ksm.c and Documentation/admin-guide/mm/ksm.rst, in outline (general_profit).
Differs: contents are names, not bytes; the order of Linux's trees plays no part. Huge pages, locked ones and
pages in swap are left alone. The last user of a merged page takes it over; Linux has it copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space
    from llmos.replacement.base import Key

ITEM_BYTES: Final = 64
"""What the scanner's record of a page takes (sizeof(struct ksm_rmap_item))."""

ZEROS: Final = "zeros"
"""The content of memory that nobody has written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRules:
    """How the scanner works: Linux's figures."""

    pages_to_scan: int = 100
    sleep_ns: int = 20_000_000
    max_sharing: int = 256


class Merging:
    """The merged pages of a memory, and the scanner."""

    def __init__(self, memory: Memory, rules: MergeRules) -> None:
        self.memory = memory
        self.rules = rules
        self.contents: dict[Key, str] = {}
        """What anonymous pages contain, where that has a name."""
        self._stable: dict[str, Key] = {}
        """Content -> the page that others merge into."""
        self._unstable: dict[str, Key] = {}
        """Content -> a page of it that was met in this round, and is its only one so far."""
        self._seen: dict[tuple[int, int], str] = {}
        """What was at (pid, page number) when the scanner has last come by; "" without a name."""
        self._merged: set[Key] = set()
        self._after = (-1, -1)

    # --- contents ---------------------------------------------------------------------------------------

    def fill(self, space: Space, start: int, pages: int, content: str) -> None:
        """Note that `space` has written `content` all over `pages` pages from `start` on."""
        for vpn in range(start, start + pages):
            key, pte = space.anon.get(vpn), space.table.lookup(vpn)
            if key is None or (pte is not None and pte.level):
                continue
            self.contents[key] = content
            if pte is not None:
                pte.dirty = False  # set again by the next write, which makes the page unlike others

    def content(self, page: Page) -> str:
        """Return what `page` contains; "" if that has no name."""
        if page.order or any(space.table.lookup(vpn).dirty for space, vpn in page.holders):
            return ""
        return self.contents.get(page.key, "")

    # --- the scanner ------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Look at some pages, and merge what may be: what ksmd does when it wakes up."""
        memory, scanned, merged = self.memory, 0, 0
        memory.now, memory.cpu = memory.sim.now, 0
        for space, vpn in self._mergeable():
            if scanned == self.rules.pages_to_scan:
                break
            scanned += 1
            self._after = (space.pid, vpn)
            merged += self._look(space, vpn)
        else:
            self._after = (-1, -1)  # once round
            self._unstable.clear()
        if not scanned:
            return
        took = scanned * memory.costs.compare_page_ns + merged * memory.costs.minor_fault_ns
        memory.interrupt(0, "ksmd", took, f"has looked at {scanned} pages")
        self._report(scanned, merged, took)

    def _mergeable(self) -> Iterator[tuple[Space, int]]:
        """Yield the pages that ask for it, from where the scanner has stopped to the end."""
        for _, space in sorted(self.memory.spaces.items()):
            for region in list(space.regions):
                if region.mergeable and not region.shared and (space.pid, region.end - 1) > self._after:
                    first = region.start
                    if space.pid == self._after[0]:
                        first = max(first, self._after[1] + 1)
                    where: Sequence[int] = range(first, region.end)
                    if len(where) > len(space.anon):  # a region may be vast and empty
                        where = sorted(vpn for vpn in space.anon if vpn in where)
                    yield from ((space, vpn) for vpn in where if vpn in space.anon)

    def _look(self, space: Space, vpn: int) -> bool:
        """Look at a page; return whether it was merged into another."""
        page = self.memory.pager.pages.get(space.anon[vpn])
        pte = space.table.lookup(vpn)
        if page is None or page.pins or pte is None or not pte.present:
            return False
        content = self.content(page)
        before, self._seen[space.pid, vpn] = self._seen.get((space.pid, vpn)), content
        if not content or content != before:
            return False
        twin = self._page(self._stable, content) or self._page(self._unstable, content)
        if twin is page:
            return False
        if twin is None or not self._may_join(page, twin):
            self._unstable[content] = page.key
            if twin is not None and self.memory.users[twin.key] > 1:  # type: ignore[index]
                self._stable.pop(content, None)  # it is full
            return False
        self._stable[content] = twin.key
        self._merge(page, twin)
        return True

    def _page(self, tree: dict[str, Key], content: str) -> Page | None:
        """Return the page that stands for `content`, if it is there and still contains that."""
        page = self.memory.pager.pages.get(tree.get(content, -1))
        if page is not None and not page.pins and page.holders and self.content(page) == content:
            return page
        tree.pop(content, None)
        return None

    def _may_join(self, page: Page, twin: Page) -> bool:
        users = self.memory.users
        mine, others = users[page.key], users[twin.key]  # type: ignore[index]  # both are anonymous
        return mine == len(page.holders) and mine + others <= self.rules.max_sharing

    def _merge(self, page: Page, twin: Page) -> None:
        """Let all who have `page` have `twin` instead, and nobody write it."""
        memory = self.memory
        for space, vpn in twin.holders:
            entry = space.table.lookup(vpn)
            if entry.writable:
                entry.writable = False
                memory.shoot_down(space, vpn)
        for space, vpn in list(page.holders):
            memory.unmap(space, vpn, page)
            memory.map(space, vpn, twin, writable=False)
            memory.users[twin.key] += 1  # type: ignore[index]
            memory.give_up(space.anon[vpn])
            space.anon[vpn] = twin.key
        self._merged.add(twin.key)

    # --- what it brings ---------------------------------------------------------------------------------

    def forget(self, key: Key) -> None:
        """Note that nobody has page `key` any more, or that what it contained was written over."""
        self.contents.pop(key, None)
        self._merged.discard(key)

    def figures(self) -> tuple[int, int, int]:
        """Return the merged pages, the pages saved by them, and the profit in bytes."""
        memory = self.memory
        users = [count for key in self._merged if (count := memory.users[key]) > 1]  # type: ignore[index]
        saved = sum(users) - len(users)
        return len(users), saved, saved * memory.page_bytes - len(self._seen) * ITEM_BYTES

    def _report(self, scanned: int, merged: int, took: int) -> None:
        self._seen = {at: content for at, content in self._seen.items() if self._is_had(*at)}
        shared, saved, profit = self.figures()
        memory = self.memory
        memory.emit(
            ev.Merge(
                memory.now, 0, reason="ksmd has looked round", scanned=scanned, merged=merged, shared=shared,
                saved=saved, profit_bytes=profit, cost_ns=took,
            )
        )  # fmt: skip

    def _is_had(self, pid: int, vpn: int) -> bool:
        space = self.memory.spaces.get(pid)
        return space is not None and vpn in space.anon
