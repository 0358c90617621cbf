"""MLFQ, by (your name).

README.md has the rules. Check your work with: llmos assignment check .
"""

from llmos.sched.base import Scheduler, Task, Why


class MLFQ(Scheduler):
    """A multi-level feedback queue.

    levels: how many queues there are; level 0 is the highest.
    quantum: a list; quantum[i] is the service of one turn in level i.
    allotment: a list; allotment[i] is how many turns a task has in level i before it sinks.
    boost: at every multiple of this time (ns) all tasks go to level 0; 0 means never.
    """

    def __init__(self, levels: int, quantum: list[int], allotment: list[int], boost: int) -> None:
        self.levels = levels
        self.quanta = quantum  # not self.quantum: that is the method below
        self.allotment = allotment
        self.boost = boost

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        """`task` is ready: put it into a queue.

        `why` says where it comes from: Why.ARRIVAL (it is new), Why.WAKEUP (it was blocked),
        Why.PREEMPTED (it was running and had to make room) or Why.EXPIRED (its quantum is over).
        """
        raise NotImplementedError("enqueue is yours to write")

    def pick(self, now: int) -> Task | None:
        """Take the task that runs next out of its queue and return it; None if all are empty."""
        raise NotImplementedError("pick is yours to write")

    def quantum(self, task: Task, now: int) -> int | None:
        """Return how much service `task` may have before it must be handed back, at least 1.

        The machine asks right after `pick`, and hands the task back with Why.EXPIRED.
        """
        raise NotImplementedError("quantum is yours to write")

    def charge(self, task: Task, service: int, now: int) -> None:
        """`task` has been running and has had so much `service` since it was last charged."""

    def preempts(self, newcomer: Task, running: list[Task], now: int) -> Task | None:
        """Return the one of `running` that must make room for `newcomer`, or None.

        `newcomer` has arrived or woken up, and is in your queue already.
        """
        return None

    def remove(self, task: Task, why: Why, now: int) -> None:
        """`task` has left the processor: Why.BLOCKED (it will be back) or Why.EXITED (it will not)."""

    def next_tick(self, now: int) -> int | None:
        """Return the next time, after `now`, at which `tick` is to be called; None if never."""
        return None

    def tick(self, now: int) -> str:
        """The time has come that `next_tick` asked for; return a word about it for the log.

        Before this call every running task was handed back with Why.PREEMPTED.
        """
        return "boost"

    def reason(self, task: Task, now: int) -> str:
        """Say why `task` is the one to run: for you, when something is wrong."""
        return "first in the highest queue"
