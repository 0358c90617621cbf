"""Watermarks: reclaim begins before the last frame is gone.

- Below *low* free frames the background reclaim (kswapd) wakes up. It evicts, a batch at a time, until
  *high* are free. That is kernel work on the core that has woken it, and nobody waits for what it writes.
- Who would leave less than *min* free reclaims directly: it evicts a batch itself, which is its own time,
  and waits for what must be written.
- If nothing can go, who faults gets the frames below min all the same.

Source: Linux 6.12 mm/page_alloc.c (init_per_zone_wmark_min, __setup_per_zone_wmarks), mm/vmscan.c (kswapd,
try_to_free_pages).
Differs: one zone; the frames below min are for whoever can get no others, not for reclaim alone; the
frame of a page that is being written is free at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Final

from llmos.memory import reclaim
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.memory.memory import Memory

BATCH: Final = 32
"""So many frames are reclaimed at a time (SWAP_CLUSTER_MAX)."""
LEAST_KB, MOST_KB = 128, 262_144
"""Bounds of min, in KiB."""


@dataclass(frozen=True, slots=True)
class Watermarks:
    """Numbers of free frames, in rising order."""

    min: int
    low: int
    high: int


def linux(frames: int, page_bytes: int, scale: int = 10) -> Watermarks:
    """Return Linux's watermarks for `frames`; `scale` is watermark_scale_factor, in 1/10,000 of memory."""
    kb = frames * page_bytes // 1024
    min_kb = max(LEAST_KB, min(isqrt(kb * 16), MOST_KB))
    least = min_kb * 1024 // page_bytes
    step = max(least // 4, frames * scale // 10_000)
    return Watermarks(least, least + step, least + 2 * step)


class Background:
    """The background reclaim of one memory."""

    def __init__(self, memory: Memory, marks: Watermarks) -> None:
        self.memory = memory
        self.marks = marks
        self.awake = False
        self._cpu = 0

    @property
    def _free(self) -> int:
        return self.memory.pager.frames.free_frames

    def look(self) -> None:
        """Wake up if too few frames are free."""
        if not self.awake and self._free < self.marks.low:
            self.awake = True
            self._cpu = max(0, self.memory.cpu)
            self.memory.later(self._work)

    def _work(self) -> None:
        """Evict a batch, and keep the core busy for as long as that takes; then go on, if need be."""
        memory = self.memory
        memory.now, memory.cpu = max(memory.now, memory.sim.now), self._cpu
        free = self._free
        freed = evict(memory, min(BATCH, self.marks.high - free), "background reclaim")
        if not freed:
            self.awake = False
            return
        for transfer in reclaim.pending_writes(memory):
            memory.send(transfer)
        cost = freed * memory.costs.reclaim_page_ns + memory.take_owed()
        reason = f"{free} frames are free, and {self.marks.high} should be"
        memory.emit(
            ev.Reclaim(memory.sim.now, self._cpu, -1, reason, how="background", pages=freed, free=self._free)
        )
        memory.interrupt(self._cpu, "kswapd", cost, reason)
        memory.sim.at(memory.sim.now + cost, memory.phase, self._next)

    def _next(self) -> None:
        self.awake = False
        if self._free < self.marks.high:
            self.awake = True
            self._work()


def directly(memory: Memory, marks: Watermarks, frames: int) -> None:
    """Let the fault at hand, which needs `frames`, reclaim some if it would leave less than min."""
    free = memory.pager.frames.free_frames
    if free - frames >= marks.min:
        return
    freed = evict(memory, min(BATCH, marks.high - free), "direct reclaim")
    if not freed:
        return
    cost = freed * memory.costs.reclaim_page_ns
    memory.reclaimed_ns += cost
    reason = f"{free} frames are free, of which {marks.min} are kept"
    free = memory.pager.frames.free_frames
    memory.emit(
        ev.Reclaim(
            memory.now, memory.cpu, memory.pid, reason, how="direct", pages=freed, free=free, cost_ns=cost
        )
    )


def evict(memory: Memory, frames: int, why: str) -> int:
    """Evict pages of whoever has most until `frames` are free again; return how many frames are."""
    freed = 0
    while freed < frames:
        victim = reclaim.anyone(memory)
        if victim is None:
            break
        freed += reclaim.evict(memory, victim, why)
    return freed
