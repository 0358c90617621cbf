"""Page faults: what the kernel does when a page is not there, or not to be written.

- Outside all regions, or against their protection: the process dies of SEGV. A stack grows instead.
- Never touched, anonymous: a page of zeros (demand zero). In swap: it is read back. Of a file: the page in
  the page cache is mapped, and read first if it is not there.
- Written, but shared since a fork or private to a mapping: it is copied (copy on write), or just taken
  over if nobody else has it any more.
- A fault that needs no device is minor and done at once; a major one makes the process wait.

Source: Linux mm/memory.c (handle_pte_fault and what it calls), in outline.
Differs: a page never touched gets a frame of its own when it is read, not the shared page of zeros; an
anonymous page is dirty until swap has a copy of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.memory import oom, page_cache, reclaim, writeback
from llmos.memory.ksm import ZEROS
from llmos.memory.reclaim import NoFrameError
from llmos.memory.records import Death, Transfer, Wait
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space
    from llmos.memory.space import Region

Answer = tuple[int, "Wait | Death | None"]
"""The kernel's time in ns, and what the process must wait for or die of, if anything."""


def handle(memory: Memory, space: Space, vpn: int, *, write: bool) -> Answer:
    """Handle the fault of `space` on page `vpn`, which it wanted to read or `write`."""
    region = space.regions.find(vpn)
    if region is None and _may_grow(memory, space, vpn) and space.regions.grow_stack(vpn):
        region = space.regions.stack
    if region is None:
        return _dies(memory, space, vpn, "SEGV", "no region is there")
    if not (region.writable if write else region.readable):
        return _dies(memory, space, vpn, "SEGV", f'"{region.name}" is {region.protection}')
    if region.file is not None and region.index(vpn) >= region.file.pages:
        return _dies(memory, space, vpn, "BUS", f'"{region.file.name}" ends before that page')
    if write and region.shared and region.file is not None and (wait := writeback.hold_up(memory, space)):
        return 0, wait
    memory.settle(space)
    memory.reclaimed_ns = 0
    memory.victim = ""
    pte = space.table.lookup(vpn)
    if pte is None or not pte.present:
        memory.allocation.faulted(space, vpn)
    while True:
        try:
            return _resolve(memory, space, region, vpn, write)
        except NoFrameError as error:
            if reclaim.will_be_room(memory, error.pool):
                return _short(memory, space, vpn, error.message)
            killed = oom.kill(memory, space, error.message, error.pool)
            if killed is None:
                return memory.costs.minor_fault_ns, Death("KILL", "no memory, and nobody may be killed")
            if killed is space:
                return memory.costs.minor_fault_ns, Death("KILL", "killed for want of memory")


def _may_grow(memory: Memory, space: Space, vpn: int) -> bool:
    """Whether so much may be promised that the stack grows down to `vpn`."""
    return memory.may_commit(max(0, space.regions.stack.start - vpn), piecemeal=True)


def _resolve(memory: Memory, space: Space, region: Region, vpn: int, write: bool) -> Answer:  # noqa: FBT001
    pte = space.table.lookup(vpn)
    if pte is not None and pte.present:
        return _write_protected(memory, space, region, vpn)
    key = space.anon.get(vpn)
    if key is not None:
        return _was_anonymous(memory, space, region, vpn, key, write)
    if region.file is not None:
        return _of_file(memory, space, region, vpn, write)
    return _demand_zero(memory, space, region, vpn)


def _demand_zero(memory: Memory, space: Space, region: Region, vpn: int) -> Answer:
    zero_ns = memory.costs.zero_page_ns
    huge = memory.huge.fault(space, region, vpn) if memory.huge else None
    if huge is not None:
        pages = 1 << huge.order
        return _minor(memory, space, vpn, huge, "demand zero, huge", zero_ns * pages, pages=pages)
    page = _new_anonymous(memory, space, region, vpn)
    if memory.merging is not None:
        memory.merging.fill(space, vpn, 1, ZEROS)
    return _minor(memory, space, vpn, page, "demand zero", zero_ns)


def _new_anonymous(memory: Memory, space: Space, region: Region, vpn: int) -> Page:
    """Give page number `vpn` an anonymous page of its own."""
    key = memory.new_key()
    page = reclaim.obtain(memory, space.pool, key, write=True)
    memory.users[key] = 1
    space.anon[vpn] = key
    memory.map(space, vpn, page, writable=region.writable)
    return page


