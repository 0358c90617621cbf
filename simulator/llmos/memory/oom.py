"""The OOM killer: who dies when nobody's page can go.

- Every process that may die gets a score; the highest dies. The event shows the scores of all.
- `badness` is Linux's, to the number: pages in memory and in swap and of page tables, and oom_score_adj
  thousandths of all there is. `largest` and `youngest` are what one might do instead.
- The memory of the victim is free at once (as by Linux's oom_reaper), so that who needs it can go on.

Source: Linux 6.12 mm/oom_kill.c (oom_badness, oom_evaluate_task).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from llmos.memory import mapping
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.memory.memory import Memory
    from llmos.memory.pager import Pool
    from llmos.memory.records import Space

NEVER: Final = -1000
"""The oom_score_adj of who must not be killed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A process that may die: its pages in memory, in swap and of page tables."""

    pid: int
    resident: int
    swapped: int = 0
    table_pages: int = 0
    oom_score_adj: int = 0

    @property
    def pages(self) -> int:
        """All that would be free without it."""
        return self.resident + self.swapped + self.table_pages


Score = Callable[[Candidate, int], int]


def badness(candidate: Candidate, total_pages: int) -> int:
    """Return Linux's score in a machine of `total_pages` pages of memory and swap; the highest dies."""
    return candidate.pages + candidate.oom_score_adj * (total_pages // 1000)


def largest(candidate: Candidate, _total_pages: int) -> int:
    """Whoever has most in memory."""
    return candidate.resident


def youngest(candidate: Candidate, _total_pages: int) -> int:
    """Whoever came last: it has done least."""
    return candidate.pid


KILLERS: Final = MappingProxyType[str, Score]({"badness": badness, "largest": largest, "youngest": youngest})


def choose(candidates: list[Candidate], total_pages: int, score: Score) -> Candidate | None:
    """Return the one with the highest score, of equals the one that came last, as Linux does."""
    able = [c for c in candidates if c.oom_score_adj != NEVER]
    return max(able, key=lambda c: (score(c, total_pages), c.pid), default=None)


def candidate(memory: Memory, space: Space) -> Candidate:
    """Return what `space` has."""
    entries = map(space.table.lookup, space.anon)
    swapped = sum(entry is None or not entry.present for entry in entries)
    tables = -(-space.table.table_bytes // memory.page_bytes)
    return Candidate(space.pid, space.rss, swapped, tables, space.oom_score_adj)


def kill(memory: Memory, within: Space, reason: str, pool: Pool | None = None) -> Space | None:
    """Kill whom the policy names, of those of a `pool` that is full, or of all; None if nobody may be killed.

    It is `within` that wants a frame.
    """
    spaces = [s for s in memory.spaces.values() if pool is None or pool in s.pool.line()]
    candidates = [candidate(memory, space) for space in spaces if not space.dead]
    frames = memory.pager.frames.frames if pool is None or pool.limit is None else pool.limit
    total = frames + (memory.swap.size if memory.swap else 0)
    victim = choose(candidates, total, memory.oom_score)
    scores = [(c.pid, memory.oom_score(c, total)) for c in candidates if c.oom_score_adj != NEVER]
    if victim is None:
        return None
    space = memory.spaces[victim.pid]
    memory.emit(
        ev.OomKill(memory.now, memory.cpu, victim.pid, reason, scores=sorted(scores), pages=victim.pages)
    )
    space.dead = True
    mapping.clear(memory, space)
    if space is not within:
        memory.later(lambda: memory.kill(space.pid, "killed for want of memory"))
    return space
