"""Finding frames: who must go, and what it costs to let it go.

- `obtain` takes a free frame; while there is none, the pool that wants it, or else the largest one, gives
  up a victim of its policy's choice. A pool at its limit gives up one of its own, or of those below it.
- A clean page just goes. A dirty one must be written first: of a file to its device, anonymous to swap.
- A huge page goes whole. If swap has no room for all of it, it is split, and what fits goes.
- Spared are pinned pages, and anonymous ones if swap has no place for any of them.
- With watermarks (`llmos.memory.watermarks`) reclaim begins before the last frame is taken.

Source: Linux mm/vmscan.c, in outline.
Differs: the frame of a dirty page is free at once for who is made to wait for the write; in the background
the write is sent off and nobody waits for it, but who reads from that device later.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmos.errors import LlmosError, PolicyError
from llmos.memory import writeback
from llmos.memory.records import Transfer
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page, Pool
    from llmos.memory.records import Space
    from llmos.replacement.base import Key


class NoFrameError(LlmosError):
    """No frame is free, and no page can go: the machine is out of memory, or `pool` if that is full."""

    def __init__(self, message: str, pool: Pool | None) -> None:
        super().__init__(message)
        self.pool = pool


class Spared:
    """The keys that must not go: what is pinned, and what swap has no place for."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def __contains__(self, key: object) -> bool:
        if key in self.memory.pager.pinned:
            return True
        page = self.memory.pager.pages.get(key)
        return page is not None and page.dirty and not _has_place(self.memory, page)


def _has_place(memory: Memory, page: Page) -> bool:
    """Whether `page` (or a part of it, if it is huge) can be written: of a file it can, anonymous to swap."""
    if type(page.key) is not int:
        return True
    return memory.swap is not None and (memory.swap.free > 0 or page.key in memory.swap.slot_of)


def obtain(memory: Memory, pool: Pool, key: Key, *, write: bool = False, order: int = 0) -> Page:
    """Give `key` a frame of `pool`, and make room for it if there is none.

    Raises NoFrameError if nobody can go.
    """
    pager, frames = memory.pager, 1 << order
    while (full := pool.full(frames)) is not None:
        make_room(memory, pool, key, full)
    memory.frames_wanted(frames)
    while (page := pager.load(key, pool, write=write, order=order)) is None:
        make_room(memory, pool, key)
    memory.frames_taken()
    return page


def make_room(memory: Memory, pool: Pool, key: Key | None, within: Pool | None = None) -> None:
    """Evict a page for `key`, which `pool` wants to have, of those `within` a pool that is full, or of all.

    Raises NoFrameError if nobody can go.
    """
    pools = _in_turn(memory, pool, within)
    victims = (memory.pager.victim(each, key if each is pool else None) for each in pools)
    victim = next((page for page in victims if page is not None), None)
    if victim is None:
        frames = memory.pager.frames.frames
        limit = f"all {frames} frames" if within is None else f"its {within.limit} frames"
        whose = "all" if within is None else within.name
        raise NoFrameError(f"nothing of {whose} can go, and {limit} are taken", within)
    evict(memory, victim)
    clean(memory, victim.pool)


def evict(memory: Memory, victim: Page, why: str = "") -> int:
    """Evict `victim`, or as much of it as swap has room for; return how many frames are free for that."""
    room = memory.swap.free if memory.swap else 0
    if memory.huge is None or not victim.order or room >= 1 << victim.order:
        memory.pager.evict(victim, why)
        return 1 << victim.order
    parts = memory.huge.split(victim, "swap has no room for all of it")
    for part in parts[:room]:
        memory.pager.evict(part, why)
    return len(parts[:room])


def _in_turn(memory: Memory, pool: Pool, within: Pool | None) -> list[Pool]:
    """Return the pools that may have to give a frame up for `pool`, in the order in which they are asked.

    First `pool` itself, then whoever has most. But where each task has its share, and this one less than
    that, pages that belong to no task go before its own.
    """
    if within is pool:
        return [pool]
    others = [p for p in memory.pools() if p.pages and (within is None or within in p.line())]
    others.sort(key=lambda other: -len(other.pages))
    first = [memory.common, pool] if within is None and memory.allocation.local else [pool]
    return list(dict.fromkeys([*first, *others]))


def anyone(memory: Memory) -> Page | None:
    """Return a page that may go, of whoever has most; None if none may."""
    pools = sorted(memory.pools(), key=lambda pool: -len(pool.pages))
    return next((page for pool in pools if (page := memory.pager.victim(pool)) is not None), None)


