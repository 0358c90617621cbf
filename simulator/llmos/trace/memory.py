"""The memory of a machine as the log has shown it so far: the part of the fold that is about pages.

- `RULES` says, for each event about memory, what it changes; `State` applies them with its own.
- A task's resident set changes with its faults, with evictions, and with what it maps and unmaps.
"""

from __future__ import annotations

from collections.abc import Callable
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
    evicted: int = 0
    """Pages that it lost to somebody else."""


@dataclass(slots=True, eq=False)
class MemoryState:
    """All tasks' memory, and what happened to the machine's."""

    tasks: dict[int, TaskMemory] = field(default_factory=dict)
    evictions: int = 0
    written: int = 0
    """Evicted pages that had to be written first."""
    oom_kills: list[ev.OomKill] = field(default_factory=list)
    references: list[ev.Reference] = field(default_factory=list)
    """Every reference, in order, if they were logged."""

    def of(self, pid: int) -> TaskMemory:
        """Return the record of a task, which begins with the first thing that is known of it."""
        return self.tasks.setdefault(pid, TaskMemory())


SUMS: Final = (
    "accesses", "writes", "walked", "spent_ns", "fault_ns", "waited_ns", "minor_faults", "major_faults",
    "rss_pages", "evicted",
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


def _reference(memory: MemoryState, event: ev.Reference) -> None:
    memory.references.append(event)


def _fault(memory: MemoryState, event: ev.Fault) -> None:
    task = memory.of(event.task)
    if event.what == "minor":
        task.minor_faults += 1
    elif event.what == "major":
        task.major_faults += 1
    task.fault_ns += event.cost_ns
    task.waits = event.waits or event.what == "major"
    _resident(task, event.rss)


def _evict(memory: MemoryState, event: ev.Evict) -> None:
    memory.evictions += event.pages
    memory.written += event.pages * event.dirty
    for pid, _ in event.holders:
        task = memory.of(pid)
        task.evicted += event.pages
        _resident(task, task.rss_pages - event.pages)


def _region(memory: MemoryState, event: ev.Region) -> None:
    _resident(memory.of(event.task), event.rss)


def _oom_kill(memory: MemoryState, event: ev.OomKill) -> None:
    memory.oom_kills.append(event)
    _resident(memory.of(event.task), 0)


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
        ev.OomKill: _oom_kill,
    }
)
