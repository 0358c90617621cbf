"""The scheduler contract: who runs next, on a core or in an LLM engine alike.

- A scheduler owns the ready queue. The mechanism owns everything else: it keeps the time, counts
  the service, charges the costs and writes the log.
- Only `enqueue` and `pick` must be written. The other methods have defaults that mean "no opinion".
- *Service* is what a task consumes: nanoseconds on a core, tokens in an engine. A policy never
  needs to know which: it compares and adds up.
- *Slots*: a core has one, N cores on a shared queue have N, an engine has as many as its batch.
- *Quantum = horizon*: how much service until the policy must be asked again.
- At one instant the mechanism reports what ended there (expired quanta, blocked and finished tasks),
  ticks and newcomers, in the order of the scenario's convention (`llmos.engine.order`), and only then
  picks.
- Times are absolute, in nanoseconds. Everything is an int: there is no rounding to argue about.

A policy is a plain object: it can be tested with a list of tasks and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from heapq import heapify, heappop, heappush
from typing import Final

from llmos.parameters import CoreCount, Dice, Duration, Service

__all__ = [
    "SLICE", "CoreCount", "Dice", "Duration", "Ordered", "Queue", "Scheduler", "Service", "Structure", "Task",
    "Why", "duration", "per_level",
]  # fmt: skip
"""The annotations of `llmos.parameters` are part of the contract, so a policy finds them here."""

SLICE: Final = 10_000_000
"""The default time slice: 10 ms on a core. An engine reads it as 32 tokens (see `Service`)."""


class Why(StrEnum):
    """Why a task joins the ready queue, or leaves the machine's hands."""

    ARRIVAL = "arrival"
    WAKEUP = "wake-up"
    PREEMPTED = "preempted"
    EXPIRED = "quantum expired"
    YIELDED = "yielded"
    BLOCKED = "blocked"
    EXITED = "exited"
    CHANGED = "changed"
    """Its priority, nice value, group or place was changed while it was ready or running."""


@dataclass(slots=True, eq=False, kw_only=True)
class Task:
    """What is scheduled: the part of a process or of an LLM request that a policy may look at.

    `remaining` is the service left in the current burst (for a request: prompt and output tokens
    still to compute), which only an oracle knows in real life; policies that use it say so.
    """

    pid: int
    name: str
    arrival_ns: int = 0
    priority: int = 0
    """Smaller is more urgent."""
    nice: int = 0
    """How much it gives way to others, -20 (least) to 19, for Unix policies."""
    tickets: int = 1
    """Share of the processor for proportional-share policies, at least 1."""
    client: str = ""
    """Who is charged for the service: the task itself, or the tenant that sent a request."""
    group: str = ""
    """The cgroup that it belongs to, or the class that it has in a multilevel queue."""
    affinity: frozenset[int] | None = None
    """The cores that it may run on; None = all. The mechanism sees to it, a policy need not."""
    deadline_ns: int | None = None
    """Absolute time by which the current job should be complete, if there is one."""
    relative_deadline_ns: int | None = None
    """Time from a release (or from the arrival) to its deadline, if there is one."""
    period_ns: int | None = None
    """Time between two releases, if it is periodic."""
    wcet_ns: int | None = None
    """Declared worst-case execution time of a job, for policies that plan with it."""
    attained: int = 0
    """Service received so far."""
    remaining: int = 0
    burst: int = 0
    """Service that the current burst asked for when it began."""
    upfront: int = 0
    """Service that cannot be divided once it is begun (the prompt of a request), else 0."""
    cpu: int = -1
    """The core on which it ran last; -1 = none yet."""
    unit: str = "ns"

    def amount(self, service: int) -> str:
        """Write an amount of this task's service for people: "3 ms", "12 tokens"."""
        return duration(service) if self.unit == "ns" else f"{service} {self.unit}"


Structure = Mapping[str, Sequence[tuple[Task, str]]]
"""A ready queue as people draw it: heading -> tasks in order, each with the figure that orders it."""


