"""The page cache: pages of files that are in memory, whoever wants them.

- A page of a file is known by (inode, index). `read`, `write` and mappings of a file find the same page.
- It takes a frame like any other page, and goes when the replacement policy says so: files and anonymous
  memory compete.
- A page that is missing is read with those that readahead wants (`llmos.memory.readahead`), in one request.
  Whoever comes to a marked page has the next window read while he goes on.
- A fault on a mapped file also maps what is there around it.
- Read-ahead pages are *used* when somebody asks for them, and *wasted* when they go before that.
- Dirty pages are the affair of `llmos.memory.writeback`.

Source: Linux 6.12 mm/filemap.c, mm/readahead.c, mm/truncate.c, in outline.
Differs: a mapping is read ahead in the same windows as `read`, where Linux reads around a fault until it is
told that the access is sequential; no more than a quarter of the frames may be waiting for a device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from llmos.memory import mapping, reclaim, writeback
from llmos.memory.files import OpenFile, place
from llmos.memory.readahead import Readahead
from llmos.memory.space import Region
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from llmos.engine.simulation import Alarm
    from llmos.memory.files import File
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.readahead import Window
    from llmos.memory.records import Space, Transfer
    from llmos.memory.writeback import Flight
    from llmos.replacement.base import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """How the page cache works; Linux has `readahead_pages` = 32 and `fault_around_pages` = 16."""

    readahead_pages: int = 0
    """The largest window; 0 = nothing is read that was not asked for."""
    fault_around_pages: int = 1
    """A fault maps what is there of the aligned block of so many pages."""
    dirty_background: int = 10
    """When more than so many percent of the available memory are dirty, they are written."""
    dirty: int = 20
    """Nor may whoever makes pages dirty go on, when it is more than so many percent."""
    interval_ns: int = 5_000_000_000
    """Every so often it is looked whether pages are dirty for too long."""
    expire_ns: int = 30_000_000_000
    """That is too long."""


@dataclass(slots=True, eq=False)
class PageCache:
    """What is known of the pages of files, beyond who has a frame."""

    rules: CacheRules
    dice: Callable[[str], Random]
    """Makes the stream of random numbers of a name."""
    resident: int = 0
    """Pages of files that have a frame."""
    ahead: set[Key] = field(default_factory=set)
    """Pages that were read ahead, and that nobody has asked for yet."""
    markers: set[Key] = field(default_factory=set)
    dirty: dict[Key, int] = field(default_factory=dict)
    """Pages that differ from the device, and since when (ns); those that are so for longest come first."""
    writing: int = 0
    """Pages that are being written and were not changed since."""
    flights: dict[int, list[Flight]] = field(default_factory=dict)
    """By inode, what is being written."""
    held: list[Callable[[], None]] = field(default_factory=list)
    """How those go on who wait until fewer pages are dirty."""
    flushing: bool = False
    alarm: Alarm | None = None
    """When old dirty pages are looked for next."""

    def gone(self, key: Key) -> bool:
        """Note that the page `key` of a file has lost its frame; return whether it was read in vain."""
        self.resident -= 1
        self.dirty.pop(key, None)
        self.markers.discard(key)
        unused = key in self.ahead
        self.ahead.discard(key)
        return unused


def opened(memory: Memory, space: Space, file: File) -> OpenFile:
    """Return where the process is in `file`: at its beginning, if it has not used it before."""
    if file.inode not in space.files:
        dice = memory.cache.dice(f"file/{space.name}/{file.name}")
        space.files[file.inode] = OpenFile(Readahead(memory.cache.rules.readahead_pages), dice)
    return space.files[file.inode]


def take_frame(memory: Memory, space: Space, file: File, index: int) -> Page:
    """Give page `index` of `file` a frame; raises NoFrameError."""
    page = reclaim.obtain(memory, space.pool, (file.inode, index))
    memory.cache.resident += 1
    return page


# --- reading --------------------------------------------------------------------------------------------


def fetch(
    memory: Memory, space: Space, file: File, index: int, wanted: int = 1
) -> tuple[list[Page], list[Transfer]]:
    """Read page `index`, the first of `wanted` missing ones, and what should be read with it.

    Return the pages that come, `index` first, and the transfers to wait for.
    """
    readahead = opened(memory, space, file).readahead
    window = readahead.missed(index, wanted, partial(_cached, memory, file))
    first = take_frame(memory, space, file, index)
    pages = [first, *_more_frames(memory, space, file, window, first)]
    _note(memory, space, file, window, pages, index + wanted)
    runs = _runs(pages)
    transfers = [*reclaim.pending_writes(memory), memory.read(file.device, runs[0])]
    for run in runs[1:]:  # beyond what was there already; nobody waits for it yet
        launch(memory, memory.read(file.device, run))
    return pages, transfers


def found(memory: Memory, space: Space, file: File, index: int, wanted: int = 1) -> bool:
    """Note that the process finds page `index`; read on if it is marked. Return whether it was read ahead."""
    cache, key = memory.cache, (file.inode, index)
    readahead = opened(memory, space, file).readahead
    unused = key in cache.ahead
    cache.ahead.discard(key)
    readahead.previous = index
    if key in cache.markers:
        cache.markers.discard(key)
        window = readahead.marked(index, wanted, partial(_cached, memory, file))
        if window is not None:
            _read_on(memory, space, file, window, memory.pager.pages[key])
    return unused


def _read_on(memory: Memory, space: Space, file: File, window: Window, reader: Page) -> None:
    """Read a window that nobody waits for; the page `reader` must not go for it."""
    pages = _more_frames(memory, space, file, window, reader)
    for transfer in reclaim.pending_writes(memory):
        launch(memory, transfer)
    if pages:
        _note(memory, space, file, window, pages, 0)
        for run in _runs(pages):
            launch(memory, memory.read(file.device, run))


def _more_frames(memory: Memory, space: Space, file: File, window: Window, needed: Page) -> list[Page]:
    """Give frames to the pages of `window` that are missing, as far as that is reasonable."""
    pager, pages = memory.pager, [needed]
    pager.pin(needed)
    for index in range(window.start, min(window.start + window.pages, file.pages)):
        key = (file.inode, index)
        if key in pager.pages:
            continue
        if (len(memory.in_flight) + len(pages)) * 4 > pager.frames.frames:
            break
        try:
            page = take_frame(memory, space, file, index)
        except reclaim.NoFrameError:
            break
        pager.pin(page)  # none of them may make room for the next
        pages.append(page)
    for page in pages:
        pager.unpin(page)
    return pages[1:]


def _note(memory: Memory, space: Space, file: File, window: Window, pages: list[Page], asked: int) -> None:
    """Note what comes of `window`; pages before `asked` are wanted now."""
    keys = [place(page) for page in pages]
    ahead = [key for key in keys if key[1] >= asked]
    memory.cache.ahead.update(ahead)
    marker = (file.inode, window.marker)
    marked = marker in keys
    if marked:
        memory.cache.markers.add(marker)
    if ahead:
        memory.emit(
            ev.Readahead(
                memory.now, memory.cpu, space.pid, window.reason, file=file.name, page=window.start,
                pages=len(pages), ahead=len(ahead), marker=(window.marker or 0) if marked else -1,
            )
        )  # fmt: skip


def _cached(memory: Memory, file: File, index: int) -> bool:
    return (file.inode, index) in memory.pager.pages


def _runs(pages: list[Page]) -> list[list[Page]]:
    """Cut `pages`, in order, where they are not contiguous in the file."""
    runs = [[pages[0]]]
    for before, page in pairwise(pages):
        if place(page)[1] != place(before)[1] + 1:
            runs.append([])
        runs[-1].append(page)
    return runs


def launch(memory: Memory, transfer: Transfer) -> None:
    """Let `transfer` begin after the reference at hand; nobody waits for it."""
    memory.later(partial(memory.send, transfer))


# --- mappings -------------------------------------------------------------------------------------------


def fault_around(memory: Memory, space: Space, region: Region, vpn: int) -> list[int]:
    """Map what is there near `vpn`, too, to read it; return their page numbers.

    A marked page is left out, so that the process comes to it. What is mapped counts as used.
    """
    file, block = region.file, memory.cache.rules.fault_around_pages
    if file is None or block <= 1:
        return []
    mapped: list[int] = []
    used, first = 0, vpn - vpn % block
    for near in range(max(first, region.start), min(first + block, region.end)):
        key = (file.inode, region.index(near))
        page = memory.pager.pages.get(key)
        if page is None or key in memory.in_flight or key in memory.cache.markers or near in space.anon:
            continue
        pte = space.table.lookup(near)
        if pte is None or not pte.present:
            memory.map(space, near, page, writable=False)
            mapped.append(near)
            used += key in memory.cache.ahead
            memory.cache.ahead.discard(key)
    if mapped:
        report(memory, space, "around", file, region.index(mapped[0]), len(mapped), ahead=used)
    return mapped


def write_mapped(memory: Memory, space: Space, page: Page) -> None:
    """Note that the process is about to write into `page`, which it shares with its file."""
    if writeback.make_dirty(memory, space, page):
        inode, index = place(page)
        report(memory, space, "dirty", memory.files_by_inode[inode], index, 1, dirtied=1)


def report(
    memory: Memory, space: Space, what: str, file: File, page: int, pages: int, hits: int = 0,
    ahead: int = 0, dirtied: int = 0, cost_ns: int = 0,
) -> None:  # fmt: skip
    """Log that a process has asked for pages of `file`."""
    memory.emit(
        ev.FileAccess(
            memory.now, memory.cpu, space.pid, what=what, file=file.name, page=page, pages=pages, hits=hits,
            ahead=ahead, dirtied=dirtied, cost_ns=cost_ns,
        )
    )  # fmt: skip


# --- giving pages up ------------------------------------------------------------------------------------


def drop_clean(memory: Memory, pid: int) -> int:
    """Drop every page of a file that is clean and that nobody maps or reads; return how many there were."""
    pages = [
        page for page in memory.pager.pages.values()
        if type(page.key) is not int and not (page.dirty or page.holders or page.pins)
    ]  # fmt: skip
    _drop(memory, pages, pid, "", "drop caches")
    return len(pages)


def invalidate(memory: Memory, pid: int, file: File, start: int, end: int) -> None:
    """Drop what direct I/O has made wrong, as far as nobody maps it."""
    pages = [memory.pager.pages.get((file.inode, index)) for index in range(start, end)]
    stale = [page for page in pages if page is not None and not (page.holders or page.pins)]
    _drop(memory, stale, pid, file.name, "direct I/O")


def truncate(memory: Memory, pid: int, file: File, pages: int) -> None:
    """Let `file` have `pages` pages; what lies beyond them is gone, also where it is mapped."""
    file.pages = pages
    for space in memory.spaces.values():
        for region in space.regions:
            first = region.start + max(0, pages - region.offset)
            if region.file is file and first < region.end:
                mapping.empty(memory, space, Region(first, region.end, region.name))
                memory.emit(
                    ev.Region(
                        memory.sim.now, memory.cpu, space.pid, call="truncate", name=region.name, page=first,
                        pages=region.end - first, rss=space.rss,
                    )
                )  # fmt: skip
    lost = [page for key, page in memory.pager.pages.items() if _beyond(key, file)]
    for page in lost:
        if page.key in memory.in_flight:
            memory.in_flight[page.key].append(partial(_came_too_late, memory, pid, file, page))
    _drop(memory, [page for page in lost if page.key not in memory.in_flight], pid, file.name, "truncate")


def _beyond(key: Key, file: File) -> bool:
    return isinstance(key, tuple) and key[0] == file.inode and key[1] >= file.pages


def _came_too_late(memory: Memory, pid: int, file: File, page: Page) -> None:
    """Drop a page that was being read when its file was cut off before it."""
    if memory.pager.pages.get(page.key) is page and _beyond(page.key, file) and not page.holders:
        _drop(memory, [page], pid, file.name, "truncate")


def lose(memory: Memory, pages: list[Page]) -> None:
    """Drop pages that the device could not read."""
    if pages:
        file = memory.file_of(pages[0]).name
        _drop(memory, pages, -1, file, "input/output error")


def _drop(memory: Memory, pages: list[Page], pid: int, file: str, reason: str) -> None:
    unused, dirty = 0, sum(page.dirty for page in pages)
    for page in pages:
        unused += memory.cache.gone(page.key)
        memory.pager.drop(page)
    if pages:
        memory.emit(
            ev.Drop(
                memory.sim.now, memory.cpu, pid, reason, file=file, pages=len(pages), unused=unused,
                dirty=dirty,
            )
        )  # fmt: skip
    writeback.let_go_on(memory)
