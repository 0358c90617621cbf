"""Rate monotonic."""

from llmos.sched.base import Task, duration
from llmos.sched.realtime import NEVER, RealTime


class RM(RealTime):
    """Rate monotonic: the task with the shortest period runs, and preempts all others.

    The priorities are fixed, so it is easy to build and to reason about, and in an overload it is
    known beforehand who suffers: the tasks with long periods. The price: one core can be promised
    only to about 69 % to many tasks (n tasks: n(2^(1/n) - 1)), while earliest deadline first fills it.
    No other fixed priorities do better where deadlines are the ends of the periods. A task without a
    period runs when nobody else is ready.

    Parameters:
        ties: who goes first among equals: "ready", who became ready first; "queue", the same, but a
            preempted task queues up anew; "pid", the smaller pid.

    Source: Liu and Layland 1973. Preempts only on a strictly shorter period.
    """

    def key(self, task: Task) -> int:
        return NEVER if task.period_ns is None else task.period_ns

    def figure(self, task: Task, now: int) -> str:
        return "no period" if task.period_ns is None else f"every {duration(task.period_ns)}"

    def reason(self, task: Task, now: int) -> str:
        if task.period_ns is None:
            return "no periodic task is ready"
        return f"shortest period, {duration(task.period_ns)}"