def _write_protected(memory: Memory, space: Space, region: Region, vpn: int) -> Answer:
    """Let `space` write a page that it has, but only to read."""
    if memory.huge is not None:
        memory.huge.unshare(space, vpn)
    pte = space.table.lookup(vpn)
    page = memory.pager.at[pte.pfn]  # type: ignore[union-attr]  # it is present
    key = space.anon.get(vpn)
    if region.shared or page.order or (key is not None and memory.users[key] == 1):
        pte.writable = True  # type: ignore[union-attr]
        if region.file is not None and region.shared:
            page_cache.write_mapped(memory, space, page)
            return _minor(memory, space, vpn, page, "clean until now", used=True)
        return _minor(memory, space, vpn, page, "nobody else has it any more", used=True)
    return _copy(memory, space, region, vpn, page)


def _copy(memory: Memory, space: Space, region: Region, vpn: int, source: Page) -> Answer:
    """Let `space` write into a copy of its own of `source`."""
    memory.pager.pin(source)  # it must not go to make room for its copy
    try:
        old = space.anon.pop(vpn, None)
        if (space, vpn) in source.holders:
            memory.unmap(space, vpn, source)
        try:
            page = _new_anonymous(memory, space, region, vpn)
        except NoFrameError:
            if old is not None:
                space.anon[vpn] = old
            raise
    finally:
        memory.pager.unpin(source)
    if old is not None:
        memory.give_up(old)
    return _minor(memory, space, vpn, page, "copy on write", memory.costs.copy_page_ns)


def _was_anonymous(
    memory: Memory, space: Space, region: Region, vpn: int, key: int, write: bool  # noqa: FBT001
) -> Answer:  # fmt: skip
    """Bring an anonymous page back: from swap, unless somebody has done so already."""
    page = memory.pager.pages.get(key)
    alone = region.shared or memory.users[key] == 1

    def arrived() -> None:
        if space.dead or page is None or memory.pager.pages.get(key) is not page:
            return  # or its device has failed
        memory.map(space, vpn, page, writable=region.writable and alone)

    if page is None:
        page = reclaim.obtain(memory, space.pool, key)
        transfer = reclaim.read_from_swap(memory, space, page)
        return _major(memory, space, vpn, page, "in swap", [transfer], arrived, swapped_in=transfer.pages)
    if key in memory.in_flight:
        return _joins(memory, space, vpn, page, arrived)
    if write and not alone:
        return _copy(memory, space, region, vpn, page)
    arrived()
    return _minor(memory, space, vpn, page, "still in memory", used=True)


def _of_file(memory: Memory, space: Space, region: Region, vpn: int, write: bool) -> Answer:  # noqa: FBT001
    """Map a page of a file, or a copy of it."""
    file = region.file
    assert file is not None  # noqa: S101  # for mypy: only regions with a file come here
    key = (file.inode, region.index(vpn))
    page = memory.pager.pages.get(key)

    def arrived() -> None:
        gone = memory.pager.pages.get(key) is not page or key[1] >= file.pages
        if space.dead or page is None or gone:  # its file has lost it meanwhile, or its device has failed
            return
        shared_write = write and region.shared
        if shared_write:
            page_cache.write_mapped(memory, space, page)
        memory.map(space, vpn, page, writable=shared_write)

    if page is None:
        pages, transfers = page_cache.fetch(memory, space, file, region.index(vpn))
        page = pages[0]
        page_cache.report(memory, space, "map", file, region.index(vpn), 1)
        return _major(memory, space, vpn, page, f"not in the page cache: {file.name}", transfers, arrived)
    unused = page_cache.found(memory, space, file, region.index(vpn))
    page_cache.report(memory, space, "map", file, region.index(vpn), 1, 1, int(unused))
    if key in memory.in_flight:
        return _joins(memory, space, vpn, page, arrived)
    if write and not region.shared:
        return _copy(memory, space, region, vpn, page)
    arrived()
    around = page_cache.fault_around(memory, space, region, vpn)
    return _minor(memory, space, vpn, page, "in the page cache", used=True, around=around)


# --- how faults end -----------------------------------------------------------------------------------


