"""The Completely Fair Scheduler of Linux 6.1."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from llmos.sched.base import CoreCount, Scheduler, Service, Structure, Task, Why
from llmos.sched.weights import FINE, Clock, virtual, weight


class CFS(Scheduler):
    """CFS: the task that has had the least of the processor for its weight runs next.

    Every task has a virtual runtime, which grows with its service, the slower the heavier it is by its
    nice value. Always running the smallest keeps all of them close together, so each has its share. The
    floor under them (min_vruntime) never falls: a newcomer starts a slice above it, and a sleeper comes
    back at most half a latency below, enough to run at once, not enough to live on past sleep. There is
    no fixed quantum: a round of all tasks shall take `latency`, unless there are too many of them.

    Parameters:
        latency: service in which every task runs once, if there are few.
        min_granularity: the shortest slice.
        wakeup_granularity: lead that a woken task needs over the running one to take its place.
        cores: cores of the machine; the three above are scaled by 1 + log2 of it, at most 4.

    Source: Linux 6.1, kernel/sched/fair.c: place_entity, sched_slice, pick_next_entity,
    check_preempt_wakeup; update_sysctl for the scaling.
    Differs: a slice is fixed at dispatch, where the kernel looks again at every timer tick. Virtual time
    is kept finer than nanoseconds. A task that yields lets one other go first; the other buddies, load
    tracking and groups (see cgroups) are left out. Several slots on one queue share one min_vruntime.
    """

    depends_on = frozenset({"nice"})

    def __init__(
        self,
        latency: Service = 6_000_000,
        min_granularity: Service = 750_000,
        wakeup_granularity: Service = 1_000_000,
        cores: CoreCount = 1,
    ) -> None:
        if cores < 1:
            raise ValueError(f"cores: there must be at least 1, not {cores}")
        factor = min(cores, 8).bit_length()  # 1 + ilog2
        self._latency = latency * factor
        self._min_granularity = min_granularity * factor
        self._wakeup_granularity = wakeup_granularity * factor
        self._few = -(-latency // min_granularity)
        """So many tasks fit into `latency` with slices that are not too short (8 by default)."""
        self._clocks: dict[int, Clock] = {}
        self._ready: list[tuple[int, int, Task]] = []
        self._running: dict[int, Clock] = {}
        self._coming: list[tuple[Task, Why]] = []
        """Who joined since the last decision. They are placed at the next, when the running task has
        been charged and the floor is where it should be."""
        self._tasks = 0
        """How many are ready or running,"""
        self._load = 0
        """and their weights together."""
        self._floor = 0
        """min_vruntime."""
        self._withdrawn: tuple[int, int, Clock] | None = None
        """Who was withdrawn last: when, its pid and its clock."""
        self._yielder: Task | None = None
        self._turn = count()

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        clock = self._running.pop(task.pid, None) or self._restored(task, now)
        if clock is None:
            self._coming.append((task, why))
            return
        if clock.weight != weight(task.nice):
            self._load += weight(task.nice) - clock.weight
            clock.restart(clock.vruntime, weight(task.nice))
        if why is Why.YIELDED:
            self._yielder = task
        self._push(task, clock)

    def pick(self, now: int) -> Task | None:
        self._place_newcomers()
        if not self._ready:
            return None
        first = heappop(self._ready)
        if first[-1] is self._yielder and self._ready and not self._leads(first, self._ready[0][0]):
            first, yielder = heappop(self._ready), first
            heappush(self._ready, yielder)
        task = first[-1]
        self._yielder = None
        self._running[task.pid] = self._clocks[task.pid]
        return task

    def quantum(self, task: Task, now: int) -> int:
        return self._slice(self._clocks[task.pid].weight)

    def charge(self, task: Task, service: int, now: int) -> None:
        self._clocks[task.pid].used += service

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        self._place_newcomers()
        last = max(running, key=lambda task: self._clocks[task.pid].vruntime)
        entry = (self._clocks[newcomer.pid].vruntime, 0, newcomer)
        return last if self._leads(entry, self._clocks[last.pid].vruntime) else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._raise_floor()
        self._count(-self._running.pop(task.pid).weight)
        if why is Why.EXITED:
            del self._clocks[task.pid]

    def withdraw(self, task: Task, now: int) -> None:
        self._place_newcomers()
        self._raise_floor()
        self._ready = [entry for entry in self._ready if entry[-1] is not task]
        heapify(self._ready)
        clock = self._clocks.pop(task.pid)
        self._count(-clock.weight)
        self._withdrawn = (now, task.pid, clock)

    def reason(self, task: Task, now: int) -> str:
        vruntime = self._clocks[task.pid].vruntime
        if self._ready and self._ready[0][0] < vruntime:
            return f"vruntime {task.amount(vruntime // FINE)}, next to the lowest"
        return f"lowest vruntime, {task.amount(vruntime // FINE)}"

    def show(self, now: int) -> Structure:
        placed = [(task, f"vruntime {task.amount(v // FINE)}") for v, _, task in sorted(self._ready)]
        return {"": placed + [(task, "joins") for task, _ in self._coming]}

    def _leads(self, entry: tuple[int, int, Task], vruntime: int) -> bool:
        """Whether a ready task is so far behind `vruntime` that it may not be kept waiting."""
        mine, _, task = entry
        return vruntime - mine > virtual(self._wakeup_granularity * FINE, self._clocks[task.pid].weight)

    def _slice(self, weight: int) -> int:
        """Return the part of the period that a task of `weight` gets."""
        period = self._latency if self._tasks <= self._few else self._tasks * self._min_granularity
        return max(period * weight // self._load, self._min_granularity)

    def _push(self, task: Task, clock: Clock) -> None:
        heappush(self._ready, (clock.vruntime, next(self._turn), task))

    def _restored(self, task: Task, now: int) -> Clock | None:
        """Take back a task that comes back in the instant in which it was withdrawn: it was changed.

        One that comes back later was on another core; its clock would say nothing here.
        """
        if self._withdrawn is None or self._withdrawn[:2] != (now, task.pid):
            return None
        clock = self._clocks[task.pid] = self._withdrawn[-1]
        self._withdrawn = None
        self._count(clock.weight)
        return clock

    def _place_newcomers(self) -> None:
        """Place who joined, all by the same floor and load, so that their order makes no difference."""
        if not self._coming:
            return
        self._raise_floor()
        for task, _ in self._coming:
            self._count(weight(task.nice))
        for task, why in self._coming:
            self._push(task, self._place(task, why))
        self._coming.clear()

    def _place(self, task: Task, why: Why) -> Clock:
        mine, clock = weight(task.nice), self._clocks.get(task.pid)
        if clock is None:
            clock = self._clocks[task.pid] = Clock(mine, self._floor)
            if why is Why.ARRIVAL:
                clock.start += virtual(self._slice(mine) * FINE, mine)
        else:
            clock.restart(max(clock.vruntime, self._floor - self._latency * FINE // 2), mine)
        return clock

    def _count(self, weight: int) -> None:
        """Count a task of `weight` in, or out if it is negative."""
        self._tasks += 1 if weight > 0 else -1
        self._load += weight

    def _raise_floor(self) -> None:
        """Lift min_vruntime to the smallest vruntime that there is; it never falls."""
        present = [clock.vruntime for clock in self._running.values()]
        if self._ready:
            present.append(self._ready[0][0])
        self._floor = max(self._floor, min(present, default=self._floor))