class Scheduler:
    """A policy that orders ready tasks."""

    depends_on: frozenset[str] | None = None
    """The facts by which it orders tasks and which may change while they wait: priority, nice, tickets,
    group, remaining. When one of these changes, the task is queued anew; other changes cost it nothing.
    None = perhaps all of them.
    """

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        """Put `task` into the ready queue; `why` is ARRIVAL, WAKEUP, PREEMPTED, EXPIRED or YIELDED."""
        raise NotImplementedError

    def pick(self, now: int) -> Task | None:
        """Take the task that runs next out of the ready queue and return it; None if there is none."""
        raise NotImplementedError

    def quantum(self, task: Task, now: int) -> int | None:
        """Return the service (at least 1) after which `task` must be handed back; None = no limit.

        Asked right after `pick`, and again when a tick has left the task where it is.
        """
        return None

    def charge(self, task: Task, service: int, now: int) -> None:
        """Note that the running `task` has consumed `service` since it was last charged."""

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        """Return the one of `running` that must make room for `newcomer`, which is in the queue; or None.

        Asked when a task arrives or wakes up and no slot is free.
        """
        return None

    def remove(self, task: Task, why: Why, now: int) -> None:
        """Forget a running task that has BLOCKED (it will be back) or EXITED."""

    def next_tick(self, now: int) -> int | None:
        """Return the next time (after `now`) at which `tick` must be called; None if never."""
        return None

    def tick(self, now: int) -> str:
        """Reorder the queue because its time has come; return the reason for the log.

        Before the call every running task is handed back as PREEMPTED, so that the queue holds all.
        """
        return ""

    def withdraw(self, task: Task, now: int) -> None:
        """Take the ready `task` out of the queue: it moves to another core, or is about to change.

        The default finds it by picking; a policy with a cheaper or more faithful way overrides it.
        """
        before = []
        while (picked := self.pick(now)) is not task:
            if picked is None:
                raise LookupError(f"task {task.name} is not in the ready queue")
            before.append(picked)
        for other in reversed(before):  # each goes to the front, so that the order is as it was
            self.enqueue(other, Why.PREEMPTED, now)

    def reason(self, task: Task, now: int) -> str:
        """Say why `task` is the one to run, in a few words for the log."""
        return "next in the ready queue"

    def show(self, now: int) -> Structure:
        """Describe the ready queue as people draw it: shelves of tasks in order, each with its figure.

        {"level 0": [(task, "3 ms left")], "level 1": []}. An empty answer means a plain queue.
        """
        return {}


class Queue(Scheduler, ABC):
    """A scheduler with a single line: who becomes ready joins its tail, who was preempted its head."""

    depends_on = frozenset[str]()

    def __init__(self) -> None:
        self._ready: deque[Task] = deque()

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if why is Why.PREEMPTED:
            self._ready.appendleft(task)
        else:
            self._ready.append(task)

    def pick(self, now: int) -> Task | None:
        return self._ready.popleft() if self._ready else None

    def withdraw(self, task: Task, now: int) -> None:
        self._ready.remove(task)

    @abstractmethod
    def reason(self, task: Task, now: int) -> str:
        """Say why `task` is the one to run."""

    def show(self, now: int) -> Structure:
        return {"": [(task, "") for task in self._ready]}


class Ordered(Scheduler, ABC):
    """A scheduler that always runs the task with the smallest key; a policy is then its key.

    Ties go to the earlier arrival, then to the smaller pid. O(log n) per decision.
    """

    preemptive = False
    """Whether a newcomer with a strictly smaller key takes the slot of the largest."""

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, int, Task]] = []

    @abstractmethod
    def key(self, task: Task) -> int:
        """Return what the queue is ordered by; it must not change while the task waits."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        heappush(self._ready, (self.key(task), task.arrival_ns, task.pid, task))

    def pick(self, now: int) -> Task | None:
        return heappop(self._ready)[-1] if self._ready else None

    def withdraw(self, task: Task, now: int) -> None:
        self._ready = [entry for entry in self._ready if entry[-1] is not task]
        heapify(self._ready)

    def show(self, now: int) -> Structure:
        return {"": [(entry[-1], self.figure(entry[-1], now)) for entry in sorted(self._ready)]}

    def figure(self, task: Task, now: int) -> str:
        """Write the key of `task` for people."""
        return task.amount(self.key(task))

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        if not self.preemptive:
            return None
        worst = max(running, key=lambda task: (self.key(task), task.arrival_ns, task.pid))
        return worst if self.key(newcomer) < self.key(worst) else None


def per_level(value: int | list[int], levels: int, name: str) -> list[int]:
    """Write out the parameter `name` of a policy with several queues: one number for all, or one each.

    Raises ValueError if there are too many or too few, or one is below 1.
    """
    values = value if isinstance(value, list) else [value] * levels
    if len(values) != levels:
        raise ValueError(f"{name}: {len(values)} values for {levels} levels; give one, or one per level")
    if min(values) < 1:
        raise ValueError(f"{name}: it must be at least 1 in every level")
    return values


@lru_cache(maxsize=4096)
def duration(ns: int, digits: int = 6) -> str:
    """Write a time in nanoseconds in the largest unit that fits: 1_500_000 -> "1.5 ms"."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if abs(ns) >= size:
            return f"{ns / size:.{digits}g} {unit}"
    return f"{ns} ns"
