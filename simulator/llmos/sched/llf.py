"""Least laxity first."""

from collections.abc import Sequence
from heapq import heappush
from itertools import count

from llmos.sched.base import Duration, Ordered, Task, Why, duration
from llmos.sched.realtime import NEVER


class LLF(Ordered):
    """Least laxity first: the task that can least afford to wait runs.

    Laxity is the time to the deadline less the work that remains: how long a task may still wait.
    It shrinks while a task waits and stands still while it runs, so the order changes without any
    event. On one core it meets all deadlines that can be met, as earliest deadline first does; on several
    it serves long work better. The price: two tasks of equal laxity would take turns at every
    instant, so one takes over only when it is `granularity` behind. A task without a deadline runs
    when nobody else is ready.

    Parameters:
        granularity: how much less laxity a waiting task must have to take a running one's place.
            Two tasks swap at most once in this time. A newcomer need only have less. Choose it
            well above the costs of a decision and a context switch.
        token: time that a token of a request is taken to need, in an engine.

    Source: Mok 1983; Dertouzos and Mok 1989.
    Differs: takes the true rest of the current burst for the work that remains. With deadlines,
    periods and work in multiples of `granularity` it is optimal on one core; else a task may be late
    by up to `granularity`. Among equal laxities who runs goes on, then goes who became ready first.
    """

    depends_on = frozenset({"remaining"})

    def __init__(self, granularity: Duration = 1_000_000, token: Duration = 10_000_000) -> None:
        super().__init__()
        if granularity < 1:
            raise ValueError(f"granularity: it should be at least 1 ns, not {granularity}")
        self._granularity = granularity
        self._token = token
        self._running: dict[int, int] = {}
        """The laxity of the running tasks when they were charged last: it stands still since then."""
        self._looked = 0
        """When the laxities were compared last."""
        self._rest = granularity
        """How long to leave them alone after that."""
        self._served = False
        """Whether anybody has got any service since then."""
        self._turns: dict[int, int] = {}
        self._behind = count(1)
        self._ahead = count(-1, -1)

    def key(self, task: Task) -> int:
        """The latest time at which it must begin to run, without a pause: laxity 0."""
        if task.deadline_ns is None:
            return NEVER
        return task.deadline_ns - task.remaining * (1 if task.unit == "ns" else self._token)

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        self._running.pop(task.pid, None)
        self._turns[task.pid] = next(self._ahead if why is Why.PREEMPTED else self._behind)
        heappush(self._ready, (*self._rank(task), task))

    def pick(self, now: int) -> Task | None:
        task = super().pick(now)
        if task is not None:
            self._running[task.pid] = self.key(task) - now
        return task

    def charge(self, task: Task, service: int, now: int) -> None:
        self._served = True
        self._running[task.pid] = self.key(task) - now

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        worst = max(running, key=self._rank)
        return worst if self.key(newcomer) < self.key(worst) else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        del self._running[task.pid], self._turns[task.pid]

    def next_tick(self, now: int) -> int | None:
        """Return when the head of the queue will have `granularity` less laxity than a running task."""
        if not (self._ready and self._running) or self._ready[0][0] == NEVER:
            return None
        crossing = self._ready[0][0] - max(self._running.values()) + self._granularity
        return max(crossing, self._looked + self._rest, now + 1)

    def tick(self, now: int) -> str:
        # Where a decision costs more than the granularity, nobody would ever get anything done.
        self._rest = self._granularity if self._served else 2 * self._rest
        self._looked, self._served = now, False
        return "laxities have crossed"

    def _rank(self, task: Task) -> tuple[int, int, int]:
        return self.key(task), self._turns[task.pid], task.pid

    def figure(self, task: Task, now: int) -> str:
        if task.deadline_ns is None:
            return "no deadline"
        laxity = self.key(task) - now
        return f"may wait {duration(laxity)}" if laxity >= 0 else f"{duration(-laxity)} too late"

    def reason(self, task: Task, now: int) -> str:
        if task.deadline_ns is None:
            return "no task with a deadline is ready"
        return f"least laxity: {self.figure(task, now)}"
