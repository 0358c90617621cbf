"""An address space: the regions that a process may touch, and where they lie.

- Everything is counted in pages; address = page number times the page size. Regions never overlap.
- Layout, as on x86-64 Linux: code from the bottom, the heap above it (it grows up by `brk`), mappings
  from the top down below the stack, and the stack, which grows down to its limit when it is touched.
- `map`, `unmap` and `protect` cut regions where they must, so that what they change is a region of its own.
- Nothing here knows of frames: what is present, is the page table's to say.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmos.memory.files import File

CODE: Final = 0x400
"""Page number of the first page of code: address 0x400000 with 4 KiB pages."""
STACK_TOP: Final = 0x7FFFFFFFF
"""The page above the stack: address 0x7ffffffff000."""
STACK_PAGES: Final = 2048
"""How far a stack may grow: 8 MiB, the usual `ulimit -s`."""
GAP: Final = 0x100
"""Pages that nobody may touch: between code and heap, and below the stack's limit."""


@dataclass(slots=True, eq=False)
class Region:
    """Pages `start` to `end` - 1 of one kind and one protection.

    `name` is what programs call it. `file` is None for anonymous memory; else its page `offset` is the
    region's first. `shared`: writes are seen by everybody who has it mapped. `grows_down`: a stack.
    """

    start: int
    end: int
    name: str
    readable: bool = True
    writable: bool = True
    file: File | None = None
    offset: int = 0
    shared: bool = False
    grows_down: bool = False
    locked: bool = False
    """Whether its pages stay (mlock)."""
    mergeable: bool = False
    """Whether same pages may be merged (madvise MERGEABLE)."""
    huge: bool | None = None
    """Whether it wants huge pages (madvise HUGEPAGE) or none (NOHUGEPAGE); None: as the machine says."""

    @property
    def pages(self) -> int:
        """How many pages it has."""
        return self.end - self.start

    @property
    def protection(self) -> str:
        """Its protection as people write it: "rw", "r-", "--"."""
        return ("r" if self.readable else "-") + ("w" if self.writable else "-")

    def index(self, vpn: int) -> int:
        """Return the page of the file that `vpn` shows."""
        return self.offset + vpn - self.start


class Regions:
    """The regions of one address space, in order."""

    def __init__(self, regions: Iterable[Region], heap: Region, stack: Region, lowest_stack: int) -> None:
        self._list = sorted(regions, key=lambda region: region.start)
        self._starts = [region.start for region in self._list]
        self.heap = heap
        self.stack = stack
        self._lowest_stack = lowest_stack
        """The lowest page that the stack may grow down to."""

    def __iter__(self) -> Iterator[Region]:
        return iter(self._list)

    @property
    def pages(self) -> int:
        """How many pages all regions have together (the virtual size)."""
        return sum(region.pages for region in self._list)

    def named(self, name: str) -> Region | None:
        """Return the lowest region called `name`, or None."""
        return next((region for region in self._list if region.name == name), None)

    def find(self, vpn: int) -> Region | None:
        """Return the region that holds page `vpn`, or None."""
        i = bisect_right(self._starts, vpn) - 1
        if i < 0:
            return None
        # The heap may be empty and share its start with nobody; an empty region holds no page.
        region = self._list[i]
        return region if vpn < region.end else None

    def grow_stack(self, vpn: int) -> bool:
        """Let the stack grow down to `vpn`, if that is below it and within its limit."""
        stack = self.stack
        below = self._list[max(0, self._list.index(stack) - 1)]
        if not max(self._lowest_stack, below.end + GAP) <= vpn < stack.start:
            return False
        self._move(stack, start=vpn)
        return True

    def brk(self, pages: int) -> bool:
        """Let the heap have `pages` pages; return whether there is room for so many."""
        end = self.heap.start + pages
        after = self._list[self._list.index(self.heap) + 1]
        if pages < 0 or end > after.start:
            return False
        self._move(self.heap, end=end)
        return True

    def map(self, pages: int, region: Region, at: int | None = None, align: int = 1) -> Region | None:
        """Put `region` (its start and end are set here) at page `at`, or into the highest gap that fits.

        There it begins at a multiple of `align`, a power of two. Where something lies at `at` already, it
        must be unmapped first. None if there is no room.
        """
        start = self._gap(pages, align) if at is None else at
        if start is None or any(
            r.start < start + pages and start < max(r.end, r.start + 1) for r in self._list
        ):
            return None
        region.start, region.end = start, start + pages
        return self._add(region)

    def cut(self, start: int, end: int) -> list[Region]:
        """Make regions begin and end at `start` and `end`, and return those in between."""
        for edge in (start, end):
            region = self.find(edge)
            if region is not None and region.start < edge:
                rest = replace(region, start=edge, offset=region.index(edge))
                region.end = edge
                self._add(rest)
        return [r for r in self._list if start <= r.start and r.end <= end and r.pages]

    def remove(self, region: Region) -> None:
        """Take `region` away; the heap and the stack stay, empty."""
        if region in (self.heap, self.stack):
            self._move(region, start=region.end if region is self.stack else region.start,
                       end=region.end if region is self.stack else region.start)  # fmt: skip
            return
        i = self._list.index(region)
        del self._list[i], self._starts[i]

    def copy(self) -> Regions:
        """Return the same regions for a forked process."""
        twins = {id(region): replace(region) for region in self._list}
        heap, stack = twins[id(self.heap)], twins[id(self.stack)]
        return Regions(twins.values(), heap, stack, self._lowest_stack)

    def _add(self, region: Region) -> Region:
        i = bisect_left(self._starts, region.start)
        self._list.insert(i, region)
        self._starts.insert(i, region.start)
        return region

    def _move(self, region: Region, start: int | None = None, end: int | None = None) -> None:
        i = self._list.index(region)
        if start is not None:
            region.start = self._starts[i] = start
        if end is not None:
            region.end = end

    def _gap(self, pages: int, align: int) -> int | None:
        """Return where in the highest gap below the stack's limit the last `pages` pages can begin."""
        above = self._lowest_stack - GAP
        for region in reversed(self._list):
            if region is self.stack or region.start >= above:
                continue
            start = (above - pages) & -align
            if start >= region.end:
                return start
            above = region.start
        return None


def layout(code_pages: int = 0, top: int = STACK_TOP) -> Regions:
    """Return the regions of a fresh process: its code, an empty heap, and a stack of one page below `top`."""
    code = [Region(CODE, CODE + code_pages, "code", writable=False)] if code_pages else []
    bottom = CODE + code_pages + GAP
    heap = Region(bottom, bottom, "heap")
    stack = Region(top - 1, top, "stack", grows_down=True)
    return Regions([*code, heap, stack], heap, stack, top - STACK_PAGES)