def _minor(
    memory: Memory, space: Space, vpn: int, page: Page, reason: str, extra_ns: int = 0, *, used: bool = False,
    pages: int = 1, around: Sequence[int] = (),
) -> Answer:  # fmt: skip
    """End a fault that needed no device; `used`: the page was there before, which is a hit for its policy."""
    if used:
        memory.pager.use(page)
    took = memory.costs.minor_fault_ns + extra_ns + memory.reclaimed_ns + memory.take_owed()
    transfers = reclaim.pending_writes(memory)
    _bring(
        memory, space, vpn, page, "minor", reason, took, mapped=pages + len(around), around=around,
        waits=bool(transfers),
    )  # fmt: skip
    return took, Wait("waits for a victim to be written", transfers, lambda: None) if transfers else None


def _major(
    memory: Memory, space: Space, vpn: int, page: Page, reason: str, transfers: list[Transfer],
    arrived: Callable[[], None], *, swapped_in: int = 0,
) -> Answer:  # fmt: skip
    """End a fault that must wait for a device; `arrived` maps the page then."""
    took = memory.costs.major_fault_ns + memory.reclaimed_ns + memory.take_owed()
    memory.load.read_back(page.key)
    _bring(memory, space, vpn, page, "major", reason, took, swapped_in=swapped_in)
    return took, Wait(f"waits for {space.at(vpn)}", reclaim.pending_writes(memory) + transfers, arrived)


def _short(memory: Memory, space: Space, vpn: int, reason: str) -> Answer:
    """Wait until a page may go that is pinned for the moment; then the process tries again."""
    took = memory.costs.minor_fault_ns + memory.reclaimed_ns + memory.take_owed()
    writes = reclaim.pending_writes(memory)
    memory.emit(
        ev.Fault(memory.now, memory.cpu, space.pid, reason, what="short", page=vpn, cost_ns=took,
                 rss=space.rss, waits=True)
    )  # fmt: skip
    return took, Wait(
        "waits for a frame",
        writes,
        lambda: None,
        on="frame",
        over="a frame is free",
        ask=memory.when_there_is_room,
    )


def _joins(memory: Memory, space: Space, vpn: int, page: Page, arrived: Callable[[], None]) -> Answer:
    """Wait for a page that somebody else is having read."""
    memory.pager.use(page)
    took = memory.costs.major_fault_ns
    _bring(memory, space, vpn, page, "major", "somebody is reading it already", took)
    return took, Wait(f"waits for {space.at(vpn)}", [], arrived, key=page.key)


def _bring(
    memory: Memory, space: Space, vpn: int, page: Page, what: str, reason: str, took: int, *,
    mapped: int = 0, around: Sequence[int] = (), waits: bool = False, swapped_in: int = 0,
) -> None:  # fmt: skip
    """Log the fault, and keep its page until it is used; a page that is not `mapped` yet counts as here."""
    space.fresh = page
    space.victim = memory.victim
    memory.pager.pin(page)
    memory.emit(
        ev.Fault(
            memory.now, memory.cpu, space.pid, reason, what=what, page=vpn, at=space.at(vpn),
            frame=page.frame, pages=mapped or 1, cost_ns=took,
            rss=space.rss + (0 if mapped else 1 << page.order), waits=waits, swapped_in=swapped_in,
            around=list(around),
        )
    )  # fmt: skip


def failed(memory: Memory, space: Space, vpn: int, device: str) -> Death:
    """End a major fault whose page `device` could not read."""
    reason = f"input/output error of {device}"
    memory.emit(
        ev.Fault(
            memory.now, memory.cpu, space.pid, reason, what="bus", page=vpn, at=space.at(vpn), rss=space.rss
        )
    )
    return Death("BUS", f"BUS: {reason}")


def _dies(memory: Memory, space: Space, vpn: int, signal: str, reason: str) -> Answer:
    took = memory.costs.minor_fault_ns
    memory.emit(
        ev.Fault(memory.now, memory.cpu, space.pid, reason, what=signal.lower(), page=vpn, at=space.at(vpn),
                 cost_ns=took, rss=space.rss)
    )  # fmt: skip
    return took, Death(signal, f"{signal}: {space.at(vpn) or hex(vpn)}: {reason}")
