"""First come, first served."""

from llmos.sched.base import Queue, Task


class FCFS(Queue):
    """First come, first served: tasks run in the order in which they became ready, each to its end.

    Nothing could be simpler or fairer in a queue of equals. But one long task in front makes all the
    short ones behind it wait: the convoy effect. Watch the mean response grow with the length of
    whoever came first.

    Source: OSTEP ch. 7 (FIFO); Silberschatz, Operating System Concepts, CPU scheduling.
    """

    def reason(self, task: Task, now: int) -> str:
        return "first in the queue"
