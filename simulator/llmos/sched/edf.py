"""Earliest deadline first."""

from llmos.sched.base import Task, duration
from llmos.sched.realtime import NEVER, RealTime


class EDF(RealTime):
    """Earliest deadline first: the task whose deadline comes first runs, and preempts all others.

    If one processor can meet all deadlines in any order at all, it meets them in this one. Past that
    point it fails badly: work that is already too late goes first and makes the next work late too.
    A task without a deadline runs when nobody else is ready.

    Parameters:
        ties: who goes first among equals: "ready", who became ready first; "queue", the same, but a
            preempted task queues up anew; "pid", the smaller pid.

    Source: Liu and Layland 1973. Preempts only on a strictly earlier deadline.
    """

    def key(self, task: Task) -> int:
        return NEVER if task.deadline_ns is None else task.deadline_ns

    def figure(self, task: Task, now: int) -> str:
        return "no deadline" if task.deadline_ns is None else f"due in {duration(task.deadline_ns - now)}"

    def reason(self, task: Task, now: int) -> str:
        if task.deadline_ns is None:
            return "no task with a deadline is ready"
        return f"earliest deadline, in {duration(task.deadline_ns - now)}"
