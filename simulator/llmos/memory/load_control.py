"""Thrashing, and load control: tasks that need more memory than there is take turns as a whole.

- A *refault* is a page that is read back although it was evicted only lately: no more evictions ago than
  there are frames times tasks, so that all its readers together have gone through memory once since.
- The machine *thrashes* when, over a window of time, most major faults are refaults, there are several, and
  the cores are nevertheless idle for most of the time. An event says so, with the figures.
- Load control then takes out a task as a whole: it is blocked and its pages are evicted. Each window in which
  the machine still thrashes takes out one more; the last one stays.
- A task comes back, who went last first, when nobody else is left, or when it has room: after some windows
  without thrashing, if what the others have used in the last one and what it needs fit into memory.
- If the machine thrashes again after somebody has come back, the next one waits twice as long (hysteresis).

Source: Denning, Thrashing: its causes and prevention, AFIPS 1968; Linux 6.12 mm/workingset.c (the refault
distance); Silberschatz, ch. 10 (medium-term scheduling).
Differs: a task that is out does not change places with one that is in; it waits for room.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from llmos.memory import reclaim
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.engine.simulation import Alarm
    from llmos.memory.memory import Memory
    from llmos.memory.records import Space
    from llmos.replacement.base import Key

CALM: Final = 3
"""So many windows without thrashing must pass before somebody comes back, at first."""
LONGEST: Final = 64
"""So many at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thrashing:
    """When a machine is said to thrash.

    In a window of `window_ns` there are at least `refaults` refaults, they are at least half of all major
    faults, and the cores are busy for less than the share `busy` (0 to 1) of the time.
    """

    window_ns: int = 100_000_000
    refaults: int = 5
    busy: float = 0.5


class Tasks(Protocol):
    """What load control asks of the kernel."""

    @property
    def cores(self) -> int:
        """Return how many cores are online."""
        ...

    def worked_ns(self) -> int:
        """Return how long all tasks together have worked on cores so far."""
        ...

    def to_go(self) -> list[int]:
        """Return the pids of tasks that may be taken out now, the least important first."""
        ...

    def rank(self, pid: int) -> str:
        """Say what makes a task less important than the others."""
        ...

    def freeze(self, pid: int, reason: str) -> None:
        """Keep a task from running."""
        ...

    def thaw(self, pid: int, reason: str) -> None:
        """Let a frozen task go on."""
        ...


