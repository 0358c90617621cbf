"""Shortest remaining time first."""

from llmos.sched.base import Ordered, Task


class SRTF(Ordered):
    """Shortest remaining time first: SJF that changes its mind when a shorter task arrives.

    On one processor no policy has a smaller mean turnaround. The price is paid by the long tasks:
    while shorter ones keep coming, they starve. In an LLM engine, where a batch is served together,
    it is good but no longer optimal.

    Source: OSTEP ch. 7 (STCF); Schrage 1968. Preempts only if strictly shorter.
    """

    depends_on = frozenset({"remaining"})
    preemptive = True

    def key(self, task: Task) -> int:
        return task.remaining

    def reason(self, task: Task, now: int) -> str:
        return f"least work left, {task.amount(task.remaining)}"
