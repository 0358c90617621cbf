"""Fixed priorities, with aging."""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import count

from llmos.sched.base import Duration, Scheduler, Structure, Task, Why


class Priority(Scheduler):
    """Priority: the most urgent ready task runs (a small number is urgent); equals take their turn.

    Important work goes first, and unimportant work may never go at all. Aging cures this: for every
    `aging` that a task waits it climbs one level, until it is urgent enough for anybody.

    Parameters:
        preemptive: whether a task that is at least one level more urgent takes a running one's place.
        aging: waiting time that is worth one level; 0 = no aging.

    Source: Silberschatz, Operating System Concepts, CPU scheduling; OSTEP ch. 8 on starvation.
    Differs: levels are climbed continuously, not in steps, so that the order of two waiting tasks
    never changes and a decision costs O(log n). A task keeps the level at which it was dispatched.
    """

    depends_on = frozenset({"priority"})

    def __init__(self, preemptive: bool = True, aging: Duration = 0) -> None:  # noqa: FBT001, FBT002
        self._preemptive = preemptive
        self._aging = aging
        self._step = aging or 1
        # Urgency in steps of one level. With aging, `level` falls by one step while a task waits for
        # `aging`: level(t) = key - t, so the key alone orders the queue and never changes.
        self._ready: list[tuple[int, int, Task]] = []
        self._running: dict[int, int] = {}
        self._behind = count(1)
        self._ahead = count(-1, -1)

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        level = self._running.pop(task.pid, task.priority * self._step)
        if why is Why.PREEMPTED:
            entry = (level + self._clock(now), next(self._ahead), task)
        else:
            entry = (task.priority * self._step + self._clock(now), next(self._behind), task)
        heappush(self._ready, entry)

    def pick(self, now: int) -> Task | None:
        if not self._ready:
            return None
        key, _, task = heappop(self._ready)
        self._running[task.pid] = key - self._clock(now)
        return task

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        worst = max(running, key=lambda task: (self._running[task.pid], task.arrival_ns, task.pid))
        gap = self._running[worst.pid] - newcomer.priority * self._step
        return worst if self._preemptive and gap >= self._step else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        del self._running[task.pid]

    def next_tick(self, now: int) -> int | None:
        """Return when the head of the queue will be one level more urgent than a running task."""
        if not (self._preemptive and self._aging and self._ready and self._running):
            return None
        return max(self._ready[0][0] - max(self._running.values()) + self._step, now + 1)

    def tick(self, now: int) -> str:
        return "aging"

    def withdraw(self, task: Task, now: int) -> None:
        self._ready = [entry for entry in self._ready if entry[-1] is not task]
        heapify(self._ready)

    def reason(self, task: Task, now: int) -> str:
        return self._words(task, self._running.get(task.pid, task.priority * self._step))

    def show(self, now: int) -> Structure:
        clock = self._clock(now)
        return {"": [(task, self._words(task, key - clock)) for key, _, task in sorted(self._ready)]}

    def _words(self, task: Task, level: int) -> str:
        """Write the priority of `task`, which has climbed to `level` (in steps)."""
        climbed = task.priority * self._step - level
        aged = f", aged by {climbed / self._step:.1f} levels" if climbed else ""
        return f"priority {task.priority}{aged}"

    def _clock(self, now: int) -> int:
        return now if self._aging else 0
