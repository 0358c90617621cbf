"""Highest response ratio next."""

from llmos.sched.base import Scheduler, Structure, Task, Why, duration


class HRRN(Scheduler):
    """Highest response ratio next: who has waited longest for its size runs, to its end.

    The response ratio of a task is (wait + burst) / burst: its response time if it started now, over
    what it would be on an idle machine. Short tasks gain ratio quickly, so this is nearly as good as
    SJF; but everybody's ratio grows without end, so nobody starves. Like SJF, it needs an oracle that
    knows the length of each burst.

    Source: Brinch Hansen 1971; Stallings, Operating Systems, ch. 9. Ties go to the earlier arrival,
    then to the smaller pid.
    Differs: the ratios change all the time, so a decision costs O(n). A burst of nothing (a task that
    only starts its I/O) counts as one unit of service. In an engine a wait is time and a burst is
    tokens: the order is that of wait / burst, which no rate between the two could change. A task
    that is moved to another core or altered begins to wait anew.
    """

    depends_on = frozenset({"remaining"})

    def __init__(self) -> None:
        self._ready: dict[int, Task] = {}
        self._since: dict[int, int] = {}
        """When each task that is ready or running began to wait."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if why is not Why.PREEMPTED or task.pid not in self._since:
            self._since[task.pid] = now
        self._ready[task.pid] = task

    def pick(self, now: int) -> Task | None:
        if not self._ready:
            return None
        best = min(self._ready.values(), key=lambda task: self._key(task, now))
        return self._ready.pop(best.pid)

    def charge(self, task: Task, service: int, now: int) -> None:
        self._since[task.pid] = now

    def remove(self, task: Task, why: Why, now: int) -> None:
        del self._since[task.pid]

    def withdraw(self, task: Task, now: int) -> None:
        del self._ready[task.pid], self._since[task.pid]

    def reason(self, task: Task, now: int) -> str:
        wait = now - self._since[task.pid]
        words = f"waited {duration(wait)} for a burst of {task.amount(task.remaining)}"
        if task.unit != "ns":  # time over tokens is no ratio
            return words
        return f"ratio {1 + wait / max(task.remaining, 1):.3g}: {words}"

    def show(self, now: int) -> Structure:
        order = sorted(self._ready.values(), key=lambda task: self._key(task, now))
        return {"": [(task, self.reason(task, now)) for task in order]}

    def _key(self, task: Task, now: int) -> tuple[int, int, int]:
        # wait / burst as an integer. Two ratios of numbers below 2**62 are equal or differ by more than
        # 2**-124, so that 128 more bits keep them apart: the order is exact.
        ratio = (now - self._since[task.pid] << 128) // max(task.remaining, 1)
        return -ratio, task.arrival_ns, task.pid
