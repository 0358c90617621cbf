"""Writeback: dirty pages of files go to their devices, now and then, and when somebody asks for it.

- Of the available memory (free, or of files) so much may be dirty. Above the *background* threshold pages
  are written, those first that are dirty for longest, until it is reached; meanwhile everybody goes on.
- Above the *hard* threshold, in which pages count that are being written, whoever is about to make another
  page dirty waits until it is not exceeded any more; then it may do so, whatever others did meanwhile.
- Every `interval_ns` pages are looked for that are dirty for longer than `expire_ns`, and are written.
- Dirty pages that are neighbours in their file are written in one request.
- A page is clean from when its write begins, and mapped read-only: who changes it makes it dirty again.
- Nothing here keeps a run alive in which no process is left.

Source: Linux 6.12 mm/page-writeback.c (domain_dirty_limits, balance_dirty_pages), fs/fs-writeback.c.
Differs: balance_dirty_pages holds writers up for short pauses, which grow from the middle between the two
thresholds on so that they write as fast as the device; here they go on freely to the hard threshold and stop.
There is one flusher, which waits for each of its requests, for all devices; cgroups have no thresholds of
their own, and real-time tasks no quarter more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from llmos.memory.files import place
from llmos.memory.records import Transfer, Wait
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.memory.files import File
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page
    from llmos.memory.records import Space

MOST: Final = 256
"""So many pages are written in one request: 1 MiB."""


@dataclass(slots=True, eq=False)
class Flight:
    """`pages` pages that are being written, and who wants to know when they are."""

    pages: int
    landed: list[Callable[[], None]] = field(default_factory=list)


def thresholds(memory: Memory) -> tuple[int, int]:
    """Return how many dirty pages are too many: in the background, and for everybody."""
    rules = memory.cache.rules
    available = memory.pager.frames.free_frames + memory.cache.resident
    hard = max(1, available * rules.dirty // 100)
    background = available * rules.dirty_background // 100
    return (background if background < hard else hard // 2), hard


def make_dirty(memory: Memory, space: Space, page: Page) -> bool:
    """Note that `space` has changed `page` of a file; return whether it was as on its device before."""
    space.held = False
    cache = memory.cache
    page.dirty = True
    if page.key in cache.dirty:
        return False
    cache.dirty[page.key] = max(memory.now, memory.sim.now)
    watch(memory)
    if len(cache.dirty) > thresholds(memory)[0]:
        _start(memory)
    return True


def hold_up(memory: Memory, space: Space) -> Wait | None:
    """Return what a process must wait for before it may make a page dirty, if anything.

    Who has waited may write one page, whatever the others did meanwhile; else one of them that is always
    a little earlier would keep it out for ever.
    """
    if space.held or not _too_much(memory):
        return None
    space.held = True
    _start(memory)
    return Wait(
        "too many pages are dirty", [], lambda: None, on="writeback", over="fewer pages are dirty",
        ask=partial(_ask, memory),
    )  # fmt: skip


def _ask(memory: Memory, tell: Callable[[], None]) -> None:
    memory.cache.held.append(tell)
    let_go_on(memory)


def let_go_on(memory: Memory) -> None:
    """Let go on who waits for fewer dirty pages, if there are."""
    cache = memory.cache
    if cache.held and not _too_much(memory):
        held, cache.held = cache.held, []
        for tell in held:
            tell()


def _too_much(memory: Memory) -> bool:
    return len(memory.cache.dirty) + memory.cache.writing > thresholds(memory)[1]


# --- who writes, and when -------------------------------------------------------------------------------


def watch(memory: Memory) -> None:
    """Look for old dirty pages at the next multiple of the interval, if there can be any."""
    cache, sim = memory.cache, memory.sim
    if cache.alarm is None and cache.dirty and memory.spaces:
        every = cache.rules.interval_ns
        sim.asides.add(_look)
        cache.alarm = sim.at((sim.now // every + 1) * every, memory.phase, _look, memory)


def rest(memory: Memory) -> None:
    """Look for nothing any more if no process is left, so that the run can end."""
    if memory.cache.alarm is not None and not memory.spaces:
        memory.sim.cancel(memory.cache.alarm)
        memory.cache.alarm = None


def _look(memory: Memory) -> None:
    memory.cache.alarm = None
    if _next(memory):
        _start(memory)
    if memory.sim.expects():  # else nothing will ever happen: it is over
        watch(memory)


def _start(memory: Memory) -> None:
    """Let the flusher work, after the reference at hand."""
    if not memory.cache.flushing:
        memory.cache.flushing = True
        memory.later(partial(_flush, memory))


def _flush(memory: Memory) -> None:
    """Write the next cluster that should be written; go on when that is done."""
    found = _next(memory)
    if found is None:
        memory.cache.flushing = False
        let_go_on(memory)
        return
    page, reason = found
    flight = write(memory, memory.file_of(page), _cluster(memory, page), reason)
    flight.landed.append(partial(_flush, memory))


def _next(memory: Memory) -> tuple[Page, str] | None:
    """Return the page that is dirty for longest, with the reason why it should be written; or None."""
    cache = memory.cache
    key = next(iter(cache.dirty), None)
    if key is None or not memory.spaces:
        return None
    if len(cache.dirty) > thresholds(memory)[0]:
        return memory.pager.pages[key], "more pages are dirty than the background threshold"
    if memory.sim.now - cache.dirty[key] >= cache.rules.expire_ns:
        return memory.pager.pages[key], "dirty for too long"
    return None


def _cluster(memory: Memory, page: Page) -> list[Page]:
    """Return the dirty pages of a file that lie around `page` without a gap, `MOST` of them at most."""
    dirty, pages = memory.cache.dirty, memory.pager.pages
    inode, index = place(page)
    first = end = index
    while (inode, first - 1) in dirty and index - first < MOST - 1:
        first -= 1
    while (inode, end) in dirty and end - first < MOST:
        end += 1
    return [pages[inode, i] for i in range(first, end)]


def write_all(memory: Memory, space: Space, file: File, indices: range | None = None) -> list[Flight]:
    """Begin to write all dirty pages of `file` (or those of `indices`), and return what to wait for."""
    dirty = memory.cache.dirty
    mine = sorted(key[1] for key in dirty if key[0] == file.inode)  # type: ignore[index]  # of a file
    for index in mine:
        key = (file.inode, index)
        if key in dirty and (indices is None or index in indices):  # else written with one before it
            reason = f"{space.name} wants it on the device"
            write(memory, file, _cluster(memory, memory.pager.pages[key]), reason)
    return list(memory.cache.flights.get(file.inode, ()))


def write(memory: Memory, file: File, pages: list[Page], reason: str) -> Flight:
    """Begin to write `pages`, neighbours in `file`."""
    cache, flight = memory.cache, Flight(len(pages))
    for page in pages:
        memory.pager.cleaned(page)
        cache.dirty.pop(page.key, None)
        _protect(memory, page)
    cache.writing += flight.pages
    cache.flights.setdefault(file.inode, []).append(flight)
    memory.emit(
        ev.Writeback(
            memory.sim.now, reason=reason, file=file.name, page=place(pages[0])[1], pages=flight.pages,
        )
    )  # fmt: skip
    memory.send(Transfer(file.device, flight.pages, write=True), done=partial(_landed, memory, file, flight))
    return flight


def _landed(memory: Memory, file: File, flight: Flight) -> None:
    memory.cache.writing -= flight.pages
    memory.cache.flights[file.inode].remove(flight)
    for tell in flight.landed:
        tell()
    let_go_on(memory)


def _protect(memory: Memory, page: Page) -> None:
    """Let the next write to `page` through a mapping be a fault."""
    for space, vpn in page.holders:
        entry = space.table.lookup(vpn)
        if entry is not None and entry.writable:
            entry.writable = False
            memory.shoot_down(space, vpn)


def when_landed(flights: list[Flight], tell: Callable[[], None]) -> None:
    """Call `tell` once all `flights` are over."""
    left = len(flights)

    def one() -> None:
        nonlocal left
        left -= 1
        if not left:
            tell()

    for flight in flights:
        flight.landed.append(one)
    if not flights:
        tell()
