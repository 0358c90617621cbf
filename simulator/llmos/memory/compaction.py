"""Compaction: free frames that lie scattered become a block.

- Two scanners walk towards each other: one from the bottom takes pages that can be moved, one from the top
  finds free frames for them. It is over when there is a block of the wanted order, or when they meet.
- Pinned pages stay, and so do huge ones. A move costs a copy, and every TLB is told.
- It is tried only where it can help: where frames enough are free, but in pieces (fragmentation above 0.5).

Source: Linux mm/compaction.c (compact_zone, isolate_migratepages, isolate_freepages), in outline.
Differs: Linux goes by page blocks and skips those that were no use lately; here each frame is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Page

THRESHOLD: Final = 0.5
"""Above it a request fails for want of order, not of memory (vm.extfrag_threshold is 500 thousandths)."""


def compact(memory: Memory, order: int) -> bool:
    """Move pages until a block of 2^`order` frames is free; return whether there is one."""
    frames = memory.buddy
    before = frames.fragmentation(order)
    if before is None or before <= THRESHOLD or frames.free_frames < 1 << order:
        return before is None
    low, high, moved = 0, frames.frames - 1, 0
    while low < high and not any(frames.counts[order:]):
        page = memory.pager.at.get(low)
        if page is None or page.order or page.pins:
            low += 1 << page.order if page else 1
            continue
        while high > low and not frames.take(high):
            high -= 1
        if high > low:
            _move(memory, page, high)
            moved += 1
    took = moved * memory.costs.copy_page_ns
    memory.owed_ns += took
    after = frames.fragmentation(order)
    memory.emit(
        ev.Compact(
            memory.now, memory.cpu, reason=f"frames are free, but no {1 << order} together", moved=moved,
            order=order, before=before, after=after or 0, cost_ns=took,
        )
    )  # fmt: skip
    return after is None


def _move(memory: Memory, page: Page, frame: int) -> None:
    """Give `page` another frame, and tell all who have it."""
    for space, vpn in page.holders:
        entry = space.table.lookup(vpn)
        entry.pfn = frame
        memory.shoot_down(space, vpn)
    memory.pager.migrate(page, frame)
