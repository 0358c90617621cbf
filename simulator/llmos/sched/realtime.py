"""What the real-time policies have in common.

- The ready task with the smallest key runs, and takes the slot of the one with the largest key if its
  own is strictly smaller.
- Equals have a rule of their own: a periodic task arrives once and becomes ready for each job.
- A task without a period or a deadline has the key NEVER: it runs when nobody else is ready.
"""

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from heapq import heappush
from itertools import count
from typing import Final

from llmos.sched.base import CoreCount, Ordered, Task, Why

NEVER: Final = 2**63
"""Later than every deadline and longer than every period."""

FIRST: Final = -1
"""Before every deadline and shorter than every period."""

TIES: Final = ("ready", "queue", "pid")


class RealTime(Ordered):
    """An order among tasks: by a key, and among equal keys by `ties`.

    Among equals the one that became ready first goes first: with "ready" a preempted task keeps its
    turn, with "queue" it joins anew. With "pid" it is the one with the smaller pid.
    """

    depends_on = frozenset[str]()
    preemptive = True

    def __init__(self, ties: str = "ready") -> None:
        super().__init__()
        if ties not in TIES:
            raise ValueError(f"ties: it should be {', '.join(TIES[:-1])} or {TIES[-1]}, not {ties!r}")
        self._ties = ties
        self._turns: dict[int, int] = {}
        self._next_turn = count(1)

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if self._ties == "queue" or (self._ties == "ready" and why is not Why.PREEMPTED):
            self._turns[task.pid] = next(self._next_turn)
        heappush(self._ready, (*self._rank(task), task))

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        worst = max(running, key=self._rank)
        return worst if self.key(newcomer) < self.key(worst) else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._turns.pop(task.pid, None)

    def _rank(self, task: Task) -> tuple[int, int, int]:
        """What orders the tasks: the smallest runs."""
        return self.key(task), self._turns.get(task.pid, 0), task.pid


def threshold_share(share: float | None, cores: int, default: Fraction) -> Fraction:
    """The share above which a task is heavy: `share` as its decimals say, or `default`."""
    if cores < 1:
        raise ValueError(f"cores: there is at least 1, not {cores}")
    if share is None:
        return default
    if not 0 < share <= 1:
        raise ValueError(f"threshold: it should be above 0 and at most 1, not {share}")
    return Fraction(str(share))


class HeavyFirst(RealTime):
    """Another order of tasks (the next class in line), but heavy ones before all others."""

    def __init__(self, cores: CoreCount = 2, threshold: float | None = None, ties: str = "ready") -> None:
        super().__init__(ties)
        self._share = threshold_share(threshold, cores, self.heavy_share(max(cores, 1)))

    @staticmethod
    @abstractmethod
    def heavy_share(cores: int) -> Fraction:
        """The share of a core above which a task is heavy."""

    def key(self, task: Task) -> int:
        return FIRST if is_heavy(task, self._share) else super().key(task)  # type: ignore[safe-super]

    def figure(self, task: Task, now: int) -> str:
        return ("heavy, " if is_heavy(task, self._share) else "") + super().figure(task, now)

    def reason(self, task: Task, now: int) -> str:
        return heavy_reason(task, self._share) if is_heavy(task, self._share) else super().reason(task, now)


def is_heavy(task: Task, share: Fraction) -> bool:
    """Whether `task` declares that it needs more than `share` of a core."""
    return (
        task.wcet_ns is not None
        and task.period_ns is not None
        and task.wcet_ns * share.denominator > share.numerator * task.period_ns
    )


def heavy_reason(task: Task, share: Fraction) -> str:
    """Say why a heavy task goes first."""
    used = (task.wcet_ns or 0) / (task.period_ns or 1)
    return f"heavy: it needs {used:.3g} of a core, more than {float(share):.3g}"
