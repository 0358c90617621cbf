"""The multilevel queue with fixed classes."""

from collections import deque
from collections.abc import Sequence

from llmos.sched.base import SLICE, Scheduler, Service, Structure, Task, Why, per_level


class Multilevel(Scheduler):
    """Multilevel queue: every class of tasks has its own queue, and a higher queue always goes first.

    Each task belongs to a class (its `group`) for good: people at a keyboard above batch work, say.
    Inside a queue the tasks go round, or each runs to its end. A task of a higher class preempts at
    once, so answers come fast there; and the lowest class starves as long as there is work above.
    MLFQ is what you get when tasks may move between the queues.

    Parameters:
        queues: the classes, from the most urgent down; a task of no listed group is in the last one.
        quantum: service per turn, one number or one per queue from the top.
        fcfs: the queues whose tasks do not take turns: first come, first served.

    Source: Silberschatz, Operating System Concepts, CPU scheduling.
    Differs: a preempted task keeps its place at the head of its queue and the rest of its quantum.
    """

    depends_on = frozenset({"group"})

    def __init__(
        self,
        queues: list[str] = ["system", "interactive", "batch"],  # noqa: B006  # read, never changed
        quantum: Service | list[Service] = SLICE,
        fcfs: list[str] | None = None,
    ) -> None:
        if not queues:
            raise ValueError("queues: there must be at least one")
        if len(set(queues)) < len(queues):
            raise ValueError("queues: each class has one queue; name it once")
        quanta: list[int | None] = list(per_level(quantum, len(queues), "quantum"))
        self._level = {name: level for level, name in enumerate(queues)}
        for name in fcfs or []:
            if name not in self._level:
                raise ValueError(f'fcfs: there is no queue "{name}"; there are {", ".join(queues)}')
            quanta[self._level[name]] = None
        self._names = list(queues)
        self._quanta = quanta
        self._queues: list[deque[Task]] = [deque() for _ in queues]
        self._left: dict[int, int] = {}
        """Service left in the quantum that a task has begun."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        queue = self._queues[self._level_of(task)]
        if why is Why.PREEMPTED:
            queue.appendleft(task)
        else:
            self._left.pop(task.pid, None)
            queue.append(task)

    def pick(self, now: int) -> Task | None:
        for queue in self._queues:
            if queue:
                return queue.popleft()
        return None

    def quantum(self, task: Task, now: int) -> int | None:
        quantum = self._quanta[self._level_of(task)]
        return None if quantum is None else self._left.setdefault(task.pid, quantum)

    def charge(self, task: Task, service: int, now: int) -> None:
        if task.pid in self._left:
            self._left[task.pid] -= service

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        lowest = max(running, key=self._level_of)
        return lowest if self._level_of(newcomer) < self._level_of(lowest) else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._left.pop(task.pid, None)

    def withdraw(self, task: Task, now: int) -> None:
        self._queues[self._level_of(task)].remove(task)

    def reason(self, task: Task, now: int) -> str:
        return f"first in the highest queue, {self._names[self._level_of(task)]}"

    def show(self, now: int) -> Structure:
        return {
            name: [(task, self._figure(task)) for task in queue]
            for name, queue in zip(self._names, self._queues, strict=True)
        }

    def _level_of(self, task: Task) -> int:
        return self._level.get(task.group, len(self._names) - 1)

    def _figure(self, task: Task) -> str:
        left = self._left.get(task.pid)
        return "" if left is None else f"{task.amount(left)} left"