class LoadControl:
    """Watches one memory; with `cures` it does something about what it sees."""

    tasks: Tasks
    """The kernel's; it sets them."""

    def __init__(self, memory: Memory, rule: Thrashing, *, cures: bool) -> None:
        self.memory = memory
        self.rule = rule
        self.cures = cures
        self.thrashes = False
        self.out: list[int] = []
        """The pids of the tasks that are out, who went last at the end."""
        self._needs: dict[int, int] = {}
        """How many frames they will need."""
        self._evicted: OrderedDict[Key, None] = OrderedDict()
        """Who was evicted lately."""
        self._faults = self._refaults = 0
        self._worked = 0
        self._alarm: Alarm | None = None
        self._calm = 0
        """Windows without thrashing since the last one with it, or since somebody came back."""
        self._patience = CALM
        self._has_returned = False
        """Whether somebody has come back since the machine thrashed last."""

    # --- what happens to pages and tasks ----------------------------------------------------------------

    def evicted(self, key: Key) -> None:
        """Note that the page `key` was evicted."""
        self._evicted[key] = None
        self._evicted.move_to_end(key)
        while len(self._evicted) > self.memory.pager.frames.frames * len(self.memory.spaces):
            self._evicted.popitem(last=False)

    def read_back(self, key: Key) -> None:
        """Note a major fault on the page `key`."""
        is_refault = key in self._evicted
        if is_refault:
            del self._evicted[key]
            self._watch()
        self._faults += 1
        self._refaults += is_refault

    def gone(self, pid: int) -> None:
        """Note that a task has ended; when none is left there is nothing to watch."""
        if pid in self.out:
            self.out.remove(pid)
        if not self.memory.spaces and self._alarm is not None:
            self.memory.sim.cancel(self._alarm)
            self._alarm = None

    # --- windows ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """See to it that the window that is open now will be judged at its end."""
        if self._alarm is None:
            sim = self.memory.sim
            self._faults = self._refaults = 0
            self._worked = self.tasks.worked_ns()
            self._used()
            self._alarm = sim.at(sim.now + self.rule.window_ns, self.memory.phase, self._judge)

    def _judge(self) -> None:
        """Judge the window that ends, do what it calls for, and open the next if there is reason to."""
        memory = self.memory
        memory.now, memory.cpu = max(memory.now, memory.sim.now), 0
        busy = (self.tasks.worked_ns() - self._worked) / (self.rule.window_ns * self.tasks.cores)
        was, seen = self.thrashes, self._refaults
        self.thrashes = seen >= self.rule.refaults and 2 * seen >= self._faults and busy < self.rule.busy
        if was != self.thrashes:
            self._tell(busy)
        used = self._used()
        self._alarm = None
        self._calm = 0 if self.thrashes else self._calm + 1
        if self.cures:
            self._cure(used)
        if seen or self.out or self.thrashes:
            self._watch()

    def _tell(self, busy: float) -> None:
        reason = (
            f"{self._refaults} of {self._faults} major faults in {self.rule.window_ns / 1e6:g} ms bring back "
            f"what was evicted lately, and the cores are busy for {busy:.0%} of the time"
        )
        self.memory.emit(
            ev.Thrashing(
                self.memory.now, reason=reason, over=not self.thrashes, window_ns=self.rule.window_ns,
                faults=self._faults, refaults=self._refaults, busy=round(busy, 6),
            )
        )  # fmt: skip

    def _used(self) -> int:
        """Return how many pages were referred to since this was asked last."""
        used = 0
        for page in self.memory.pager.pages.values():
            entries = [space.table.lookup(vpn) for space, vpn in page.holders]
            if any(entry is not None and entry.accessed for entry in entries):
                used += 1 << page.order
            for entry in entries:
                if entry is not None:
                    entry.accessed = False
        return used

    # --- the cure ---------------------------------------------------------------------------------------

    def _cure(self, used: int) -> None:
        if self.thrashes:
            if self._has_returned:
                self._has_returned = False
                self._patience = min(LONGEST, 2 * self._patience)
            self._take_out()
        elif self.out:
            self._bring_back(used)

    def _take_out(self) -> None:
        """Swap out the least important task, unless it is the only one."""
        going = [pid for pid in self.tasks.to_go() if pid not in self.out]
        if len(self.memory.spaces) - len(self.out) < 2 or not going:
            return
        pid = going[0]
        space = self.memory.spaces[pid]
        reason = f"the machine thrashes, and {space.name} {self.tasks.rank(pid)}"
        self._needs[pid] = min(need(space), self.memory.pager.frames.frames)
        self.tasks.freeze(pid, reason)
        lately = self._evicted.copy()
        pages = empty(self.memory, space)
        self._evicted = lately  # that its pages come back will be no sign of thrashing
        self.out.append(pid)
        self.memory.allocation.swapped(space, out=True)
        self.memory.emit(ev.SwapTask(self.memory.now, -1, pid, reason, out=True, pages=pages, rss=space.rss))

    def _bring_back(self, used: int) -> None:
        """Let the task go on that went last, if there is room for it."""
        pid = self.out[-1]
        frames, needs = self.memory.pager.frames.frames, self._needs[pid]
        alone = len(self.memory.spaces) == len(self.out)
        if not alone and (self._calm < self._patience or used + needs > frames):
            return
        reason = "nobody else is left" if alone else (
            f"no thrashing for {self._calm} windows; the others use {used} pages, it needs {needs}, "
            f"and there are {frames} frames"
        )  # fmt: skip
        self.out.pop()
        self._calm = 0
        self._has_returned = True
        space = self.memory.spaces[pid]
        self.memory.emit(ev.SwapTask(self.memory.now, -1, pid, reason, pages=needs, rss=space.rss))
        self.memory.allocation.swapped(space, out=False)
        self.tasks.thaw(pid, reason)


def need(space: Space) -> int:
    """Return how many frames a task needs: its working set, or all that it has ever had."""
    return len(space.window) if space.window is not None else space.most


def empty(memory: Memory, space: Space) -> int:
    """Evict all pages that only `space` has; return how many. Pages that cannot go stay."""
    memory.settle(space)
    evicted = 0
    for page in [page for page in memory.pager.pages.values() if page.holders]:
        if page.key not in memory.pager.spared and all(holder is space for holder, _ in page.holders):
            evicted += reclaim.evict(memory, page, "its task is swapped out")
    for transfer in reclaim.pending_writes(memory):
        memory.send(transfer)
    return evicted
