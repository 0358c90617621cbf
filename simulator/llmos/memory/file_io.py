"""Reading and writing files through the page cache: a copy between a page and the process, page by page.

- It is work on the core, taken in stretches like references: `run` goes as far as there are pages, and
  stops where the process must wait for a device, or because too much is dirty.
- A page that is written whole, or lies beyond the end of its file, need not be read first.

Source: Linux mm/filemap.c (filemap_read, generic_perform_write), in outline.
Differs: the pages of a process's own buffer are not modelled: only those of the file take frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.memory import oom, page_cache, reclaim, writeback
from llmos.memory.files import place
from llmos.memory.reclaim import NoFrameError
from llmos.memory.records import REFERENCES_PER_EVENT, Death, Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.memory.files import FileIo
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space, Touching


def run(memory: Memory, cpu: int, space: Space, touching: Touching, io: FileIo, budget_ns: int) -> int:
    """Take `space` through its file for `budget_ns`, or until something else comes; return the time.

    `touching.then` or `touching.done` says what comes after that time.
    """
    begun, first, copy_ns = memory.sim.now, io.next, memory.costs.copy_page_ns
    memory.cpu, memory.pid = cpu, space.pid
    postponed: list[Callable[[], None]] = []
    memory.postponed = postponed
    spent = hits = ahead = dirtied = 0
    io.cut_off(memory.page_bytes)
    last = min(io.end, first + 1 + memory.sim.left * REFERENCES_PER_EVENT)  # the event limit
    while io.next < last and not postponed and (spent < budget_ns or io.next == first):
        memory.now, memory.reclaimed_ns = begun + spent, 0
        found = _page(memory, space, io)
        spent += memory.reclaimed_ns + memory.take_owed()
        if not isinstance(found, tuple):
            touching.then = found
            break
        page, unused = found
        hits += io.next not in io.missed
        ahead += unused
        io.next += 1
        spent += copy_ns
        memory.now = begun + spent
        if io.write:
            dirtied += writeback.make_dirty(memory, space, page)
    touching.done = io.next >= io.end
    if io.next > first or spent:
        memory.now, what = begun, "write" if io.write else "read"
        page_cache.report(memory, space, what, io.file, first, io.next - first, hits, ahead, dirtied, spent)
    memory.sim.work((io.next - first) // REFERENCES_PER_EVENT)
    memory.postponed = None
    for action in postponed:
        memory.sim.at(begun + spent, memory.phase, action)
    return spent


def _page(memory: Memory, space: Space, io: FileIo) -> tuple[Page, bool] | Wait | Death:
    """Return the next page, and whether it was read ahead; or what the process must wait for or die of."""
    while True:
        try:
            return _get(memory, space, io)
        except NoFrameError as error:
            if reclaim.will_be_room(memory, error.pool):
                writes, ask = reclaim.pending_writes(memory), memory.when_there_is_room
                return Wait(
                    "waits for a frame", writes, lambda: None, on="frame", over="a frame is free", ask=ask
                )
            killed = oom.kill(memory, space, error.message, error.pool)
            if killed is None or killed is space:
                return Death("KILL", "killed for want of memory")


def _get(memory: Memory, space: Space, io: FileIo) -> tuple[Page, bool] | Wait:
    file, index, pager = io.file, io.next, memory.pager
    key = (file.inode, index)
    if io.write and (wait := writeback.hold_up(memory, space)):
        return wait
    page = pager.pages.get(key)
    if page is None:
        return _bring(memory, space, io)
    if key in memory.in_flight:
        return Wait(f"waits for page {index} of {file.name}", [], lambda: None, key=key)
    unused = page_cache.found(memory, space, file, index, 1 if io.write else io.end - index)
    if space.fresh is page:  # bringing it was its reference
        memory.settle(space)
    else:
        pager.use(page, write=io.write)
    return page, unused


def _bring(memory: Memory, space: Space, io: FileIo) -> tuple[Page, bool] | Wait:
    """Give the next page a frame, and what it must be filled with."""
    file, index = io.file, io.next
    memory.settle(space)
    if not io.write:
        pages, transfers = page_cache.fetch(memory, space, file, index, io.end - index)
        io.missed.update(place(page)[1] for page in pages)
    else:
        pages, transfers = [page_cache.take_frame(memory, space, file, index)], []
        io.missed.add(index)
        if index in io.partial and index < file.pages:
            transfers = [memory.read(file.device, pages)]
        file.pages = max(file.pages, index + 1)
        transfers = reclaim.pending_writes(memory) + transfers
    space.fresh = pages[0]  # it must not go before it is used
    memory.pager.pin(pages[0])
    if transfers:
        return Wait(f"waits for page {index} of {file.name}", transfers, lambda: None)
    return _get(memory, space, io)
