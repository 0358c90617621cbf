"""Deadline monotonic."""

from llmos.sched.base import Task, duration
from llmos.sched.realtime import NEVER, RealTime


class DM(RealTime):
    """Deadline monotonic: the task whose deadlines follow its releases most closely runs first.

    A rare but urgent task is badly served by its long period; its relative deadline says how urgent
    it is. Where deadlines come before the ends of the periods, these are the best fixed priorities:
    if any meet all deadlines, these do. Where they are the ends of the periods, it is rate monotonic.
    A task without a relative deadline runs when nobody else is ready.

    Parameters:
        ties: who goes first among equals: "ready", who became ready first; "queue", the same, but a
            preempted task queues up anew; "pid", the smaller pid.

    Source: Leung and Whitehead 1982. Preempts only on a strictly shorter relative deadline.
    """

    def key(self, task: Task) -> int:
        return NEVER if task.relative_deadline_ns is None else task.relative_deadline_ns

    def figure(self, task: Task, now: int) -> str:
        relative = task.relative_deadline_ns
        return "no deadline" if relative is None else f"due {duration(relative)} after its release"

    def reason(self, task: Task, now: int) -> str:
        if task.relative_deadline_ns is None:
            return "no task with a deadline is ready"
        return f"shortest relative deadline, {duration(task.relative_deadline_ns)}"
