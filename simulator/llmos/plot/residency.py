"""Which pages were in memory when, and how many: what the events say of it, ready to be drawn.

- `sizes` follows the resident set of each task, `stays` each of its pages.
- `Clock` counts time in references, where they were logged: one fault then costs as much room as one hit,
  and no picture is all waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmos.trace import events as ev
from llmos.trace.memory import RULES, MemoryState

FAR = 1 << 24
"""So many pages from its start the heap has for itself."""

Size = tuple[int, int]
"""A time in ns, and how many pages a task has from then on."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A page of a task that was in memory: [start, end) in the clock's unit."""

    pid: int
    page: int
    start: float
    end: float


@dataclass(slots=True)
class Clock:
    """Time in ns, or in references if any were logged."""

    references: Sequence[ev.Reference]
    now: int

    @property
    def counts(self) -> bool:
        """Whether it counts references."""
        return bool(self.references)

    @property
    def end(self) -> int:
        """What it shows at the end of the run."""
        return len(self.references) if self.counts else self.now


def sizes(events: Iterable[ev.Event]) -> dict[int, list[Size]]:
    """Return the resident set of each task, a pair for each change; all begin with nothing."""
    memory, out = MemoryState(), dict[int, list[Size]]()
    for event in events:
        rule = RULES.get(type(event))
        if rule is None or isinstance(event, ev.Reference):
            continue
        rule(memory, event)
        holders = event.holders if isinstance(event, ev.Evict) else []
        for pid in {event.task, *(pid for pid, _ in holders)} - {-1}:
            series = out.setdefault(pid, [(0, 0)])
            pages = memory.of(pid).rss_pages
            if pages != series[-1][1]:
                series.append((event.t, pages))
    return out


def stays(events: Iterable[ev.Event], clock: Clock) -> list[Stay]:
    """Return each page's times in memory, as far as faults, evictions and calls about memory tell them."""
    following = _Following(clock)
    for event in events:
        following.see(event)
    following.close_all()
    return following.out


class _Following:
    """Follows which page is in since when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen = 0
        self.now: float = 0
        self.since: dict[int, dict[int, float]] = {}
        self.parents: dict[int, int] = {}
        self.out: list[Stay] = []

    def see(self, event: ev.Event) -> None:
        """Take note of an event."""
        self.now = self.seen if self.clock.counts else event.t
        if isinstance(event, ev.Reference):
            self.seen += 1
        elif isinstance(event, ev.Arrive):
            self.parents[event.task] = event.parent
        elif isinstance(event, ev.Fault) and event.what in {"minor", "major"}:
            self._come(event.task, [event.page, *event.around])
        elif isinstance(event, ev.Huge) and event.what in {"fault", "promote"}:
            self._come(event.task, range(event.page, event.page + event.pages))
        elif isinstance(event, ev.Evict):
            for pid, page in event.holders:
                self._go(pid, range(page, page + event.pages))
        elif isinstance(event, ev.OomKill):
            self._go(event.task)
        elif isinstance(event, ev.Region):
            self._region(event)

    def _region(self, event: ev.Region) -> None:
        if event.call in {"munmap", "truncate"}:
            self._go(event.task, range(event.page, event.page + event.pages))
        elif event.call == "brk":
            self._go(event.task, range(event.page + event.pages, event.page + FAR))
        elif event.call in {"exit", "exec"}:
            self._go(event.task)
        elif event.call == "fork":
            self._come(event.task, self.since.get(self.parents.get(event.task, -1), {}))

    def _come(self, pid: int, pages: Iterable[int]) -> None:
        there = self.since.setdefault(pid, {})
        for page in pages:
            there.setdefault(page, self.now)

    def _go(self, pid: int, pages: range | None = None) -> None:
        """Close the stays of `pages`, or of all."""
        there = self.since.get(pid, {})
        for page in [page for page in there if pages is None or page in pages]:
            start = there.pop(page)
            if start < self.now:
                self.out.append(Stay(pid, page, start, self.now))

    def close_all(self) -> None:
        """Close what is open at the end."""
        self.now = self.clock.end
        for pid in list(self.since):
            self._go(pid)
