"""Finding frames: who must go, and what it costs to let it go.

- `obtain` takes a free frame; while there is none, the pool that wants it, or else the largest one, gives
  up a victim of its policy's choice.
- A clean page just goes. A dirty one must be written first: of a file to its device, anonymous to swap.
- Spared are pinned pages, and anonymous ones that swap has no place for.
- With watermarks, reclaim begins in the background when few frames are left (`low`) and goes on until
  there are enough (`high`); only who finds no frame at all reclaims directly, and waits.

Source: Linux mm/vmscan.c, in outline.
Differs: the frame of a dirty page is free at once for who is made to wait for the write; in the background
the write is sent off and nobody waits for it, but who reads from that device later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.errors import LlmosError
from llmos.memory.records import Transfer
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page, Pool
    from llmos.memory.records import Space
    from llmos.replacement.base import Key


class NoFrameError(LlmosError):
    """No frame is free, and no page can go: the machine is out of memory."""


class Spared:
    """The keys that must not go: what is pinned, and what swap has no place for."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def __contains__(self, key: object) -> bool:
        memory = self.memory
        if key in memory.pager.pinned:
            return True
        if type(key) is not int:  # of a file
            return False
        swap = memory.swap
        page = memory.pager.pages.get(key)
        if page is None or not page.dirty:
            return False
        return swap is None or (not swap.free and key not in swap.slot_of)


def obtain(memory: Memory, pool: Pool, key: Key, *, write: bool = False, order: int = 0) -> Page:
    """Give `key` a frame of `pool`, and make room for it if there is none.

    Raises NoFrameError if nobody can go.
    """
    pager = memory.pager
    while not pool.room:
        _make_room(memory, pool, key)
    while (page := pager.load(key, pool, write=write, order=order)) is None:
        _make_room(memory, pool, key, anywhere=True)
    memory.frames_taken()
    return page


def _make_room(memory: Memory, pool: Pool, key: Key | None, *, anywhere: bool = False) -> None:
    """Evict a page of `pool`, or of another if it has none that can go and `anywhere` will do."""
    pager = memory.pager
    victim = pager.victim(pool, key)
    if victim is None and anywhere:
        others = sorted(memory.pools(), key=lambda other: -len(other.pages))
        victims = (pager.victim(other) for other in others if other is not pool)
        victim = next((page for page in victims if page is not None), None)
    if victim is None:
        limit = f"its limit of {pool.limit} pages" if not pool.room else f"{pager.frames.frames} frames"
        raise NoFrameError(f"nothing of {pool.name} can go, and {limit} are taken")
    pager.evict(victim)
    for dirty in victim.pool.policy.to_clean():
        write_behind(memory, memory.pager.pages[dirty])


def leave(memory: Memory, page: Page, reason: str) -> None:
    """Unmap `page`, which is about to lose its frame, and note what must be written."""
    holders = list(page.holders)
    for space, vpn in holders:
        memory.unmap(space, vpn, page)
    if page.dirty:
        memory.writes[_home(memory, page)] += 1 << page.order
    memory.emit(
        ev.Evict(
            memory.now, memory.cpu, reason=reason, page=str(page.key), frame=page.frame, dirty=page.dirty,
            pages=1 << page.order, holders=[(space.pid, vpn) for space, vpn in holders],
        )
    )  # fmt: skip


def _home(memory: Memory, page: Page) -> str:
    """Return the device that keeps `page`; an anonymous one gets a swap slot."""
    if isinstance(page.key, int):
        if memory.swap is None:
            raise RuntimeError("an anonymous page was evicted without swap")  # a bug in llmos
        memory.swap.give(page.key)
        return memory.swap.device
    return memory.file_of(page).device


def pending_writes(memory: Memory) -> list[Transfer]:
    """Return (once) the transfers that evictions have made necessary."""
    transfers = [Transfer(device, pages, write=True) for device, pages in sorted(memory.writes.items())]
    memory.writes.clear()
    return transfers


def write_behind(memory: Memory, page: Page) -> None:
    """Write the dirty `page` while it stays; nobody waits for it."""
    if not page.dirty:
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
        if other not in memory.pager.pages and space.pool.room:
            page = memory.pager.load(other, space.pool)
            if page is not None:
                pages.append(page)
    return memory.read(swap.device, pages)
