"""The multi-level feedback queue."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from llmos.sched.base import SLICE, Duration, Scheduler, Service, Structure, Task, Why, per_level

MOST_LEVELS = 1000


@dataclass(slots=True)
class _Account:
    """What the policy remembers of a task: where it is, and what it may still use there."""

    level: int
    left: int
    """Service left in its quantum."""
    quanta: int
    """Quanta left in its allotment, this one included."""
    ahead: bool = False
    """Whether it was put in front of its queue after I/O, even of a running task."""


class MLFQ(Scheduler):
    """Multi-level feedback queue: guess who is short and interactive from what they did so far.

    Every task starts in the top queue (level 0). Who uses up the allotment of a level sinks to the
    next one; the highest queue that is not empty runs, round robin inside. So short tasks finish
    near the top, as if SJF had known, and long ones sink. Two holes, two cures: long tasks may
    starve at the bottom (the boost lifts everybody to the top now and then), and a task that blocks
    just before its quantum is over could stay on top for ever (so blocking does not refill the
    quantum, unless `stay_after_io` brings that hole back).

    Parameters:
        levels: number of queues.
        quantum: service per turn, one number or one per level from the top.
        allotment: turns in a level before a task sinks, one number or one per level.
        boost: all go to the top at every multiple of this time; 0 = never.
        stay_after_io: blocking refills the allotment and the quantum (the hole).
        io_bump: a task back from I/O goes to the front of its queue, not to the end.
        skip_join: a newcomer starts in the first level whose quantum holds its indivisible part (a
            prompt), if it has one.

    Source: OSTEP ch. 8 and its homework's rules; skip-join: FastServe (NSDI'26).
    """

    depends_on = frozenset[str]()

    def __init__(
        self,
        levels: int = 3,
        quantum: Service | list[Service] = SLICE,
        allotment: int | list[int] = 1,
        boost: Duration = 0,
        stay_after_io: bool = False,  # noqa: FBT001, FBT002
        io_bump: bool = False,  # noqa: FBT001, FBT002
        skip_join: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        if not 1 <= levels <= MOST_LEVELS:
            raise ValueError(f"levels: there must be 1 to {MOST_LEVELS:,}, not {levels:,}")
        self._quantum = per_level(quantum, levels, "quantum")
        self._allotment = per_level(allotment, levels, "allotment")
        self._boost = boost
        self._stay_after_io = stay_after_io
        self._io_bump = io_bump
        self._skip_join = skip_join
        self._queues: list[deque[Task]] = [deque() for _ in range(levels)]
        self._accounts: dict[int, _Account] = {}

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        account = self._accounts.get(task.pid)
        if account is None:
            account = self._accounts[task.pid] = self._join(task)
        elif why is not Why.PREEMPTED:
            self._settle(account)
        account.ahead = why is Why.WAKEUP and self._io_bump
        queue = self._queues[account.level]
        if why is Why.PREEMPTED:
            queue.insert(self._bumped(queue), task)  # first, but behind those that were put ahead of it
        elif account.ahead:
            queue.appendleft(task)
        else:
            queue.append(task)

    def pick(self, now: int) -> Task | None:
        for queue in self._queues:
            if queue:
                task = queue.popleft()
                self._accounts[task.pid].ahead = False
                return task
        return None

    def quantum(self, task: Task, now: int) -> int:
        return self._accounts[task.pid].left

    def charge(self, task: Task, service: int, now: int) -> None:
        self._accounts[task.pid].left -= service

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        lowest = max(running, key=lambda task: self._accounts[task.pid].level)
        mine, other = self._accounts[newcomer.pid], self._accounts[lowest.pid]
        return lowest if mine.level < other.level or (mine.level == other.level and mine.ahead) else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        if why is Why.EXITED:
            del self._accounts[task.pid]
            return
        account = self._accounts[task.pid]
        if self._stay_after_io:
            account.quanta = self._allotment[account.level]
            if account.left > 0:
                account.left = self._quantum[account.level]
        self._settle(account)

    def next_tick(self, now: int) -> int | None:
        return (now // self._boost + 1) * self._boost if self._boost else None

    def tick(self, now: int) -> str:
        """Lift everybody to the top: those below come after those already there, lowest queue first."""
        top = self._queues[0]
        for queue in reversed(self._queues[1:]):
            top.extend(queue)
            queue.clear()
        for account in self._accounts.values():
            self._refill(account, level=0)
        return "priority boost"

    def withdraw(self, task: Task, now: int) -> None:
        self._queues[self._accounts[task.pid].level].remove(task)  # its account stays, if it comes back

    def reason(self, task: Task, now: int) -> str:
        account = self._accounts[task.pid]
        return f"highest level, {account.level}, with {task.amount(account.left)} of its quantum left"

    def show(self, now: int) -> Structure:
        return {
            f"level {level}": [(task, f"{task.amount(self._accounts[task.pid].left)} left") for task in queue]
            for level, queue in enumerate(self._queues)
        }

    def _bumped(self, queue: deque[Task]) -> int:
        """Count the tasks at the front of `queue` that came back from I/O ahead of a running one."""
        return next((i for i, task in enumerate(queue) if not self._accounts[task.pid].ahead), len(queue))

    def _join(self, task: Task) -> _Account:
        level = 0
        if self._skip_join:
            last = len(self._queues) - 1
            level = next((i for i, q in enumerate(self._quantum) if q >= task.upfront), last)
        return self._refill(_Account(level, 0, 0), level)

    def _refill(self, account: _Account, level: int) -> _Account:
        account.level, account.left, account.quanta = level, self._quantum[level], self._allotment[level]
        return account

    def _settle(self, account: _Account) -> None:
        """Take away a quantum that is used up; after the last one of its allotment the task sinks."""
        if account.left > 0:
            return
        account.quanta -= 1
        if account.quanta > 0:
            account.left = self._quantum[account.level]
        else:
            self._refill(account, min(account.level + 1, len(self._queues) - 1))
