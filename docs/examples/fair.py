"""Fair share by virtual time: the idea of Linux's CFS in thirty lines."""

from llmos.sched.base import SLICE, Scheduler, Service, Task, Why

NICE_0 = 1024


class Fair(Scheduler):
    """Fair share: whoever has had the least virtual time runs next.

    Virtual time is service divided by tickets: with twice the tickets it passes half as fast, and the
    task gets twice the share. Who arrives or wakes up starts at the present virtual time, that of the
    last one picked: it neither waits for the others nor makes up for the time when it was not there.

    Parameters:
        quantum: service per turn.

    Source: the idea is that of CFS (Linux 2.6.23), kernel/sched/fair.c.
    Differs: one queue, a fixed quantum, no wake-up preemption.
    """

    def __init__(self, quantum: Service = SLICE) -> None:
        self._slice = quantum
        self._ready: list[Task] = []
        self._virtual: dict[int, int] = {}
        self._present = 0

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if why in (Why.ARRIVAL, Why.WAKEUP):
            self._virtual[task.pid] = max(self._present, self._virtual.get(task.pid, 0))
        self._ready.append(task)

    def pick(self, now: int) -> Task | None:
        task = min(self._ready, key=lambda task: self._virtual[task.pid], default=None)
        if task is not None:
            self._ready.remove(task)
            self._present = self._virtual[task.pid]
        return task

    def quantum(self, task: Task, now: int) -> int:
        return self._slice

    def charge(self, task: Task, service: int, now: int) -> None:
        self._virtual[task.pid] += service * NICE_0 // task.tickets

    def remove(self, task: Task, why: Why, now: int) -> None:
        if why is Why.EXITED:
            del self._virtual[task.pid]

    def reason(self, task: Task, now: int) -> str:
        return f"least virtual time, {task.amount(self._virtual[task.pid] // NICE_0)}"
