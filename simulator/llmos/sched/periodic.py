"""Periodic tasks as the tests of feasibility see them, and what a test answers.

- A task set is a sequence of `PeriodicTask`. For fixed priorities its order is the order of priority,
  the most urgent first; `rate_monotonic` and `deadline_monotonic` sort it.
- A `Verdict` says that all deadlines are met, that one is missed, or that the test cannot tell; and why.
- All arithmetic is exact: shares of a core are fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from llmos.errors import LlmosError
from llmos.sched.base import duration


@dataclass(frozen=True, slots=True)
class PeriodicTask:
    """A task that is released every `period_ns` (at least), needs at most `wcet_ns` (C), is due after D.

    Times are in ns and at least 1. Without a `deadline_ns` it is due at the end of its period.
    """

    name: str
    wcet_ns: int
    period_ns: int
    deadline_ns: int | None = None

    def __post_init__(self) -> None:
        for what in ("wcet_ns", "period_ns", "deadline_ns"):
            value = getattr(self, what)
            if value is not None and value < 1:
                raise LlmosError(f"task {self.name}: {what} is {value}", hint="give it at least 1 ns")

    @property
    def due_ns(self) -> int:
        """Time from a release to its deadline (D)."""
        return self.period_ns if self.deadline_ns is None else self.deadline_ns

    @property
    def share(self) -> Fraction:
        """The part of a core that it needs (U = C/T)."""
        return Fraction(self.wcet_ns, self.period_ns)

    @property
    def density(self) -> Fraction:
        """The part of a core that it needs while it is urgent: C / min(D, T)."""
        return Fraction(self.wcet_ns, min(self.due_ns, self.period_ns))


TaskSet = Sequence[PeriodicTask]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a test says: `ok` is True (all deadlines are met), False (one is missed) or None (unknown)."""

    ok: bool | None
    test: str
    explanation: tuple[str, ...]
    """Lines with the numbers."""
    source: str

    def __str__(self) -> str:
        answer = {True: "all deadlines are met", False: "a deadline is missed", None: "cannot tell"}[self.ok]
        return "\n  ".join([f"{self.test}: {answer}", *self.explanation])


def rate_monotonic(tasks: TaskSet) -> tuple[PeriodicTask, ...]:
    """Sort by priority: the shorter period first; equals keep their order."""
    return tuple(sorted(tasks, key=lambda task: task.period_ns))


def deadline_monotonic(tasks: TaskSet) -> tuple[PeriodicTask, ...]:
    """Sort by priority: the shorter relative deadline first; equals keep their order."""
    return tuple(sorted(tasks, key=lambda task: task.due_ns))


def utilisation(tasks: TaskSet) -> Fraction:
    """How many cores the tasks need on average (U)."""
    return sum((task.share for task in tasks), Fraction(0))


def hopeless(tasks: TaskSet, cores: int, test: str, source: str) -> Verdict | None:
    """The verdict on tasks that nobody can serve in time, whatever the test; else None."""
    if utilisation(tasks) > cores:
        line = f"{sum_of_shares(tasks)} > {cores}: more work than {cores} core{'s' * (cores > 1)} can do"
        return Verdict(False, test, (line,), source)
    for task in tasks:
        if task.density > 1:
            limit = min(task.due_ns, task.period_ns)
            line = f"{task.name} needs {duration(task.wcet_ns)} in every {duration(limit)}, on one core"
            return Verdict(False, test, (line,), source)
    return None


def out_of_scope(tasks: TaskSet, test: str, source: str, *, late: bool = True) -> Verdict | None:
    """The verdict of a test that knows no deadlines before the ends of periods (nor after, if not `late`)."""
    for task in tasks:
        if task.due_ns < task.period_ns or (task.due_ns > task.period_ns and not late):
            where = "before" if task.due_ns < task.period_ns else "after"
            line = f"{task.name} is due {where} the end of its period: not for this test"
            return Verdict(None, test, (line,), source)
    return None


def sum_of_shares(tasks: TaskSet, what: str = "share") -> str:
    """Write the sum of the shares or densities: "U = 1/4 + 1/2 = 0.75"."""
    parts = [getattr(task, what) for task in tasks]
    symbol = "U" if what == "share" else "density"
    terms = f"{' + '.join(map(str, parts))} = " if parts else ""
    return f"{symbol} = {terms}{float(sum(parts)):.4g}"
