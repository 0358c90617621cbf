"""Taking turns by number."""

from collections.abc import Sequence

from llmos.sched.base import Scheduler, Structure, Task, Why


class InTurn(Scheduler):
    """Taking turns: after a task comes the ready one with the next higher pid, and after the last the first.

    Nobody is preempted: a task gives its place away when it waits or ends. There is no queue to join,
    so it does not matter who became ready first; whoever has just had his turn is asked last.

    Parameters:
        io_first: whether a task that wakes up runs at once, in the place of the one that runs.

    Source: OSTEP ch. 4, process-run.py (IO_RUN_LATER; with `io_first` IO_RUN_IMMEDIATE).
    """

    name = "in-turn"
    depends_on = frozenset[str]()

    def __init__(self, io_first: bool = False) -> None:  # noqa: FBT001, FBT002
        self._io_first = io_first
        self._ready: dict[int, Task] = {}
        self._last = 0
        """The pid of whoever had his turn last."""
        self._woken: Task | None = None
        """Who woke up last, if that puts it before all others until it is ready for another reason."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        self._ready[task.pid] = task
        if self._io_first and why is Why.WAKEUP:
            self._woken = task
        elif task is self._woken:
            self._woken = None

    def pick(self, now: int) -> Task | None:
        if not self._ready:
            return None
        first = self._woken.pid if self._woken else 0
        pid = first if first in self._ready else min(self._ready, key=self._turn)
        self._last = pid
        return self._ready.pop(pid)

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        return running[-1] if newcomer is self._woken else None

    def withdraw(self, task: Task, now: int) -> None:
        del self._ready[task.pid]

    def reason(self, task: Task, now: int) -> str:
        return "woke up last" if task is self._woken else "its turn"

    def show(self, now: int) -> Structure:
        return {"": [(self._ready[pid], "") for pid in sorted(self._ready, key=self._turn)]}

    def _turn(self, pid: int) -> tuple[bool, int]:
        """Order pids from the one after the last turn, all the way round."""
        return pid <= self._last, pid
