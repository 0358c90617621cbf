"""The memory of a machine as the log has shown it so far: the part of the fold that is about pages.

- `RULES` says, for each event about memory, what it changes; `State` applies them with its own.
- A task's resident set changes with its faults, with evictions, and with what it maps and unmaps. The page of
  a major fault is a part of it, which is on its way; it was ever there if the task has gone on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from llmos.trace import events as ev


@dataclass(slots=True, eq=False)
class TaskMemory:
    """What one task has done to the memory, and has of it."""

    accesses: int = 0
    writes: int = 0
    tlb: list[int] = field(default_factory=list)
    """References that missed in all levels of the TLB, that hit in the first, in the second, ..."""
    walked: int = 0
    """References to page tables."""
    spent_ns: int = 0
    """What its references took on the core, faults apart."""
    fault_ns: int = 0
    """What the kernel took for its faults."""
    waited_ns: int = 0
    """How long it was blocked for them."""
    waits: bool = False
    """Whether it is on its way to wait for a fault, or does so."""
    minor_faults: int = 0
    major_faults: int = 0
    rss_pages: int = 0
    most_rss_pages: int = 0
    evictions: int = 0
    """Pages that it has lost."""
    writebacks: int = 0
    """Those that had to be written first."""
    swap_in: int = 0
    swap_out: int = 0
    """Pages that it lost to swap."""


@dataclass(slots=True, eq=False)
class CacheState:
    """What happened to the pages of files."""

    hits: int = 0
    """Pages that somebody asked for and that were there."""
    misses: int = 0
    direct: int = 0
    """Pages that were read or written past the page cache."""
    read_ahead: int = 0
    """Pages that were read before anybody asked for them."""
    used_ahead: int = 0
    wasted_ahead: int = 0
    """Of these, pages that went before anybody asked for them."""
    dirty: int = 0
    most_dirty: int = 0
    written_back: int = 0
    """Pages that were written while they stayed."""


@dataclass(slots=True, eq=False)
class HugeState:
    """What happened to huge pages, and to make room for them."""

    now: int = 0
    most: int = 0
    faults: int = 0
    """Huge pages that a first touch has brought."""
    promotions: int = 0
    splits: int = 0
    swapped: int = 0
    failures: int = 0
    """How often there was no block of frames for one."""
    untouched: int = 0
    """Base pages of those that are no more, which nobody has ever touched."""
    compactions: int = 0
    moved: int = 0
    """Pages that compaction has moved."""
    fragmentation: float = 0.0
    """How much memory was in pieces when a block was wanted last."""
    cost_ns: int = 0
    """What promoting, splitting and moving took."""


@dataclass(slots=True, eq=False)
class MergeState:
    """What same-page merging has done, and has brought when its scanner came by last."""

    scanned: int = 0
    merged: int = 0
    shared: int = 0
    saved: int = 0
    most_saved: int = 0
    profit_bytes: int = 0
    cost_ns: int = 0


@dataclass(slots=True, eq=False)
class MemoryState:
    """All tasks' memory, and what happened to the machine's."""

    tasks: dict[int, TaskMemory] = field(default_factory=dict)
    evictions: int = 0
    written: int = 0
    """Evicted pages that had to be written first."""
    swapped_out: int = 0
    """Those of them that went to swap."""
    cache: CacheState = field(default_factory=CacheState)
    huge: HugeState = field(default_factory=HugeState)
    merging: MergeState = field(default_factory=MergeState)
    reclaimed: dict[str, int] = field(default_factory=lambda: {"background": 0, "direct": 0})
    """Pages that went as watermarks said so, by who evicted them."""
    thrashing: list[ev.Thrashing] = field(default_factory=list)
    """When the machine began to thrash, and when that was over."""
    swapped_tasks: list[ev.SwapTask] = field(default_factory=list)
    """Which tasks load control has taken out and brought back."""
    oom_kills: list[ev.OomKill] = field(default_factory=list)
    references: list[ev.Reference] = field(default_factory=list)
    """Every reference, in order, if they were logged."""

    def of(self, pid: int) -> TaskMemory:
        """Return the record of a task, which begins with the first thing that is known of it."""
        return self.tasks.setdefault(pid, TaskMemory())


SUMS: Final = (
    "accesses", "writes", "walked", "spent_ns", "fault_ns", "waited_ns", "minor_faults", "major_faults",
    "rss_pages", "swap_in",
)  # fmt: skip
"""What all tasks together have is their sum."""


def total(memory: MemoryState) -> TaskMemory:
    """Return the sum over all tasks."""
    out = TaskMemory()
    for task in memory.tasks.values():
        for name in SUMS:
            setattr(out, name, getattr(out, name) + getattr(task, name))
        out.tlb += [0] * (len(task.tlb) - len(out.tlb))
        out.tlb = [a + b for a, b in zip(out.tlb, task.tlb + [0] * len(out.tlb), strict=False)]
        out.most_rss_pages += task.most_rss_pages
    # What tasks share, each of them loses, but it goes once.
    out.evictions, out.writebacks, out.swap_out = memory.evictions, memory.written, memory.swapped_out
    return out


def _touched(memory: MemoryState, event: ev.Touched) -> None:
    task = memory.of(event.task)
    task.accesses += event.count
    task.writes += event.writes
    task.walked += event.walked
    task.spent_ns += event.spent_ns
    task.tlb += [0] * (len(event.tlb) - len(task.tlb))
    for level, count in enumerate(event.tlb):
        task.tlb[level] += count
    if not task.waits:
        _resident(task, task.rss_pages)


def _reference(memory: MemoryState, event: ev.Reference) -> None:
    memory.references.append(event)


def _fault(memory: MemoryState, event: ev.Fault) -> None:
    task = memory.of(event.task)
    if event.what == "minor":
        task.minor_faults += 1
    elif event.what == "major":
        task.major_faults += 1
    task.fault_ns += event.cost_ns
    task.waits |= event.waits or event.what == "major"
    task.swap_in += event.swapped_in
    _resident(task, event.rss - event.pages if event.what == "major" else event.rss)
    task.rss_pages = event.rss


def _evict(memory: MemoryState, event: ev.Evict) -> None:
    memory.evictions += event.pages
    memory.written += event.pages * event.dirty
    memory.cache.wasted_ahead += event.unused
    to_swap = 0
    if event.dirty and event.page.startswith("("):  # of a file
        memory.cache.dirty -= event.pages
    elif event.dirty:
        to_swap = event.pages
    memory.swapped_out += to_swap
    for pid, _ in event.holders:
        task = memory.of(pid)
        task.evictions += event.pages
        task.writebacks += event.pages * event.dirty
        task.swap_out += to_swap
        _resident(task, task.rss_pages - event.pages)


def _region(memory: MemoryState, event: ev.Region) -> None:
    _resident(memory.of(event.task), event.rss)


def _file_access(memory: MemoryState, event: ev.FileAccess) -> None:
    cache = memory.cache
    if event.what.startswith("direct"):
        cache.direct += event.pages
    elif event.what in {"read", "write", "map"}:
        cache.hits += event.hits
        cache.misses += event.pages - event.hits
    cache.used_ahead += event.ahead
    cache.dirty += event.dirtied
    cache.most_dirty = max(cache.most_dirty, cache.dirty)


def _readahead(memory: MemoryState, event: ev.Readahead) -> None:
    memory.cache.read_ahead += event.ahead


def _writeback(memory: MemoryState, event: ev.Writeback) -> None:
    memory.cache.written_back += event.pages
    memory.cache.dirty -= event.pages


def _drop(memory: MemoryState, event: ev.Drop) -> None:
    memory.cache.wasted_ahead += event.unused
    memory.cache.dirty -= event.dirty


def _oom_kill(memory: MemoryState, event: ev.OomKill) -> None:
    memory.oom_kills.append(event)
    _resident(memory.of(event.task), 0)


def _reclaim(memory: MemoryState, event: ev.Reclaim) -> None:
    memory.reclaimed[event.how] += event.pages


def _thrashing(memory: MemoryState, event: ev.Thrashing) -> None:
    memory.thrashing.append(event)


def _swap_task(memory: MemoryState, event: ev.SwapTask) -> None:
    memory.swapped_tasks.append(event)
    _resident(memory.of(event.task), event.rss)


def _huge(memory: MemoryState, event: ev.Huge) -> None:
    huge = memory.huge
    huge.cost_ns += event.cost_ns
    if event.what == "none":
        huge.failures += 1
        huge.fragmentation = event.fragmentation
    elif event.what in ("fault", "promote"):
        huge.now += 1
        huge.most = max(huge.most, huge.now)
        huge.faults += event.what == "fault"
        huge.promotions += event.what == "promote"
        _resident(memory.of(event.task), event.rss)
    else:
        huge.now -= 1
        huge.splits += event.what == "split"
        huge.swapped += event.what == "swap"
        huge.untouched += event.untouched


def _compact(memory: MemoryState, event: ev.Compact) -> None:
    memory.huge.compactions += 1
    memory.huge.moved += event.moved
    memory.huge.cost_ns += event.cost_ns
    memory.huge.fragmentation = event.after


def _merge(memory: MemoryState, event: ev.Merge) -> None:
    merging = memory.merging
    merging.scanned += event.scanned
    merging.merged += event.merged
    merging.cost_ns += event.cost_ns
    merging.shared, merging.saved, merging.profit_bytes = event.shared, event.saved, event.profit_bytes
    merging.most_saved = max(merging.most_saved, event.saved)


def _resident(task: TaskMemory, pages: int) -> None:
    task.rss_pages = pages
    task.most_rss_pages = max(task.most_rss_pages, pages)


RULES: Final = MappingProxyType[type[ev.Event], Callable[[MemoryState, Any], None]](
    {
        ev.Touched: _touched,
        ev.Reference: _reference,
        ev.Fault: _fault,
        ev.Evict: _evict,
        ev.Region: _region,
        ev.FileAccess: _file_access,
        ev.Readahead: _readahead,
        ev.Writeback: _writeback,
        ev.Drop: _drop,
        ev.Huge: _huge,
        ev.Compact: _compact,
        ev.Merge: _merge,
        ev.OomKill: _oom_kill,
        ev.Reclaim: _reclaim,
        ev.Thrashing: _thrashing,
        ev.SwapTask: _swap_task,
    }
)


class ResidentSets:
    """A sink that notes how many pages each task has in memory, whenever that changes."""

    def __init__(self) -> None:
        self.history: dict[int, list[tuple[int, int]]] = {}
        """By pid: (time in ns, pages from then on), in order."""
        self._memory = MemoryState()

    def __call__(self, events: Iterable[ev.Event], _data: bytes = b"") -> None:
        for event in events:
            rule = RULES.get(type(event))
            if rule is None or isinstance(event, ev.Touched | ev.Reference):
                continue
            rule(self._memory, event)
            for pid, task in self._memory.tasks.items():
                known = self.history.setdefault(pid, [])
                if not known or known[-1][1] != task.rss_pages:
                    known.append((event.t, task.rss_pages))
