"""What a process may touch, and how that changes: fork, exit, brk, mmap, munmap, mprotect, mlock.

- These are the effects of the system calls; each returns what the call returns (-1 where it fails).
- A fork shares all pages. Private ones are copied when somebody writes them (copy on write).

Source: POSIX; Linux mm/mmap.c and kernel/fork.c, in outline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.memory.commit import committed, counts
from llmos.memory.records import Space
from llmos.memory.space import STACK_TOP, Region, layout

if TYPE_CHECKING:
    from llmos.memory.files import File
    from llmos.memory.memory import Memory
    from llmos.memory.translation.base import PageTable, Pte


def create(
    memory: Memory, pid: int, name: str, group: str = "", *, code_pages: int = 0, limit: int | None = None,
    oom_score_adj: int = 0,
) -> Space:  # fmt: skip
    """Make the memory of a fresh process, which may have `limit` frames at most (None: any number)."""
    table = memory.make_table()
    space = Space(
        pid=pid,
        name=name,
        group=group,
        regions=layout(code_pages, _top(table)),
        table=table,
        pool=memory.allocation.pool_for(pid, group, limit),
        oom_score_adj=oom_score_adj,
    )
    memory.spaces[pid] = space
    memory.allocation.came(space)
    return space


def may_fork(memory: Memory, parent: Space) -> bool:
    """Whether as much may be promised to a child as was to `parent`."""
    return memory.may_commit(committed([parent.regions]), piecemeal=True)


def fork(memory: Memory, parent: Space, pid: int, name: str, limit: int | None = None) -> Space:
    """Make the memory of a child: the regions and pages of `parent`, shared until one of them writes."""
    child = Space(
        pid=pid,
        name=name,
        group=parent.group,
        regions=parent.regions.copy(),
        table=memory.make_table(),
        pool=memory.allocation.pool_for(pid, parent.group, limit),
        oom_score_adj=parent.oom_score_adj,
    )
    memory.spaces[pid] = child
    memory.allocation.came(child)
    pager = memory.pager
    child.anon = dict(parent.anon)
    for key in child.anon.values():
        memory.users[key] += 1
    for region in child.regions:
        for vpn, pte in _present(parent, region):
            page = pager.at[pte.pfn]
            if not region.shared:
                pte.writable = False
            memory.map(child, vpn, page, writable=pte.writable)
    memory.flush(parent)
    return child


def release(memory: Memory, space: Space) -> None:
    """Take all memory of a process that ends."""
    clear(memory, space)
    del memory.spaces[space.pid]
    memory.allocation.gone(space)
    memory.load.gone(space.pid)
    memory.relieve()


def renew(memory: Memory, space: Space) -> None:
    """Give `space` the regions of a fresh program."""
    clear(memory, space)
    space.regions = layout(top=_top(space.table))
    memory.allocation.resized(space)


def clear(memory: Memory, space: Space) -> None:
    """Take all its pages from `space`."""
    memory.settle(space)
    for region in list(space.regions):
        empty(memory, space, region)
    memory.flush(space)


def brk(memory: Memory, space: Space, pages: int, *, piecemeal: bool = False) -> int:
    """Let the heap have `pages` pages; return 0, or -1 if there is no room for them.

    `piecemeal`: by many calls, each for little.
    """
    heap = space.regions.heap
    more = pages - heap.pages
    if more > 0 and not memory.may_commit(more, piecemeal=piecemeal):
        return -1
    if more < 0:
        _cut(memory, space, heap.start + pages, heap.end)
        empty(memory, space, Region(heap.start + pages, heap.end, "heap"))
    if not space.regions.brk(pages):
        return -1
    memory.allocation.resized(space)
    return 0


def mmap(
    memory: Memory, space: Space, name: str, pages: int, *, file: File | None = None, offset: int = 0,
    shared: bool = False, writable: bool = True, readable: bool = True,
) -> int:  # fmt: skip
    """Map `pages` pages, of `file` from page `offset` on or anonymous; return the first's number, or -1."""
    region = Region(0, 0, name, readable, writable, file, offset, shared)
    if counts(region) and not memory.may_commit(pages):
        return -1
    large = memory.huge is not None and file is None and pages >= memory.huge.pages
    made = space.regions.map(pages, region, align=memory.huge.pages if memory.huge and large else 1)
    if made is None:
        return -1
    memory.allocation.resized(space)
    return made.start


