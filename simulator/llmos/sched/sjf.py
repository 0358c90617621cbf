"""Shortest job first."""

from llmos.sched.base import Ordered, Task


class SJF(Ordered):
    """Shortest job first: among the ready tasks, the one with the shortest burst runs, to its end.

    If all tasks are there at once, no other order has a smaller mean turnaround. Two catches: nobody
    knows the length of a burst beforehand (here the simulator tells, as an oracle), and a short task
    that arrives just after a long one has begun must wait for all of it.

    Source: OSTEP ch. 7; ties as in its homework: the earlier arrival, then the smaller pid.
    """

    depends_on = frozenset({"remaining"})

    def key(self, task: Task) -> int:
        return task.remaining

    def reason(self, task: Task, now: int) -> str:
        return f"shortest burst, {task.amount(task.remaining)}"
