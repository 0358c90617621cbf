"""What the real-time policies have in common.

- The ready task with the smallest key runs, and takes the slot of the one with the largest key if its
  own is strictly smaller.
- Equals have a rule of their own, because a periodic task arrives once and is released many times.
- A task without a period or a deadline has the key NEVER: it runs when nobody else is ready.
"""

from collections.abc import Sequence
from fractions import Fraction
from heapq import heappush
from itertools import count
from typing import Final

from llmos.sched.base import Ordered, Task, Why

NEVER: Final = 2**63
"""Later than every deadline and longer than every period."""

FIRST: Final = -1
"""Before every deadline and shorter than every period."""

TIES: Final = ("release", "queue", "pid")


class RealTime(Ordered):
    """An order among jobs: by a key, and among equal keys by `ties`.

    Among equals the one that was released first goes first ("release"), or the one that joined the
    ready queue first, where who is preempted joins anew ("queue"); then, or only ("pid"), the one with
    the smaller pid.
    """

    preemptive = True

    def __init__(self, ties: str = "release") -> None:
        super().__init__()
        if ties not in TIES:
            raise ValueError(f"ties: it should be {', '.join(TIES[:-1])} or {TIES[-1]}, not {ties!r}")
        self._ties = ties
        self._turns = count()

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        heappush(self._ready, (self.key(task), self._tie(task), task.pid, task))

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        worst = max(running, key=lambda task: (self.key(task), release_ns(task), task.pid))
        return worst if self.key(newcomer) < self.key(worst) else None

    def _tie(self, task: Task) -> int:
        if self._ties == "release":
            return release_ns(task)
        return next(self._turns) if self._ties == "queue" else 0


def release_ns(task: Task) -> int:
    """When the current job of `task` was released; for a task without deadlines, when it arrived."""
    if task.deadline_ns is None or task.relative_deadline_ns is None:
        return task.arrival_ns
    return task.deadline_ns - task.relative_deadline_ns


def threshold_share(share: float | None, cores: int, default: Fraction) -> Fraction:
    """The share above which a task is heavy: `share` as its decimals say, or `default`."""
    if cores < 1:
        raise ValueError(f"cores: there is at least 1, not {cores}")
    if share is None:
        return default
    if not 0 < share <= 1:
        raise ValueError(f"threshold: it should be above 0 and at most 1, not {share}")
    return Fraction(str(share))


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
