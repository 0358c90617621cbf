"""Round robin."""

from llmos.sched.base import SLICE, Queue, Service, Task


class RoundRobin(Queue):
    """Round robin: everybody in turn, for one quantum each, then to the tail of the queue.

    A task waits at most one round before it first runs, so response is good; but tasks of equal
    length all finish late, so turnaround is bad. A short quantum answers sooner and pays for more
    context switches; a long one is FCFS again.

    Parameters:
        quantum: service before the task goes to the tail (at least 1).

    Source: OSTEP ch. 7. A task that blocks before its quantum is over gets a whole one next time.
    """

    def __init__(self, quantum: Service = SLICE) -> None:
        super().__init__()
        self._quantum = quantum

    def quantum(self, task: Task, now: int) -> int:
        return self._quantum

    def reason(self, task: Task, now: int) -> str:
        return "its turn in the round"