def will_be_room(memory: Memory, pool: Pool | None) -> bool:
    """Whether some page of `pool` (None: of all) is pinned only until it has come and was used."""
    brief = Counter(space.fresh.key for space in memory.spaces.values() if space.fresh is not None)
    brief.update(iter(memory.in_flight))
    pages = [page for key in brief if (page := memory.pager.pages.get(key)) is not None]
    return any(p.pins == brief[p.key] and (pool is None or pool in p.pool.line()) for p in pages)


def shrink(memory: Memory, pool: Pool) -> None:
    """Let `pool`, whose limit is lower than before, give up what it has too much; nobody waits for that."""
    memory.now = max(memory.now, memory.sim.now)
    while pool.full(0) is pool:
        try:
            make_room(memory, pool, None, pool)
        except NoFrameError:
            break  # the rest is pinned, or swap is full
    for transfer in pending_writes(memory):
        memory.send(transfer)


def clean(memory: Memory, pool: Pool) -> None:
    """Write what the policy of `pool` wants written; nobody waits for that."""
    for dirty in pool.policy.to_clean():
        page = pool.pages.get(dirty)
        if page is None:
            raise PolicyError(
                f"it wants {dirty!r:.80} written, which is not resident",
                policy=type(pool.policy).__name__,
                contract="`to_clean` returns resident keys that are dirty",
            )
        write_behind(memory, page)


def leave(memory: Memory, page: Page, reason: str) -> None:
    """Unmap `page`, which is about to lose its frame, and note that it goes and what must be written."""
    holders = list(page.holders)
    keys: Sequence[Key] = (page.key,)
    if page.order and memory.huge is not None:
        keys = memory.huge.leave(page)
    for key in keys:
        memory.load.evicted(key)
    for space, vpn in list(page.holders):
        memory.unmap(space, vpn, page)
    if page.dirty:
        memory.writes[_home(memory, page)] += 1 << page.order
    unused = type(page.key) is not int and memory.cache.gone(page.key)
    where = f"{holders[0][0].name} {holders[0][0].at(holders[0][1])}" if holders else ""
    in_stretch = memory.postponed is not None
    memory.victim = memory.victim or where or str(page.key)
    memory.emit(
        ev.Evict(
            memory.now, memory.cpu, memory.pid if in_stretch else -1, reason, page=str(page.key), at=where,
            frame=page.frame, dirty=page.dirty, pages=1 << page.order, unused=unused,
            holders=[(space.pid, vpn) for space, vpn in holders],
        )
    )  # fmt: skip


def _home(memory: Memory, page: Page) -> str:
    """Return the device that keeps `page`; an anonymous one gets a swap slot."""
    if isinstance(page.key, int):
        if memory.swap is None:
            raise RuntimeError("an anonymous page was evicted without swap")  # a bug in llmos
        if not page.order:  # the parts of a huge one have slots of their own
            memory.swap.give(page.key)
        return memory.swap.device
    return memory.file_of(page).device


def pending_writes(memory: Memory) -> list[Transfer]:
    """Return (once) the transfers that evictions have made necessary."""
    transfers = [Transfer(device, pages, write=True) for device, pages in sorted(memory.writes.items())]
    memory.writes.clear()
    return transfers


def write_behind(memory: Memory, page: Page) -> None:
    """Write the dirty `page` while it stays, if it is not huge and there is room; nobody waits for it."""
    if not page.dirty or page.order or not _has_place(memory, page):
        return
    if type(page.key) is not int:  # of a file
        writeback.write(memory, memory.file_of(page), [page], "the replacement policy wants it clean")
        return
    transfer = Transfer(_home(memory, page), 1 << page.order, write=True)
    memory.pager.cleaned(page)
    memory.send(transfer)


def read_from_swap(memory: Memory, space: Space, wanted: Page) -> Transfer:
    """Return the transfer that fills `wanted`, and with it its neighbours in swap, into free frames."""
    swap = memory.swap
    if swap is None or wanted.key not in swap.slot_of:
        raise RuntimeError(f"page {wanted.key} is neither in memory nor in swap")  # a bug in llmos
    pages = [wanted]
    for other in swap.neighbours(wanted.key, memory.page_cluster):
        if other not in memory.pager.pages and space.pool.full() is None:
            page = memory.pager.load(other, space.pool)
            if page is not None:
                pages.append(page)
    return memory.read(swap.device, pages)
