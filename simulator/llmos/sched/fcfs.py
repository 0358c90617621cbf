"""First come, first served."""

from collections import deque

from llmos.sched.base import Scheduler, Task, Why


class FCFS(Scheduler):
    """First come, first served: tasks run in the order in which they became ready, each to its end.

    Nothing could be simpler or fairer in a queue of equals. But one long task in front makes all the
    short ones behind it wait: the convoy effect. Watch the mean response grow with the length of
    whoever came first.

    Source: OSTEP ch. 7 (FIFO); Silberschatz, Operating System Concepts, CPU scheduling.
    """

    def __init__(self) -> None:
        self._ready: deque[Task] = deque()

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if why is Why.PREEMPTED:
            self._ready.appendleft(task)
        else:
            self._ready.append(task)

    def pick(self, now: int) -> Task | None:
        return self._ready.popleft() if self._ready else None

    def reason(self, task: Task, now: int) -> str:
        return "first in the queue"
