"""Two levels: the young before the old."""

from collections import deque
from collections.abc import Sequence

from llmos.sched.base import SLICE, Scheduler, Service, Task, Why


class TwoLevel(Scheduler):
    """Two levels: who has had less than `cut` of service goes before everybody else.

    Most work is short and a little of it is very long, so who has run for a while will probably run for
    long. The young are served in order; one that arrives takes the place of an old one at once.

    Parameters:
        cut: service after which a task is old.

    Source: two-level processor sharing, Kleinrock, Queueing Systems II, ch. 4.
    """

    def __init__(self, cut: Service = 2 * SLICE) -> None:
        self._cut = cut
        self._young: deque[Task] = deque()
        self._old: deque[Task] = deque()

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        queue = self._young if self._is_young(task) else self._old
        if why is Why.PREEMPTED:
            queue.appendleft(task)
        else:
            queue.append(task)

    def pick(self, now: int) -> Task | None:
        for queue in (self._young, self._old):
            if queue:
                return queue.popleft()
        return None

    def quantum(self, task: Task, now: int) -> int | None:
        return self._cut - task.attained if self._is_young(task) else None

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        if not self._is_young(newcomer):
            return None
        return next((task for task in reversed(running) if not self._is_young(task)), None)

    def reason(self, task: Task, now: int) -> str:
        return f"{'young' if self._is_young(task) else 'old'}, with {task.amount(task.attained)} so far"

    def _is_young(self, task: Task) -> bool:
        return task.attained < self._cut
