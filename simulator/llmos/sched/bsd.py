"""The scheduler of 4.4BSD."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.sched.base import SLICE, Duration, Scheduler, Service, Structure, Task, Why

ONE = 2**14
"""1 in fixed point: 17 bits before the point and 14 after it, as in Pintos."""
PRI_MAX = 63


@dataclass(slots=True)
class _Account:
    """What the policy remembers of a task."""

    task: Task
    recent: int = 0
    """Processor time received recently, in ticks, fixed point."""
    rest: int = 0
    """Service that is too little to count, times ONE."""
    left: int = 0
    """Service left in its slice."""
    priority: int = PRI_MAX
    here: bool = False
    """Whether it is ready or running."""


class BSD(Scheduler):
    """The 4.4BSD scheduler: who has used the processor lately gives way to who has not.

    Each task's recent_cpu counts its ticks on the processor, and once a second all of them decay by
    2 load / (2 load + 1): the busier the machine, the longer it remembers. The priority is
    63 - recent_cpu / 4 - 2 nice, and the highest runs, equals in turn. So interactive tasks, which
    use little, stay on top without anybody's saying so, nobody starves, and `nice` shifts the
    balance without being a fixed share.

    Parameters:
        tick: service that counts as one tick (in an engine 32 tokens stand for 10 ms).
        slice_ticks: ticks per turn.
        decay: time between two decays, which is what load_avg calls a second.

    Source: McKusick et al., The Design and Implementation of the 4.4BSD Operating System; the formulas
    and the fixed-point numbers are those of Pintos (4.4BSD scheduler).
    Differs: a task's own priority is computed when it joins the queue and at each decay, not every
    fourth tick of the clock; service is charged exactly, not to whoever is there at the tick; a
    preempted task keeps its place at the head of its queue and the rest of its slice; a new task
    begins with recent_cpu 0.
    """

    depends_on = frozenset({"nice"})

    def __init__(self, tick: Service = SLICE, slice_ticks: int = 4, decay: Duration = 10**9) -> None:
        if slice_ticks < 1:
            raise ValueError(f"slice_ticks: it must be at least 1, not {slice_ticks}")
        if decay < 1:
            raise ValueError("decay: it must be more than 0")
        self._tick = tick
        self._slice = tick * slice_ticks
        self._decay = decay
        self._decays = 0
        """How many times `decay` fitted into the time of the last decay."""
        self._load = 0
        self._queues: list[deque[Task]] = [deque() for _ in range(PRI_MAX + 1)]
        self._accounts: dict[int, _Account] = {}

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if not self._accounts:
            self._decays = now // self._decay  # nobody was there before
        account = self._accounts.get(task.pid)
        if account is None:
            account = self._accounts[task.pid] = _Account(task)
        account.here = True
        if why is not Why.PREEMPTED or account.left <= 0:
            account.left = self._slice
        queue = self._queues[self._rate(account)]
        if why is Why.PREEMPTED:
            queue.appendleft(task)
        else:
            queue.append(task)

    def pick(self, now: int) -> Task | None:
        for queue in reversed(self._queues):
            if queue:
                return queue.popleft()
        return None

    def quantum(self, task: Task, now: int) -> int:
        return self._accounts[task.pid].left

    def charge(self, task: Task, service: int, now: int) -> None:
        account = self._accounts[task.pid]
        account.left -= service
        ticks, account.rest = divmod(account.rest + service * ONE, self._tick)
        account.recent += ticks

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        lowest = min(running, key=lambda task: self._accounts[task.pid].priority)
        mine, other = self._accounts[newcomer.pid], self._accounts[lowest.pid]
        return lowest if mine.priority > other.priority else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        if why is Why.EXITED:
            del self._accounts[task.pid]
        else:
            self._accounts[task.pid].here = False

    def next_tick(self, now: int) -> int:
        return (now // self._decay + 1) * self._decay

    def tick(self, now: int) -> str:
        """Let load_avg and all recent_cpu decay, and sort the queue anew; equals keep their order."""
        missed = now // self._decay - self._decays
        self._decays += missed
        while missed and self._decay_once():  # several, if all slept or an iteration took long
            missed -= 1
        waiting = [task for queue in reversed(self._queues) for task in queue]
        for queue in self._queues:
            queue.clear()
        for task in waiting:
            self._queues[self._rate(self._accounts[task.pid])].append(task)
        return f"decay, load {self._load / ONE:.2f}"

    def withdraw(self, task: Task, now: int) -> None:
        account = self._accounts[task.pid]
        account.here = False
        self._queues[account.priority].remove(task)

    def reason(self, task: Task, now: int) -> str:
        account = self._accounts[task.pid]
        return f"priority {account.priority}: recent cpu {account.recent / ONE:.2f}, nice {task.nice}"

    def show(self, now: int) -> Structure:
        return {
            f"priority {PRI_MAX - i}": [(task, f"recent cpu {self._recent(task):.2f}") for task in queue]
            for i, queue in enumerate(reversed(self._queues))
            if queue
        }

    def _recent(self, task: Task) -> float:
        return self._accounts[task.pid].recent / ONE

    def _rate(self, account: _Account) -> int:
        """Compute the priority of a task: 63 - (recent_cpu / 4 + 2 nice), rounded down, in bounds."""
        penalty = (account.recent + 8 * account.task.nice * ONE) // (4 * ONE)
        account.priority = PRI_MAX - min(max(penalty, 0), PRI_MAX)
        return account.priority

    def _decay_once(self) -> bool:
        """Let a second pass; return whether anything changed, and so whether another may."""
        before = [self._load, *(account.recent for account in self._accounts.values())]
        tasks = sum(account.here for account in self._accounts.values())
        self._load = (59 * self._load + tasks * ONE) // 60
        twice = 2 * self._load
        for account in self._accounts.values():
            account.recent = account.recent * twice // (twice + ONE) + account.task.nice * ONE
        return before != [self._load, *(account.recent for account in self._accounts.values())]