def munmap(memory: Memory, space: Space, start: int, pages: int) -> int:
    """Unmap whatever lies in `pages` pages from `start` on; return 0."""
    memory.settle(space)
    _cut(memory, space, start, start + pages)
    for region in space.regions.cut(start, start + pages):
        empty(memory, space, region)
        space.regions.remove(region)
    memory.allocation.resized(space)
    return 0


def mprotect(memory: Memory, space: Space, start: int, pages: int, *, readable: bool, writable: bool) -> int:
    """Set the protection of pages that are mapped; return 0, or -1 if some are not or may not be so."""
    regions = space.regions.cut(start, start + pages)
    if sum(region.pages for region in regions) != pages:
        return -1
    more = sum(r.pages for r in regions if writable and not counts(r) and not r.shared)
    if more and not memory.may_commit(more):
        return -1
    _cut(memory, space, start, start + pages, inside=not readable)
    for region in regions:
        region.readable, region.writable = readable, writable
        for vpn, pte in _present(space, region):
            page = memory.pager.at[pte.pfn]
            if not readable:
                memory.unmap(space, vpn, page)
            else:
                pte.writable = False  # the next write's fault finds out whether it may
                memory.shoot_down(space, vpn, 1 << page.order)
    return 0


def madvise(space: Space, start: int, pages: int, advice: str) -> int:
    """Note what is said about pages: "huge", "nohuge", "mergeable" or "unmergeable"; return 0.

    It is for the future: pages that are huge, or merged, stay so.
    """
    for region in space.regions.cut(start, start + pages):
        if advice.endswith("huge"):
            region.huge = advice == "huge"
        else:
            region.mergeable = advice == "mergeable"
    return 0


def mlock(memory: Memory, space: Space, start: int, pages: int, *, lock: bool) -> int:
    """Keep pages in memory from when they are there (or let them go again); return 0."""
    _cut(memory, space, start, start + pages)
    for region in space.regions.cut(start, start + pages):
        if region.locked == lock:
            continue
        region.locked = lock
        for _, pte in _present(space, region):
            page = memory.pager.at[pte.pfn]
            (memory.pager.pin if lock else memory.pager.unpin)(page)
    return 0


def empty(memory: Memory, space: Space, region: Region) -> None:
    """Take all pages of `region` from `space`."""
    for vpn in _had(space, region):
        pte = space.table.lookup(vpn)
        if pte is not None and pte.present:
            page = memory.pager.at[pte.pfn]
            memory.unmap(space, vpn, page)
        if pte is not None:
            space.table.unmap(vpn)
        key = space.anon.pop(vpn, None)
        if key is not None:
            memory.give_up(key)


def _top(table: PageTable) -> int:
    """Return the page above the stack: a process has the lower half of what its page table can name."""
    return min(STACK_TOP, (1 << table.vpn_bits - 1) - 1)


def _cut(memory: Memory, space: Space, start: int, end: int, *, inside: bool = False) -> None:
    """Let no huge page lie across `start` or `end`, or even in between (`inside`)."""
    if memory.huge is not None:
        memory.huge.cut(space, start, end, inside=inside)


def _present(space: Space, region: Region) -> list[tuple[int, Pte]]:
    """Return the present entries of `region`, the huge ones once, with the page number where they begin."""
    entries = ((vpn, space.table.lookup(vpn)) for vpn in _had(space, region))
    return [
        (vpn, pte)
        for vpn, pte in entries
        if pte is not None and pte.present and not vpn & (1 << space.table.spans[pte.level]) - 1
    ]


def _had(space: Space, region: Region) -> list[int]:
    """Return the page numbers of `region` that may have a page, in order; a region may be vast and empty."""
    if region.pages <= max(space.rss, len(space.anon)):
        return [
            vpn for vpn in range(region.start, region.end) if vpn in space.anon or space.table.lookup(vpn)
        ]
    known = space.anon.keys() | {vpn for vpn, _ in space.table.items()}
    return sorted(vpn for vpn in known if region.start <= vpn < region.end)
